//! Security groups that name each other: each holds the others until the rules that name them are revoked.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Filter, IpPermission, SecurityGroup, SecurityGroupRule, UserIdGroupPair};

use super::collect::pages;
use super::remove::{LIMIT, label, remove, settled};
use super::{Aws, errors, tagged, wait};
use crate::cloud::{Tags, Thing};
use crate::failure::{Exit, Failure};
use crate::identity::TAG_ENVIRONMENT;

/// Rules by the group that holds them, egress or not.
type Ties = BTreeMap<(String, bool), Vec<String>>;

impl Aws {
    /// Revokes the rules by which groups with these tags name each other, whoever put them there; no group of anybody
    /// else is touched. Returns once AWS tells of none any more.
    pub(super) async fn untie_groups(&self, tags: &Tags) -> Result<(), Failure> {
        wait::until("security groups still name each other", LIMIT, || async {
            let ties = self.ties(tags).await?;
            for ((group, egress), rules) in &ties {
                self.revoke(group, *egress, rules).await?;
            }
            Ok(ties.is_empty().then_some(()))
        })
        .await
    }

    async fn ties(&self, tags: &Tags) -> Result<Ties, Failure> {
        let groups: Vec<SecurityGroup> =
            pages!(self.ec2.describe_security_groups().set_filters(Some(tagged::filters(tags))), "security groups");
        // Read in the answer too: where a filter is not heard, nobody may lose what is not asked for.
        let own = groups.iter().filter(|group| tagged::holds(&tagged::read(group.tags()), tags));
        let own: BTreeSet<String> = own.filter_map(|group| group.group_id.clone()).collect();
        if own.is_empty() {
            return Ok(Ties::new());
        }
        let holders = Filter::builder().name("group-id").set_values(Some(own.iter().cloned().collect())).build();
        let rules: Vec<SecurityGroupRule> =
            pages!(self.ec2.describe_security_group_rules().filters(holders), "the rules of security groups");
        Ok(ties_among(&own, &rules))
    }

    async fn revoke(&self, group: &str, egress: bool, rules: &[String]) -> Result<(), Failure> {
        let doing = format!("revoking rules of `{group}`");
        let rules = Some(rules.to_vec());
        if egress {
            let call = self.ec2.revoke_security_group_egress().group_id(group).set_security_group_rule_ids(rules);
            revoked(doing, call.send().await)
        } else {
            let call = self.ec2.revoke_security_group_ingress().group_id(group).set_security_group_rule_ids(rules);
            revoked(doing, call.send().await)
        }
    }

    /// Groups that name each other in their rules hold each other: the rules of others of ours that name it go first.
    ///
    /// # Errors
    /// Somebody else's group names it: their rules are never touched, and it stays until they revoke them.
    pub(super) async fn remove_group(&self, thing: &Thing) -> Result<(), Failure> {
        let Some(around) = self.around(thing).await? else { return Ok(()) };
        let mut holders = BTreeSet::new();
        for (direction, egress) in [("ip-permission.group-id", false), ("egress.ip-permission.group-id", true)] {
            let call = self.ec2.describe_security_groups().filters(tagged::filter(direction, &thing.id));
            let answer = call.send().await.map_err(|error| errors::failure("looking for security groups", error))?;
            for other in answer.security_groups().iter().filter(|other| other.group_id() != Some(&thing.id)) {
                if around.is_foreign(other) {
                    holders.extend(other.group_id.clone());
                } else {
                    self.forget(other, &thing.id, egress).await?;
                }
            }
        }
        if !holders.is_empty() {
            return Err(held_by(thing, &holders));
        }
        remove!(thing, self.ec2.delete_security_group().group_id(&thing.id))
    }

    /// Where a group lies; nothing where it is gone.
    async fn around(&self, thing: &Thing) -> Result<Option<Around>, Failure> {
        let answer = match self.ec2.describe_security_groups().group_ids(&thing.id).send().await {
            Err(error) if errors::is_gone(&error) => return Ok(None),
            answer => answer.map_err(|error| errors::failure("looking for security groups", error))?,
        };
        let Some(group) = answer.security_groups().first() else { return Ok(None) };
        let vpc = group.vpc_id().unwrap_or_default().to_owned();
        let vpcs = self.vpcs(vec![tagged::filter("vpc-id", &vpc)]).await?;
        let of_vpc = vpcs.first().and_then(|vpc| tagged::read(vpc.tags()).remove(TAG_ENVIRONMENT));
        let environment = tagged::read(group.tags()).remove(TAG_ENVIRONMENT).or_else(|| of_vpc.clone());
        let is_own = of_vpc.is_some() && of_vpc == environment;
        Ok(Some(Around { own_vpc: is_own.then_some(vpc), environment }))
    }

    async fn forget(&self, group: &SecurityGroup, named: &str, egress: bool) -> Result<(), Failure> {
        let id = group.group_id().unwrap_or_default();
        let doing = format!("revoking the rules of `{id}` that name `{named}`");
        let rules = if egress { group.ip_permissions_egress() } else { group.ip_permissions() };
        let rules: Vec<IpPermission> = rules.iter().filter_map(|rule| only_of(rule, named)).collect();
        if rules.is_empty() {
            return Ok(());
        }
        if egress {
            let call = self.ec2.revoke_security_group_egress().group_id(id).set_ip_permissions(Some(rules));
            revoked(doing, call.send().await)
        } else {
            let call = self.ec2.revoke_security_group_ingress().group_id(id).set_ip_permissions(Some(rules));
            revoked(doing, call.send().await)
        }
    }
}

