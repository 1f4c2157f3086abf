//! AWS as the program sees it, against the lab's AWS API.
//!
//! Runs in the lab (`lab/lab exec -- …` sets SRE_LAB=1 and AWS_ENDPOINT_URL). Outside it each test says that it was not
//! run; inside it a lab that does not answer is a failure. Each test works in an environment of its own.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "whether this is the lab is asked of the environment and told"
)]

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{
    Filter, IpPermission, ResourceType, SecurityGroupRule, Tag, TagSpecification, UserIdGroupPair,
};
use serde_json::json;
use sre_provision::cloud::aws::Aws;
use sre_provision::cloud::{Cloud, MachineState, NewMachine, Tags, Thing, ThingKind, Whose};
use sre_provision::environment;
use sre_provision::failure::{Class, Exit};
use sre_provision::identity::{TAG_ENVIRONMENT, TAG_NAME};
use uuid::Uuid;

const REGION: &str = "eu-central-1";
const SOURCE_OWNER: &str = "792107900819";

/// Whether we are in the lab; says so when not.
fn in_lab() -> bool {
    if std::env::var_os("SRE_LAB").is_none_or(|value| value != "1") {
        eprintln!("not run: SRE_LAB is not 1, so this is not the lab");
        return false;
    }
    let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
    assert!(
        endpoint.starts_with("http://127.0.0.1:"),
        "the lab sets AWS_ENDPOINT_URL to a loopback address: `{endpoint}`"
    );
    true
}

fn wanted(region: &str) -> environment::Aws {
    environment::Aws { region: region.to_owned(), partition: "aws".to_owned(), account: None }
}

async fn cloud() -> Box<dyn Cloud> {
    Aws::connect(&wanted(REGION)).await.expect("the lab gives credentials")
}

/// The SDK's own client, for what the program never does.
async fn ec2() -> aws_sdk_ec2::Client {
    aws_sdk_ec2::Client::new(&sdk().await)
}

async fn sdk() -> aws_config::SdkConfig {
    let version = aws_config::BehaviorVersion::v2026_01_12();
    aws_config::defaults(version).region(aws_config::Region::new(REGION)).load().await
}

/// The tags of an environment that no other test has.
fn environment() -> (Uuid, Tags) {
    let id = Uuid::new_v4();
    let short = id.simple().to_string()[..8].to_owned();
    (id, Tags::from([(TAG_ENVIRONMENT.to_owned(), id.to_string()), (TAG_NAME.to_owned(), format!("t-{short}"))]))
}

fn specification(kind: ResourceType, tags: &Tags) -> TagSpecification {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags.collect())).build()
}

fn kinds(things: &[Thing]) -> BTreeSet<&'static str> {
    things.iter().map(|thing| thing.kind.name()).collect()
}

async fn remove_all(cloud: &dyn Cloud, tags: &Tags) {
    for thing in cloud.things(tags).await.expect("listed") {
        cloud.remove(&thing).await.unwrap_or_else(|failure| panic!("{thing:?}: {failure}"));
    }
}

fn machine(image: &str, subnet: &str, group: &str, tags: &Tags) -> NewMachine {
    NewMachine {
        token: tags[TAG_ENVIRONMENT].clone(),
        image: image.to_owned(),
        size: "m6i.large".to_owned(),
        disk_gib: 15,
        subnet: subnet.to_owned(),
        security_group: group.to_owned(),
        public_address: true,
        public_key: "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg= t".to_owned(),
        user: "rocky".to_owned(),
        tags: tags.clone(),
    }
}

#[tokio::test]
async fn the_account_is_told_and_a_region_that_is_not_there_is_a_mistake_in_the_file() {
    if !in_lab() {
        return;
    }
    let account = cloud().await.account().await.expect("an answer");

    let elsewhere = Aws::connect(&wanted("eu-centrall-1")).await.expect("connected").account().await;
    let foreign = environment::Aws { account: Some("000000000001".to_owned()), ..wanted(REGION) };
    let foreign = Aws::connect(&foreign).await.expect("connected").account().await;

    assert_eq!((account.id.as_str(), account.region.as_str()), ("123456789012", REGION));
    let failure = elsewhere.expect_err("no such region");
    assert_eq!(failure.exit(), Exit::Environment);
    assert_eq!(failure.what(), "aws.region: this account has no region `eu-centrall-1`");
    assert!(failure.hints()[0].starts_with("did you mean `eu-central-1`?"), "{:?}", failure.hints());
    let failure = foreign.expect_err("another account");
    assert_eq!(
        failure.what(),
        "these credentials are for account `123456789012`, the environment is for `000000000001`"
    );
    assert_eq!(failure.exit(), Exit::Missing);
}

