//! The temporary network that images are built in: a VPC with one public subnet and a group that admits SSH.
//!
//! Each piece is looked for by its tags before it is made, so a repeat after any stop completes what is there. All of it
//! carries `sre:role=build` beside the tags it is asked for; it is removed like everything else with those tags.

use std::collections::BTreeSet;

use aws_config::retry::RetryConfig;
use aws_sdk_ec2::config::Builder;
use aws_sdk_ec2::types::{
    AttributeBooleanValue, Filter, IpPermission, IpRange, NatGateway, NatGatewayState, ResourceType, Subnet, Vpc,
};

use super::{Aws, errors, tagged};
use crate::cloud::{BuildNetwork, Tags};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

const TAG_ROLE: &str = "sre:role";
const SSH: i32 = 22;

impl Aws {
    /// Zones of the region itself, by name; local and wavelength zones have no NAT gateways and few machine sizes.
    pub(super) async fn open_zones(&self) -> Result<Vec<String>, Failure> {
        let call = self.ec2.describe_availability_zones();
        let call = call
            .filters(tagged::filter("state", "available"))
            .filters(tagged::filter("zone-type", "availability-zone"));
        let answer = call.send().await.map_err(|error| errors::failure("looking for availability zones", error))?;
        let mut zones: Vec<String> =
            answer.availability_zones().iter().filter_map(|zone| zone.zone_name().map(str::to_owned)).collect();
        zones.sort();
        Ok(zones)
    }

    pub(super) async fn existing(&self, vpc: &str, parts: &[String]) -> Result<BTreeSet<String>, Failure> {
        let within = vec![tagged::filter("vpc-id", vpc)];
        let (vpcs, subnets, gateways) =
            tokio::try_join!(self.vpcs(within.clone()), self.subnets(within.clone()), self.nat_gateways(within))?;
        let ids = vpcs.into_iter().filter_map(|vpc| vpc.vpc_id);
        let subnets = subnets.into_iter().filter_map(|subnet| subnet.subnet_id);
        let serving = |gateway: &NatGateway| {
            matches!(gateway.state(), Some(NatGatewayState::Available | NatGatewayState::Pending))
        };
        let gateways = gateways.into_iter().filter(serving).filter_map(|gateway| gateway.nat_gateway_id);
        Ok(ids.chain(subnets.chain(gateways).filter(|id| parts.contains(id))).collect())
    }

    pub(super) async fn nat_gateways(&self, filters: Vec<Filter>) -> Result<Vec<NatGateway>, Failure> {
        let pages = self.ec2.describe_nat_gateways().set_filter(Some(filters)).into_paginator().items().send();
        pages.try_collect().await.map_err(|error| errors::failure("looking for NAT gateways", error))
    }

    pub(super) async fn vpcs(&self, filters: Vec<Filter>) -> Result<Vec<Vpc>, Failure> {
        let pages = self.ec2.describe_vpcs().set_filters(Some(filters)).into_paginator().items().send();
        pages.try_collect().await.map_err(|error| errors::failure("looking for VPCs", error))
    }

    pub(super) async fn subnets(&self, filters: Vec<Filter>) -> Result<Vec<Subnet>, Failure> {
        let pages = self.ec2.describe_subnets().set_filters(Some(filters)).into_paginator().items().send();
        pages.try_collect().await.map_err(|error| errors::failure("looking for subnets", error))
    }

    pub(super) async fn whole_build_network(&self, tags: &Tags, admit: &[String]) -> Result<BuildNetwork, Failure> {
        let tags = build_tags(tags);
        let cidr = build_cidr(&tags);
        let vpc = self.build_vpc(&tags, &cidr).await?;
        let subnet = self.build_subnet(&tags, &vpc, &cidr).await?;
        let gateway = self.build_gateway(&tags, &vpc).await?;
        self.build_route(&tags, &vpc, &subnet, &gateway).await?;
        let security_group = self.ssh_group(&vpc, &tags, admit).await?;
        Ok(BuildNetwork { vpc, subnet, security_group, public: true })
    }

    async fn build_vpc(&self, tags: &Tags, cidr: &str) -> Result<String, Failure> {
        let found = self.vpcs(tagged::filters(tags)).await?.into_iter().find_map(|vpc| vpc.vpc_id);
        let vpc = match found {
            Some(vpc) => vpc,
            None => {
                let call = self.ec2.create_vpc().cidr_block(cidr);
                let call = call.tag_specifications(tagged::specification(ResourceType::Vpc, tags));
                let made = call.customize().config_override(once()).send().await;
                let made = made.map_err(|error| errors::failure("making the VPC for the build", error))?;
                given(made.vpc.and_then(|vpc| vpc.vpc_id), "VPC")?
            }
        };
        let names = AttributeBooleanValue::builder().value(true).build();
        let call = self.ec2.modify_vpc_attribute().vpc_id(&vpc).enable_dns_hostnames(names);
        call.send().await.map_err(|error| errors::failure(format!("giving `{vpc}` DNS names"), error))?;
        Ok(vpc)
    }

