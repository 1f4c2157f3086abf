//! kube-vip: a static pod on every server; one of them has the fixed address and answers ARP for it, or each of them has it
//! and tells routers the way by BGP.
//!
//! The pod is there before the server's first start, and its image beside those of the release. The lease by which the
//! servers pass the address on is in the cluster itself: the address answers from when the first server serves.

use std::path::Path;

use futures_util::future::try_join_all;
use serde::Serialize;

use crate::artifact::{Access, Bundle};
use crate::environment::{Environment, LoadBalancer, LoadBalancerKind, NodeName, Role};
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::{Digest, Inputs};
use crate::load_balancer::Peer;
use crate::node::quote;
use crate::rke2::DATA_DIR;
use crate::stages::Context;
use crate::stages::cluster::{CLUSTER, Cluster};
use crate::workspace::{RealDisk, make_dir, write_atomic};

const POD: &str = include_str!("kube_vip.tera");

/// Tells who has the address `$1`: `held` where this machine has it, `answers` where somebody else does. What answers no
/// ping may still answer ARP.
const WHO_HAS: &str = r#"
if ip -o -4 addr show | grep -qF " $1/"; then echo held; exit 0; fi
if ping -c 2 -W 1 -q "$1" >/dev/null 2>&1; then echo answers; exit 0; fi
if ip -4 neigh show "$1" | grep -q lladdr; then echo answers; fi
exit 0"#;

/// What the template is told; each a YAML string.
#[derive(Serialize)]
struct Told {
    image: String,
    address: String,
    interface: Option<String>,
    bgp: Option<ToldBgp>,
}

#[derive(Serialize)]
struct ToldBgp {
    /// The server's own address: no two may have the same.
    router: String,
    number: String,
    peers: String,
}

/// Where the address is that each server has.
const LOOPBACK: &str = "lo";

/// The static pod of the server at `own`; `None` where another kind of address is wanted.
///
/// # Errors
/// A bug: a template that names something that it is not told.
pub fn pod(balancer: &LoadBalancer, own: &str) -> Result<Option<String>, Failure> {
    let (LoadBalancerKind::KubeVip, Some(address), Some(image)) = (balancer.kind, &balancer.address, &balancer.image)
    else {
        return Ok(None);
    };
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    // As the archive names it: a digest is known to registries only.
    let image = quoted(image.split('@').next().unwrap_or(image));
    let bgp = balancer.bgp.as_ref().map(|bgp| ToldBgp {
        router: quoted(own),
        number: quoted(&bgp.number.to_string()),
        peers: quoted(&bgp.peers.iter().map(peer).collect::<Vec<_>>().join(",")),
    });
    let interface = balancer.interface.as_deref().or(bgp.as_ref().map(|_| LOOPBACK)).map(quoted);
    let told = Told { image, address: quoted(address), interface, bgp };
    tera::Context::from_serialize(&told)
        .and_then(|told| tera::Tera::one_off(POD, &told, false))
        .map(Some)
        .map_err(|error| Failure::bug("the pod of kube-vip cannot be written").because(error))
}

/// `ADDRESS:AS:PASSWORD:MULTIHOP`, as kube-vip reads it (0.9, `ParseBGPPeerConfig`).
fn peer(peer: &Peer) -> String {
    format!("{}:{}::{}", peer.address, peer.number, peer.multihop)
}

/// What of the address that is passed on is part of a server's fingerprint.
pub fn share(inputs: Inputs, env: &Environment) -> Inputs {
    match env.load_balancer.kind {
        LoadBalancerKind::KubeVip => inputs.value("load_balancer", &env.load_balancer),
        LoadBalancerKind::Nlb | LoadBalancerKind::External | LoadBalancerKind::None => inputs,
    }
}

/// Brings a server kube-vip's image and its pod, before the server starts.
pub async fn place(node: &NodeName, access: &Access, bundle: &Bundle, cx: &Context<'_>) -> Result<(), Failure> {
    let Some(pod) = pod(&cx.env.load_balancer, &access.reach(node)?.address)? else { return Ok(()) };
    let connection = cx.connections.get(node, access).await?;
    let agent = Path::new(DATA_DIR).join("agent");
    for (name, file) in &bundle.images {
        let local = cx.workspace.release(&bundle.version).join(name);
        connection.put(&local, &agent.join("images").join(name), 0o644, &file.sha256).await?;
    }
    // No tool may have written there yet.
    let run = cx.state.run(cx.run);
    make_dir(&RealDisk, &run, 0o700)?;
    let local = run.join("kube-vip.yaml");
    write_atomic(&local, pod.as_bytes(), 0o600)?;
    let beside = agent.join("kube-vip.yaml");
    connection.put(&local, &beside, 0o600, &Digest::of(pod.as_bytes())).await?;
    // The kubelet reads whatever lies there, a half of a file too.
    let script = format!(
        "set -eu; cd {}; mkdir -p -m 0700 pod-manifests; cmp -s kube-vip.yaml pod-manifests/kube-vip.yaml && exit 0\n\
         cp -p kube-vip.yaml pod-manifests/.kube-vip; mv pod-manifests/.kube-vip pod-manifests/kube-vip.yaml",
        quote(&agent.to_string_lossy()),
    );
    let output = connection.run(&script, true).await?;
    if output.code == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Tool, format!("kube-vip cannot be placed on `{node}`")).because(output.stderr.trim()))
}