#[tokio::test]
async fn a_build_network_is_completed_corrected_and_removed_whole() {
    if !in_lab() {
        return;
    }
    let (cloud, ec2, (_, mut tags)) = (cloud().await, ec2().await, environment());
    tags.insert("sre:run".to_owned(), "7".to_owned());

    let first = cloud.build_network(&tags, &["192.0.2.10/32".to_owned()]).await.expect("made");
    let gateway =
        cloud.things(&tags).await.expect("listed").into_iter().find(|one| one.kind == ThingKind::InternetGateway);
    cloud.remove(&gateway.expect("a gateway")).await.expect("removed, as by an interrupted clean-up");
    let second = cloud.build_network(&tags, &["198.51.100.0/24".to_owned()]).await.expect("completed");

    assert_eq!(first, second);
    let whole = cloud.things(&tags).await.expect("listed");
    assert_eq!(kinds(&whole), BTreeSet::from(["internet gateway", "route table", "security group", "subnet", "VPC"]));
    let groups = ec2.describe_security_groups().group_ids(&second.security_group).send().await.expect("an answer");
    let admitted = groups.security_groups()[0].ip_permissions().iter().flat_map(|rule| rule.ip_ranges());
    let admitted: Vec<_> = admitted.filter_map(|range| range.cidr_ip()).collect();
    assert_eq!(admitted, ["198.51.100.0/24"], "who is not admitted any more is revoked");
    remove_all(&*cloud, &tags).await;
    assert_eq!(cloud.things(&tags).await.expect("listed"), []);
    let gone = cloud.existing_networks(&second.vpc, &[second.subnet]).await.expect("an answer");
    assert_eq!(gone, BTreeSet::new());
}

#[tokio::test]
async fn a_nat_gateway_that_was_deleted_is_missed() {
    if !in_lab() {
        return;
    }
    let (cloud, ec2, (_, tags)) = (cloud().await, ec2().await, environment());
    let network = cloud.build_network(&tags, &[]).await.expect("made");
    let address = ec2.allocate_address().tag_specifications(specification(ResourceType::ElasticIp, &tags));
    let address = address.send().await.expect("an address").allocation_id.expect("its id");
    let gateway = ec2.create_nat_gateway().subnet_id(&network.subnet).allocation_id(address);
    let gateway = gateway.tag_specifications(specification(ResourceType::Natgateway, &tags)).send().await;
    let gateway = gateway.expect("a gateway").nat_gateway.and_then(|made| made.nat_gateway_id).expect("its id");
    let parts = [network.subnet.clone(), gateway.clone()];

    let before = cloud.existing_networks(&network.vpc, &parts).await.expect("an answer");
    ec2.delete_nat_gateway().nat_gateway_id(&gateway).send().await.expect("deleted");
    let after = cloud.existing_networks(&network.vpc, &parts).await.expect("an answer");

    let [subnet, gateway] = parts;
    assert_eq!(before, BTreeSet::from([network.vpc.clone(), subnet.clone(), gateway]));
    assert_eq!(after, BTreeSet::from([network.vpc, subnet]));
    remove_all(&*cloud, &tags).await;
}

#[tokio::test]
async fn a_machine_is_started_once_whatever_is_repeated() {
    if !in_lab() {
        return;
    }
    let (cloud, (_, tags)) = (cloud().await, environment());
    let image =
        cloud.source_image(SOURCE_OWNER, "Rocky-9-EC2-Base-9.*.x86_64").await.expect("an answer").expect("an image");
    let network = cloud.build_network(&tags, &["192.0.2.10/32".to_owned()]).await.expect("made");
    let wanted = machine(&image.id, &network.subnet, &network.security_group, &tags);

    let first = cloud.start_machine(&wanted).await.expect("started");
    let again = cloud.start_machine(&wanted).await.expect("found");
    let listed = cloud.machines(&tags).await.expect("listed");
    let console = cloud.console(&first.id).await.expect("a console, empty or not");
    let thing = Thing {
        kind: ThingKind::Machine,
        id: first.id.clone(),
        name: String::new(),
        part_of: None,
        whose: Whose::Ours,
    };
    cloud.remove(&thing).await.expect("removed");
    cloud.remove(&thing).await.expect("removed already");
    let new_life = cloud.start_machine(&wanted).await.expect("a new one, for the old one ended");

    assert_eq!((first.id.as_str(), first.state), (again.id.as_str(), MachineState::Running));
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [first.id.as_str()]);
    assert!(!console.contains("PRIVATE KEY"));
    assert_ne!(new_life.id, first.id);
    let hanging = cloud.things(&tags).await.expect("listed");
    assert!(kinds(&hanging).is_superset(&BTreeSet::from(["instance", "volume"])), "{hanging:?}");
    remove_all(&*cloud, &tags).await;
    assert_eq!(cloud.things(&tags).await.expect("listed"), []);
}

