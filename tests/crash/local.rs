//! What of a world concerns one stage, so that a kill in it need not be tried again because another stage is further.

use serde_json::{Value, json};
use sre_provision::artifact::Kind;
use sre_provision::fingerprint::Digest;

use crate::judge::Seen;

/// What a point has to do with which stage; nothing where it concerns the run as a whole.
pub fn stage_of(point: &str) -> Option<Kind> {
    let about = point.split_once('[').map_or(point, |(_, about)| about);
    let named = Kind::ALL.into_iter().find(|kind| about.contains(kind.name()));
    let signs: [(&str, Kind); 13] = [
        ("server-", Kind::Servers),
        ("[base]", Kind::BaseImage),
        (" base", Kind::BaseImage),
        ("[node]", Kind::NodeImage),
        (" node", Kind::NodeImage),
        ("aws_vpc", Kind::Network),
        ("aws_subnet", Kind::Network),
        ("aws_lb", Kind::LoadBalancer),
        ("aws_instance", Kind::Nodes),
        ("general-", Kind::Agents),
        ("c-/", Kind::Access),
        ("linux-amd64", Kind::Bundle),
        ("cloud.", Kind::Servers),
    ];
    named.or_else(|| signs.into_iter().find(|(sign, _)| point.contains(sign)).map(|(_, kind)| kind))
}

/// A digest over what a stage finds: its part of the journal, its files, and its things.
pub fn part(seen: &Seen, stage: Option<Kind>) -> Digest {
    let Some(kind) = stage else { return Digest::of_value(&(seen.journal.is_null(), &seen.journal["ended"])) };
    let name = kind.name();
    let of = |value: &Value, is_its: &dyn Fn(&str) -> bool| -> Value {
        let members = value.as_object().into_iter().flatten().filter(|(name, _)| is_its(name));
        members.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let begins = |other: &str| other.split('/').next() == Some(name);
    let files: Vec<&String> = seen.files.iter().filter(|file| file.contains(name)).collect();
    let children = seen.journal["children"].as_array().into_iter().flatten();
    let children: Vec<&Value> =
        children.filter(|slot| slot.as_str().is_some_and(|slot| slot.starts_with(name))).collect();
    Digest::of_value(&json!({
        "stage": seen.journal["stages"][name],
        "steps": of(&seen.journal["steps"], &begins),
        "facts": of(&seen.journal["facts"], &|fact| fact.contains(name)),
        "children": children,
        "files": files,
        "things": of(&seen.world["things"], &|id| is_thing_of(kind, id)),
        "members": of(&seen.world["members"], &|node| node.starts_with("server-") == (kind == Kind::Servers)),
        "targets": of(&seen.world["targets"], &|_| matches!(kind, Kind::Servers | Kind::Agents)),
    }))
}

fn is_thing_of(kind: Kind, id: &str) -> bool {
    match kind {
        Kind::BaseImage => id.contains("-base"),
        Kind::NodeImage => id.contains("-node"),
        Kind::Network => ["vpc-1", "subnet-private", "subnet-balancer"].iter().any(|own| id.starts_with(own)),
        Kind::LoadBalancer => ["lb-", "tg-", "listener-"].iter().any(|own| id.starts_with(own)),
        Kind::Nodes => id.starts_with("i-server") || id.starts_with("i-general"),
        Kind::Bundle | Kind::Access | Kind::Hardening | Kind::Servers | Kind::Agents | Kind::Health => false,
    }
}

/// Whether a kill there differs from one at the next point: between these and the next one nothing happens but that
/// content or a name is made durable, and to a process that is killed, unlike to a machine that loses power, it is the
/// same before and after.
pub fn is_own_place(point: &str) -> bool {
    !["write.before-sync", "write.before-directory-sync", "publish.before-directory-sync", "incoming.before-sync"]
        .iter()
        .any(|same| point.starts_with(same))
}

/// Whether a second kill there can show what one at its neighbours cannot.
pub fn is_telling(point: &str) -> bool {
    !["before-sync", ".after[", "before-directory-sync", "supervisor.detached", "child.before-spool"]
        .iter()
        .any(|dull| point.contains(dull))
}
