//! What OpenTofu made but did not record, found again; what it calls tainted, looked at.
//!
//! `tofu/resource-types.json` tells for each resource type of the modules how it is found, imported and judged; this file
//! does what it tells. The two are held together by a test.

use std::time::Duration;

use aws_sdk_ec2::types::{Filter, RouteTable};
use serde_json::Value;

use super::{Aws, errors, tagged, wait};
use crate::failure::{Class, Exit, Failure};
use crate::identity::TAG_ENVIRONMENT;

const WAIT_LIMIT: Duration = Duration::from_secs(10 * 60);
/// What the provider appends to a table's id to name the route to everywhere: the hash of `0.0.0.0/0`.
const EVERYWHERE: (&str, &str) = ("1080289494", "0.0.0.0/0");

/// How a type is looked for, how its state is judged.
struct Row {
    name: &'static str,
    find: Find,
    whole: &'static [&'static str],
    wait: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Find {
    /// The live one with the environment's id and this `Name`.
    Tags,
    /// By unique names or parents, each type in its own way.
    Other,
}

const fn by_tags(name: &'static str, whole: &'static [&'static str], wait: &'static [&'static str]) -> Row {
    Row { name, find: Find::Tags, whole, wait }
}

const fn other(name: &'static str, whole: &'static [&'static str], wait: &'static [&'static str]) -> Row {
    Row { name, find: Find::Other, whole, wait }
}

/// Of a thing that has no state of its own.
const EXISTS: &str = "exists";

const ROWS: [Row; 23] = [
    other("aws_cloudwatch_log_group", &[EXISTS], &[]),
    other("aws_default_security_group", &[EXISTS], &[]),
    by_tags("aws_eip", &[EXISTS], &[]),
    by_tags("aws_flow_log", &["ACTIVE"], &[]),
    other("aws_iam_instance_profile", &[EXISTS], &[]),
    other("aws_iam_role", &[EXISTS], &[]),
    other("aws_iam_role_policy", &[EXISTS], &[]),
    by_tags("aws_instance", &["running", "stopping", "stopped"], &["pending"]),
    by_tags("aws_internet_gateway", &[EXISTS], &[]),
    other("aws_key_pair", &[EXISTS], &[]),
    other("aws_lb", &["active", "active_impaired"], &["provisioning"]),
    other("aws_lb_listener", &[EXISTS], &[]),
    other("aws_lb_target_group", &[EXISTS], &[]),
    by_tags("aws_nat_gateway", &["available"], &["pending"]),
    other("aws_route", &["active"], &[]),
    by_tags("aws_route_table", &[EXISTS], &[]),
    other("aws_route_table_association", &["associated"], &["associating"]),
    by_tags("aws_security_group", &[EXISTS], &[]),
    by_tags("aws_subnet", &["available"], &["pending"]),
    by_tags("aws_vpc", &["available"], &["pending"]),
    by_tags("aws_vpc_endpoint", &["available"], &["pending"]),
    by_tags("aws_vpc_security_group_egress_rule", &[EXISTS], &[]),
    by_tags("aws_vpc_security_group_ingress_rule", &[EXISTS], &[]),
];

fn row(resource_type: &str) -> Result<&'static Row, Failure> {
    ROWS.iter().find(|row| row.name == resource_type).ok_or_else(|| {
        Failure::bug(format!(
            "nothing is known of the resource type `{resource_type}`: tofu/resource-types.json lacks it"
        ))
    })
}

impl Row {
    /// `true`: whole. `false`: on its way out, or broken. Nothing: ask again.
    fn judge(&self, state: &str) -> Option<bool> {
        let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(state));
        if is(self.wait) { None } else { Some(is(self.whole)) }
    }
}

/// A resource as it was found: what tofu imports it by, and its state.
pub struct Seen {
    pub id: String,
    pub state: String,
}

impl Seen {
    pub fn new(id: Option<&str>, state: Option<&str>) -> Option<Self> {
        Some(Self { id: id?.to_owned(), state: state.unwrap_or("unknown").to_owned() })
    }

    pub fn exists(id: Option<&str>) -> Option<Self> {
        Self::new(id, Some(EXISTS))
    }
}

impl Aws {
    pub(super) async fn find(&self, resource_type: &str, values: &Value) -> Result<Option<String>, Failure> {
        let row = row(resource_type)?;
        let seen = match row.find {
            Find::Tags => match unique_tags(values) {
                Some(filters) => self.seen_in_ec2(resource_type, filters).await?,
                None => vec![],
            },
            Find::Other => self.seen_by_name(resource_type, values).await?.into_iter().collect(),
        };
        let mut live: Vec<Seen> = seen.into_iter().filter(|seen| row.judge(&seen.state) != Some(false)).collect();
        match live.len() {
            0 => Ok(None),
            1 => Ok(live.pop().map(|seen| import_id(resource_type, seen.id, values))),
            many => {
                let ids: Vec<&str> = live.iter().map(|seen| seen.id.as_str()).collect();
                let what = format!("{many} resources could be the `{resource_type}` that was made: {}", ids.join(", "));
                Err(Failure::new(Exit::Platform, what)
                    .class(Class::NeedsPerson)
                    .hint("remove all but the one in use, then repeat"))
            }
        }
    }

    pub(super) async fn healthy(&self, resource_type: &str, id: &str) -> Result<bool, Failure> {
        let row = row(resource_type)?;
        wait::until(&format!("`{id}` did not settle"), WAIT_LIMIT, || async {
            match self.seen_by_id(resource_type, id).await? {
                Some(seen) => Ok(row.judge(&seen.state)),
                None => Ok(Some(false)),
            }
        })
        .await
    }

    async fn seen_by_id(&self, resource_type: &str, id: &str) -> Result<Option<Seen>, Failure> {
        if let Some(name) = id_filter(resource_type) {
            return Ok(self.seen_in_ec2(resource_type, vec![tagged::filter(name, id)]).await?.into_iter().next());
        }
        let text = |name: &str| serde_json::json!({ name: id });
        let values = match resource_type {
            "aws_key_pair" => text("key_name"),
            "aws_lb" | "aws_lb_listener" | "aws_lb_target_group" => text("arn"),
            "aws_default_security_group" => text("id"),
            "aws_iam_role_policy" => match id.split_once(':') {
                Some((role, name)) => serde_json::json!({ "role": role, "name": name }),
                None => return Ok(None),
            },
            "aws_route_table_association" => text("association"),
            "aws_route" => match id.strip_prefix("r-").and_then(|rest| rest.strip_suffix(EVERYWHERE.0)) {
                Some(table) => serde_json::json!({ "route_table_id": table, "destination_cidr_block": EVERYWHERE.1 }),
                None => return Ok(None),
            },
            _ => text("name"),
        };
        self.seen_by_name(resource_type, &values).await
    }

    async fn seen_by_name(&self, resource_type: &str, values: &Value) -> Result<Option<Seen>, Failure> {
        let value = |name: &str| values[name].as_str().unwrap_or_default();
        match resource_type {
            "aws_cloudwatch_log_group" => self.seen_log_group(value("name")).await,
            "aws_iam_instance_profile" => self.seen_profile(value("name")).await,
            "aws_iam_role" => self.seen_role(value("name")).await,
            "aws_iam_role_policy" => self.seen_role_policy(value("role"), value("name")).await,
            "aws_key_pair" => self.seen_key(value("key_name")).await,
            "aws_lb" => self.seen_balancer(values).await,
            "aws_lb_listener" => self.seen_listener(values).await,
            "aws_lb_target_group" => self.seen_target_group(values).await,
            "aws_default_security_group" => self.seen_default_group(values).await,
            "aws_route" => self.seen_route(value("route_table_id"), value("destination_cidr_block")).await,
            "aws_route_table_association" => self.seen_association(values).await,
            _ => Err(Failure::bug(format!("`{resource_type}` is not looked for by name"))),
        }
    }

    async fn seen_route(&self, table: &str, destination: &str) -> Result<Option<Seen>, Failure> {
        if table.is_empty() || destination.is_empty() {
            return Ok(None);
        }
        let tables = self.tables(vec![tagged::filter("route-table-id", table)]).await?;
        let mut routes = tables.iter().flat_map(|table| table.routes());
        let route = routes.find(|route| route.destination_cidr_block() == Some(destination));
        Ok(route.and_then(|route| Seen::new(Some(table), route.state().map(|state| state.as_str()))))
    }

    async fn seen_association(&self, values: &Value) -> Result<Option<Seen>, Failure> {
        let value = |name: &str| values[name].as_str().filter(|value| !value.is_empty());
        let filter = match (value("association"), value("subnet_id"), value("route_table_id")) {
            (Some(id), _, _) => vec![tagged::filter("association.route-table-association-id", id)],
            (None, Some(subnet), Some(table)) => {
                vec![tagged::filter("association.subnet-id", subnet), tagged::filter("route-table-id", table)]
            }
            (None, _, _) => return Ok(None),
        };
        let tables = self.tables(filter).await?;
        let mut associations = tables.iter().flat_map(|table| table.associations());
        let found = associations.find(|one| match (value("association"), value("subnet_id")) {
            (Some(id), _) => one.route_table_association_id() == Some(id),
            (None, subnet) => subnet.is_some() && one.subnet_id() == subnet,
        });
        Ok(found.and_then(|one| {
            // An association without a state is one that holds.
            let state =
                one.association_state().and_then(|state| state.state()).map_or("associated", |state| state.as_str());
            Seen::new(one.route_table_association_id(), Some(state))
        }))
    }

    pub(super) async fn tables(&self, filters: Vec<Filter>) -> Result<Vec<RouteTable>, Failure> {
        let answer = self.ec2.describe_route_tables().set_filters(Some(filters)).send().await;
        let answer = answer.map_err(|error| errors::failure("looking for route tables", error))?;
        Ok(answer.route_tables.unwrap_or_default())
    }
}

/// The tags that are unique among resources of one kind.
fn unique_tags(values: &Value) -> Option<Vec<Filter>> {
    let tags = if values["tags_all"].is_object() { &values["tags_all"] } else { &values["tags"] };
    let own = [TAG_ENVIRONMENT, "Name"].map(|key| Some((key.to_owned(), tags[key].as_str()?.to_owned())));
    Some(tagged::filters(&own.into_iter().collect::<Option<_>>()?))
}

/// The filter that finds a thing of EC2 by its id; filters, unlike id lists, answer "none" instead of an error.
fn id_filter(resource_type: &str) -> Option<&'static str> {
    Some(match resource_type {
        "aws_eip" => "allocation-id",
        "aws_flow_log" => "flow-log-id",
        "aws_instance" => "instance-id",
        "aws_internet_gateway" => "internet-gateway-id",
        "aws_nat_gateway" => "nat-gateway-id",
        "aws_route_table" => "route-table-id",
        "aws_security_group" => "group-id",
        "aws_subnet" => "subnet-id",
        "aws_vpc" => "vpc-id",
        "aws_vpc_endpoint" => "vpc-endpoint-id",
        "aws_vpc_security_group_egress_rule" | "aws_vpc_security_group_ingress_rule" => "security-group-rule-id",
        _ => return None,
    })
}

fn import_id(resource_type: &str, id: String, values: &Value) -> String {
    let value = |name: &str| values[name].as_str().unwrap_or_default();
    match resource_type {
        "aws_route" => format!("{}_{}", value("route_table_id"), value("destination_cidr_block")),
        "aws_route_table_association" => format!("{}/{}", value("subnet_id"), value("route_table_id")),
        "aws_iam_role_policy" => format!("{}:{}", value("role"), value("name")),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_file_and_the_table_know_the_same_types_and_judge_them_alike() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tofu/resource-types.json");
        let table: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the table")).expect("JSON");
        let table = table.as_object().expect("rows");

        let words = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names, table.keys().map(String::as_str).collect::<Vec<_>>());
        for row in &ROWS {
            let health = &table[row.name]["health"];
            let by_tags = table[row.name]["find"]["by"] == "tags";
            assert_eq!(matches!(row.find, Find::Tags), by_tags, "{}", row.name);
            if health["exists"] == true {
                assert_eq!(row.whole, [EXISTS], "{}", row.name);
            } else {
                assert_eq!(row.whole, words(&health["is"]), "{}", row.name);
                assert_eq!(row.wait, words(&health["wait"]), "{}", row.name);
            }
        }
    }

    #[test]
    fn a_machine_that_is_leaving_is_neither_whole_nor_worth_waiting_for() {
        let machine = row("aws_instance").expect("known");

        assert_eq!(machine.judge("pending"), None);
        assert_eq!(machine.judge("stopped"), Some(true), "who stopped it did not ask for another one");
        assert_eq!(machine.judge("shutting-down"), Some(false));
    }

    #[test]
    fn a_resource_is_found_by_the_two_tags_that_are_unique_together() {
        let values = serde_json::json!({ "tags": {}, "tags_all": {
            "sre:environment": "5b1e", "sre:expires": "never", "Name": "dev-private-a",
        }});

        let filters = unique_tags(&values).expect("both are there");

        let names: Vec<_> = filters.iter().filter_map(Filter::name).collect();
        assert_eq!(names, ["tag:Name", "tag:sre:environment"]);
        assert!(unique_tags(&serde_json::json!({ "tags_all": { "Name": "x" } })).is_none());
    }

    #[test]
    fn import_ids_are_put_together_as_the_provider_reads_them() {
        let route = serde_json::json!({ "route_table_id": "rtb-1", "destination_cidr_block": "0.0.0.0/0" });
        let association = serde_json::json!({ "subnet_id": "subnet-1", "route_table_id": "rtb-1" });
        let policy = serde_json::json!({ "role": "sre-5b1e77aa-flow", "name": "write" });

        assert_eq!(import_id("aws_route", "rtb-1".to_owned(), &route), "rtb-1_0.0.0.0/0");
        assert_eq!(import_id("aws_route_table_association", "rtbassoc-1".to_owned(), &association), "subnet-1/rtb-1");
        assert_eq!(import_id("aws_iam_role_policy", "x".to_owned(), &policy), "sre-5b1e77aa-flow:write");
        assert_eq!(import_id("aws_vpc", "vpc-1".to_owned(), &Value::Null), "vpc-1");
    }
}