/// What a group lies among, which tells others of ours from somebody else's.
#[derive(Clone, Debug)]
struct Around {
    /// Its VPC, where the environment made that as well.
    own_vpc: Option<String>,
    /// Of the group, or else of its VPC.
    environment: Option<String>,
}

impl Around {
    /// A group of another environment, or one that says of none and does not lie in a network of this one.
    fn is_foreign(&self, other: &SecurityGroup) -> bool {
        match tagged::read(other.tags()).get(TAG_ENVIRONMENT) {
            Some(theirs) => self.environment.as_ref() != Some(theirs),
            None => self.own_vpc.is_none() || other.vpc_id() != self.own_vpc.as_deref(),
        }
    }
}

fn held_by(thing: &Thing, holders: &BTreeSet<String>) -> Failure {
    let named: Vec<String> = holders.iter().map(|id| format!("`{id}`")).collect();
    let what = format!("{} is named by rules of {}, somebody else's", label(thing), named.join(", "));
    Failure::new(Exit::Platform, what).hint("their owner revokes these rules; nobody else's are changed")
}

/// A rule that is gone already is revoked.
fn revoked<T, E, R>(doing: String, answer: Result<T, SdkError<E, R>>) -> Result<(), Failure>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: Send + Sync + std::fmt::Debug + 'static,
{
    match answer {
        Err(error) if !errors::is_gone(&error) => Err(errors::failure(doing, error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The rules by which a group of these names another of them; one that names itself holds nobody.
fn ties_among(own: &BTreeSet<String>, rules: &[SecurityGroupRule]) -> Ties {
    let mut ties = Ties::new();
    for rule in rules {
        let named = rule.referenced_group_info().and_then(|group| group.group_id());
        let (Some(id), Some(holder), Some(named)) = (rule.security_group_rule_id(), rule.group_id(), named) else {
            continue;
        };
        if holder != named && own.contains(holder) && own.contains(named) {
            let egress = rule.is_egress() == Some(true);
            ties.entry((holder.to_owned(), egress)).or_default().push(id.to_owned());
        }
    }
    ties
}

/// The part of a rule that names this group, if it does.
fn only_of(rule: &IpPermission, named: &str) -> Option<IpPermission> {
    let pairs = rule.user_id_group_pairs().iter().filter(|pair| pair.group_id() == Some(named));
    let pairs: Vec<UserIdGroupPair> = pairs.map(|_| UserIdGroupPair::builder().group_id(named).build()).collect();
    if pairs.is_empty() {
        return None;
    }
    let builder = IpPermission::builder()
        .set_ip_protocol(rule.ip_protocol().map(str::to_owned))
        .set_from_port(rule.from_port())
        .set_to_port(rule.to_port());
    Some(builder.set_user_id_group_pairs(Some(pairs)).build())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{ReferencedSecurityGroup, Tag};

    use super::*;

    #[test]
    fn only_what_names_the_group_is_taken_from_a_rule() {
        let pair = |id: &str| UserIdGroupPair::builder().group_id(id).build();
        let rule = IpPermission::builder().ip_protocol("tcp").from_port(6443).to_port(6443);
        let rule = rule.user_id_group_pairs(pair("sg-1")).user_id_group_pairs(pair("sg-2")).build();

        let part = only_of(&rule, "sg-1").expect("a part");

        assert_eq!(part.user_id_group_pairs(), [pair("sg-1")]);
        assert_eq!((part.from_port(), part.to_port()), (Some(6443), Some(6443)));
        assert_eq!(only_of(&rule, "sg-3"), None);
    }

    #[test]
    fn a_group_is_somebody_elses_by_its_tag_or_else_by_its_network() {
        let around = Around { own_vpc: Some("vpc-1".to_owned()), environment: Some("5b1e".to_owned()) };
        let guest = Around { own_vpc: None, ..around.clone() };
        let group = |vpc: &str, environment: Option<&str>| {
            let tag = environment.map(|id| vec![Tag::builder().key(TAG_ENVIRONMENT).value(id).build()]);
            SecurityGroup::builder().vpc_id(vpc).set_tags(tag).build()
        };

        let told = [
            group("vpc-1", Some("5b1e")),
            group("vpc-2", Some("5b1e")),
            group("vpc-1", None),
            group("vpc-1", Some("77")),
            group("vpc-2", None),
        ]
        .map(|group| around.is_foreign(&group));

        assert_eq!(told, [false, false, false, true, true]);
        assert!(guest.is_foreign(&group("vpc-1", None)), "in a person's own network it may be anybody's");
    }

    #[test]
    fn a_tie_is_a_rule_of_ours_that_names_another_of_ours() {
        let rule = |id: &str, holder: &str, named: Option<&str>, egress| {
            let named = named.map(|group| ReferencedSecurityGroup::builder().group_id(group).build());
            let rule = SecurityGroupRule::builder().security_group_rule_id(id).group_id(holder).is_egress(egress);
            rule.set_referenced_group_info(named).build()
        };
        let own = BTreeSet::from(["sg-1".to_owned(), "sg-2".to_owned()]);
        let rules = [
            rule("sgr-in", "sg-1", Some("sg-2"), false),
            rule("sgr-out", "sg-1", Some("sg-2"), true),
            rule("sgr-itself", "sg-2", Some("sg-2"), false),
            rule("sgr-range", "sg-2", None, false),
            rule("sgr-names-somebodys", "sg-2", Some("sg-9"), false),
            rule("sgr-of-somebody", "sg-9", Some("sg-1"), false),
        ];

        let ties = ties_among(&own, &rules);

        let tie = |egress, rule: &str| (("sg-1".to_owned(), egress), vec![rule.to_owned()]);
        assert_eq!(ties, Ties::from([tie(false, "sgr-in"), tie(true, "sgr-out")]));
    }
}
