//! Everything of an environment, by its tags and by what hangs on what carries them.
//!
//! Some kinds cannot carry tags, or lose the race with a stop before they get them. So a second look follows from the
//! first: all that lies in the VPCs, the disks of the machines, the listeners of the load balancers; and, for a whole
//! environment, what bears its short id in its name or path.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Filter;
use jiff::Timestamp;

use super::collect::Found;
use super::{Aws, errors, owner, tagged};
use crate::cloud::{Candidate, Tags, Thing, ThingKind};
use crate::environment::EnvironmentClass;
use crate::failure::Failure;
use crate::identity::{TAG_CLASS, TAG_CREATED_BY, TAG_ENVIRONMENT, TAG_EXPIRES, TAG_NAME, cluster_tag, tag_of};

/// How many load balancers AWS tells the tags of in one call.
const TAGS_AT_ONCE: usize = 20;

impl Aws {
    pub(super) async fn everything(&self, tags: &Tags) -> Result<Vec<Thing>, Failure> {
        let filters = tagged::filters(tags);
        let mut found = self.all_of_ec2(&filters).await?;
        // Read in the answer too: where a filter is not heard, nobody may lose what is not asked for.
        found.retain(|found| tagged::holds(&found.tags, tags));
        let vpcs = ids(&found, ThingKind::Vpc);
        let (in_vpcs, volumes, balancers, named, cluster) = tokio::try_join!(
            self.in_vpcs(&vpcs),
            self.volumes_of(&found),
            self.balancers(|vpc, have| vpcs.iter().any(|one| one == vpc) || tagged::holds(have, tags)),
            self.by_short_id(tags),
            self.of_cluster(tags),
        )?;
        let among_ours = in_vpcs.into_iter().chain(volumes).chain(balancers);
        found.extend(among_ours.map(|found| owner::judged(found, tags)));
        found.extend(named);
        found.extend(cluster);
        Ok(distinct(found.into_iter().map(|found| found.thing)))
    }

    /// The disks that the cluster asked for. Its load balancers lie in our network and are found there.
    async fn of_cluster(&self, tags: &Tags) -> Result<Vec<Found>, Failure> {
        let Some(key) = short_id(tags).map(|short| cluster_tag(&short)) else { return Ok(vec![]) };
        let volumes = self.found_volumes(vec![tagged::filter("tag-key", &key)]).await?;
        let cluster = volumes.into_iter().filter(|found| found.tags.contains_key(&key));
        Ok(cluster.map(|found| owner::judged(found, tags)).collect())
    }

    /// The environments that something here belongs to; those of a name, or all.
    pub(super) async fn environments(&self, name: Option<&str>) -> Result<Vec<Candidate>, Failure> {
        let filter = match name {
            Some(name) => tagged::filters(&Tags::from([(TAG_NAME.to_owned(), name.to_owned())])),
            None => vec![tagged::filter("tag-key", TAG_ENVIRONMENT)],
        };
        let is_wanted = |tags: &Tags| match name {
            Some(name) => tags.get(TAG_NAME).is_some_and(|have| have == name),
            None => tags.contains_key(TAG_ENVIRONMENT),
        };
        let mut found = self.all_of_ec2(&filter).await?;
        found.retain(|found| is_wanted(&found.tags));
        found.extend(self.balancers(|_, have| is_wanted(have)).await?);
        let mut candidates = vec![];
        for (id, Claims { tags, class, expires }) in environments(found.into_iter().map(|found| found.tags)) {
            let things = self.everything(&tag_of(&id)).await?.len();
            let text = |key: &str| tags.get(key).cloned().unwrap_or_default();
            let (name, created_by) = (text(TAG_NAME), text(TAG_CREATED_BY));
            let expires = expires.into_iter().collect::<Option<Vec<_>>>().and_then(|times| times.into_iter().max());
            candidates.push(Candidate { id, name, class, created_by, expires, things });
        }
        Ok(candidates)
    }

    async fn in_vpcs(&self, vpcs: &[String]) -> Result<Vec<Found>, Failure> {
        if vpcs.is_empty() { Ok(vec![]) } else { self.all_in_vpcs(vpcs).await }
    }

