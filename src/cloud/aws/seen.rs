//! One look per resource type, for finding what OpenTofu made: the id it is imported by, and its state.

use aws_sdk_ec2::types::Filter;
use aws_sdk_elasticloadbalancingv2::types::{Listener, LoadBalancer, TargetGroup};
use serde_json::Value;

use super::collect::pages;
use super::resources::Seen;
use super::{Aws, errors, tagged};
use crate::failure::Failure;

/// What of an answer may be read as missing.
macro_rules! answered {
    ($call:expr, $what:expr) => {
        match $call.send().await {
            Ok(answer) => answer,
            Err(error) if errors::is_gone(&error) => return Ok(None),
            Err(error) => return Err(errors::failure(concat!("looking for ", $what), error)),
        }
    };
}

impl Aws {
    /// All of one type in EC2 that match the filters.
    pub(super) async fn seen_in_ec2(&self, resource_type: &str, filters: Vec<Filter>) -> Result<Vec<Seen>, Failure> {
        Ok(match resource_type {
            "aws_vpc" => {
                let vpcs = self.vpcs(filters).await?;
                vpcs.iter().filter_map(|vpc| Seen::new(vpc.vpc_id(), vpc.state().map(|state| state.as_str()))).collect()
            }
            "aws_subnet" => {
                let subnets = self.subnets(filters).await?;
                let seen = |one: &aws_sdk_ec2::types::Subnet| {
                    Seen::new(one.subnet_id(), one.state().map(|state| state.as_str()))
                };
                subnets.iter().filter_map(seen).collect()
            }
            "aws_instance" => {
                let instances = self.instances(filters).await?;
                let state = |one: &aws_sdk_ec2::types::Instance| {
                    let name = one.state().and_then(|state| state.name());
                    Seen::new(one.instance_id(), name.map(|name| name.as_str()))
                };
                instances.iter().filter_map(state).collect()
            }
            "aws_vpc_security_group_ingress_rule" => self.seen_rules(filters, false).await?,
            "aws_vpc_security_group_egress_rule" => self.seen_rules(filters, true).await?,
            "aws_nat_gateway" | "aws_vpc_endpoint" | "aws_flow_log" => {
                self.seen_with_state(resource_type, filters).await?
            }
            _ => self.seen_without_state(resource_type, filters).await?,
        })
    }

    async fn seen_rules(&self, filters: Vec<Filter>, egress: bool) -> Result<Vec<Seen>, Failure> {
        let pages = self.ec2.describe_security_group_rules().set_filters(Some(filters)).into_paginator().items().send();
        let rules = pages.try_collect().await;
        let rules: Vec<_> = rules.map_err(|error| errors::failure("looking for security group rules", error))?;
        let rules = rules.iter().filter(|rule| rule.is_egress() == Some(egress));
        Ok(rules.filter_map(|rule| Seen::exists(rule.security_group_rule_id())).collect())
    }

    async fn seen_with_state(&self, resource_type: &str, filters: Vec<Filter>) -> Result<Vec<Seen>, Failure> {
        Ok(match resource_type {
            "aws_nat_gateway" => {
                let gateways = self.nat_gateways(filters).await?;
                let seen = |one: &aws_sdk_ec2::types::NatGateway| {
                    Seen::new(one.nat_gateway_id(), one.state().map(|state| state.as_str()))
                };
                gateways.iter().filter_map(seen).collect()
            }
            "aws_vpc_endpoint" => {
                let call = self.ec2.describe_vpc_endpoints().set_filters(Some(filters));
                let endpoints: Vec<aws_sdk_ec2::types::VpcEndpoint> = pages!(call, "VPC endpoints");
                let seen = |one: &aws_sdk_ec2::types::VpcEndpoint| {
                    Seen::new(one.vpc_endpoint_id(), one.state().map(|state| state.as_str()))
                };
                endpoints.iter().filter_map(seen).collect()
            }
            _ => {
                let call = self.ec2.describe_flow_logs().set_filter(Some(filters));
                let logs: Vec<aws_sdk_ec2::types::FlowLog> = pages!(call, "flow logs");
                logs.iter().filter_map(|one| Seen::new(one.flow_log_id(), one.flow_log_status())).collect()
            }
        })
    }

    async fn seen_without_state(&self, resource_type: &str, filters: Vec<Filter>) -> Result<Vec<Seen>, Failure> {
        Ok(match resource_type {
            "aws_eip" => {
                let answer = self.ec2.describe_addresses().set_filters(Some(filters)).send().await;
                let answer = answer.map_err(|error| errors::failure("looking for elastic addresses", error))?;
                answer.addresses().iter().filter_map(|one| Seen::exists(one.allocation_id())).collect()
            }
            "aws_internet_gateway" => {
                let call = self.ec2.describe_internet_gateways().set_filters(Some(filters));
                let gateways: Vec<aws_sdk_ec2::types::InternetGateway> = pages!(call, "internet gateways");
                gateways.iter().filter_map(|one| Seen::exists(one.internet_gateway_id())).collect()
            }
            "aws_route_table" => {
                let tables = self.tables(filters).await?;
                tables.iter().filter_map(|one| Seen::exists(one.route_table_id())).collect()
            }
            "aws_security_group" => {
                let call = self.ec2.describe_security_groups().set_filters(Some(filters));
                let groups: Vec<aws_sdk_ec2::types::SecurityGroup> = pages!(call, "security groups");
                let own = groups.iter().filter(|one| one.group_name() != Some("default"));
                own.filter_map(|one| Seen::exists(one.group_id())).collect()
            }
            _ => return Err(Failure::bug(format!("`{resource_type}` is not looked for by filters"))),
        })
    }

