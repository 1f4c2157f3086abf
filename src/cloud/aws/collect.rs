//! Everything in EC2 that matches a filter, kind by kind, as things with their tags.
//!
//! Only what lives is told: terminated machines and deleted gateways stay in EC2's answers for an hour. What AWS makes
//! and removes together with something else (a VPC's main route table, its default group) is not told either.

use aws_sdk_ec2::types::{Filter, InstanceStateName, NatGatewayState, NetworkInterface, State, Tag};

use super::{Aws, errors, tagged};
use crate::cloud::{Tags, Thing, ThingKind, Whose};
use crate::failure::Failure;

/// What a machine's own disk is called. Source: EC2 user guide, device names on Linux instances.
const ROOT: [&str; 2] = ["/dev/sda1", "/dev/xvda"];

/// A thing and its tags.
pub struct Found {
    pub thing: Thing,
    pub tags: Tags,
}

impl Found {
    pub fn new(kind: ThingKind, id: Option<&str>, tags: Tags, part_of: Option<&str>) -> Self {
        let name = tagged::name_of(&tags);
        let (id, part_of) = (id.unwrap_or_default().to_owned(), part_of.map(str::to_owned));
        Self { thing: Thing { kind, id, name, part_of, whose: Whose::Ours }, tags }
    }
}

fn found(kind: ThingKind, id: Option<&str>, tags: &[Tag], part_of: Option<&str>) -> Found {
    Found::new(kind, id, tagged::read(tags), part_of)
}

/// All pages of a describe call.
macro_rules! pages {
    ($call:expr, $what:literal) => {
        $call
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| errors::failure(concat!("looking for ", $what), error))?
    };
}
pub(super) use pages;

impl Aws {
    /// Everything of these kinds that matches; `filters` must be understood by every kind, as tag filters are.
    pub(super) async fn all_of_ec2(&self, filters: &[Filter]) -> Result<Vec<Found>, Failure> {
        let by = || filters.to_vec();
        let lists = tokio::try_join!(
            self.found_machines(by()),
            self.found_in_vpc(by()),
            self.found_gateways(by()),
            self.found_endpoints(by()),
            self.found_flow_logs(by()),
            self.found_volumes(by()),
            self.found_addresses(by()),
            self.found_keys(by()),
            self.found_images(by()),
            self.found_snapshots(by()),
            self.found_vpcs(by()),
        )?;
        let (a, b, c, d, e, f, g, h, i, j, k) = lists;
        Ok([a, b, c, d, e, f, g, h, i, j, k].into_iter().flatten().collect())
    }

    /// Everything that lies in these VPCs, tagged or not.
    pub(super) async fn all_in_vpcs(&self, vpcs: &[String]) -> Result<Vec<Found>, Failure> {
        let within = |name: &str| vec![Filter::builder().name(name).set_values(Some(vpcs.to_vec())).build()];
        let lists = tokio::try_join!(
            self.found_machines(within("vpc-id")),
            self.found_in_vpc(within("vpc-id")),
            self.found_nat_gateways(within("vpc-id")),
            self.found_internet_gateways(within("attachment.vpc-id")),
            self.found_endpoints(within("vpc-id")),
            self.found_flow_logs(within("resource-id")),
        )?;
        let (a, b, c, d, e, f) = lists;
        Ok([a, b, c, d, e, f].into_iter().flatten().collect())
    }

    async fn found_machines(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let lives = |instance: &aws_sdk_ec2::types::Instance| {
            let state = instance.state().and_then(|state| state.name());
            state != Some(&InstanceStateName::Terminated)
        };
        let instances = self.instances(filters).await?;
        let machines = instances.iter().filter(|instance| lives(instance));
        Ok(machines.map(|instance| found(ThingKind::Machine, instance.instance_id(), instance.tags(), None)).collect())
    }

    async fn found_in_vpc(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let lists = tokio::try_join!(
            self.found_subnets(filters.clone()),
            self.found_route_tables(filters.clone()),
            self.found_groups(filters.clone()),
            self.found_interfaces(filters),
        )?;
        Ok([lists.0, lists.1, lists.2, lists.3].into_iter().flatten().collect())
    }

    async fn found_gateways(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let lists = tokio::try_join!(self.found_nat_gateways(filters.clone()), self.found_internet_gateways(filters))?;
        Ok([lists.0, lists.1].into_iter().flatten().collect())
    }

    pub(super) async fn found_vpcs(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let vpcs = self.vpcs(filters).await?;
        Ok(vpcs.iter().map(|vpc| found(ThingKind::Vpc, vpc.vpc_id(), vpc.tags(), None)).collect())
    }

