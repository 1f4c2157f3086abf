//! The driver's hold on a lane.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::lane::{Order, Ran, Run};

/// What a lane's first process does before it is one: memory and a loopback of its own.
///
/// sshd starts root's shell, which would read the settings of whoever runs this.
const BEGIN: &str = r#"mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount -t tmpfs tmpfs /run && ip link set lo up &&
{ [ ! -e ~/.bashrc ] || mount --bind /dev/null ~/.bashrc; } && exec "$@""#;

/// A lane; ends with all that runs in it when it is dropped.
pub struct Handle {
    lane: Child,
    answers: BufReader<ChildStdout>,
}

impl Handle {
    pub fn start(kept: &Path) -> Self {
        let mut lane = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", BEGIN, "sh"])
            .arg(std::env::current_exe().expect("this program"))
            .arg("lane")
            .arg(kept)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare, from util-linux");
        let answers = BufReader::new(lane.stdout.take().expect("piped"));
        Self { lane, answers }
    }

    fn order(&mut self, order: &Order) -> Value {
        let line = serde_json::to_string(order).expect("JSON");
        writeln!(self.lane.stdin.as_mut().expect("piped"), "{line}").expect("the lane ended");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).expect("the lane ended; its namespaces need root")
    }

    pub fn fresh(&mut self, environment: &str) {
        self.order(&Order::Fresh { environment: environment.to_owned() });
    }

    pub fn save(&mut self, to: &Path) {
        self.order(&Order::Save { to: to.to_owned() });
    }

    pub fn restore(&mut self, from: PathBuf) {
        self.order(&Order::Restore { from });
    }

    pub fn run(&mut self, environment: &str, command: &str, crash: Option<&str>) -> Ran {
        let run =
            Run { environment: environment.to_owned(), command: command.to_owned(), crash: crash.map(str::to_owned) };
        serde_json::from_value(self.order(&Order::Run(run))).expect("a run")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // It ends when nobody has orders any more; what it used is counted to us then.
        drop(self.lane.stdin.take());
        let _ = self.lane.wait();
    }
}
