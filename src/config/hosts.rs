//! What must hold of machines that already exist: each node has one, each is one node, and nothing is asked of a
//! platform that makes none.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::config::draft::Draft;
use crate::config::forms;
use crate::environment::{EnvironmentClass, Hosts, LoadBalancer, LoadBalancerKind, Via};
use crate::hosts::Host;
use crate::load_balancer::Bgp;

/// What a platform has that makes machines and networks, and why there is none of it here.
const MADE: [(&str, &str); 7] = [
    ("aws", "is given, but `platform` is `hosts`"),
    ("vsphere", "is given, but `platform` is `hosts`"),
    ("network", "is given, but no network is made for machines that exist"),
    ("image", "is given, but no image is built for machines that exist"),
    ("access.from", "is given, but no security group is made that would admit it"),
    ("state.s3", "is given, but the state of `platform: hosts` is kept in the workspace"),
    ("audit.anchor.s3", "is given, but `platform: hosts` has no bucket to tell it to; `file` and `syslog` are there"),
];

pub fn check(draft: &mut Draft<'_>) {
    for (path, wrong) in MADE {
        if draft.says(path) {
            draft.tell(path, wrong);
        }
    }
    if draft.class == Some(EnvironmentClass::Ephemeral) {
        draft
            .tell("class", "is `ephemeral`, but machines that exist have no end; `standard` and `protected` are there");
    }
    sizes(draft);
    own_jump(draft);
    match draft.hosts.clone() {
        Some(hosts) => machines(draft, &hosts),
        None if !draft.says("hosts") => draft.tell("hosts", "is missing; `platform: hosts` needs its machines"),
        None => {}
    }
}

/// Keys of a kind that is another one.
pub fn only_there(draft: &mut Draft<'_>, balancer: &LoadBalancer) {
    let is_named = matches!(balancer.kind, LoadBalancerKind::External | LoadBalancerKind::KubeVip);
    if !is_named && balancer.address.is_some() {
        let wrong = "is given, but only `kind: external` and `kube-vip` have an address that the file tells";
        draft.tell("load_balancer.address", wrong);
    }
    let given = [
        ("image", balancer.image.is_some()),
        ("interface", balancer.interface.is_some()),
        ("bgp", balancer.bgp.is_some()),
    ];
    for (key, is_given) in given {
        if balancer.kind != LoadBalancerKind::KubeVip && is_given {
            draft.tell(&format!("load_balancer.{key}"), "is given, but only `kind: kube-vip` has one");
        }
    }
}

/// What stands before the servers: its kind, its address and what it takes.
pub fn load_balancer(draft: &mut Draft<'_>, kind: LoadBalancerKind, balancer: &LoadBalancer) {
    match (kind, balancer.address.as_deref()) {
        (LoadBalancerKind::External, None) => {
            let wrong = "is missing; name what forwards ports 6443 and 9345 to all servers";
            draft.tell("load_balancer.address", wrong);
        }
        (LoadBalancerKind::External, Some(fixed)) => fixed_address(draft, fixed, forms::host(fixed)),
        (LoadBalancerKind::KubeVip, None) => {
            draft.tell("load_balancer.address", "is missing; name a free IPv4 address of the servers' network");
        }
        (LoadBalancerKind::KubeVip, Some(fixed)) => fixed_address(draft, fixed, address(fixed)),
        (LoadBalancerKind::Nlb, _) => {
            let platform = draft.platform.map_or_else(String::new, |platform| format!(" on {platform}"));
            let known = format!("`kube-vip`, `external` and, for one server, `none` are what there is{platform}");
            draft.tell("load_balancer.kind", format!("is `nlb`, which is a load balancer of AWS; {known}"));
        }
        (LoadBalancerKind::None, _) => {}
    }
    if kind == LoadBalancerKind::KubeVip {
        let image = match &balancer.image {
            Some(image) => forms::pinned_image(image),
            None => Some("is missing; name that of kube-vip with its digest: `…/kube-vip:v0.9.1@sha256:…`".to_owned()),
        };
        let interface = balancer.interface.as_deref().and_then(forms::interface);
        for (key, wrong) in [("image", image), ("interface", interface)] {
            if let Some(wrong) = wrong {
                draft.tell(&format!("load_balancer.{key}"), wrong);
            }
        }
        if let Some(bgp) = &balancer.bgp {
            routers(draft, bgp);
        }
    }
}