    async fn build_subnet(&self, tags: &Tags, vpc: &str, cidr: &str) -> Result<String, Failure> {
        let found = self.subnets(within(tags, "vpc-id", vpc)).await?.into_iter().find_map(|subnet| subnet.subnet_id);
        if let Some(subnet) = found {
            return Ok(subnet);
        }
        let call = self.ec2.create_subnet().vpc_id(vpc).cidr_block(cidr);
        let call = call.tag_specifications(tagged::specification(ResourceType::Subnet, tags));
        let made = call.customize().config_override(once()).send().await;
        let made = made.map_err(|error| errors::failure("making the subnet for the build", error))?;
        given(made.subnet.and_then(|subnet| subnet.subnet_id), "subnet")
    }

    async fn build_gateway(&self, tags: &Tags, vpc: &str) -> Result<String, Failure> {
        let doing = "making the internet gateway for the build";
        let found = self.ec2.describe_internet_gateways().set_filters(Some(tagged::filters(tags))).send().await;
        let found = found.map_err(|error| errors::failure(doing, error))?;
        let (gateway, attached) = match found.internet_gateways().first() {
            Some(gateway) => {
                let attached = gateway.attachments().iter().any(|attachment| attachment.vpc_id() == Some(vpc));
                (given(gateway.internet_gateway_id.clone(), "internet gateway")?, attached)
            }
            None => {
                let specification = tagged::specification(ResourceType::InternetGateway, tags);
                let call = self.ec2.create_internet_gateway().tag_specifications(specification);
                let made = call.customize().config_override(once()).send().await;
                let made = made.map_err(|error| errors::failure(doing, error))?;
                let id = made.internet_gateway.and_then(|gateway| gateway.internet_gateway_id);
                (given(id, "internet gateway")?, false)
            }
        };
        if !attached {
            let call = self.ec2.attach_internet_gateway().internet_gateway_id(&gateway).vpc_id(vpc);
            match call.send().await {
                Ok(_) => {}
                Err(error) if errors::code(&error) == Some("Resource.AlreadyAssociated") => {}
                Err(error) => return Err(errors::failure(doing, error)),
            }
        }
        Ok(gateway)
    }

    async fn build_route(&self, tags: &Tags, vpc: &str, subnet: &str, gateway: &str) -> Result<(), Failure> {
        let doing = "making the routes for the build";
        let found = self.ec2.describe_route_tables().set_filters(Some(within(tags, "vpc-id", vpc))).send().await;
        let found = found.map_err(|error| errors::failure(doing, error))?.route_tables.unwrap_or_default();
        let (table, associated) = match found.into_iter().next() {
            Some(table) => {
                let associated = table.associations().iter().any(|association| association.subnet_id() == Some(subnet));
                (given(table.route_table_id, "route table")?, associated)
            }
            None => {
                let specification = tagged::specification(ResourceType::RouteTable, tags);
                let call = self.ec2.create_route_table().vpc_id(vpc).tag_specifications(specification);
                let made = call.customize().config_override(once()).send().await;
                let made = made.map_err(|error| errors::failure(doing, error))?;
                (given(made.route_table.and_then(|table| table.route_table_id), "route table")?, false)
            }
        };
        // The same route again is answered with success.
        let route =
            self.ec2.create_route().route_table_id(&table).destination_cidr_block("0.0.0.0/0").gateway_id(gateway);
        match route.send().await {
            Ok(_) => {}
            Err(error) if errors::code(&error) == Some("RouteAlreadyExists") => {}
            Err(error) => return Err(errors::failure(doing, error)),
        }
        if !associated {
            let call = self.ec2.associate_route_table().route_table_id(&table).subnet_id(subnet);
            call.send().await.map_err(|error| errors::failure(doing, error))?;
        }
        Ok(())
    }

    /// A group that admits SSH from `admit` and nothing else; what is admitted beyond it is revoked.
    pub(super) async fn ssh_group(&self, vpc: &str, tags: &Tags, admit: &[String]) -> Result<String, Failure> {
        let tags = build_tags(tags);
        let doing = "making the security group for the build";
        let found = self.ec2.describe_security_groups().set_filters(Some(within(&tags, "vpc-id", vpc))).send().await;
        let found = found.map_err(|error| errors::failure(doing, error))?.security_groups.unwrap_or_default();
        let (group, rules) = match found.into_iter().next() {
            Some(group) => (given(group.group_id, "security group")?, group.ip_permissions.unwrap_or_default()),
            None => {
                let name = format!("sre-build-{}", Digest::of_value(&tags).short());
                let call = self.ec2.create_security_group().vpc_id(vpc).group_name(name);
                let call = call.description("SSH to a machine that an image is built on");
                let call = call.tag_specifications(tagged::specification(ResourceType::SecurityGroup, &tags));
                let made = call.customize().config_override(once()).send().await;
                let made = made.map_err(|error| errors::failure(doing, error))?;
                (given(made.group_id, "security group")?, vec![])
            }
        };
        self.admit_only(&group, &rules, admit).await?;
        Ok(group)
    }