    async fn volumes_of(&self, found: &[Found]) -> Result<Vec<Found>, Failure> {
        let machines = ids(found, ThingKind::Machine);
        if machines.is_empty() {
            return Ok(vec![]);
        }
        let filter = Filter::builder().name("attachment.instance-id").set_values(Some(machines));
        self.found_volumes(vec![filter.build()]).await
    }

    /// Load balancers with their listeners, and target groups, of which VPC and tags are `ours`.
    async fn balancers(&self, ours: impl Fn(&str, &Tags) -> bool) -> Result<Vec<Found>, Failure> {
        let doing = "looking for load balancers";
        let pages = self.elb.describe_load_balancers().into_paginator().items().send().try_collect();
        let groups = self.elb.describe_target_groups().into_paginator().items().send().try_collect();
        let balancers: Vec<_> = pages.await.map_err(|error| errors::failure(doing, error))?;
        let groups: Vec<_> = groups.await.map_err(|error| errors::failure(doing, error))?;
        let arns = balancers
            .iter()
            .filter_map(|balancer| balancer.load_balancer_arn.clone())
            .chain(groups.iter().filter_map(|group| group.target_group_arn.clone()));
        let tags = self.balancer_tags(arns.collect()).await?;
        let is_ours = |vpc: Option<&str>, arn: Option<&str>| {
            arn.is_some_and(|arn| ours(vpc.unwrap_or_default(), tags.get(arn).unwrap_or(&Tags::new())))
        };
        let of = |kind, arn: Option<&str>| {
            Found::new(kind, arn, arn.and_then(|arn| tags.get(arn).cloned()).unwrap_or_default(), None)
        };
        let mut found = vec![];
        for balancer in balancers.iter().filter(|one| is_ours(one.vpc_id(), one.load_balancer_arn())) {
            let arn = balancer.load_balancer_arn();
            found.push(of(ThingKind::LoadBalancer, arn));
            found.extend(self.listeners(arn.unwrap_or_default()).await?);
        }
        let groups = groups.iter().filter(|one| is_ours(one.vpc_id(), one.target_group_arn()));
        found.extend(groups.map(|group| of(ThingKind::TargetGroup, group.target_group_arn())));
        Ok(found)
    }

    async fn balancer_tags(&self, arns: Vec<String>) -> Result<BTreeMap<String, Tags>, Failure> {
        let mut all = BTreeMap::new();
        for some in arns.chunks(TAGS_AT_ONCE) {
            if self.read_tags(some, &mut all).await? {
                continue;
            }
            // One of them went meanwhile, and nothing was told of the others.
            for one in some {
                self.read_tags(std::slice::from_ref(one), &mut all).await?;
            }
        }
        Ok(all)
    }