#[tokio::test]
async fn what_cannot_carry_a_tag_is_found_where_it_hangs() {
    if !in_lab() {
        return;
    }
    let (cloud, ec2, config, (id, tags)) = (cloud().await, ec2().await, sdk().await, environment());
    let short = id.simple().to_string()[..8].to_owned();
    let network = cloud.build_network(&tags, &["192.0.2.10/32".to_owned()]).await.expect("made");
    let two = two_groups_that_name_each_other(&ec2, &network.vpc).await;
    ec2.create_network_interface().subnet_id(&network.subnet).send().await.expect("an interface without tags");
    ec2.allocate_address()
        .tag_specifications(specification(ResourceType::ElasticIp, &tags))
        .send()
        .await
        .expect("an address");
    let zone = format!("{REGION}a");
    let volume = ec2.create_volume().availability_zone(zone).size(1);
    volume.tag_specifications(specification(ResourceType::Volume, &tags)).send().await.expect("a volume");
    ec2.create_key_pair().key_name(format!("t-{short}")).send().await.expect("a key pair without tags");
    let iam = aws_sdk_iam::Client::new(&config);
    let path = format!("/sre/{short}/");
    let role = format!("sre-{short}-server");
    iam.create_role().path(&path).role_name(&role).assume_role_policy_document(TRUST).send().await.expect("a role");
    iam.put_role_policy().role_name(&role).policy_name("write").policy_document(POLICY).send().await.expect("a policy");
    iam.create_instance_profile().path(&path).instance_profile_name(&role).send().await.expect("a profile");
    let join = iam.add_role_to_instance_profile().instance_profile_name(&role).role_name(&role);
    join.send().await.expect("a role in a profile");
    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    logs.create_log_group().log_group_name(format!("{path}t/flow")).send().await.expect("a log group");

    let found = cloud.things(&Tags::from([(TAG_ENVIRONMENT.to_owned(), id.to_string())])).await.expect("listed");

    let ids: BTreeSet<&str> = found.iter().map(|thing| thing.id.as_str()).collect();
    assert!(two.iter().all(|group| ids.contains(group.as_str())), "untagged groups of the VPC: {found:?}");
    assert!(
        kinds(&found).is_superset(&BTreeSet::from([
            "network interface",
            "elastic address",
            "volume",
            "key pair",
            "role",
            "instance profile",
            "log group",
        ])),
        "{found:?}"
    );
    let sorted: Vec<ThingKind> = found.iter().map(|thing| thing.kind).collect();
    assert!(sorted.is_sorted(), "in the order of removal");
    remove_all(&*cloud, &tags).await;
    assert_eq!(cloud.things(&tags).await.expect("listed"), []);
}

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}"#;
const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"logs:PutLogEvents","Resource":"*"}]}"#;

async fn two_groups_that_name_each_other(ec2: &aws_sdk_ec2::Client, vpc: &str) -> [String; 2] {
    let ids = [group(ec2, vpc, "g0", &Tags::new()).await, group(ec2, vpc, "g1", &Tags::new()).await];
    admit(ec2, &ids[0], &ids[1]).await;
    admit(ec2, &ids[1], &ids[0]).await;
    ids
}

async fn group(ec2: &aws_sdk_ec2::Client, vpc: &str, name: &str, tags: &Tags) -> String {
    let mut call = ec2.create_security_group().vpc_id(vpc).group_name(name).description("t");
    if !tags.is_empty() {
        call = call.tag_specifications(specification(ResourceType::SecurityGroup, tags));
    }
    call.send().await.expect("a group").group_id.expect("an id")
}

fn from_members(of: &str) -> IpPermission {
    let pair = UserIdGroupPair::builder().group_id(of).build();
    IpPermission::builder().ip_protocol("tcp").from_port(6443).to_port(6443).user_id_group_pairs(pair).build()
}

async fn admit(ec2: &aws_sdk_ec2::Client, group: &str, other: &str) {
    let call = ec2.authorize_security_group_ingress().group_id(group).ip_permissions(from_members(other));
    call.send().await.expect("a rule");
}

