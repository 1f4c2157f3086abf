//! What an environment keeps for its life: a file that asks for something else is refused before anything runs.
//!
//! # Why
//! OpenTofu would follow such a change by tearing down what the cluster lives on, and RKE2 by breaking the network
//! between its nodes; neither comes to an end that anybody wanted. More zones would move nothing, but a load balancer
//! that exists does not follow them with the rights that we ask for. (2026-11-21)

use serde_json::Value;

use crate::artifact::{Artifact, Kind};
use crate::environment::{Environment, LoadBalancerKind};
use crate::failure::{Exit, Failure};
use crate::journal::Memory;
use crate::load_balancer::KUBE_VIP;
use crate::stages::{Cluster, FIXED, fixed};

/// A value of the file that was settled when the environment was made, and is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// The stage that must not follow it.
    pub stage: Kind,
    /// Its path in the environment file.
    pub key: &'static str,
    pub made: String,
    pub wanted: String,
}

impl Lasting {
    /// What a plan says of its stage.
    pub fn reason(&self) -> String {
        format!("`{}` is {} for the life of the environment, the file asks for {}", self.key, self.made, self.wanted)
    }
}

/// Every value that the file wants otherwise than the environment was made with.
pub fn lasting(env: &Environment, memory: &Memory) -> Vec<Lasting> {
    let made = |kind: Kind| memory.stages.get(&kind).and_then(|stage| stage.made.as_ref()).map(|made| &made.artifact);
    let mut values = Vec::new();
    let mut differs = |stage: Kind, key: &'static str, made: String, wanted: String| {
        if made != wanted {
            values.push(Lasting { stage, key, made, wanted });
        }
    };
    if let (Some(Artifact::Network(network)), Some(wanted)) = (made(Kind::Network), &env.network) {
        differs(Kind::Network, "network.cidr", network.cidr.clone(), wanted.cidr.to_string());
        differs(Kind::Network, "network.zones", network.zones.len().to_string(), wanted.zones.to_string());
    }
    if let Some(Artifact::LoadBalancer(balancer)) = made(Kind::LoadBalancer) {
        let was = match balancer.id.as_str() {
            "" => LoadBalancerKind::None,
            KUBE_VIP => LoadBalancerKind::KubeVip,
            // Its address is all that we have of it.
            id if id == balancer.address => LoadBalancerKind::External,
            _ => LoadBalancerKind::Nlb,
        };
        differs(Kind::LoadBalancer, "load_balancer.kind", word(was), word(env.load_balancer.kind));
    }
    let cluster = Cluster::recorded(&memory.facts);
    if let Some(cni) = cluster.as_ref().and_then(|cluster| cluster.cni) {
        differs(Kind::Nodes, "rke2.cni", cni.name().to_owned(), env.rke2.cni.name().to_owned());
    }
    let asked = fixed(&env.rke2.config);
    for key in FIXED {
        let made = cluster.as_ref().and_then(|cluster| cluster.fixed.get(key));
        if let (Some(made), Some(asked)) = (made, asked.get(key)) {
            differs(Kind::Servers, key, made.clone(), asked.clone());
        }
    }
    values
}

/// As it stands in the file.
fn word(kind: LoadBalancerKind) -> String {
    match serde_json::to_value(kind) {
        Ok(Value::String(word)) => word,
        Ok(_) | Err(_) => format!("{kind:?}"),
    }
}

