//! What must hold of an environment on vSphere: names that can be, addresses that fit, and nothing of another platform.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::config::draft::Draft;
use crate::config::{forms, rules};
use crate::environment::{LoadBalancerKind, Via, Vsphere};
use crate::vsphere::{Addresses, Size};

/// What only other platforms have, and what is said instead here.
const ELSEWHERE: [(&str, &str); 6] = [
    ("aws", "is given, but `platform` is `vsphere`"),
    ("hosts", "is given, but `platform` is `vsphere`, which makes its machines"),
    ("network", "is given, but no network is made; `vsphere.network` names the port group"),
    ("access.from", "is given, but no security group is made that would admit it"),
    ("image.source.owner", "is given, but a template has none"),
    ("image.build.vpc", "is given, but images are built in `vsphere.network`"),
];

pub fn check(draft: &mut Draft<'_>) {
    for (path, wrong) in ELSEWHERE {
        if draft.says(path) {
            draft.tell(path, wrong);
        }
    }
    for path in ["state.s3", "audit.anchor.s3"].into_iter().filter(|path| draft.says(path)).collect::<Vec<_>>() {
        if !draft.says(&format!("{path}.region")) {
            draft.tell(&format!("{path}.region"), "is missing; no other key of a file with a vCenter names a region");
        }
    }
    let needed = [rules::sizes(draft), vec!["image.source.name".to_owned()]].concat();
    for path in needed.iter().filter(|path| !draft.says(path)).collect::<Vec<_>>() {
        draft.tell(
            path,
            if path.starts_with("image") { "is missing; name the template to start from" } else { "is missing" },
        );
    }
    own_jump(draft);
    match draft.vsphere.clone() {
        Some(vsphere) => place(draft, &vsphere),
        None if !draft.says("vsphere") => draft.tell("vsphere", "is missing; `platform: vsphere` needs its vCenter"),
        None => {}
    }
}

/// The size of a machine, such as `4x16`.
pub fn size(text: &str) -> Option<String> {
    Size::read(text).is_none().then(|| format!("is `{text}`; CPUs and GiB of memory are wanted, such as `4x16`"))
}

fn own_jump(draft: &mut Draft<'_>) {
    let Some(access) = draft.access.clone().filter(|access| access.via == Via::Jump) else { return };
    if access.jump.is_some_and(|jump| jump.host.is_none()) {
        draft.tell("access.jump.host", "is missing; `platform: vsphere` makes no jump machine");
    }
}

fn place(draft: &mut Draft<'_>, vsphere: &Vsphere) {
    let (name, port) = vsphere.server.rsplit_once(':').unwrap_or((&vsphere.server, "443"));
    let server = forms::host(name).or_else(|| {
        port.parse::<u16>()
            .is_err()
            .then(|| format!("is `{}`; a name, or a name and `:PORT`, is wanted", vsphere.server))
    });
    let forms = [
        ("server", server),
        ("ca", vsphere.ca.as_deref().and_then(file)),
        ("datacenter", inventory_name(&vsphere.datacenter)),
        ("cluster", inventory_name(&vsphere.cluster)),
        ("resource_pool", vsphere.resource_pool.as_deref().and_then(inventory_name)),
        ("datastore", inventory_name(&vsphere.datastore)),
        ("storage_policy", vsphere.storage_policy.as_deref().and_then(inventory_name)),
        ("hardware_version", vsphere.hardware_version.and_then(hardware)),
        ("folder", inventory_name(&vsphere.folder)),
        ("network", inventory_name(&vsphere.network)),
        ("card", vsphere.card.as_deref().and_then(card)),
    ];
    for (key, wrong) in forms {
        if let Some(wrong) = wrong {
            draft.tell(&format!("vsphere.{key}"), wrong);
        }
    }
    addresses(draft, &vsphere.addresses);
}

/// What Linux takes for the name of a network card, and a file system for that of a file.
fn card(text: &str) -> Option<String> {
    let good = (1..=15).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (!good).then(|| format!("is `{text}`; the name of a network card such as `ens192` is wanted"))
}