/// Whom servers tell the way to their address, and as whom.
fn routers(draft: &mut Draft<'_>, bgp: &Bgp) {
    // 0, 23456 and the last ones of both sizes are nobody's (RFC 6996, 7607, 7300, 6793).
    let number = |number: u32| {
        let is_reserved = matches!(number, 0 | 23456 | 65535 | u32::MAX);
        is_reserved.then(|| format!("is {number}, which is the number of no autonomous system"))
    };
    let mut told = vec![("load_balancer.bgp.as".to_owned(), number(bgp.number))];
    if bgp.peers.is_empty() {
        told.push(("load_balancer.bgp.peers".to_owned(), Some("names no router".to_owned())));
    }
    for (index, peer) in bgp.peers.iter().enumerate() {
        told.push((format!("load_balancer.bgp.peers[{index}].address"), address(&peer.address)));
        told.push((format!("load_balancer.bgp.peers[{index}].as"), number(peer.number)));
    }
    for (path, wrong) in told {
        if let Some(wrong) = wrong {
            draft.tell(&path, wrong);
        }
    }
}

fn fixed_address(draft: &mut Draft<'_>, fixed: &str, wrong: Option<String>) {
    let machines = draft.hosts.iter().flat_map(|hosts| &hosts.machines);
    let same = machines.filter(|(_, host)| host.address == fixed).map(|(name, _)| name.clone()).next();
    match (wrong, same) {
        (Some(wrong), _) => draft.tell("load_balancer.address", wrong),
        (None, Some(name)) => draft.tell("load_balancer.address", format!("is that of `{name}`, and goes with it")),
        (None, None) => {}
    }
}

/// A machine that exists is as large as it is.
fn sizes(draft: &mut Draft<'_>) {
    let pools = draft.agents.keys().map(|name| format!("nodes.agents.{name}"));
    for parent in pools.chain(["nodes.servers".to_owned()]).collect::<Vec<_>>() {
        for key in ["size", "disk"] {
            let path = format!("{parent}.{key}");
            if draft.says(&path) {
                draft.tell(&path, "is given, but a machine that exists is as large as it is");
            }
        }
    }
}

fn own_jump(draft: &mut Draft<'_>) {
    let Some(access) = draft.access.clone().filter(|access| access.via == Via::Jump) else { return };
    if access.jump.is_some_and(|jump| jump.host.is_none()) {
        draft.tell("access.jump.host", "is missing; `platform: hosts` makes no jump machine");
    }
}

fn machines(draft: &mut Draft<'_>, hosts: &Hosts) {
    let forms = [
        ("hosts.key", forms::key_reference(&hosts.key)),
        ("hosts.user", forms::user(&hosts.user)),
        ("hosts.port", port(hosts.port)),
    ];
    for (path, wrong) in forms {
        if let Some(wrong) = wrong {
            draft.tell(path, wrong);
        }
    }
    let wanted = wanted(draft);
    let (mut addresses, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for (name, host) in &hosts.machines {
        let path = format!("hosts.machines.{name}");
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(name)) {
            draft.tell(&path, "is no node of `nodes`; servers are `server-1` and so on, agents `<pool>-1` and so on");
        }
        one(draft, &path, host);
        if let Some(other) = addresses.insert(host.address.clone(), name) {
            draft.tell(&format!("{path}.address"), format!("is that of `{other}` too"));
        }
        if let Some(other) = keys.insert(host.key_words(), name) {
            let wrong = format!("is that of `{other}` too; machines that were copied need host keys of their own");
            draft.tell(&format!("{path}.host_key"), wrong);
        }
    }
    for name in wanted.into_iter().flatten().filter(|name| !hosts.machines.contains_key(name)) {
        draft.tell(&format!("hosts.machines.{name}"), "is missing; `nodes` asks for it");
    }
}

fn one(draft: &mut Draft<'_>, path: &str, host: &Host) {
    let forms = [
        ("address", address(&host.address)),
        ("host_key", forms::host_key(&host.host_key)),
        ("user", host.user.as_deref().and_then(forms::user)),
        ("port", host.port.and_then(port)),
        ("jump.host", host.jump.as_ref().and_then(|jump| forms::host(&jump.host))),
        ("jump.host_key", host.jump.as_ref().and_then(|jump| forms::host_key(&jump.host_key))),
        ("jump.user", host.jump.as_ref().and_then(|jump| forms::user(&jump.user))),
        ("jump.port", host.jump.as_ref().and_then(|jump| port(jump.port))),
    ];
    for (key, wrong) in forms {
        if let Some(wrong) = wrong {
            draft.tell(&format!("{path}.{key}"), wrong);
        }
    }
}

/// The nodes that the file asks for; `None` while a part of that is not known.
fn wanted(draft: &Draft<'_>) -> Option<Vec<String>> {
    // What is beyond is told by the rules for counts and would make a long list here.
    let names = |prefix: &str, count: u16| -> Vec<String> {
        (1..=count.min(1000)).map(|number| format!("{prefix}-{number}")).collect()
    };
    let mut wanted = names("server", draft.servers.as_ref()?.count);
    for (name, pool) in &draft.agents {
        wanted.extend(names(name, pool.as_ref()?.count));
    }
    Some(wanted)
}

