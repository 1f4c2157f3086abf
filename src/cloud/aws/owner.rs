//! Whose a thing is that lies among an environment's: its own, its cluster's, or somebody else's.
//!
//! Not everything of ours can say so: interfaces, rules of the platform's own making and what lost the race with a stop
//! carry no tags, so what lies in our network is ours unless it says otherwise. Machines, load balancers and disks hold
//! somebody's work: they must say that they are ours.

use super::collect::Found;
use super::tagged;
use super::things::short_id;
use crate::cloud::{Tags, ThingKind, Whose};
use crate::identity::{TAG_ENVIRONMENT, cluster_tag};

/// How the tags begin that Kubernetes's controllers for AWS put on what they make.
/// Source: kubernetes/cloud-provider-aws, `TagNameKubernetesClusterPrefix`; the load balancer controller's annotations.
const CLUSTER_TAGS: [&str; 2] = ["kubernetes.io/cluster/", "elbv2.k8s.aws/cluster"];

/// A thing with its owner, which lies in our network or hangs on one of our machines.
pub fn judged(mut found: Found, asked: &Tags) -> Found {
    found.thing.whose = whose(&found, asked);
    found
}

fn whose(found: &Found, asked: &Tags) -> Whose {
    let (thing, tags) = (&found.thing, &found.tags);
    if tagged::holds(tags, asked) {
        return Whose::Ours;
    }
    if let Some(other) = tags.get(TAG_ENVIRONMENT).filter(|other| asked.get(TAG_ENVIRONMENT) != Some(other)) {
        return Whose::Foreign(format!("it is tagged {TAG_ENVIRONMENT}={other}"));
    }
    let short = short_id(asked);
    let own = short.as_deref().map(cluster_tag);
    let clusters: Vec<&String> =
        tags.keys().filter(|key| CLUSTER_TAGS.iter().any(|tag| key.starts_with(tag))).collect();
    if own.is_some_and(|own| clusters.iter().any(|tag| **tag == own)) {
        return Whose::Cluster;
    }
    if short.is_some_and(|short| thing.id.contains(&short)) {
        return Whose::Unmarked;
    }
    let must_say = match thing.kind {
        ThingKind::Machine | ThingKind::LoadBalancer | ThingKind::TargetGroup => true,
        // One that goes with its machine holds nothing that the machine did not.
        ThingKind::Volume => thing.part_of.is_none(),
        _ => false,
    };
    match (must_say, clusters.is_empty()) {
        (false, _) => Whose::Unmarked,
        (true, false) => Whose::Cluster,
        (true, true) => Whose::Foreign("it carries no tag of the environment".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5b1e77aa-0000-4000-8000-000000000000";

    fn judge(kind: ThingKind, id: &str, part_of: Option<&str>, tags: &[(&str, &str)]) -> Whose {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let asked = Tags::from([(TAG_ENVIRONMENT.to_owned(), ID.to_owned())]);
        judged(Found::new(kind, Some(id), tags, part_of), &asked).thing.whose
    }

    #[test]
    fn what_lies_in_our_network_without_a_tag_is_ours_unless_it_holds_work() {
        assert_eq!(judge(ThingKind::Subnet, "subnet-1", None, &[(TAG_ENVIRONMENT, ID)]), Whose::Ours);
        assert_eq!(judge(ThingKind::Subnet, "subnet-1", None, &[]), Whose::Unmarked);
        assert_eq!(judge(ThingKind::NetworkInterface, "eni-1", None, &[]), Whose::Unmarked);
        assert_eq!(judge(ThingKind::Volume, "vol-1", Some("i-1"), &[]), Whose::Unmarked);
        for kind in [ThingKind::Machine, ThingKind::LoadBalancer, ThingKind::Volume] {
            let why = "it carries no tag of the environment".to_owned();
            assert_eq!(judge(kind, "x-1", None, &[("Name", "somebody's")]), Whose::Foreign(why));
        }
    }

    #[test]
    fn what_another_environment_claims_is_its_own() {
        let why = "it is tagged sre:environment=77".to_owned();

        assert_eq!(judge(ThingKind::Subnet, "subnet-1", None, &[(TAG_ENVIRONMENT, "77")]), Whose::Foreign(why));
    }

    #[test]
    fn what_the_cluster_made_is_known_by_the_tags_of_its_controllers() {
        let service = [("kubernetes.io/cluster/5b1e77aa", "owned")];
        let controller = [("elbv2.k8s.aws/cluster", "dev")];

        assert_eq!(judge(ThingKind::Volume, "vol-1", None, &service), Whose::Cluster);
        assert_eq!(judge(ThingKind::LoadBalancer, "arn:x", None, &controller), Whose::Cluster);
        assert_eq!(judge(ThingKind::SecurityGroup, "sg-1", None, &service), Whose::Cluster);
    }

    #[test]
    fn a_name_with_the_short_id_is_ours() {
        assert_eq!(
            judge(ThingKind::TargetGroup, "arn:aws:x:targetgroup/dev-api-5b1e77aa/1", None, &[]),
            Whose::Unmarked
        );
    }
}