/// Looks whether the address may become ours: nobody has it, or a server of the cluster that was formed.
///
/// # Errors
/// Exit 6: somebody else has it.
pub async fn free(address: &str, access: &Access, cx: &Context<'_>) -> Result<(), Failure> {
    let servers = access.nodes.iter().filter(|(_, reach)| reach.role == Some(Role::Server));
    let asked = servers.map(async |(node, _)| {
        let connection = cx.connections.get(node, access).await?;
        let said =
            connection.ask("looking who has the address", &format!("set -- {}{WHO_HAS}", quote(address))).await?;
        Ok::<_, Failure>((node.clone(), said.trim().to_owned()))
    });
    let said = try_join_all(asked).await?;
    let is_formed = cx.fact::<Cluster>(CLUSTER)?.is_some();
    conflict(address, &said, is_formed).map_or(Ok(()), Err)
}

fn conflict(address: &str, said: &[(NodeName, String)], is_formed: bool) -> Option<Failure> {
    let first = |word: &str| said.iter().find(|(_, said)| said == word).map(|(node, _)| node);
    let why = match (first("held"), first("answers")) {
        (Some(_), _) if is_formed => return None,
        (Some(node), _) => format!("`{node}` has it on an interface, and no cluster of ours gave it one"),
        (None, Some(node)) => format!("it answers `{node}`, and no server has it"),
        (None, None) => return None,
    };
    Some(
        Failure::new(Exit::Platform, format!("`{address}` is somebody's already"))
            .class(Class::NeedsPerson)
            .because(why)
            .hint("set `load_balancer.address` to a free address of the servers' network"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_balancer::Bgp;

    fn balancer(interface: Option<&str>) -> LoadBalancer {
        LoadBalancer {
            kind: LoadBalancerKind::KubeVip,
            address: Some("10.20.9.2".to_owned()),
            image: Some(format!("ghcr.io/kube-vip/kube-vip:v0.9.1@sha256:{}", "a".repeat(64))),
            interface: interface.map(str::to_owned),
            bgp: None,
        }
    }

    #[test]
    fn the_pod_names_the_image_as_its_archive_does_and_an_interface_only_where_one_is_asked_for() {
        let pod = |interface| pod(&balancer(interface), "10.20.1.11").expect("text").expect("a pod");

        assert!(pod(None).contains("image: \"ghcr.io/kube-vip/kube-vip:v0.9.1\"\n"), "{}", pod(None));
        assert!(pod(None).contains("{name: address, value: \"10.20.9.2\"}") && !pod(None).contains("vip_interface"));
        assert!(pod(Some("bond0")).contains("\"32\"}\n        - {name: vip_interface, value: \"bond0\"}\n"));
    }

    #[test]
    fn each_server_tells_the_routers_of_itself_and_answers_no_arp_for_the_address() {
        let peer = |address: &str, multihop| Peer { address: address.to_owned(), number: 64512, multihop };
        let bgp = Bgp { number: 64513, peers: vec![peer("10.20.0.1", false), peer("10.30.0.1", true)] };

        let pod = pod(&LoadBalancer { bgp: Some(bgp), ..balancer(None) }, "10.20.1.11").expect("text").expect("a pod");

        for line in [
            "{name: vip_interface, value: \"lo\"}",
            "{name: bgp_enable, value: \"true\"}",
            "{name: bgp_routerid, value: \"10.20.1.11\"}",
            "{name: bgp_as, value: \"64513\"}",
            "{name: bgp_peers, value: \"10.20.0.1:64512::false,10.30.0.1:64512::true\"}",
        ] {
            assert!(pod.contains(line), "{line} is not in {pod}");
        }
        assert!(!pod.contains("vip_arp") && !pod.contains("leaderelection"), "{pod}");
    }

    #[test]
    fn an_address_that_somebody_has_is_refused_and_one_of_our_own_cluster_is_not() {
        let said = |one: &str, two: &str| {
            [("server-1", one), ("server-2", two)].map(|(node, said)| (NodeName(node.to_owned()), said.to_owned()))
        };
        let cause =
            |said: &[_], is_formed| conflict("10.20.9.2", said, is_formed).map(|failure| failure.causes().concat());

        assert_eq!(cause(&said("", ""), false), None);
        assert_eq!(cause(&said("held", "answers"), true), None);
        let foreign = cause(&said("", "answers"), true);
        assert_eq!(foreign.as_deref(), Some("it answers `server-2`, and no server has it"));
        let early = cause(&said("held", "answers"), false);
        assert_eq!(early.as_deref(), Some("`server-1` has it on an interface, and no cluster of ours gave it one"));
    }
}
