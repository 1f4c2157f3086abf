//! The driver's hold on a lane.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::disturbance::Disturbance;
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
        let crash = crash.map(str::to_owned);
        self.carry_out(Run { environment: environment.to_owned(), command: command.to_owned(), more: vec![], crash })
    }

    /// As [`run`](Self::run), undisturbed, and told as programs are told.
    pub fn run_for_programs(&mut self, environment: &str, command: &str) -> Ran {
        let more = vec!["--output".to_owned(), "json".to_owned()];
        self.carry_out(Run { environment: environment.to_owned(), command: command.to_owned(), more, crash: None })
    }

    fn carry_out(&mut self, run: Run) -> Ran {
        serde_json::from_value(self.order(&Order::Run(run))).expect("a run")
    }

    /// What is up is another environment from now on; `environment` is worked at.
    pub fn put_beside(&mut self, environment: &str) {
        self.order(&Order::Beside { environment: environment.to_owned() });
    }

    /// All that there is of the other environment, and what there is besides.
    pub fn look_beside(&mut self) -> Value {
        self.order(&Order::LookBeside)
    }

    pub fn disturb(&mut self, disturbance: Disturbance) {
        self.order(&Order::Disturb(disturbance));
    }

    pub fn show_host_key(&mut self, file: &str) {
        self.order(&Order::HostKey { file: file.to_owned() });
    }

    pub fn write(&mut self, path: &str, text: Option<&str>) {
        self.order(&Order::Write { path: path.into(), text: text.map(str::to_owned) });
    }

    /// What a file of the workspace holds, and its mode.
    pub fn read(&mut self, path: &str) -> (Option<String>, u32) {
        let mut told = self.order(&Order::Read { path: path.into() });
        (told["text"].take().as_str().map(str::to_owned), told["mode"].as_u64().map_or(0, |mode| mode as u32))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // It ends when nobody has orders any more; what it used is counted to us then.
        drop(self.lane.stdin.take());
        let _ = self.lane.wait();
    }
}