    async fn admit_only(&self, group: &str, rules: &[IpPermission], admit: &[String]) -> Result<(), Failure> {
        let doing = format!("admitting SSH to `{group}`");
        let admitted: BTreeSet<&str> = rules.iter().filter(|rule| is_ssh(rule)).flat_map(sources).collect();
        let others: Vec<&IpPermission> = rules
            .iter()
            .filter(|rule| !is_ssh(rule) || !sources(rule).all(|source| admit.iter().any(|wanted| wanted == source)))
            .collect();
        if !others.is_empty() {
            let call = self.ec2.revoke_security_group_ingress().group_id(group);
            let call = call.set_ip_permissions(Some(others.iter().map(|rule| (*rule).clone()).collect()));
            call.send().await.map_err(|error| errors::failure(&doing, error))?;
        }
        let kept = |source: &str| {
            admitted.contains(source) && !others.iter().any(|rule| sources(rule).any(|one| one == source))
        };
        for source in admit.iter().filter(|source| !kept(source)) {
            let range = IpRange::builder().cidr_ip(source).description("builds images").build();
            let rule = IpPermission::builder().ip_protocol("tcp").from_port(SSH).to_port(SSH).ip_ranges(range).build();
            match self.ec2.authorize_security_group_ingress().group_id(group).ip_permissions(rule).send().await {
                Ok(_) => {}
                Err(error) if errors::code(&error) == Some("InvalidPermission.Duplicate") => {}
                Err(error) => return Err(errors::failure(&doing, error)),
            }
        }
        Ok(())
    }
}

/// For calls that make something new each time: one that was not answered may have been carried out. It is repeated only
/// once what it may have made was looked for, by the next attempt of whoever asked.
fn once() -> Builder {
    Builder::new().retry_config(RetryConfig::disabled())
}

fn build_tags(tags: &Tags) -> Tags {
    let mut tags = tags.clone();
    tags.insert(TAG_ROLE.to_owned(), "build".to_owned());
    tags.entry("Name".to_owned()).or_insert_with(|| "sre-provision image build".to_owned());
    tags
}

/// A range that follows from the tags, so that two builds at the same time rarely share one.
fn build_cidr(tags: &Tags) -> String {
    let digest = Digest::of_value(tags);
    let octet = u8::from_str_radix(&digest.as_str()[..2], 16).unwrap_or(0);
    format!("192.168.{octet}.0/24")
}

fn within(tags: &Tags, name: &str, value: &str) -> Vec<Filter> {
    let mut filters = tagged::filters(tags);
    filters.push(tagged::filter(name, value));
    filters
}

fn is_ssh(rule: &IpPermission) -> bool {
    rule.ip_protocol() == Some("tcp")
        && (rule.from_port(), rule.to_port()) == (Some(SSH), Some(SSH))
        && rule.user_id_group_pairs().is_empty()
        && rule.ipv6_ranges().is_empty()
        && rule.prefix_list_ids().is_empty()
}

fn sources(rule: &IpPermission) -> impl Iterator<Item = &str> {
    rule.ip_ranges().iter().filter_map(|range| range.cidr_ip())
}

fn given(id: Option<String>, what: &str) -> Result<String, Failure> {
    id.ok_or_else(|| Failure::new(Exit::Platform, format!("AWS made a {what} and did not say which")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_for_different_tags_lie_in_ranges_of_their_own() {
        let tags = |run: &str| Tags::from([("sre:run".to_owned(), run.to_owned())]);

        let ranges: BTreeSet<String> = (0..8).map(|run| build_cidr(&tags(&run.to_string()))).collect();

        assert!(ranges.len() > 6, "{ranges:?}");
        assert!(ranges.iter().all(|range| range.starts_with("192.168.") && range.ends_with(".0/24")));
    }

    #[test]
    fn a_rule_for_another_port_or_source_is_not_the_one_we_made() {
        let rule = |port: i32| {
            let range = IpRange::builder().cidr_ip("192.0.2.0/24").build();
            IpPermission::builder().ip_protocol("tcp").from_port(port).to_port(port).ip_ranges(range).build()
        };

        assert!(is_ssh(&rule(22)));
        assert!(!is_ssh(&rule(443)));
        assert_eq!(sources(&rule(22)).collect::<Vec<_>>(), ["192.0.2.0/24"]);
    }
}