#[tokio::test]
async fn groups_of_an_environment_are_freed_of_each_other_and_of_nobody_else() {
    if !in_lab() {
        return;
    }
    let (cloud, ec2, (_, tags)) = (cloud().await, ec2().await, environment());
    let network = cloud.build_network(&tags, &[]).await.expect("made");
    let (one, two) = (group(&ec2, &network.vpc, "g0", &tags).await, group(&ec2, &network.vpc, "g1", &tags).await);
    let somebodys = group(&ec2, &network.vpc, "g2", &Tags::new()).await;
    for (holder, named) in [(&one, &two), (&two, &one), (&one, &one), (&somebodys, &one), (&one, &somebodys)] {
        admit(&ec2, holder, named).await;
    }
    let out = ec2.authorize_security_group_egress().group_id(&one).ip_permissions(from_members(&two));
    out.send().await.expect("a rule");

    cloud.untie(&tags).await.expect("freed");
    cloud.untie(&tags).await.expect("freed already");

    let holders =
        Filter::builder().name("group-id").set_values(Some(vec![one.clone(), two.clone(), somebodys.clone()]));
    let rules = ec2.describe_security_group_rules().filters(holders.build()).send().await.expect("an answer");
    let named = |rule: &SecurityGroupRule| {
        Some((rule.group_id()?.to_owned(), rule.referenced_group_info()?.group_id()?.to_owned()))
    };
    let left: BTreeSet<_> = rules.security_group_rules().iter().filter_map(named).collect();
    let of = |holder: &String, named: &String| (holder.clone(), named.clone());
    assert_eq!(left, BTreeSet::from([of(&one, &one), of(&somebodys, &one), of(&one, &somebodys)]));
    remove_all(&*cloud, &tags).await;
}

#[tokio::test]
async fn a_group_that_somebody_elses_rule_names_stays_and_their_rule_too() {
    if !in_lab() {
        return;
    }
    let (cloud, ec2, (_, tags), (_, theirs)) = (cloud().await, ec2().await, environment(), environment());
    let (network, other) = (cloud.build_network(&tags, &[]).await, cloud.build_network(&theirs, &[]).await);
    let (network, other) = (network.expect("made"), other.expect("made"));
    let ours = group(&ec2, &network.vpc, "g0", &tags).await;
    let somebodys = group(&ec2, &other.vpc, "g1", &theirs).await;
    admit(&ec2, &somebodys, &ours).await;
    let things = cloud.things(&tags).await.expect("listed");
    let thing = things.iter().find(|thing| thing.id == ours).expect("it is there");

    let refused = cloud.remove(thing).await.expect_err("it is named");
    let theirs_now = ec2.describe_security_groups().group_ids(&somebodys).send().await.expect("an answer");

    assert_eq!(refused.what(), format!("security group `{ours}` is named by rules of `{somebodys}`, somebody else's"));
    let named = theirs_now.security_groups()[0].ip_permissions()[0].user_id_group_pairs()[0].group_id();
    assert_eq!(named, Some(ours.as_str()));
    remove_all(&*cloud, &theirs).await;
    remove_all(&*cloud, &tags).await;
    assert_eq!(cloud.things(&tags).await.expect("listed"), []);
}

#[tokio::test]
async fn an_environment_without_its_directory_is_a_candidate_by_name() {
    if !in_lab() {
        return;
    }
    let (cloud, (id, tags)) = (cloud().await, environment());
    let mut tagged = tags.clone();
    tagged.insert("sre:created-by".to_owned(), "a.operator".to_owned());
    tagged.insert("sre:class".to_owned(), "ephemeral".to_owned());
    cloud.build_network(&tagged, &[]).await.expect("made");

    let candidates = cloud.candidates(Some(&tags[TAG_NAME])).await.expect("listed");

    assert_eq!(candidates.len(), 1);
    let candidate = &candidates[0];
    assert_eq!((candidate.id.as_str(), candidate.class.as_str()), (id.to_string().as_str(), "ephemeral"));
    assert_eq!((candidate.created_by.as_str(), candidate.things), ("a.operator", 5));
    remove_all(&*cloud, &tags).await;
    assert_eq!(cloud.candidates(Some(&tags[TAG_NAME])).await.expect("listed"), []);
}