    async fn found_subnets(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let subnets = self.subnets(filters).await?;
        Ok(subnets.iter().map(|subnet| found(ThingKind::Subnet, subnet.subnet_id(), subnet.tags(), None)).collect())
    }

    async fn found_route_tables(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let tables: Vec<aws_sdk_ec2::types::RouteTable> =
            pages!(self.ec2.describe_route_tables().set_filters(Some(filters)), "route tables");
        let is_main = |table: &aws_sdk_ec2::types::RouteTable| {
            table.associations().iter().any(|association| association.main() == Some(true))
        };
        let own = tables.iter().filter(|table| !is_main(table));
        Ok(own.map(|table| found(ThingKind::RouteTable, table.route_table_id(), table.tags(), None)).collect())
    }

    async fn found_groups(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let groups: Vec<aws_sdk_ec2::types::SecurityGroup> =
            pages!(self.ec2.describe_security_groups().set_filters(Some(filters)), "security groups");
        let own = groups.iter().filter(|group| group.group_name() != Some("default"));
        Ok(own
            .map(|group| {
                let mut found = found(ThingKind::SecurityGroup, group.group_id(), group.tags(), None);
                if found.thing.name.is_empty() {
                    found.thing.name = group.group_name().unwrap_or_default().to_owned();
                }
                found
            })
            .collect())
    }

    async fn found_interfaces(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let interfaces: Vec<NetworkInterface> =
            pages!(self.ec2.describe_network_interfaces().set_filters(Some(filters)), "network interfaces");
        Ok(interfaces
            .iter()
            .map(|interface| {
                let id = interface.network_interface_id();
                let mut found = found(ThingKind::NetworkInterface, id, interface.tag_set(), owner_of(interface));
                if found.thing.name.is_empty() {
                    found.thing.name = interface.description().unwrap_or_default().to_owned();
                }
                found
            })
            .collect())
    }

    async fn found_nat_gateways(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let gateways = self.nat_gateways(filters).await?;
        let live = gateways.iter().filter(|gateway| gateway.state() != Some(&NatGatewayState::Deleted));
        Ok(live.map(|gateway| found(ThingKind::NatGateway, gateway.nat_gateway_id(), gateway.tags(), None)).collect())
    }

    async fn found_internet_gateways(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let gateways: Vec<aws_sdk_ec2::types::InternetGateway> =
            pages!(self.ec2.describe_internet_gateways().set_filters(Some(filters)), "internet gateways");
        let of = |gateway: &aws_sdk_ec2::types::InternetGateway| {
            found(ThingKind::InternetGateway, gateway.internet_gateway_id(), gateway.tags(), None)
        };
        Ok(gateways.iter().map(of).collect())
    }

    async fn found_endpoints(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let endpoints: Vec<aws_sdk_ec2::types::VpcEndpoint> =
            pages!(self.ec2.describe_vpc_endpoints().set_filters(Some(filters)), "VPC endpoints");
        // The emulators and AWS differ in the case of this word.
        let live = endpoints.iter().filter(|endpoint| {
            !endpoint.state().is_some_and(|state| state.as_str().eq_ignore_ascii_case(State::Deleted.as_str()))
        });
        Ok(live.map(|endpoint| found(ThingKind::Endpoint, endpoint.vpc_endpoint_id(), endpoint.tags(), None)).collect())
    }

    async fn found_flow_logs(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let logs: Vec<aws_sdk_ec2::types::FlowLog> =
            pages!(self.ec2.describe_flow_logs().set_filter(Some(filters)), "flow logs");
        Ok(logs.iter().map(|log| found(ThingKind::FlowLog, log.flow_log_id(), log.tags(), None)).collect())
    }

    pub(super) async fn found_volumes(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let volumes: Vec<aws_sdk_ec2::types::Volume> =
            pages!(self.ec2.describe_volumes().set_filters(Some(filters)), "volumes");
        Ok(volumes
            .iter()
            .map(|volume| {
                let goes_along = |one: &&aws_sdk_ec2::types::VolumeAttachment| {
                    one.delete_on_termination() == Some(true) || one.device().is_some_and(|name| ROOT.contains(&name))
                };
                let machine = volume.attachments().iter().find(goes_along);
                let machine = machine.and_then(|attachment| attachment.instance_id());
                found(ThingKind::Volume, volume.volume_id(), volume.tags(), machine)
            })
            .collect())
    }