/// From the oldest that a vCenter of today makes machines of to the newest that the provider takes (1.26.0).
const HARDWARE: RangeInclusive<u8> = 13..=19;

fn hardware(version: u8) -> Option<String> {
    let (first, last) = (HARDWARE.start(), HARDWARE.end());
    (!HARDWARE.contains(&version)).then(|| {
        format!("is {version}; {first}, of vSphere 6.5, to {last}, the newest that the provider knows, are wanted")
    })
}

fn file(text: &str) -> Option<String> {
    let good = text.strip_prefix("file:").is_some_and(|path| !path.is_empty());
    (!good).then(|| "is no reference; write `file:PATH`".to_owned())
}

/// A name in vCenter's inventory, or a path of them; what could be taken for a pattern or an escape is none.
fn inventory_name(text: &str) -> Option<String> {
    let good = !text.starts_with('/') && !text.ends_with('/') && !text.contains(['*', '?', '%', '\\']);
    (!good).then(|| format!("is `{text}`; a name is wanted, or a path without `/` at its ends"))
}

fn addresses(draft: &mut Draft<'_>, given: &Addresses) {
    let mut read = [None; 3];
    for (index, (key, text)) in
        [("first", &given.first), ("last", &given.last), ("gateway", &given.gateway)].into_iter().enumerate()
    {
        let path = format!("vsphere.addresses.{key}");
        match text.parse::<Ipv4Addr>() {
            Ok(address) if given.cidr.contains(&address) => read[index] = Some(address),
            Ok(_) => draft.tell(&path, format!("is `{text}`, which is not in `{}`", given.cidr)),
            Err(_) => draft.tell(&path, format!("is `{text}`; an IPv4 address is wanted")),
        }
    }
    for (index, text) in given.dns.iter().enumerate().filter(|(_, text)| text.parse::<Ipv4Addr>().is_err()) {
        draft.tell(&format!("vsphere.addresses.dns[{index}]"), format!("is `{text}`; an IPv4 address is wanted"));
    }
    let [Some(first), Some(last), Some(gateway)] = read else { return };
    if (first..=last).contains(&gateway) {
        draft.tell("vsphere.addresses.gateway", format!("is `{gateway}`, which lies among the addresses for nodes"));
    }
    room(draft, given);
    kube_vip(draft, given, gateway);
}

/// The address that servers pass on lies in their network, and is not one that something else gets.
fn kube_vip(draft: &mut Draft<'_>, given: &Addresses, gateway: Ipv4Addr) {
    let Some(balancer) = draft.load_balancer.clone().filter(|balancer| balancer.kind == LoadBalancerKind::KubeVip)
    else {
        return;
    };
    let Some(address) = balancer.address.and_then(|text| text.parse::<Ipv4Addr>().ok()) else { return };
    let wrong = if balancer.bgp.is_none() && !given.cidr.contains(&address) {
        format!("is `{address}`, which is not in `{}`, where the servers are", given.cidr)
    } else if given.all().contains(&address) {
        format!("is `{address}`, which lies among the addresses for nodes and images")
    } else if address == gateway {
        format!("is `{address}`, which is the gateway")
    } else {
        return;
    };
    draft.tell("load_balancer.address", wrong);
}