    /// Whether all of these are still there; without one of them AWS tells nothing.
    async fn read_tags(&self, arns: &[String], into: &mut BTreeMap<String, Tags>) -> Result<bool, Failure> {
        let answer = match self.elb.describe_tags().set_resource_arns(Some(arns.to_vec())).send().await {
            Ok(answer) => answer,
            Err(error) if errors::is_gone(&error) => return Ok(false),
            Err(error) => return Err(errors::failure("reading the tags of load balancers", error)),
        };
        for described in answer.tag_descriptions() {
            let tags = described.tags().iter();
            let tags = tags.filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())));
            into.insert(described.resource_arn().unwrap_or_default().to_owned(), tags.collect());
        }
        Ok(true)
    }

    async fn listeners(&self, balancer: &str) -> Result<Vec<Found>, Failure> {
        let pages = self.elb.describe_listeners().load_balancer_arn(balancer).into_paginator().items().send();
        let listeners: Vec<aws_sdk_elasticloadbalancingv2::types::Listener> = match pages.try_collect().await {
            Ok(listeners) => listeners,
            Err(error) if errors::is_gone(&error) => return Ok(vec![]),
            Err(error) => return Err(errors::failure("looking for listeners", error)),
        };
        Ok(listeners
            .iter()
            .map(|listener| Found::new(ThingKind::Listener, listener.listener_arn(), Tags::new(), Some(balancer)))
            .collect())
    }

    /// Roles, profiles, log groups and key pairs that bear the environment's short id. Nothing when the tags ask for
    /// less than a whole environment.
    async fn by_short_id(&self, tags: &Tags) -> Result<Vec<Found>, Failure> {
        let Some(short) = short_id(tags) else { return Ok(vec![]) };
        let path = format!("/sre/{short}/");
        let keys = vec![tagged::filter("key-name", &format!("*-{short}"))];
        let lists =
            tokio::try_join!(self.roles(&path), self.profiles(&path), self.log_groups(&path), self.found_keys(keys),)?;
        Ok([lists.0, lists.1, lists.2, lists.3].into_iter().flatten().collect())
    }

    /// What `down` removes by is read in the answer too: a service that ignores the prefix must cost nobody his roles.
    async fn roles(&self, path: &str) -> Result<Vec<Found>, Failure> {
        let pages = self.iam.list_roles().path_prefix(path).into_paginator().items().send();
        let roles: Vec<_> = pages.try_collect().await.map_err(|error| errors::failure("looking for roles", error))?;
        let of = |name: &str| Found::new(ThingKind::Role, Some(name), Tags::new(), None);
        let below = roles.iter().filter(|role| role.path().starts_with(path));
        Ok(below.map(|role| of(role.role_name())).collect())
    }

    async fn profiles(&self, path: &str) -> Result<Vec<Found>, Failure> {
        let pages = self.iam.list_instance_profiles().path_prefix(path).into_paginator().items().send();
        let profiles: Vec<_> =
            pages.try_collect().await.map_err(|error| errors::failure("looking for instance profiles", error))?;
        let of = |name: &str| Found::new(ThingKind::InstanceProfile, Some(name), Tags::new(), None);
        let below = profiles.iter().filter(|profile| profile.path().starts_with(path));
        Ok(below.map(|profile| of(profile.instance_profile_name())).collect())
    }

    async fn log_groups(&self, path: &str) -> Result<Vec<Found>, Failure> {
        let pages = self.logs.describe_log_groups().log_group_name_prefix(path).into_paginator().items().send();
        let groups: Vec<_> =
            pages.try_collect().await.map_err(|error| errors::failure("looking for log groups", error))?;
        let of = |name: Option<&str>| Found::new(ThingKind::LogGroup, name, Tags::new(), None);
        Ok(groups.iter().map(|group| of(group.log_group_name())).collect())
    }
}

/// What the things of an environment say of it.
#[derive(Debug, Default)]
struct Claims {
    tags: Tags,
    /// The strictest that one of them says: what one calls protected is so.
    class: String,
    /// What each of them says; `None` is that it has no end.
    expires: Vec<Option<Timestamp>>,
}

/// Environment id → what is known of it.
fn environments(found: impl Iterator<Item = Tags>) -> BTreeMap<String, Claims> {
    let mut environments: BTreeMap<String, Claims> = BTreeMap::new();
    for tags in found {
        let Some(id) = tags.get(TAG_ENVIRONMENT).cloned() else { continue };
        let known = environments.entry(id).or_default();
        if let Some(class) = tags.get(TAG_CLASS).filter(|class| strictness(class) >= strictness(&known.class)) {
            known.class.clone_from(class);
        }
        known.expires.extend(tags.get(TAG_EXPIRES).map(|at| at.parse().ok()));
        for (key, value) in tags {
            known.tags.entry(key).or_insert(value);
        }
    }
    environments
}

fn strictness(class: &str) -> u8 {
    let is = |one: EnvironmentClass| one.word() == class;
    match class {
        "" => 0,
        _ if is(EnvironmentClass::Ephemeral) => 1,
        _ if is(EnvironmentClass::Standard) => 2,
        _ => 3,
    }
}

