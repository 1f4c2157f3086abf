//! What must hold beyond types: values that can be, and parts that agree with each other.

use ipnet::Ipv4Net;

use crate::artifact::Kind;
use crate::config::draft::Draft;
use crate::config::{aws, forms, hosts, images, rke2_rules, vsphere, waivers};
use crate::environment::{Access, EnvironmentClass, LoadBalancerKind, Network, Platform, Rke2, Servers, Via};
use crate::state::StateBucket;
use crate::units::ByteSize;
use crate::workspace::STATE;

/// The part of a private subnet that nodes cannot have: five addresses are AWS's, the load balancer takes some.
const RESERVED: u32 = 16;

pub fn check(draft: &mut Draft<'_>) {
    version(draft);
    platform(draft);
    class(draft);
    access(draft);
    aws::check(draft);
    network(draft);
    image(draft);
    images::check(draft);
    servers(draft);
    agents(draft);
    room(draft);
    load_balancer(draft);
    rke2(draft);
    rke2_rules::check(draft);
    deadlines(draft);
    audit(draft);
    state(draft);
    waivers::check(draft);
}

fn version(draft: &mut Draft<'_>) {
    if let Some(version) = draft.version.filter(|version| *version != 1) {
        draft.tell("version", format!("is {version}; this sre-provision reads version 1"));
    }
}

fn platform(draft: &mut Draft<'_>) {
    match draft.platform {
        Some(Platform::Aws) => aws::made(draft),
        Some(Platform::Hosts) => hosts::check(draft),
        Some(Platform::Vsphere) => vsphere::check(draft),
        None => {}
    }
}

/// Where the sizes of the machines that are made must stand.
pub fn sizes(draft: &Draft<'_>) -> Vec<String> {
    let mut needed = vec![];
    needed.extend(
        draft
            .servers
            .is_some()
            .then(|| ["nodes.servers.size", "nodes.servers.disk"].map(str::to_owned))
            .into_iter()
            .flatten(),
    );
    needed.extend(
        draft.agents.iter().filter(|(_, pool)| pool.is_some()).map(|(name, _)| format!("nodes.agents.{name}.size")),
    );
    needed
}

/// The form of a machine's size on this platform.
fn size_form(draft: &Draft<'_>) -> fn(&str) -> Option<String> {
    if draft.platform == Some(Platform::Vsphere) { vsphere::size } else { forms::size }
}

/// Whether machines are made here, and so have a size that the file tells.
fn makes_machines(draft: &Draft<'_>) -> bool {
    draft.platform != Some(Platform::Hosts)
}

fn class(draft: &mut Draft<'_>) {
    let expires = draft.says("expires_after");
    match draft.class {
        Some(EnvironmentClass::Ephemeral) if !expires => {
            draft.tell("expires_after", "is missing; `class: ephemeral` needs an end, such as `72h`");
        }
        Some(EnvironmentClass::Standard | EnvironmentClass::Protected) if expires => {
            draft.tell("expires_after", "is given, but only `class: ephemeral` has an end");
        }
        Some(EnvironmentClass::Ephemeral | EnvironmentClass::Standard | EnvironmentClass::Protected) | None => {}
    }
    if draft.expires_after.is_some_and(|span| span.0.is_zero()) {
        draft.tell("expires_after", "is no time at all");
    }
}

fn access(draft: &mut Draft<'_>) {
    let Some(access) = draft.access.clone() else { return };
    if access.from.is_empty() && draft.says("access.from") {
        draft.tell("access.from", "is empty; name the network that your machine connects from");
    }
    for (index, network) in access.from.iter().enumerate() {
        if network.prefix_len() == 0 {
            draft.tell(&format!("access.from[{index}]"), "admits the whole internet; name your own network");
        }
    }
    match (access.via, draft.says("access.jump") || access.jump.is_some()) {
        (Via::Direct, true) => draft.tell("access.jump", "is given, but `access.via` is `direct`"),
        (Via::Jump, false) if !makes_machines(draft) => {
            draft.tell("access.jump", "is missing; give `host` and `host_key` of a jump machine");
        }
        (Via::Jump, false) => draft
            .tell("access.jump", "is missing; give `host` and `host_key` of a jump machine, or `{}` to have one made"),
        (Via::Direct, false) | (Via::Jump, true) => {}
    }
    jump(draft, &access);
}

