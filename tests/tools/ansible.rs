//! Ansible: what came of each host, why a play could not begin, and that a stop ends it between two tasks.

use std::path::Path;

use serde_json::json;
use sre_provision::artifact::Kind;
use sre_provision::environment::NodeName;
use sre_provision::failure::Exit;
use sre_provision::tools::ansible::{self, Play};

use crate::World;
use crate::notes::until;

fn playbook(world: &World, name: &str, text: &str) -> Play {
    let home = world.path("ansible");
    std::fs::create_dir_all(home.join("roles")).expect("a directory");
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible");
    std::fs::create_dir_all(home.join("callback_plugins")).expect("a directory");
    let plugin = "callback_plugins/sre_events.py";
    std::fs::copy(ours.join(plugin), home.join(plugin)).expect("the plugin");
    std::fs::write(home.join("ansible.cfg"), "[defaults]\n").expect("a configuration");
    std::fs::write(home.join("site.yml"), text).expect("a playbook");
    let host = json!({ "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3" });
    let inventory = json!({ "all": { "hosts": { "server-1": host, "server-2": host } } });
    std::fs::write(world.path("hosts.json"), inventory.to_string()).expect("an inventory");
    Play {
        name: name.to_owned(),
        playbook: home.join("site.yml"),
        inventory: world.path("hosts.json"),
        limit: vec![NodeName("server-1".to_owned()), NodeName("server-2".to_owned())],
        vars: json!({ "greeting": "hello", "dir": world.dir.path() }),
        secret_files: vec![],
        ssh_args: String::new(),
        check: false,
    }
}

#[tokio::test]
async fn ansible_tells_each_host_apart() {
    let world = World::new();
    let text = r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: Say it
      ansible.builtin.command: "echo {{ greeting }}"
      changed_when: true
    - name: Fail on one
      ansible.builtin.fail:
        msg: no room left
      when: inventory_hostname == 'server-2'
"#;

    let played = ansible::play(&world.cx(Kind::Hardening), &playbook(&world, "play", text)).await.expect("played");

    assert_eq!(played.hosts["server-1"].changed, 1);
    assert!(!played.hosts["server-1"].failed);
    assert_eq!(played.broken().into_iter().collect::<Vec<_>>(), [("server-2", "task `Fail on one`: no room left")]);
}

#[tokio::test]
async fn a_play_that_cannot_begin_says_why_and_a_template_is_refused() {
    let world = World::new();
    let cx = world.cx(Kind::Hardening);
    let broken = playbook(&world, "play", "- hosts: all\n  no_such_key: 1\n");
    let sly = Play { vars: json!({ "a": "{{ lookup('pipe', 'id') }}" }), ..broken.clone() };

    let failure = ansible::play(&cx, &broken).await.expect_err("broken");
    let refused = ansible::play(&cx, &sly).await.expect_err("refused");

    assert_eq!(failure.exit(), Exit::Tool);
    assert!(failure.causes()[0].contains("'no_such_key' is not a valid attribute for a Play"), "{failure}");
    assert_eq!(refused.what(), "`a` holds `{{`, which Ansible would evaluate");
}

#[tokio::test]
async fn a_stop_ends_a_play_between_two_tasks() {
    let world = World::new();
    let text = r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: Wait
      ansible.builtin.shell: "touch {{ dir }}/begun; while [ ! -e {{ dir }}/go ]; do sleep 0.05; done; touch {{ dir }}/waited"
      changed_when: false
    - name: Go on
      ansible.builtin.command: "touch {{ dir }}/too-far"
"#;
    let play = playbook(&world, "play", text);
    let (begun, go, stop, spool) = (world.path("begun"), world.path("go"), world.stop.clone(), world.spool.clone());
    let stops = tokio::task::spawn_blocking(move || {
        until("the play has begun", || begun.exists());
        stop.raise();
        let asked =
            || std::fs::read_dir(&spool).expect("spool").flatten().any(|child| child.path().join("stop").exists());
        until("the play is asked to stop", asked);
        std::fs::write(go, "").expect("go");
    });

    let cx = world.cx(Kind::Hardening);
    let (played, stopped) = tokio::join!(ansible::play(&cx, &play), stops);

    stopped.expect("stopped");
    let failure = played.expect_err("cancelled");
    assert!(failure.is_cancelled(), "{failure}");
    assert_eq!(failure.what(), "ansible-playbook stopped before `Go on`");
    assert!(world.path("waited").exists() && !world.path("too-far").exists());
}