    async fn found_addresses(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let answer = self.ec2.describe_addresses().set_filters(Some(filters)).send().await;
        let answer = answer.map_err(|error| errors::failure("looking for elastic addresses", error))?;
        let of = |address: &aws_sdk_ec2::types::Address| {
            found(ThingKind::Address, address.allocation_id(), address.tags(), None)
        };
        Ok(answer.addresses().iter().map(of).collect())
    }

    pub(super) async fn found_keys(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let answer = self.ec2.describe_key_pairs().set_filters(Some(filters)).send().await;
        let answer = answer.map_err(|error| errors::failure("looking for key pairs", error))?;
        // Names are unique among key pairs, and all that is ever known of one is its name.
        let of = |key: &aws_sdk_ec2::types::KeyPairInfo| found(ThingKind::KeyPair, key.key_name(), key.tags(), None);
        Ok(answer.key_pairs().iter().map(of).collect())
    }

    async fn found_images(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let images: Vec<aws_sdk_ec2::types::Image> =
            pages!(self.ec2.describe_images().owners("self").set_filters(Some(filters)), "images");
        Ok(images
            .iter()
            .flat_map(|image| {
                let tags = tagged::read(image.tags());
                let id = image.image_id();
                let disks = image.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.snapshot_id());
                let snapshots = disks.map(|snapshot| Found::new(ThingKind::Snapshot, Some(snapshot), tags.clone(), id));
                let mut all: Vec<Found> = snapshots.collect();
                let mut this = Found::new(ThingKind::Image, id, tags.clone(), None);
                this.thing.name = image.name().unwrap_or_default().to_owned();
                all.push(this);
                all
            })
            .collect())
    }

    async fn found_snapshots(&self, filters: Vec<Filter>) -> Result<Vec<Found>, Failure> {
        let snapshots: Vec<aws_sdk_ec2::types::Snapshot> =
            pages!(self.ec2.describe_snapshots().owner_ids("self").set_filters(Some(filters)), "snapshots");
        Ok(snapshots.iter().map(|one| found(ThingKind::Snapshot, one.snapshot_id(), one.tags(), None)).collect())
    }
}

/// What an interface goes with: a machine that it was made with, or what a service asked for it for.
fn owner_of(interface: &NetworkInterface) -> Option<&str> {
    let attachment = interface.attachment();
    let goes_along = attachment.is_some_and(|attachment| attachment.delete_on_termination() == Some(true));
    if goes_along && let Some(machine) = attachment.and_then(|attachment| attachment.instance_id()) {
        return Some(machine);
    }
    // One that is only being made for a service, or is let go by it, is attached to nothing.
    let service = || interface.description().and_then(served).or_else(|| attachment?.instance_owner_id());
    (goes_along || interface.requester_managed() == Some(true)).then(service).flatten()
}

/// What an interface's description says that it is for: a load balancer, by the end of its ARN, or a NAT gateway.
fn served(description: &str) -> Option<&str> {
    description.strip_prefix("ELB ").or_else(|| description.strip_prefix("Interface for NAT Gateway "))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::NetworkInterfaceAttachment;

    use super::*;

    #[test]
    fn an_interface_that_a_service_asked_for_goes_with_it_attached_or_not() {
        let of = "net/dev-5b1e77aa/50dc6c495c0c9188";
        let balancers = NetworkInterface::builder().description(format!("ELB {of}"));
        let attached = NetworkInterfaceAttachment::builder().instance_owner_id("amazon-elb").build();
        let machines = NetworkInterfaceAttachment::builder().instance_id("i-1").delete_on_termination(true).build();

        let managed = balancers.clone().requester_managed(true);
        let by_hand = balancers.build();
        assert_eq!(owner_of(&managed.clone().build()), Some(of));
        assert_eq!(owner_of(&managed.attachment(attached).build()), Some(of));
        assert_eq!(owner_of(&by_hand), None, "a description alone proves nothing");
        assert_eq!(owner_of(&NetworkInterface::builder().attachment(machines).build()), Some("i-1"));
    }

    #[test]
    fn what_an_interface_is_for_is_read_from_its_description() {
        assert_eq!(served("ELB net/dev-5b1e77aa/50dc6c495c0c9188"), Some("net/dev-5b1e77aa/50dc6c495c0c9188"));
        assert_eq!(served("Interface for NAT Gateway nat-05dba92075d71c408"), Some("nat-05dba92075d71c408"));
        assert_eq!(served("aws-K8S-i-0f1e2d3c"), None);
    }
}
