//! What happens to a world behind the program's back, between two of its runs.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wire::text;
use crate::world::World;

/// What somebody else does, or what breaks by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Disturbance {
    /// A thing is taken away; a machine falls silent with it, leaves its target groups and its node is lost.
    Take(String),
    /// A machine is stopped: it falls silent and its node is lost.
    Halt(String),
    /// It is started again, as the machine that it was.
    Start(String),
    Tag {
        id: String,
        name: String,
        value: String,
    },
    Deregister {
        group: String,
        machine: String,
    },
    /// Nobody answers at this address any more.
    Silence(String),
    /// Somebody answers there again.
    Speak(String),
    /// A condition of a node is not true: why.
    Ill {
        node: String,
        condition: String,
        why: String,
    },
    /// The cluster does not take a node in, whose service says why and ends again and again.
    Reject {
        node: String,
        journal: String,
    },
    /// Nothing is wrong with a node any more.
    Heal(String),
    /// etcd has the member of a server as a learner, whatever its node says.
    Learn(String),
    /// etcd has a member of no server.
    Stray(String),
    /// etcd has it no more.
    Leave(String),
    /// RKE2 does not run on a node any more.
    Stop(String),
    /// A person writes a fragment of RKE2's configuration on a server.
    ByHand {
        node: String,
        fragment: String,
    },
    /// The datastore on a server is of another cluster.
    Foreign(String),
    /// A node that nobody asked for is in the cluster.
    Stranger(String),
    /// A node is deleted from the cluster.
    Delete(String),
    /// A setting of the hardening profile is taken back on a node.
    Loosen(String),
    Instead(Instead),
    /// All is answered as ever again.
    Relent,
}

/// What whoever asks this hears until [`Disturbance::Relent`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instead {
    /// Members of a request that make it one of these.
    of: Value,
    pub answer: Result<Value, String>,
}

impl Instead {
    pub fn new(of: Value, answer: Result<Value, String>) -> Self {
        Self { of, answer }
    }

    pub fn is_about(&self, request: &Value) -> bool {
        self.of.as_object().is_some_and(|of| of.iter().all(|(name, value)| request[name] == *value))
    }
}

impl World {
    pub fn disturb(&mut self, disturbance: Disturbance) {
        match disturbance {
            Disturbance::Take(id) => self.take(&id),
            Disturbance::Halt(id) => {
                let (node, address) = self.run_as(&id, "stopped");
                self.cluster.falls_ill(&node, "Ready", "NodeStatusUnknown");
                self.silence(address);
            }
            Disturbance::Start(id) => {
                let (node, address) = self.run_as(&id, "running");
                self.cluster.heals(&node);
                self.speak(&address);
            }
            Disturbance::Tag { id, name, value } => {
                let thing = self.things.get_mut(&id).expect("a thing of the world");
                thing.tags.insert(name, value);
            }
            Disturbance::Deregister { group, machine } => {
                let was_there = self.targets.get_mut(&group).is_some_and(|machines| machines.remove(&machine));
                assert!(was_there, "{machine} is not in {group}");
            }
            Disturbance::Silence(address) => self.silence(address),
            Disturbance::Speak(address) => self.speak(&address),
            Disturbance::Ill { node, condition, why } => self.cluster.falls_ill(&node, &condition, &why),
            Disturbance::Reject { node, journal } => self.cluster.rejects(&node, &journal),
            Disturbance::Heal(node) => self.cluster.heals(&node),
            Disturbance::Learn(node) => self.cluster.learns(&node),
            Disturbance::Stray(member) => self.cluster.strays(&member, true),
            Disturbance::Leave(member) => self.cluster.strays(&member, false),
            Disturbance::Stop(node) => self.cluster.stops(&node),
            Disturbance::ByHand { node, fragment } => self.cluster.writes_by_hand(&node, &fragment),
            Disturbance::Foreign(node) => self.cluster.is_of_another(&node),
            Disturbance::Stranger(node) => self.cluster.takes_in(&node),
            Disturbance::Delete(node) => self.cluster.deletes(&node),
            Disturbance::Loosen(node) => self.loosened.extend([node]),
            Disturbance::Instead(instead) => self.instead.push(instead),
            Disturbance::Relent => self.instead.clear(),
        }
    }

    fn take(&mut self, id: &str) {
        let thing = self.things.remove(id).expect("a thing of the world");
        self.things.retain(|_, part| part.part_of.as_deref() != Some(id));
        self.targets.remove(id);
        self.taken.insert(id.to_owned());
        if let (Some(node), Some(address)) = (thing.tags.get("sre:node"), thing.more["address"].as_str()) {
            self.targets.values_mut().for_each(|machines| machines.retain(|machine| machine != id));
            self.cluster.falls_ill(node, "Ready", "NodeStatusUnknown");
            self.silence(address.to_owned());
        }
    }

    /// Gives a machine this state; tells which node it is and where.
    fn run_as(&mut self, id: &str, state: &str) -> (String, String) {
        let machine = self.things.get_mut(id).expect("a machine of the world");
        machine.more["state"] = json!(state);
        (machine.tags["sre:node"].clone(), text(&machine.more, "address"))
    }

    fn speak(&mut self, address: &str) {
        assert!(self.silent.remove(address), "{address} is not silent");
        crate::lane::speak(address);
    }

    fn silence(&mut self, address: String) {
        crate::lane::silence(&address);
        self.silent.insert(address);
    }

    /// A sign of the rule that the world's hardening profile has, as a census tells it.
    pub fn setting(&self, node: &str) -> String {
        let value = i32::from(!self.loosened.contains(node));
        format!("sysctl /proc/sys/kernel/dmesg_restrict {value}\nsysctl-file kernel.dmesg_restrict = 1")
    }
}

/// A request of the world, for [`Instead`].
pub fn asked(what: &str, name: &str, value: &str) -> Value {
    json!({ "do": what, name: value })
}