    pub(super) async fn seen_default_group(&self, values: &Value) -> Result<Option<Seen>, Failure> {
        let filter = match (values["id"].as_str(), values["vpc_id"].as_str()) {
            (Some(id), _) => tagged::filter("group-id", id),
            (None, Some(vpc)) => tagged::filter("vpc-id", vpc),
            (None, None) => return Ok(None),
        };
        let call = self.ec2.describe_security_groups().filters(filter).filters(tagged::filter("group-name", "default"));
        let answer = answered!(call, "the default security group");
        Ok(answer.security_groups().first().and_then(|group| Seen::exists(group.group_id())))
    }

    pub(super) async fn seen_key(&self, name: &str) -> Result<Option<Seen>, Failure> {
        let answer = answered!(self.ec2.describe_key_pairs().filters(tagged::filter("key-name", name)), "the key pair");
        Ok(answer.key_pairs().first().and_then(|key| Seen::exists(key.key_name())))
    }

    pub(super) async fn seen_log_group(&self, name: &str) -> Result<Option<Seen>, Failure> {
        let answer = answered!(self.logs.describe_log_groups().log_group_name_prefix(name), "the log group");
        let group = answer.log_groups().iter().find(|group| group.log_group_name() == Some(name));
        Ok(group.and_then(|group| Seen::exists(group.log_group_name())))
    }

    pub(super) async fn seen_profile(&self, name: &str) -> Result<Option<Seen>, Failure> {
        let answer = answered!(self.iam.get_instance_profile().instance_profile_name(name), "the instance profile");
        Ok(answer.instance_profile().and_then(|profile| Seen::exists(Some(profile.instance_profile_name()))))
    }

    pub(super) async fn seen_role(&self, name: &str) -> Result<Option<Seen>, Failure> {
        let answer = answered!(self.iam.get_role().role_name(name), "the role");
        Ok(answer.role().and_then(|role| Seen::exists(Some(role.role_name()))))
    }

    pub(super) async fn seen_role_policy(&self, role: &str, name: &str) -> Result<Option<Seen>, Failure> {
        let answer = answered!(self.iam.get_role_policy().role_name(role).policy_name(name), "the role's policy");
        Ok(Seen::exists(Some(answer.policy_name())))
    }

    /// By ARN where there is one, else by name.
    pub(super) async fn seen_balancer(&self, values: &Value) -> Result<Option<Seen>, Failure> {
        let call = self.elb.describe_load_balancers();
        let call = match (values["arn"].as_str(), values["name"].as_str()) {
            (Some(arn), _) => call.load_balancer_arns(arn),
            (None, Some(name)) => call.names(name),
            (None, None) => return Ok(None),
        };
        let answer = answered!(call, "the load balancer");
        Ok(answer.load_balancers().first().and_then(|balancer: &LoadBalancer| {
            let code = balancer.state().and_then(|state| state.code());
            Seen::new(balancer.load_balancer_arn(), code.map(|code| code.as_str()))
        }))
    }

    pub(super) async fn seen_target_group(&self, values: &Value) -> Result<Option<Seen>, Failure> {
        let call = self.elb.describe_target_groups();
        let call = match (values["arn"].as_str(), values["name"].as_str()) {
            (Some(arn), _) => call.target_group_arns(arn),
            (None, Some(name)) => call.names(name),
            (None, None) => return Ok(None),
        };
        let answer = answered!(call, "the target group");
        Ok(answer.target_groups().first().and_then(|group: &TargetGroup| Seen::exists(group.target_group_arn())))
    }

    pub(super) async fn seen_listener(&self, values: &Value) -> Result<Option<Seen>, Failure> {
        let call = self.elb.describe_listeners();
        let call = match (values["arn"].as_str(), values["load_balancer_arn"].as_str()) {
            (Some(arn), _) => call.listener_arns(arn),
            (None, Some(balancer)) => call.load_balancer_arn(balancer),
            (None, None) => return Ok(None),
        };
        let answer = answered!(call, "the listener");
        let port = values["port"].as_i64();
        let is_it = |one: &&Listener| values["arn"].is_string() || one.port().map(i64::from) == port;
        Ok(answer.listeners().iter().find(is_it).and_then(|listener| Seen::exists(listener.listener_arn())))
    }
}
