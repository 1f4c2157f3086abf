//! `environments/<name>.yaml` → [`Environment`], or every problem in it with line, path and reason.
//!
//! Three looks, each at what the one before left: the text as a tree with places (`document`), the tree against the
//! generated schema (`shape`), the values against each other (`rules`). All problems of all looks are told at once.
//!
//! # Why
//!
//! 2026-11-21: a deserialiser stops at the first problem and guesses what a scalar means before it knows what is
//! wanted; a tree that keeps spelling and place does neither. The schema does the rest, so no key is named twice.

mod aws;
mod document;
mod draft;
mod forms;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod hosts;
mod images;
mod loaded;
mod problem;
mod rke2_rules;
mod rules;
mod shape;
mod vsphere;
mod waivers;

use std::collections::BTreeMap;
use std::io::ErrorKind;

use serde_json::Value as Json;

use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::rke2_config::NamedFile;
use crate::workspace::{Workspace, check_name};

use problem::Problem;

/// Reads and checks the file of one environment.
///
/// # Errors
/// Exit 3: the file is missing or cannot be read, or has problems, which are all told.
pub fn load(workspace: &Workspace, name: &str) -> Result<Environment, Failure> {
    check_name(name)?;
    let path = workspace.environment_file(name);
    let file = workspace.shown(&path).display().to_string();
    let bytes = std::fs::read(&path).map_err(|error| unread(workspace, name, &file, &error))?;
    let text =
        String::from_utf8(bytes).map_err(|_| problem::failure(&file, vec![Problem::of_file("is not UTF-8 text")]))?;
    let mut environment = read(&file, name, &text)?;
    loaded::add_registries(workspace, name, &mut environment.rke2.config.registries)?;
    environment.rke2.config.files = named_files(workspace, &file, &environment)?;
    Ok(environment)
}

/// What is in the files that an environment file names for its nodes.
fn named_files(
    workspace: &Workspace,
    file: &str,
    environment: &Environment,
) -> Result<BTreeMap<String, String>, Failure> {
    let named = environment.rke2.config.named_files().into_iter();
    let wrong = |named: &NamedFile, what: &str, why: String| {
        let what = format!("{file}: `{}` {what}", named.key);
        Err(Failure::new(Exit::Environment, what).because(format!("{}: {why}", named.path.display())))
    };
    let read = |named: NamedFile| match std::fs::read_to_string(workspace.root().join(&named.path)) {
        Ok(text) => match template(&text) {
            Some(why) => wrong(&named, "cannot be given to nodes", why),
            None => Ok((named.name, text)),
        },
        Err(error) => wrong(&named, "cannot be read", error.to_string()),
    };
    named.map(read).collect()
}

/// Where a text holds what Ansible, which brings it to the nodes, would take for a template.
fn template(text: &str) -> Option<String> {
    let found = |line: &str| ["{{", "{%", "{#"].into_iter().find(|sign| line.contains(sign));
    let (index, sign) = text.lines().enumerate().find_map(|(index, line)| Some((index, found(line)?)))?;
    Some(format!("line {} holds `{sign}`; files are data, nothing in them is a template", index + 1))
}

/// Checks the text of an environment file; `file` is what messages call it.
///
/// # Errors
/// Exit 3 with all problems.
pub fn read(file: &str, name: &str, text: &str) -> Result<Environment, Failure> {
    let (root, mut problems) = document::parse(text).map_err(|problem| problem::failure(file, vec![problem]))?;
    let shaped = shape::shape(&root, &schema());
    let mut draft = draft::Draft::of(&root, &shaped.value);
    rules::check(&mut draft);
    problems.extend(shaped.problems);
    problems.extend(draft.into_problems());
    if !problems.is_empty() {
        return Err(problem::failure(file, problems));
    }
    let environment: Environment = serde_json::from_value(shaped.value)
        .map_err(|error| Failure::bug(format!("{file} fits the schema but not the program")).because(error))?;
    Ok(Environment { name: name.to_owned(), ..environment })
}