fn jump(draft: &mut Draft<'_>, access: &Access) {
    let Some(jump) = &access.jump else { return };
    match (&jump.host, &jump.host_key) {
        (Some(_), None) => {
            draft.tell("access.jump.host_key", "is missing; without it anybody could answer at `access.jump.host`");
        }
        (None, Some(_)) => draft.tell("access.jump.host_key", "is given, but no `host` that it belongs to"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if jump.host.is_none() && jump.key.is_some() {
        draft.tell("access.jump.key", "is given, but no `host` that it opens");
    }
    if jump.host.is_none() && draft.image.as_ref().is_some_and(|image| image.build.subnet.is_some()) {
        let wrong = "is a network that the jump machine made here does not lead to; name one with `access.jump.host`";
        draft.tell("image.build.subnet", wrong);
    }
    let forms = [
        ("host", jump.host.as_deref().and_then(forms::host)),
        ("host_key", jump.host_key.as_deref().and_then(forms::host_key)),
        ("key", jump.key.as_deref().and_then(forms::key_reference)),
        ("user", forms::user(&jump.user)),
        ("port", (jump.port == 0).then(|| "is 0; a port from 1 is wanted".to_owned())),
    ];
    for (key, wrong) in forms {
        if let Some(wrong) = wrong {
            draft.tell(&format!("access.jump.{key}"), wrong);
        }
    }
}

fn network(draft: &mut Draft<'_>) {
    let Some(Network { cidr, zones, .. }) = draft.network.clone() else { return };
    if !(16..=22).contains(&cidr.prefix_len()) {
        draft.tell("network.cidr", format!("is a /{}; a /16 to a /22 is wanted", cidr.prefix_len()));
    }
    let config = draft.rke2.as_ref().map(|rke2| rke2.config.clone()).unwrap_or_default();
    let (pods, services) = (config.pods().to_string(), config.services().to_string());
    let taken =
        [(&*pods, "pods"), (&*services, "services"), ("169.254.0.0/16", "link-local"), ("127.0.0.0/8", "loopback")];
    for (network, name) in taken {
        if network.parse::<Ipv4Net>().is_ok_and(|network| overlap(&network, &cidr)) {
            draft.tell("network.cidr", format!("is `{cidr}`, which overlaps with `{network}` ({name} addresses)"));
        }
    }
    if !(1..=3).contains(&zones) {
        draft.tell("network.zones", format!("is {zones}; 1 to 3 are wanted"));
    }
}

fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn image(draft: &mut Draft<'_>) {
    let Some(image) = draft.image.clone() else { return };
    if image.max_age.0.is_zero() {
        draft.tell("image.max_age", "is no time at all");
    }
    if image.source.name.trim_matches(['*', '?']).is_empty() {
        draft.tell("image.source.name", format!("is `{}`, which is any image of that owner", image.source.name));
    }
    let (build, size_form) = (&image.build, size_form(draft));
    match (&build.vpc, &build.subnet) {
        (Some(_), None) => draft.tell("image.build.subnet", "is missing; `image.build.vpc` needs one of its subnets"),
        (None, Some(_)) => draft.tell("image.build.vpc", "is missing; it is the VPC of `image.build.subnet`"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let forms = [
        ("image.source.owner", forms::account(&image.source.owner)),
        ("image.source.user", forms::user(&image.source.user)),
        ("image.build.vpc", build.vpc.as_deref().and_then(|id| forms::resource(id, "vpc"))),
        ("image.build.subnet", build.subnet.as_deref().and_then(|id| forms::resource(id, "subnet"))),
        ("image.build.size", draft.says("image.build.size").then(|| size_form(&build.size)).flatten()),
        ("image.build.disk", disk(build.disk, ByteSize(10 * ByteSize::GIB), "the operating system")),
    ];
    for (path, wrong) in forms {
        if let Some(wrong) = wrong {
            draft.tell(path, wrong);
        }
    }
}

/// What is wrong with a disk of this size, if anything.
fn disk(size: ByteSize, least: ByteSize, why: &str) -> Option<String> {
    if size < least {
        return Some(format!("is {size}; {why} needs at least {least}"));
    }
    let most = ByteSize(16 * 1024 * ByteSize::GIB);
    if size > most {
        return Some(format!("is {size}; {most} is the largest there is"));
    }
    (!size.0.is_multiple_of(ByteSize::GIB)).then(|| format!("is {size}; disks come in whole GiB"))
}

/// A size that is not there was told as missing where one is needed.
fn node_size(draft: &mut Draft<'_>, path: &str, size: &str) {
    if let Some(wrong) = size_form(draft)(size).filter(|_| makes_machines(draft) && !size.is_empty()) {
        draft.tell(path, wrong);
    }
}

fn node_disk(draft: &mut Draft<'_>, path: &str, size: ByteSize) {
    if !makes_machines(draft) || size.is_none() {
        return;
    }
    let image = draft.image.as_ref().map_or(ByteSize(0), |image| image.build.disk);
    let wrong = disk(size, ByteSize(20 * ByteSize::GIB), "a node")
        .or_else(|| disk(size, image, "a machine of an image built with `image.build.disk`"));
    if let Some(wrong) = wrong {
        draft.tell(path, wrong);
    }
}

fn servers(draft: &mut Draft<'_>) {
    let Some(Servers { count, size, disk }) = draft.servers.clone() else { return };
    let wrong = match count {
        1 | 3 | 5 | 7 => None,
        0 => Some("is 0; a cluster needs a server".to_owned()),
        9.. => Some(format!("is {count}; etcd serves best with at most 7")),
        2 | 4 | 6 | 8 => Some(format!("is {count}; etcd needs an odd number of servers")),
    };
    if let Some(wrong) = wrong {
        draft.tell("nodes.servers.count", wrong);
    }
    node_size(draft, "nodes.servers.size", &size);
    node_disk(draft, "nodes.servers.disk", disk);
}

fn agents(draft: &mut Draft<'_>) {
    for (name, pool) in draft.agents.clone() {
        let path = format!("nodes.agents.{name}");
        if matches!(name.as_str(), "server" | "servers" | "agent" | "jump" | "node") {
            draft.tell(&path, format!("`{name}` is the name of something else; give the pool another"));
        } else if let Some(wrong) = forms::label(&name, 50) {
            draft.tell(&path, wrong);
        }
        let Some(pool) = pool else { continue };
        node_size(draft, &format!("{path}.size"), &pool.size);
        node_disk(draft, &format!("{path}.disk"), pool.disk);
        for (key, value) in &pool.labels {
            if let Some(wrong) = forms::node_label(key).or_else(|| forms::label_value(value)) {
                draft.tell_key(&format!("{path}.labels"), key, wrong);
            }
        }
        for (index, taint) in pool.taints.iter().enumerate() {
            if let Some(wrong) = forms::taint(taint) {
                draft.tell(&format!("{path}.taints[{index}]"), wrong);
            }
        }
    }
}

/// Whether the nodes find room in the private subnets, each a quarter of the network.
fn room(draft: &mut Draft<'_>) {
    let (Some(network), Some(servers)) = (&draft.network, &draft.servers) else { return };
    let pools = draft.agents.values().flatten().map(|pool| u32::from(pool.count));
    let zones = u32::from(network.zones.clamp(1, 3));
    let per_zone = |count: u32| count.div_ceil(zones);
    let needed = per_zone(u32::from(servers.count)) + pools.map(per_zone).sum::<u32>();
    let subnet = 1_u32.checked_shl(u32::from(30_u8.saturating_sub(network.cidr.prefix_len()))).unwrap_or(u32::MAX);
    let free = subnet.saturating_sub(RESERVED);
    if needed > free {
        draft.tell("network.cidr", format!("has room for {free} nodes per zone; `nodes` asks for {needed}"));
    }
}

fn load_balancer(draft: &mut Draft<'_>) {
    let Some(balancer) = draft.load_balancer.clone() else { return };
    hosts::only_there(draft, &balancer);
    let servers = draft.servers.as_ref().map(|servers| servers.count).filter(|count| *count > 1);
    match balancer.kind {
        LoadBalancerKind::None => {
            if let Some(count) = servers {
                draft.tell(
                    "load_balancer.kind",
                    format!(
                        "is `none`, but {count} servers need an address that outlives each; `none` is for one server"
                    ),
                );
            }
        }
        kind if draft.platform != Some(Platform::Aws) => hosts::load_balancer(draft, kind, &balancer),
        LoadBalancerKind::Nlb => {}
        LoadBalancerKind::KubeVip => {
            draft.tell(
                "load_balancer.kind",
                "is `kube-vip`, which this version does not do yet; `nlb` is what it does on aws",
            );
        }
        LoadBalancerKind::External => {
            draft.tell(
                "load_balancer.kind",
                "is `external`, which this version does not do yet; `nlb` is what it does on aws",
            );
        }
    }
}

fn rke2(draft: &mut Draft<'_>) {
    let Some(Rke2 { version, release, disable, .. }) = draft.rke2.clone() else { return };
    if let Some(wrong) = forms::release_version(&version) {
        draft.tell("rke2.version", wrong);
    }
    if let Some(wrong) = release.as_deref().and_then(forms::release_place) {
        draft.tell("rke2.release", wrong);
    }
    for (index, chart) in disable.iter().enumerate() {
        if let Some(wrong) = forms::label(chart, 63) {
            draft.tell(&format!("rke2.disable[{index}]"), wrong);
        }
    }
}

/// Whoever can write to the journal must not be able to write to what vouches for it.
fn audit(draft: &mut Draft<'_>) {
    let Some(file) = draft.audit.as_ref().and_then(|audit| audit.anchor.file.clone()) else { return };
    if file.components().any(|part| part.as_os_str() == STATE) {
        draft.tell("audit.anchor.file", format!("is in `{STATE}`, beside the journal that it vouches for"));
    }
}

fn state(draft: &mut Draft<'_>) {
    let state = draft.state.as_ref().and_then(|state| state.s3.clone());
    let anchor = draft.audit.as_ref().and_then(|audit| audit.anchor.s3.clone());
    if state.is_some() && anchor.as_ref().map(|it| &it.bucket) == state.as_ref().map(|it| &it.bucket) {
        draft.tell("audit.anchor.s3.bucket", "is the bucket of the journal that it vouches for");
    }
    for (path, bucket) in [("state.s3", state), ("audit.anchor.s3", anchor)] {
        if let Some(bucket) = bucket {
            bucket_place(draft, path, &bucket);
        }
    }
}

pub fn bucket_place(draft: &mut Draft<'_>, path: &str, s3: &StateBucket) {
    let forms = [
        ("bucket", forms::bucket(&s3.bucket)),
        ("prefix", s3.prefix.as_deref().and_then(forms::prefix)),
        ("region", s3.region.as_deref().and_then(forms::region)),
    ];
    for (key, wrong) in forms {
        if let Some(wrong) = wrong {
            draft.tell(&format!("{path}.{key}"), wrong);
        }
    }
}

fn deadlines(draft: &mut Draft<'_>) {
    let Some(deadlines) = draft.deadlines.clone() else { return };
    for stage in Kind::ALL {
        if deadlines.given(stage).is_some_and(|span| span.0.is_zero()) {
            draft.tell(&format!("deadlines.{stage}"), "is no time at all");
        }
    }
}