#[tokio::test]
async fn what_tofu_made_but_did_not_record_is_found_by_its_tags_or_parents() {
    if !in_lab() {
        return;
    }
    let (cloud, ec2, (_, mut tags)) = (cloud().await, ec2().await, environment());
    tags.insert("Name".to_owned(), "t-here".to_owned());
    let network = cloud.build_network(&tags, &["192.0.2.10/32".to_owned()]).await.expect("made");
    let planned = json!({ "tags_all": tags });
    let filter = Filter::builder().name("vpc-id").values(&network.vpc).build();
    let tables = ec2.describe_route_tables().filters(filter).send().await.expect("an answer");
    let own = tables.route_tables().iter().find(|table| !table.tags().is_empty()).expect("a table");
    let table = own.route_table_id().expect("an id");
    let route = json!({ "route_table_id": table, "destination_cidr_block": "0.0.0.0/0" });
    let association = json!({ "route_table_id": table, "subnet_id": network.subnet });
    let rows = [
        ("aws_vpc", &planned, Some(network.vpc.clone())),
        ("aws_subnet", &planned, Some(network.subnet.clone())),
        ("aws_security_group", &planned, Some(network.security_group.clone())),
        ("aws_route_table", &planned, Some(table.to_owned())),
        ("aws_route", &route, Some(format!("{table}_0.0.0.0/0"))),
        ("aws_route_table_association", &association, Some(format!("{}/{table}", network.subnet))),
        ("aws_nat_gateway", &planned, None),
        ("aws_instance", &planned, None),
        ("aws_eip", &planned, None),
        ("aws_flow_log", &planned, None),
        ("aws_vpc_endpoint", &planned, None),
        ("aws_vpc_security_group_ingress_rule", &planned, None),
        ("aws_lb", &json!({ "name": "not-there" }), None),
        ("aws_lb_target_group", &json!({ "name": "not-there" }), None),
        ("aws_iam_role", &json!({ "name": "not-there" }), None),
        ("aws_iam_instance_profile", &json!({ "name": "not-there" }), None),
        ("aws_iam_role_policy", &json!({ "role": "not-there", "name": "write" }), None),
        ("aws_cloudwatch_log_group", &json!({ "name": "/sre/not-there" }), None),
        ("aws_key_pair", &json!({ "key_name": "not-there" }), None),
    ];

    for (resource_type, values, expected) in rows {
        let found = cloud.find_resource(resource_type, values).await;
        assert_eq!(found.unwrap_or_else(|failure| panic!("{resource_type}: {failure}")), expected, "{resource_type}");
    }

    for (resource_type, id) in
        [("aws_vpc", &network.vpc), ("aws_subnet", &network.subnet), ("aws_route_table", &table.to_owned())]
    {
        assert!(cloud.is_healthy(resource_type, id).await.expect("an answer"), "{resource_type}");
    }
    let gone = cloud.is_healthy("aws_instance", "i-0123456789abcdef0").await.expect("an answer");
    assert!(!gone, "what is not there is not whole");
    remove_all(&*cloud, &tags).await;
}

#[tokio::test]
async fn throttling_to_the_end_is_transient_and_a_missing_right_needs_a_person() {
    if !in_lab() {
        return;
    }
    let cloud = cloud().await;

    plant("GetConsoleOutput", "UnauthorizedOperation", 403).await;
    let right = cloud.console("i-0123456789abcdef0").await.expect_err("refused");
    clear().await;
    plant("GetConsoleOutput", "RequestLimitExceeded", 503).await;
    let throttled = cloud.console("i-0123456789abcdef0").await.expect_err("throttled");
    clear().await;

    assert_eq!((right.exit(), right.kind()), (Exit::Missing, Class::NeedsPerson));
    assert_eq!(
        right.to_string(),
        "reading the console of `i-0123456789abcdef0`: these credentials do not have the right: \
         UnauthorizedOperation: injected by the lab"
    );
    assert_eq!(right.hints(), ["docs/aws-iam-policy.json lists the rights that are needed"]);
    assert_eq!((throttled.exit(), throttled.kind()), (Exit::Platform, Class::Transient));
    assert!(throttled.what().ends_with("AWS throttles this account's calls"), "{throttled}");
}

async fn plant(action: &str, error: &str, status: u16) {
    let fault = json!({ "action": action, "error": error, "status": status, "count": -1 });
    door(reqwest::Method::POST, fault).await;
}

async fn clear() {
    door(reqwest::Method::DELETE, json!({})).await;
}

async fn door(method: reqwest::Method, body: serde_json::Value) {
    let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("in the lab");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer =
        client.request(method, format!("{endpoint}/lab/fault")).json(&body).send().await.expect("the lab answers");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
}
