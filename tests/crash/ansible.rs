//! Scripted Ansible: reads what the play is told as the roles would, starts RKE2 on each node, and tells of it in the
//! lines of the callback plugin.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::wire::{ask, pass, text};

pub fn main(args: &[String]) -> u8 {
    if args == ["--version"] {
        println!("ansible-playbook [core 2.21.5]");
        return 0;
    }
    let after =
        |name: &str| args.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1].clone()).collect::<Vec<_>>();
    let told = after("--extra-vars");
    let mut vars = json!({});
    for file in told.iter().map(|file| file.trim_start_matches('@')) {
        let more: Value = serde_json::from_slice(&std::fs::read(file).expect("variables")).expect("JSON");
        vars.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    }
    let book = args.last().map(Path::new).and_then(Path::file_stem).expect("a playbook");
    let stage = book.to_str().expect("UTF-8");
    let token = |name: &str| std::fs::read_to_string(text(&vars, name)).unwrap_or_default();
    let mut events = Events::open();
    let task = if stage == "hardening" { "Apply the profile" } else { "Start RKE2" };
    events.tell(&json!({ "event": "task_start", "task": task }));
    let mut counts = serde_json::Map::new();
    for node in after("--limit").concat().split(',') {
        pass(&format!("ansible.before {node}"));
        let told = json!({
            "do": "play", "stage": stage, "node": node, "init": vars["rke2_cluster_init"] == true, "join": vars["rke2_join_address"],
            "token": token("rke2_token_file"), "agent_token": token("rke2_agent_token_file"),
        });
        let (status, said) = match ask(&told) {
            Ok(_) => ("changed", json!({})),
            Err(why) => ("failed", json!({ "msg": why })),
        };
        pass(&format!("ansible.after {node}"));
        events.tell(&json!({ "event": "host", "host": node, "task": task, "status": status, "result": said }));
        counts.insert(
            node.to_owned(),
            json!({ "ok": 1, "changed": 1, "failures": u8::from(status == "failed"), "unreachable": 0 }),
        );
    }
    events.tell(&json!({ "event": "stats", "hosts": counts }));
    pass(&format!("ansible.told {stage}"));
    0
}

struct Events(std::fs::File);

impl Events {
    fn open() -> Self {
        let path = std::env::var_os("SRE_EVENTS_FILE").expect("SRE_EVENTS_FILE");
        Self(std::fs::OpenOptions::new().append(true).create(true).open(path).expect("the events"))
    }

    fn tell(&mut self, line: &Value) {
        writeln!(self.0, "{line}").expect("told");
    }
}
