//! Machines that already exist: what a stage may ask of a platform that makes and removes nothing.
//!
//! All it knows is what the environment file tells: machines by their ids and addresses, and the host keys that vouch
//! for them. Whether a machine answers is not its business.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{
    Account, BuildNetwork, Candidate, Cloud, FoundBalancer, FoundImage, FoundMachine, MachineState, Need, NewMachine,
    Tags, TargetHealth, Thing,
};
use crate::environment::{Environment, Hosts};
use crate::failure::Failure;
use crate::identity::TAG_NODE;

/// What stands for a region: there is none.
const PLACE: &str = "as-is";
/// Between the ids of machines in what stands for an account.
const BETWEEN: char = '+';

/// The machines of one environment.
#[derive(Clone, Debug)]
pub struct Existing {
    hosts: Hosts,
    principal: String,
}

impl Existing {
    /// `principal` is who runs the program: nobody else vouches for anything here.
    pub fn of(env: &Environment, principal: &str) -> Option<Self> {
        Some(Self { hosts: env.hosts.clone()?, principal: principal.to_owned() })
    }

    fn found(name: &str, host: &crate::hosts::Host) -> FoundMachine {
        FoundMachine {
            id: host.machine(),
            state: MachineState::Running,
            private_address: Some(host.address.clone()),
            public_address: None,
            image: String::new(),
            size: String::new(),
            zone: String::new(),
            tags: Tags::from([(TAG_NODE.to_owned(), name.to_owned())]),
        }
    }
}

/// Whether this is where an environment was made: the same account, or machines of which at least one is the same.
/// Machines come and go one by one; a file that names none of them is another environment's.
pub fn is_same_account(pinned: &str, found: &str) -> bool {
    let machines = |account: &str| account.split(BETWEEN).map(str::to_owned).collect::<BTreeSet<_>>();
    pinned == found || !machines(pinned).is_disjoint(&machines(found))
}

/// A stage that asks this does not belong on machines that exist.
fn none<T>(what: &str) -> Result<T, Failure> {
    Err(Failure::bug(format!("machines that exist have no {what}")))
}

#[async_trait]
impl Cloud for Existing {
    /// The ids of the machines stand for the account.
    async fn account(&self) -> Result<Account, Failure> {
        let ids: BTreeSet<String> = self.hosts.machines.values().map(crate::hosts::Host::machine).collect();
        let id = ids.into_iter().collect::<Vec<_>>().join(&BETWEEN.to_string());
        Ok(Account { id, region: PLACE.to_owned(), principal: self.principal.clone() })
    }

    async fn room(&self, _: &Need) -> Result<(), Failure> {
        Ok(())
    }

    async fn source_image(&self, _: &str, _: &str) -> Result<Option<FoundImage>, Failure> {
        none("images")
    }

    async fn image(&self, _: &str) -> Result<Option<FoundImage>, Failure> {
        none("images")
    }

    async fn own_images(&self, _: &Tags) -> Result<Vec<FoundImage>, Failure> {
        Ok(vec![])
    }

    async fn tag(&self, _: &[String], _: &Tags) -> Result<(), Failure> {
        none("tags")
    }

    async fn build_network(&self, _: &Tags, _: &[String]) -> Result<BuildNetwork, Failure> {
        none("network to build in")
    }

    async fn build_group(&self, _: &str, _: &Tags, _: &[String]) -> Result<String, Failure> {
        none("security groups")
    }

    async fn start_machine(&self, _: &NewMachine) -> Result<FoundMachine, Failure> {
        none("way to make more of them")
    }

    async fn machines(&self, _: &Tags) -> Result<Vec<FoundMachine>, Failure> {
        Ok(self.hosts.machines.iter().map(|(name, host)| Self::found(name, host)).collect())
    }

    async fn machine(&self, id: &str) -> Result<Option<FoundMachine>, Failure> {
        let named = self.hosts.machines.iter().find(|(_, host)| host.machine() == id);
        Ok(named.map(|(name, host)| Self::found(name, host)))
    }

    /// The file vouches for the host keys, in the form in which a console does.
    async fn console(&self, id: &str) -> Result<String, Failure> {
        let host = self.hosts.machines.values().find(|host| host.machine() == id);
        let block = |key: &str| format!("-----BEGIN SSH HOST KEY KEYS-----\n{key}\n-----END SSH HOST KEY KEYS-----\n");
        Ok(host.map(|host| block(&host.key_words())).unwrap_or_default())
    }

    async fn zones(&self) -> Result<Vec<String>, Failure> {
        none("zones")
    }

    async fn existing_networks(&self, _: &str, _: &[String]) -> Result<BTreeSet<String>, Failure> {
        none("networks")
    }

    async fn load_balancer(&self, _: &str) -> Result<Option<FoundBalancer>, Failure> {
        none("load balancers")
    }

    async fn register(&self, _: &str, _: &str) -> Result<(), Failure> {
        none("target groups")
    }

    async fn deregister(&self, _: &str, _: &str) -> Result<(), Failure> {
        none("target groups")
    }

    async fn targets(&self, _: &str) -> Result<Vec<TargetHealth>, Failure> {
        Ok(vec![])
    }

    /// Nothing of ours is there but what lies on the machines, which only they can tell.
    async fn things(&self, _: &Tags) -> Result<Vec<Thing>, Failure> {
        Ok(vec![])
    }

    async fn remove(&self, _: &Thing) -> Result<(), Failure> {
        none("things to remove")
    }

    async fn untie(&self, _: &Tags) -> Result<(), Failure> {
        Ok(())
    }

    async fn candidates(&self, _: Option<&str>) -> Result<Vec<Candidate>, Failure> {
        Ok(vec![])
    }

    async fn find_resource(&self, _: &str, _: &serde_json::Value) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    async fn is_healthy(&self, _: &str, _: &str) -> Result<bool, Failure> {
        none("resources")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::node::console_host_keys;

    const AIRGAP: &str = include_str!("../../environments/airgap.yaml");

    fn airgap() -> Environment {
        config::read("environments/airgap.yaml", "airgap", AIRGAP).expect("valid")
    }

    #[tokio::test]
    async fn a_machine_is_found_by_its_id_with_the_host_key_that_the_file_vouches_for() {
        let (env, hosts) = (airgap(), airgap().hosts.expect("hosts"));
        let server = &hosts.machines["server-1"];
        let existing = Existing::of(&env, "ops@here").expect("hosts");

        let found = existing.machine(&server.machine()).await.expect("asked").expect("found");

        assert_eq!(found.private_address.as_deref(), Some(server.address.as_str()));
        let console = existing.console(&found.id).await.expect("asked");
        assert_eq!(console_host_keys(&console), [server.key_words()]);
        assert_eq!(existing.machine("host-0").await.expect("asked"), None);
    }

    #[tokio::test]
    async fn a_file_with_one_of_the_machines_leads_to_the_environment_and_one_with_none_of_them_does_not() {
        let mut env = airgap();
        let account =
            async |env: &Environment| Existing::of(env, "ops@here").expect("hosts").account().await.expect("told").id;
        let pinned = account(&env).await;
        let hosts = env.hosts.as_mut().expect("hosts");
        hosts.machines.retain(|name, _| name == "server-2");
        let fewer = account(&env).await;

        assert!(is_same_account(&pinned, &fewer));
        assert!(!is_same_account(&pinned, "host-0123456789abcdef"));
        assert!(is_same_account("123456789012", "123456789012") && !is_same_account("123456789012", "210987654321"));
    }
}