/// The first eight digits of the environment's id, if the tags mean the environment as a whole.
pub(super) fn short_id(tags: &Tags) -> Option<String> {
    let whole = [TAG_ENVIRONMENT, TAG_NAME, TAG_CLASS, TAG_CREATED_BY, TAG_EXPIRES];
    let id = tags.get(TAG_ENVIRONMENT).filter(|_| tags.keys().all(|key| whole.contains(&key.as_str())))?;
    let short: String = id.chars().filter(|digit| *digit != '-').take(8).collect();
    (short.len() == 8).then_some(short)
}

fn ids(found: &[Found], kind: ThingKind) -> Vec<String> {
    found.iter().filter(|found| found.thing.kind == kind).map(|found| found.thing.id.clone()).collect()
}

/// In the order in which they can be removed, each once: the look that knows most about one wins.
fn distinct(things: impl Iterator<Item = Thing>) -> Vec<Thing> {
    let mut all: BTreeMap<(ThingKind, String), Thing> = BTreeMap::new();
    for thing in things.filter(|thing| !thing.id.is_empty()) {
        let known = all.entry((thing.kind, thing.id.clone())).or_insert_with(|| thing.clone());
        if known.part_of.is_none() {
            known.part_of = thing.part_of;
        }
        if known.name.is_empty() {
            known.name = thing.name;
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Whose;

    #[test]
    fn names_and_paths_are_searched_for_a_whole_environment_only() {
        let environment = (TAG_ENVIRONMENT.to_owned(), "5b1e77aa-0000-4000-8000-000000000000".to_owned());
        let whole = Tags::from([environment.clone()]);
        let one_run = Tags::from([environment, ("sre:run".to_owned(), "7".to_owned())]);

        assert_eq!(short_id(&whole).as_deref(), Some("5b1e77aa"));
        assert_eq!(short_id(&one_run), None);
    }

    #[test]
    fn an_environment_is_protected_if_one_of_its_things_says_so() {
        let thing = |tags: &[(&str, &str)]| -> Tags {
            tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };

        let found = environments(
            [
                thing(&[(TAG_ENVIRONMENT, "5b1e")]),
                thing(&[(TAG_ENVIRONMENT, "5b1e"), (TAG_CLASS, "ephemeral")]),
                thing(&[(TAG_ENVIRONMENT, "5b1e"), (TAG_CLASS, "protected"), (TAG_CREATED_BY, "ops")]),
                thing(&[(TAG_CLASS, "protected")]),
            ]
            .into_iter(),
        );

        assert_eq!(found.len(), 1);
        assert_eq!((&*found["5b1e"].class, &*found["5b1e"].tags[TAG_CREATED_BY]), ("protected", "ops"));
    }

    #[test]
    fn what_one_of_its_things_knows_of_no_end_has_none() {
        let thing = |expires: &str| {
            Tags::from([(TAG_ENVIRONMENT.to_owned(), "5b1e".to_owned()), (TAG_EXPIRES.to_owned(), expires.to_owned())])
        };
        let at = |found: BTreeMap<String, Claims>| found["5b1e"].expires.clone();

        let ends = at(environments([thing("2026-11-24T19:09:54Z"), thing("2026-11-25T00:00:00Z")].into_iter()));
        let never = at(environments([thing("2026-11-24T19:09:54Z"), thing("never")].into_iter()));

        assert!(ends.iter().all(Option::is_some));
        assert_eq!(never[1], None);
    }

    #[test]
    fn a_thing_that_was_seen_twice_is_told_once_with_all_that_is_known_of_it() {
        let seen = |kind, id: &str, part_of: Option<&str>| Thing {
            kind,
            id: id.to_owned(),
            name: String::new(),
            part_of: part_of.map(str::to_owned),
            whose: Whose::Ours,
        };

        let things = distinct(
            [
                seen(ThingKind::Vpc, "vpc-1", None),
                seen(ThingKind::Volume, "vol-1", None),
                seen(ThingKind::Volume, "vol-1", Some("i-1")),
                seen(ThingKind::Machine, "i-1", None),
            ]
            .into_iter(),
        );

        let told: Vec<_> = things.iter().map(|thing| (thing.id.as_str(), thing.part_of.as_deref())).collect();
        assert_eq!(told, [("i-1", None), ("vol-1", Some("i-1")), ("vpc-1", None)], "in the order of removal");
    }
}
