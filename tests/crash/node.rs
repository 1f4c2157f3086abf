//! What a machine of the world answers to the program's scripts, told apart by their words.
//!
//! The way there is real: `ssh` to a real sshd, which runs this instead of the shell that it was asked for.

use std::io::Read;

use serde_json::{Value, json};

use crate::cluster::{VERSION, ca_digest};
use crate::wire::ask;
use crate::world::World;

/// The role `node`: passes the script on to the world and says what it answers.
pub fn main() -> u8 {
    let mut script = String::new();
    std::io::stdin().read_to_string(&mut script).expect("a script");
    let connection = std::env::var("SSH_CONNECTION").unwrap_or_default();
    let address = connection.split(' ').nth(2).unwrap_or_default();
    match ask(&json!({ "do": "script", "address": address, "script": script })) {
        Ok(said) => {
            print!("{}", said.as_str().unwrap_or_default());
            0
        }
        Err(why) => {
            eprintln!("{why}");
            1
        }
    }
}

/// What the machine at this address says to a script.
pub fn answer(world: &World, address: &str, script: &str) -> Result<Value, String> {
    let (id, machine) = world.at(address).ok_or_else(|| format!("no machine has the address {address}"))?;
    let node = machine.tags.get("sre:node").map_or("", String::as_str);
    let said = if script.contains("echo manifest=") {
        image(world, &machine.more["image"])
    } else if script.contains("cloud-init status --wait") {
        "done\n".to_owned()
    } else if script.contains("@sre-begin node") {
        census(world, node, id)
    } else if script.contains("echo @unit") {
        gate(world, node, id)
    } else if script.contains("echo @members") {
        format!(
            "@members\n{}\n@nodes\n{}\n@passwords\n{}\n",
            world.cluster.etcd(),
            world.cluster.nodes(),
            world.cluster.passwords()
        )
    } else if script.contains("/v3/cluster/member/remove") || script.contains(" delete ") || script.contains("mv ") {
        // What is mended shows in what joins then: the world has one member for each name.
        String::new()
    } else if script.contains("systemctl stop rke2-server") || script.contains("@way ") {
        String::new()
    } else if script.contains("@sre-file ") {
        world.cluster.configuration(node)
    } else if script.contains("/v3/cluster/member/list") {
        world.cluster.etcd().to_string()
    } else if script.contains("server/token") {
        format!("K10{}::server:password\n", ca_digest())
    } else if script.contains("rke2.yaml") {
        std::fs::read_to_string(crate::lane::kept("kubeconfig")).map_err(|error| error.to_string())?
    } else {
        return Err(format!("nobody wrote an answer to this script:\n{script}"));
    };
    Ok(json!(said))
}

fn image(world: &World, id: &Value) -> String {
    let image = id.as_str().and_then(|id| world.things.get(id));
    let tag = |name: &str| image.and_then(|image| image.tags.get(name)).cloned().unwrap_or_default();
    let manifest = json!({ "fingerprint": tag("sre:fingerprint") });
    format!("cloud-init=done\nfips=0\nrke2={}\njoined=0\nmanifest={manifest}\n", tag("sre:rke2"))
}

fn census(world: &World, node: &str, machine: &str) -> String {
    let member = world.cluster.member(node, machine);
    let mut rke2 = String::new();
    for role in ["server", "agent"] {
        let is_its = member.is_some_and(|member| member.role == role);
        let activity = if is_its && !world.cluster.is_stopped(node) { "active" } else { "inactive" };
        let enabled = if is_its { "enabled" } else { "disabled" };
        rke2.push_str(&format!(
            "rke2-{role}.LoadState=loaded\nrke2-{role}.ActiveState={activity}\nrke2-{role}.UnitFileState={enabled}\nrke2-{role}.NRestarts=0\n"
        ));
    }
    if let Some(member) = member {
        rke2.push_str(&format!("running={VERSION}\n"));
        if member.role == "server" {
            let (members, ca) = (world.cluster.etcd(), ca_digest());
            let ca = world.cluster.ca_of(node).unwrap_or(ca);
            rke2.push_str(&format!("store=yes\nmember={node}-1f2e3d4c\nca={ca}\netcd={members}\n"));
        }
        rke2.push_str("password=yes\n");
    }
    let part = |name: &str, text: &str| format!("@sre-begin {name}\n{text}\n\n@sre-end 0\n");
    part("node", &format!("boot\n{node}\n100000000")) + &part("rke2", &rke2) + &part("compliance", &world.setting(node))
}

fn gate(world: &World, node: &str, machine: &str) -> String {
    if let Some(journal) = world.cluster.rejection(node) {
        return format!("@unit\nActiveState=activating\nNRestarts=3\n\n@journal\n{journal}\n");
    }
    let runs = world.cluster.member(node, machine).is_some() && !world.cluster.is_stopped(node);
    let Some(object) = world.cluster.node(node).filter(|_| runs) else {
        return "@unit\nActiveState=inactive\nNRestarts=0\n\n@journal\n".to_owned();
    };
    format!(
        "@unit\nActiveState=active\nNRestarts=0\nInactiveExitTimestamp=Sat 2026-11-21 15:49:12.500000 UTC\n\
         ActiveEnterTimestamp=Sat 2026-11-21 15:49:58.250000 UTC\n\n@readyz\nok\n@node\n{object}\n@etcd\n{}\n\
         @journal\n",
        world.cluster.etcd()
    )
}