fn address(text: &str) -> Option<String> {
    match text.parse::<Ipv4Addr>() {
        Ok(address) if address.is_loopback() || address.is_unspecified() || address.is_multicast() => {
            Some(format!("is `{text}`, where no other machine reaches it"))
        }
        Ok(_) => None,
        Err(_) => Some(format!("is `{text}`; the IPv4 address is wanted by which nodes reach each other")),
    }
}

fn port(number: u16) -> Option<String> {
    (number == 0).then(|| "is 0; a port from 1 is wanted".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::read;
    use crate::environment::Platform;
    use crate::failure::Exit;

    const AIRGAP: &str = include_str!("../../environments/airgap.yaml");

    /// What is said of the example with lines replaced.
    fn problems(edits: &[(&str, &str)]) -> Vec<String> {
        let text = edits.iter().fold(AIRGAP.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "`{from}` is not in airgap.yaml");
            text.replacen(from, to, 1)
        });
        let failure = read("environments/airgap.yaml", "airgap", &text).expect_err("refused");
        assert_eq!(failure.exit(), Exit::Environment);
        failure.what().lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn the_example_of_machines_that_exist_is_valid() {
        let airgap = read("environments/airgap.yaml", "airgap", AIRGAP).expect("valid");

        assert_eq!(airgap.platform, Platform::Hosts);
        assert_eq!(airgap.wanted_nodes().len(), airgap.hosts.expect("hosts").machines.len());
        assert_eq!((airgap.network, airgap.aws), (None, None));
    }

    const EXTERNAL: &str =
        "  kind: external\n  address: 10.20.9.1            # forwards ports 6443 and 9345 to all servers\n";

    #[test]
    fn an_address_that_servers_pass_on_wants_a_free_one_and_an_image_that_is_pinned() {
        let kube_vip = |rest: &str| format!("  kind: kube-vip\n{rest}");
        let bare = problems(&[(EXTERNAL, &kube_vip(""))]);
        let wrong = kube_vip("  address: 10.20.1.12\n  image: ghcr.io/kube-vip/kube-vip:v0.9.1\n  interface: eth 0\n");
        let wrong = problems(&[(EXTERNAL, &wrong)]);

        let reasons = |told: &[String]| {
            told.iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(
            reasons(&bare),
            [
                "load_balancer.address is missing; name a free IPv4 address of the servers' network",
                "load_balancer.image is missing; name that of kube-vip with its digest: `…/kube-vip:v0.9.1@sha256:…`",
            ]
        );
        assert_eq!(
            reasons(&wrong),
            [
                "load_balancer.address is that of `server-2`, and goes with it",
                "load_balancer.image is `ghcr.io/kube-vip/kube-vip:v0.9.1`, which could be another image tomorrow; name it with its digest, `…@sha256:…`",
                "load_balancer.interface is `eth 0`; up to 15 signs without spaces and slashes are wanted",
            ]
        );
    }

    #[test]
    fn servers_that_speak_bgp_name_their_routers_and_numbers_that_somebody_can_have() {
        let image = format!("ghcr.io/kube-vip/kube-vip:v0.9.1@sha256:{}", "a".repeat(64));
        let told = |bgp: &str| {
            let text = format!("  kind: kube-vip\n  address: 10.99.0.1\n  image: {image}\n  bgp: {bgp}\n");
            let told = problems(&[(EXTERNAL, &text)]);
            told.iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect::<Vec<_>>()
        };

        assert_eq!(told("{as: 64513, peers: []}"), ["load_balancer.bgp.peers names no router"]);
        assert_eq!(
            told("{as: 0, peers: [{address: router, as: 65535}]}"),
            [
                "load_balancer.bgp.as is 0, which is the number of no autonomous system",
                "load_balancer.bgp.peers[0].address is `router`; the IPv4 address is wanted by which nodes reach each other",
                "load_balancer.bgp.peers[0].as is 65535, which is the number of no autonomous system",
            ]
        );
    }

    #[test]
    fn nothing_is_asked_of_a_platform_that_makes_nothing() {
        let given = "  servers: {size: m6i.large, count: 3}";
        let network = "class: ephemeral\nexpires_after: 72h\nnetwork: {cidr: 10.20.0.0/16}\n";

        let told = problems(&[("  servers: {count: 3}", given), ("class: standard\n", network)]);

        let reasons: Vec<&str> = told.iter().map(|line| line.split_once(' ').map_or("", |(_, text)| text)).collect();
        assert!(reasons.contains(&"network is given, but no network is made for machines that exist"), "{told:?}");
        assert!(
            reasons.contains(&"nodes.servers.size is given, but a machine that exists is as large as it is"),
            "{told:?}"
        );
        assert!(
            reasons.contains(
                &"class is `ephemeral`, but machines that exist have no end; `standard` and `protected` are there"
            ),
            "{told:?}"
        );
    }
}
