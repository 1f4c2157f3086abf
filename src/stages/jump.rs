//! The jump machine that was there before: named by the file, and the way to images built in a private network.

use serde_json::{Value, json};

use crate::artifact::Reach;
use crate::cloud::BuildNetwork;
use crate::environment::{Jump, Via};
use crate::failure::{Exit, Failure};
use crate::stages::Context;

/// A jump machine that was there before: its host key is in the file. It has no id; its key is pinned under its name as
/// OpenSSH looks it up, so that Ansible finds it while an image is built.
pub fn named_jump(jump: &Jump) -> Option<Reach> {
    let host = jump.host.clone()?;
    let name = host.to_ascii_lowercase();
    Some(Reach {
        machine: if jump.port == 22 { name } else { format!("[{name}]:{}", jump.port) },
        role: None,
        address: host,
        port: jump.port,
        user: jump.user.clone(),
        host_keys: vec![jump.host_key.clone()?],
        jump: None,
    })
}

/// The jump machine to a network that was there before; the environment's own does not exist yet. A network of the
/// build's own is public and needs none.
pub fn to(cx: &Context<'_>, network: &BuildNetwork) -> Result<Option<Reach>, Failure> {
    if cx.env.access.via == Via::Direct || network.public {
        return Ok(None);
    }
    cx.env.access.jump.as_ref().and_then(named_jump).map(Some).ok_or_else(|| {
        Failure::new(Exit::Environment, "images are built in a private subnet, and no jump machine leads there")
            .hint("name one with `access.jump.host` and `access.jump.host_key`, or leave out `image.build`")
    })
}

/// The jump machine as Packer takes it, proven to be there; opening it has written the files that are named here.
pub async fn bastion(cx: &Context<'_>, network: &BuildNetwork) -> Result<Value, Failure> {
    let Some(jump) = to(cx, network)? else { return Ok(Value::Null) };
    cx.connections.open_jump(&jump).await?;
    Ok(json!({
        "host": jump.address,
        "port": jump.port,
        "username": jump.user,
        "private_key_file": cx.connections.jump_identity_path(),
        "known_hosts_file": cx.connections.known_hosts_path(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jump(port: u16) -> Jump {
        Jump {
            host: Some("Bastion.example".to_owned()),
            user: "ops".to_owned(),
            port,
            host_key: Some("ecdsa-sha2-nistp256 AAAA".to_owned()),
            key: None,
        }
    }

    #[test]
    fn a_jump_machine_of_the_file_is_pinned_under_its_name_as_openssh_looks_it_up() {
        let machine = |port| named_jump(&jump(port)).map(|reach| reach.machine);

        assert_eq!(machine(22).as_deref(), Some("bastion.example"));
        assert_eq!(machine(2222).as_deref(), Some("[bastion.example]:2222"));
    }
}