/// The JSON Schema of an environment file, for editors and for `sre-provision schema`.
pub fn schema() -> Json {
    schemars::schema_for!(Environment).to_value()
}

fn unread(workspace: &Workspace, name: &str, file: &str, error: &std::io::Error) -> Failure {
    if error.kind() != ErrorKind::NotFound {
        return Failure::new(Exit::Environment, format!("{file} cannot be read")).because(error);
    }
    let failure = Failure::new(Exit::Environment, format!("there is no environment `{name}`"))
        .because(format!("{file} does not exist"));
    let names = workspace.environments().unwrap_or_default();
    match shape::nearest(name, names.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => failure.hint("environments/README.md tells how to write one"),
        None => failure.hint(format!("environments/ holds: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{LoadBalancerKind, Nat};
    use crate::workspace::{RealDisk, make_dir, write_atomic};

    const DEV: &str = include_str!("../../environments/dev.yaml");

    /// The file of `dev` with lines replaced, as a person would edit it.
    fn edited(edits: &[(&str, &str)]) -> String {
        edits.iter().fold(DEV.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "`{from}` is not in dev.yaml");
            text.replacen(from, to, 1)
        })
    }

    /// The lines that follow the heading.
    fn problems(text: &str) -> Vec<String> {
        let failure = read("environments/dev.yaml", "dev", text).expect_err("refused");
        assert_eq!(failure.exit(), Exit::Environment);
        failure.what().lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn the_environment_that_comes_with_the_project_is_valid() {
        let dev = read("environments/dev.yaml", "dev", DEV).expect("valid");

        assert_eq!(dev.name, "dev");
        assert_eq!(dev.rke2.version, "v1.35.4+rke2r1");
        assert_eq!((dev.nodes.servers.count, dev.nodes.agents["general"].count), (3, 2));
        assert_eq!(dev.network.map(|network| network.nat), Some(Nat::Single));
        assert_eq!(dev.load_balancer.kind, LoadBalancerKind::Nlb);
        assert_eq!(dev.image.source.owner, "792107900819", "what the file leaves out has its default");
    }

    #[test]
    fn a_file_for_the_nodes_that_looks_like_a_template_is_refused_by_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = Workspace::open(dir.path()).expect("a workspace");
        let text = edited(&[("  cni: canal", "  config: {audit_policy: audit.yaml}\n  cni: canal")]);
        make_dir(&RealDisk, &dir.path().join("environments"), 0o700).expect("made");
        write_atomic(&workspace.environment_file("dev"), text.as_bytes(), 0o600).expect("written");
        let policy =
            |text: &str| write_atomic(&dir.path().join("audit.yaml"), text.as_bytes(), 0o600).expect("written");

        policy("kind: Policy\nrules: [{level: '{{ lookup(\"env\", \"HOME\") }}'}]\n");
        let failure = load(&workspace, "dev").expect_err("refused");
        policy("kind: Policy # 100 % data, {as: it, is: {}}\n");
        let taken = load(&workspace, "dev").expect("valid").rke2.config.files;

        assert_eq!(failure.what(), "environments/dev.yaml: `rke2.config.audit_policy` cannot be given to nodes");
        assert_eq!(failure.causes(), ["audit.yaml: line 2 holds `{{`; files are data, nothing in them is a template"]);
        assert_eq!(taken.values().collect::<Vec<_>>(), ["kind: Policy # 100 % data, {as: it, is: {}}\n"]);
    }

    #[test]
    fn the_schema_file_is_the_one_the_code_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/environments/environment.schema.json");
        let generated = format!("{:#}\n", schema());

        let kept = std::fs::read_to_string(path).unwrap_or_default();

        assert!(kept == generated, "run `sre-provision schema > environments/environment.schema.json`");
    }

    #[test]
    fn every_problem_is_told_at_once_in_the_order_of_the_file() {
        let text = edited(&[
            ("region: eu-central-1", "regoin: eu-central-1"),
            ("zones: 3", "zones: 4"),
            ("flow_logs: true", "flow_logs: yes"),
            ("count: 3", "count: 2"),
            ("cni: canal", "cni: callico"),
        ]);

        let failure = read("environments/dev.yaml", "dev", &text).expect_err("refused");

        assert_eq!(
            failure.what(),
            "environments/dev.yaml has 6 problems\n\
             \x20 11:3   aws.region           is missing\n\
             \x20 11:3   aws.regoin           is not a known key; did you mean `region`?\n\
             \x20 14:10  network.zones        is 4; 1 to 3 are wanted\n\
             \x20 16:14  network.flow_logs    is `yes`; write `true` or `false`\n\
             \x20 19:12  nodes.servers.count  is 2; etcd needs an odd number of servers\n\
             \x20 31:8   rke2.cni             is `callico`; did you mean `calico`? (`canal`, `calico`, `cilium`, `flannel` are known)"
        );
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_is_wanted() {
        let cases = [
            ("version: 1", "version: 2", "3:10 version is 2; this sre-provision reads version 1"),
            ("version: 1", "version: 4294967296", "3:10 version is 4294967296; at most 4294967295 is wanted"),
            (
                "72h",
                "72",
                "6:16 expires_after is `72` is no length of time; write it like `90s`, `15m`, `72h` or `30d`",
            ),
            ("cidr: 10.20.0.0/16", "cidr: 10.20.0.0/24", "13:9 network.cidr is a /24; a /16 to a /22 is wanted"),
            (
                "cidr: 10.20.0.0/16",
                "cidr: 10.20.1.0/16",
                "13:9 network.cidr is `10.20.1.0/16`, an address within a network; the network is `10.20.0.0/16`",
            ),
            (
                "cidr: 10.20.0.0/16",
                "cidr: 10.42.0.0/16",
                "13:9 network.cidr is `10.42.0.0/16`, which overlaps with `10.42.0.0/16` (pods addresses)",
            ),
            ("zones: 3", "zones: 4", "14:10 network.zones is 4; 1 to 3 are wanted"),
            ("count: 3", "count: three", "19:12 nodes.servers.count is `three`; a whole number is wanted"),
            ("count: 3", "count: \"3\"", "19:12 nodes.servers.count is text; write 3 without quotes"),
            (
                "disk: 100GiB",
                "disk: 30GiB",
                "21:11 nodes.servers.disk is 30GiB; a machine of an image built with `image.build.disk` needs at least 40GiB",
            ),
            (
                "general:\n",
                "server:\n",
                "24:7 nodes.agents.server `server` is the name of something else; give the pool another",
            ),
            ("192.0.2.0/24", "0.0.0.0/0", "9:10 access.from[0] admits the whole internet; name your own network"),
            (
                "v1.35.4+rke2r1",
                "1.35.4",
                "30:12 rke2.version is `1.35.4`; a release such as `v1.35.4+rke2r1` is wanted",
            ),
            (
                "size: m6i.xlarge",
                "size: \"${var.size}\"",
                "20:11 nodes.servers.size holds `${`; values are data, nothing in the file is a template",
            ),
            ("{tier: general}", "{tier: }", "26:20 nodes.agents.general.labels.tier has no value"),
            (
                "kind: nlb",
                "kind: kube-vip",
                "28:9 load_balancer.kind is `kube-vip`, which this version does not do yet; `nlb` is what it does on aws",
            ),
        ];
        for (from, to, wanted) in cases {
            assert_eq!(problems(&edited(&[(from, to)])), [wanted], "{to}");
        }
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        let jump = "jump\n  jump: {host: bastion.example}";
        let cases = [
            (
                "expires_after: 72h\n",
                "",
                "3:1 expires_after is missing; `class: ephemeral` needs an end, such as `72h`",
            ),
            (
                "class: ephemeral",
                "class: standard",
                "6:16 expires_after is given, but only `class: ephemeral` has an end",
            ),
            (
                "expires_after: 72h\n",
                "expires_after: 72h\naudit: {anchor: {file: .sre-provision/heads}}\n",
                "7:24 audit.anchor.file is in `.sre-provision`, beside the journal that it vouches for",
            ),
            (
                "expires_after: 72h\n",
                "expires_after: 72h\nstate: {s3: {bucket: Acme, prefix: dev}}\n",
                "7:22 state.s3.bucket is `Acme`; the name of a bucket is wanted: 3 to 63 lower-case letters, digits, dashes and dots",
            ),
            (
                "expires_after: 72h\n",
                "expires_after: 72h\nstate: {s3: {bucket: acme-state, prefix: a/../b}}\n",
                "7:42 state.s3.prefix is `a/../b`; letters, digits, dashes, dots and single slashes between them are wanted",
            ),
            ("aws:\n  region: eu-central-1\n", "", "3:1 aws is missing; `platform: aws` needs its region"),
            ("eu-central-1", "us-gov-west-1", "11:3 aws.partition is `aws`, but `us-gov-west-1` lies in `aws-us-gov`"),
            (
                "kind: nlb",
                "kind: none",
                "28:9 load_balancer.kind is `none`, but 3 servers need an address that outlives each; `none` is for one server",
            ),
            (
                "direct",
                "jump",
                "8:3 access.jump is missing; give `host` and `host_key` of a jump machine, or `{}` to have one made",
            ),
            (
                "direct",
                jump,
                "9:9 access.jump.host_key is missing; without it anybody could answer at `access.jump.host`",
            ),
            ("count: 2", "count: 60000", "13:9 network.cidr has room for 16368 nodes per zone; `nodes` asks for 20001"),
        ];
        for (from, to, wanted) in cases {
            assert_eq!(problems(&edited(&[(from, to)])), [wanted], "{to}");
        }
    }

    #[test]
    fn a_jump_machine_of_its_own_is_valid() {
        let text = edited(&[("direct", "jump\n  jump: {}")]);

        let access = read("x", "dev", &text).expect("valid").access;

        assert_eq!(access.jump.map(|jump| (jump.user, jump.port)), Some(("rocky".to_owned(), 22)));
    }

    #[test]
    fn images_are_not_built_where_no_jump_machine_leads() {
        let build = "image:\n  build: {vpc: vpc-0123456789abcdef0, subnet: subnet-0123456789abcdef0}\nnodes:\n";
        let own = edited(&[("direct", "jump\n  jump: {}"), ("nodes:\n", build)]);
        let key = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJFqtK88a4qFcU/egGfK9k10HytOB4IFWgbsM6c8T23MJ6ShTU8o68+CqRiTpk0ulRzlJS8O7HlTLro0oFvUYFo=";
        let named = own.replace("jump: {}", &format!("jump: {{host: bastion.example, host_key: {key}}}"));

        assert_eq!(
            problems(&own),
            ["19:47 image.build.subnet is a network that the jump machine made here does not lead to; name one with \
              `access.jump.host`"]
        );
        assert!(read("x", "dev", &named).is_ok_and(|environment| environment.image.build.subnet.is_some()));
    }

    #[test]
    fn a_missing_file_names_the_environment_that_was_meant() {
        let dir = tempfile::tempdir().expect("a directory");
        make_dir(&RealDisk, &dir.path().join("environments"), 0o700).expect("made");
        write_atomic(&dir.path().join("environments/prod-east.yaml"), b"", 0o600).expect("written");
        let workspace = Workspace::open(dir.path()).expect("a workspace");

        let failure = load(&workspace, "prod-eats").expect_err("missing");

        assert_eq!(failure.exit(), Exit::Environment);
        assert_eq!(
            failure.to_string(),
            "there is no environment `prod-eats`: environments/prod-eats.yaml does not exist"
        );
        assert_eq!(failure.hints(), ["did you mean `prod-east`?"]);
    }
}