/// Whether every node finds an address, and images two.
fn room(draft: &mut Draft<'_>, given: &Addresses) {
    let Some(servers) = &draft.servers else { return };
    let pools = draft.agents.values().flatten().map(|pool| usize::from(pool.count));
    let wanted = usize::from(servers.count) + pools.sum::<usize>();
    let free = given.for_nodes().len();
    if wanted > free {
        let wrong = format!(
            "leaves {free} addresses for nodes, the last {} being for images; `nodes` asks for {wanted}",
            Addresses::FOR_IMAGES
        );
        draft.tell("vsphere.addresses.last", wrong);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::read;
    use crate::environment::Platform;
    use crate::failure::Exit;

    const LAB: &str = include_str!("../../environments/vsphere-dev.yaml");

    /// What is said of the example with lines replaced.
    fn problems(edits: &[(&str, &str)]) -> Vec<String> {
        let text = edits.iter().fold(LAB.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "`{from}` is not in vsphere-dev.yaml");
            text.replacen(from, to, 1)
        });
        let failure = read("environments/vsphere-dev.yaml", "vsphere-dev", &text).expect_err("refused");
        assert_eq!(failure.exit(), Exit::Environment);
        let lines =
            failure.what().lines().skip(1).map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "));
        lines.collect()
    }

    #[test]
    fn the_example_on_vsphere_is_valid() {
        let env = read("environments/vsphere-dev.yaml", "vsphere-dev", LAB).expect("valid");

        assert_eq!(env.platform, Platform::Vsphere);
        let vsphere = env.vsphere.expect("its vCenter");
        assert_eq!((vsphere.datacenter.as_str(), vsphere.addresses.for_nodes().len()), ("DC0", 11));
    }

    #[test]
    fn addresses_must_fit_their_network_and_the_nodes() {
        assert_eq!(
            problems(&[("first: 10.98.1.11", "first: 10.99.1.11")]),
            ["vsphere.addresses.first is `10.99.1.11`, which is not in `10.98.1.0/24`"]
        );
        assert_eq!(
            problems(&[("last: 10.98.1.23", "last: 10.98.1.12")]),
            ["vsphere.addresses.last leaves 0 addresses for nodes, the last 2 being for images; `nodes` asks for 2"]
        );
        assert_eq!(
            problems(&[("gateway: 10.98.1.1\n", "gateway: 10.98.1.12\n")]),
            ["vsphere.addresses.gateway is `10.98.1.12`, which lies among the addresses for nodes"]
        );
    }

    const NO_BALANCER: &str = "  kind: none                    # or `external` with the `address` that forwards 6443 and 9345 to all servers\n";

    #[test]
    fn an_address_that_servers_pass_on_is_one_of_their_network_that_nothing_else_gets() {
        let image =
            "ghcr.io/kube-vip/kube-vip:v0.9.1@sha256:6ea5bc1b0ca9f5b1a8b3a6ac4b1b21e6dbd0a6f0c0aa2c1d8f6b3a6ac4b1b21e";
        let told = |address: &str| {
            let balancer = format!("  kind: kube-vip\n  address: {address}\n  image: {image}\n");
            problems(&[(NO_BALANCER, &balancer)])
        };

        assert_eq!(
            told("10.99.1.5"),
            ["load_balancer.address is `10.99.1.5`, which is not in `10.98.1.0/24`, where the servers are"]
        );
        assert_eq!(
            told("10.98.1.12"),
            ["load_balancer.address is `10.98.1.12`, which lies among the addresses for nodes and images"]
        );
    }

    #[test]
    fn a_bucket_tells_its_region_where_no_other_key_does() {
        let keys = "class: ephemeral\nexpires_after: 8h\nstate: {s3: {bucket: acme-state}}\n";

        assert_eq!(
            problems(&[
                ("class: standard\n", keys),
                ("  folder: sre", "  hardware_version: 9\n  card: e*\n  folder: sre")
            ]),
            [
                "state.s3.region is missing; no other key of a file with a vCenter names a region",
                "vsphere.hardware_version is 9; 13, of vSphere 6.5, to 19, the newest that the provider knows, are wanted",
                "vsphere.card is `e*`; the name of a network card such as `ens192` is wanted",
            ]
        );
    }

    #[test]
    fn what_belongs_to_another_platform_is_refused_with_what_is_said_instead() {
        assert_eq!(
            problems(&[
                ("class: standard\n", "class: standard\nnetwork: {cidr: 10.20.0.0/16}\n"),
                ("size: 2x8", "size: m6i.large")
            ]),
            [
                "network is given, but no network is made; `vsphere.network` names the port group",
                "nodes.servers.size is `m6i.large`; CPUs and GiB of memory are wanted, such as `4x16`",
            ]
        );
    }
}
