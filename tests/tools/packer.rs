//! Packer: what it built, why it did not, that a stop cancels it, and that the key it was given does not stay.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use sre_provision::artifact::Kind;
use sre_provision::event::Event;
use sre_provision::failure::Exit;
use sre_provision::fingerprint::Digest;
use sre_provision::tools::packer::{self, Build};

use crate::World;
use crate::notes::until;

const TEMPLATE: &str = r#"
variable "manifest_path" { type = string }
variable "work_dir" { type = string }
variable "ansible_playbook" { type = string }
variable "command" { type = string }
source "null" "rocky9" {
  communicator = "none"
}
build {
  name    = "base"
  sources = ["source.null.rocky9"]
  provisioner "shell-local" {
    inline = ["test -d ${var.work_dir} -a -x ${var.ansible_playbook}", var.command]
  }
  post-processor "manifest" {
    output = var.manifest_path
  }
}
"#;

fn image(world: &World, command: &str) -> Build {
    let template = world.path("packer");
    std::fs::create_dir_all(&template).expect("a directory");
    std::fs::write(template.join("base.pkr.hcl"), TEMPLATE).expect("a template");
    Build {
        template,
        only: "null.rocky9".to_owned(),
        variables: json!({ "command": command }),
        fingerprint: Digest::of(command.as_bytes()),
    }
}

#[tokio::test]
async fn packer_tells_the_id_of_what_it_built() {
    let mut world = World::new();

    let built = packer::build(&world.cx(Kind::BaseImage), &image(&world, "echo 'half, done'")).await.expect("built");

    assert_eq!(built.image_id, "Null");
    let mut said = vec![];
    while let Some(event) = world.received.try_recv() {
        if let Event::Progress { text, .. } = event {
            said.push(text);
        }
    }
    assert!(said.contains(&"half, done".to_owned()), "{said:?}");
}

#[tokio::test]
async fn packer_is_told_from_what_it_says_and_not_given_templates() {
    let world = World::new();
    let cx = world.cx(Kind::BaseImage);

    let failed = packer::build(&cx, &image(&world, "exit 7")).await.expect_err("failed");
    let refused = packer::build(&cx, &image(&world, "echo {{ isotime }}")).await.expect_err("refused");

    assert_eq!(failed.exit(), Exit::Tool);
    assert!(
        failed.what().starts_with("packer stopped after ") && failed.what().ends_with(" with exit code 1"),
        "{failed}"
    );
    assert_eq!(failed.causes(), ["Script exited with non-zero exit status: 7. Allowed exit codes are: [0]"]);
    assert_eq!(refused.what(), "`command` holds `{{`, which Packer would evaluate");
}

#[tokio::test]
async fn a_stop_cancels_packer_at_once() {
    let world = World::new();
    let (begun, stop) = (world.path("begun"), world.stop.clone());
    let build = image(&world, &format!("touch {}; sleep 60", world.path("begun").display()));
    let stops = tokio::task::spawn_blocking(move || {
        until("the build has begun", || begun.exists());
        stop.raise();
    });

    let (cx, at) = (world.cx(Kind::BaseImage), std::time::Instant::now());
    let (built, stopped) = tokio::join!(packer::build(&cx, &build), stops);

    stopped.expect("stopped");
    let failure = built.expect_err("cancelled");
    assert!(failure.is_cancelled(), "{failure}");
    assert!(at.elapsed().as_secs() < 30, "{:?}", at.elapsed());
}

/// In place of ansible-playbook: tells where the private key lies, what it is and in how many environments it stands, and
/// kills the script that wrote it.
const DEADLY: &str = r#"#!/bin/bash
while [ "$1" != --private-key ]; do shift; done
seen=$(cat "/proc/$PPID/environ" /proc/self/environ | grep -ac s3cr3t)
printf '%s\n' "$2" "$(cat "$2")" "$ANSIBLE_SSH_CONTROL_PATH_DIR" "$seen" >"${0%/*}/told"
kill -9 "$PPID"
"#;

#[tokio::test]
async fn the_key_of_a_build_goes_with_its_child_also_when_the_script_that_wrote_it_was_killed() {
    let world = World::new();
    let (script, playbook, host_key) = (asset("packer/ansible.sh"), world.path("playbook"), world.path("host_key.pub"));
    std::fs::write(&playbook, DEADLY).expect("written");
    std::fs::set_permissions(&playbook, Permissions::from_mode(0o755)).expect("mode");
    std::fs::write(&host_key, "ecdsa-sha2-nistp256 AAAA\n").expect("written");
    let command = format!(
        "echo s3cr3t | SRE_HOST=192.0.2.1 SRE_PORT=22 SRE_USER=rocky SRE_BASTION=null SRE_VARS='{{}}' SRE_VARS_FILE= \
         SRE_HOST_KEY_FILE={} SRE_ANSIBLE_DIR=/nowhere SRE_ANSIBLE_PLAYBOOK={} {} base.yml",
        host_key.display(),
        playbook.display(),
        script.display(),
    );

    let failure = packer::build(&world.cx(Kind::BaseImage), &image(&world, &command)).await.expect_err("killed");

    assert!(failure.causes()[0].contains("exit status: 137"), "{failure}");
    let told = std::fs::read_to_string(world.path("told")).expect("the playbook was run");
    let [key, value, sockets, seen] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
    assert_eq!((value, seen), ("s3cr3t", "0"));
    assert!(Path::new(key).starts_with(&world.spool) && !Path::new(key).exists(), "{key}");
    assert_eq!(std::fs::read_dir(&world.spool).expect("the spool").count(), 0);
    // SSH's socket with the name that Ansible gives it and the end that SSH adds while it makes it.
    let below = Path::new(sockets).strip_prefix(&world.spool).expect("below the spool");
    let socket = Path::new("/dev/shm/sre-provision-4294967294").join(below).join("0123456789.0123456789abcdef");
    assert!(socket.as_os_str().len() <= 107, "{}", socket.display());
}

fn asset(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