/// The refusal of all of them; `None` where there is nothing to refuse.
pub fn refusal(values: &[Lasting], environment: &str) -> Option<Failure> {
    let first = values.first()?;
    let keys: Vec<String> = values.iter().map(|value| format!("`{}`", value.key)).collect();
    let verb = if keys.len() == 1 { "is" } else { "are" };
    let mut failure =
        Failure::new(Exit::Approval, format!("{} {verb} for the life of an environment", keys.join(", ")));
    for value in values {
        failure = failure
            .because(format!("`{}`: it was made with {}, the file asks for {}", value.key, value.made, value.wanted))
            .hint(format!("set `{}` back to `{}` in environments/{environment}.yaml", value.key, value.made));
    }
    Some(failure.hint(format!("another {} takes `sre-provision down {environment}`, then `up`", first.key)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::artifact::{LoadBalancer, Network};
    use crate::config;
    use crate::event::Outcome;
    use crate::fingerprint::{Digest, Reading};
    use crate::journal::{Deed, Made, StageMemory};

    const DEV: &str = include_str!("../../environments/dev.yaml");

    fn env() -> Environment {
        config::read("environments/dev.yaml", "dev", DEV).expect("valid")
    }

    fn stage(artifact: Artifact) -> (Kind, StageMemory) {
        let (kind, time) = (artifact.kind(), jiff::Timestamp::UNIX_EPOCH);
        let made = Made { artifact, fingerprint: Digest::of(b""), reading: Reading::default(), run: 1, time };
        let (last, deed) = (Outcome::Succeeded, Deed::Make);
        (kind, StageMemory { made: Some(made), last, deed, attempt: 1, run: 1, why: None, intended: None })
    }

    /// As `env` describes it, and up.
    fn memory(env: &Environment) -> Memory {
        let network = Network {
            id: "vpc-1".to_owned(),
            cidr: env.own_network().expect("one").cidr.to_string(),
            zones: (0..env.own_network().expect("one").zones).map(|zone| format!("zone-{zone}")).collect(),
            private_subnets: vec![],
            private_ranges: vec![],
            balancer_subnets: vec![],
            balancer_ranges: vec![],
            public_subnets: vec![],
            public_ranges: vec![],
            nat_gateways: vec![],
        };
        let balancer = LoadBalancer { id: "arn:1".to_owned(), ..LoadBalancer::default() };
        let stages = [Artifact::Network(network), Artifact::LoadBalancer(balancer)].map(stage).into();
        let cluster = json!({ "ca": Digest::of(b"ca"), "cni": env.rke2.cni });
        Memory { stages, facts: BTreeMap::from([("servers/cluster".to_owned(), cluster)]), ..Memory::default() }
    }

    #[test]
    fn a_file_that_asks_for_what_was_made_or_for_what_can_change_is_not_refused() {
        let mut env = env();
        let memory = memory(&env);
        let network = env.network.as_mut().expect("one");
        network.flow_logs = !network.flow_logs;
        env.nodes.servers.size = "m6i.4xlarge".to_owned();

        assert_eq!(lasting(&env, &memory), []);
        assert!(refusal(&[], "dev").is_none());
    }

    #[test]
    fn nothing_is_settled_before_it_was_made() {
        assert_eq!(lasting(&env(), &Memory::default()), []);
    }

    #[test]
    fn each_value_that_is_for_life_is_refused_at_its_stage_with_both_values() {
        let mut env = env();
        let memory = memory(&env);
        env.network.as_mut().expect("one").cidr = "10.99.0.0/16".parse().expect("a range");
        env.network.as_mut().expect("one").zones = 2;
        env.load_balancer.kind = LoadBalancerKind::None;
        env.rke2.cni = crate::environment::Cni::Cilium;

        let found = lasting(&env, &memory);

        let told: Vec<_> =
            found.iter().map(|one| (one.stage, one.key, one.made.as_str(), one.wanted.as_str())).collect();
        assert_eq!(
            told,
            [
                (Kind::Network, "network.cidr", "10.20.0.0/16", "10.99.0.0/16"),
                (Kind::Network, "network.zones", "3", "2"),
                (Kind::LoadBalancer, "load_balancer.kind", "nlb", "none"),
                (Kind::Nodes, "rke2.cni", "canal", "cilium"),
            ]
        );
    }

    #[test]
    fn a_refusal_names_what_to_set_back_and_what_another_value_would_take() {
        let mut env = env();
        let memory = memory(&env);
        env.network.as_mut().expect("one").zones = 2;

        let failure = refusal(&lasting(&env, &memory), "dev").expect("refused");

        assert_eq!(failure.exit(), Exit::Approval);
        assert_eq!(failure.what(), "`network.zones` is for the life of an environment");
        assert_eq!(failure.causes(), ["`network.zones`: it was made with 3, the file asks for 2"]);
        assert_eq!(
            failure.hints(),
            [
                "set `network.zones` back to `3` in environments/dev.yaml",
                "another network.zones takes `sre-provision down dev`, then `up`"
            ]
        );
    }
}
