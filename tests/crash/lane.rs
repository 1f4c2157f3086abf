//! A lane: the first process of namespaces of its own, which holds one world at a time and runs the program in it.
//!
//! Network, memory file systems and processes are the lane's alone, so that every world has the same paths and addresses,
//! a port 22 and a port 6443, and nothing of a killed run is left when the next world begins.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sre_provision::crash::KILLED;

use crate::disturbance::Disturbance;
use crate::judge::{self, Seen};
use crate::tree;
use crate::wire::{SHM, SOCKET, WORKSPACE};
use crate::world::World;

/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const RECORD: &str = "/dev/shm/record";
/// A point that begins so is no point but a fault of the disk: `disk=once:17`.
pub const DISK: &str = "disk=";

/// What a lane is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// A world in which nothing was done yet.
    Fresh {
        environment: String,
    },
    Save {
        to: PathBuf,
    },
    Restore {
        from: PathBuf,
    },
    /// What is up is another environment from now on, and this one is worked at.
    Beside {
        environment: String,
    },
    /// All that there is of the other environment.
    LookBeside,
    Disturb(Disturbance),
    /// All machines show this one of the driver's keys from now on.
    HostKey {
        file: String,
    },
    /// A file of the workspace gets this text, or goes.
    Write {
        path: PathBuf,
        text: Option<String>,
    },
    /// What a file of the workspace holds, and its mode.
    Read {
        path: PathBuf,
    },
    Run(Run),
}

/// One start of the program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    pub environment: String,
    /// `up` or `down`, which are told not to ask, or one that never does.
    pub command: String,
    /// Further words.
    pub more: Vec<String>,
    /// Where it, a supervisor or a tool is to end.
    pub crash: Option<String>,
}

/// What came of a run, seen when everything that it left running had ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// Nothing when a signal ended it.
    pub code: Option<i32>,
    pub points: Vec<String>,
    /// Whether the program, a supervisor or a tool ended where it was to.
    pub killed: bool,
    pub said: String,
    pub seen: Seen,
    pub millis: u64,
}

static KEPT: OnceLock<PathBuf> = OnceLock::new();

/// A file that the driver made for all lanes.
pub fn kept(name: &str) -> PathBuf {
    KEPT.get().expect("a lane").join(name)
}

/// The key that every machine shows; without the comment.
pub fn host_key() -> String {
    let text = std::fs::read_to_string(kept("host.pub")).expect("made by the driver");
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Lets the owner of this key in.
pub fn admit(key: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(in_memory("keys")).expect("keys");
    writeln!(file, "{key}").expect("written");
}

/// Whoever connects to this address of the world hears at once that nobody is there.
pub fn silence(address: &str) {
    route("add", address);
}

pub fn speak(address: &str) {
    route("delete", address);
}

/// Before the route by which every such address is this machine's own.
fn route(verb: &str, address: &str) {
    let status = Command::new("ip").args(["route", verb, "unreachable", address, "table", "local"]).status();
    assert!(status.expect("ip, from iproute2").success(), "{verb} {address}");
}

fn in_memory(name: &str) -> PathBuf {
    Path::new(SHM).join(name)
}

/// The role `lane`: one order a line, one answer a line.
pub fn main(dir: &str) -> u8 {
    KEPT.set(dir.into()).expect("once");
    std::fs::create_dir_all("/run/sshd").expect("sshd's own directory");
    let world = Arc::new(Mutex::new(World::default()));
    serve(world.clone());
    crate::kube::serve(world.clone());
    let mut lane = Lane { world, sshd: None };
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let order: Order = serde_json::from_str(&line).expect("an order");
        let answer = lane.carry_out(order);
        // Without a driver there is nothing more to do.
        if writeln!(std::io::stdout(), "{answer}").is_err() {
            break;
        }
    }
    lane.clear();
    0
}

struct Lane {
    world: Arc<Mutex<World>>,
    sshd: Option<Child>,
}

impl Lane {
    fn carry_out(&mut self, order: Order) -> Value {
        match order {
            Order::Fresh { environment } => {
                self.clear();
                crate::setting::lay_out(&environment);
                self.listen("host");
                Value::Null
            }
            Order::Save { to } => {
                tree::copy(Path::new(SHM), &to.join("memory"));
                let world = serde_json::to_vec(&*self.world.lock().expect("alone")).expect("JSON");
                std::fs::write(to.join("world.json"), world).expect("written");
                Value::Null
            }
            Order::Restore { from } => {
                self.clear();
                tree::copy(&from.join("memory"), Path::new(SHM));
                let world = std::fs::read(from.join("world.json")).expect("saved");
                let world: World = serde_json::from_slice(&world).expect("a world");
                world.silent.iter().for_each(|address| silence(address));
                *self.world.lock().expect("alone") = world;
                self.listen("host");
                Value::Null
            }
            Order::Beside { environment } => {
                self.world.lock().expect("alone").put_beside();
                crate::setting::lay_out(&environment);
                Value::Null
            }
            Order::LookBeside => self.world.lock().expect("alone").seen_beside(),
            Order::Disturb(disturbance) => {
                self.world.lock().expect("alone").disturb(disturbance);
                Value::Null
            }
            Order::HostKey { file } => {
                let mut sshd = self.sshd.take().expect("it listens");
                sshd.kill().and_then(|()| sshd.wait()).expect("ended");
                self.listen(&file);
                Value::Null
            }
            Order::Write { path, text } => {
                let path = Path::new(WORKSPACE).join(path);
                match text {
                    Some(text) => std::fs::write(path, text).expect("written"),
                    None => std::fs::remove_file(path).expect("removed"),
                }
                Value::Null
            }
            Order::Read { path } => {
                let path = Path::new(WORKSPACE).join(path);
                let mode = path.metadata().map_or(0, |found| found.permissions().mode() & 0o777);
                json!({ "text": std::fs::read_to_string(path).ok(), "mode": mode })
            }
            Order::Run(run) => json!(self.run(&run)),
        }
    }

    /// Ends every process but this one and empties the memory.
    fn clear(&mut self) {
        self.sshd = None;
        loop {
            let others = processes().into_iter().filter(|(pid, _)| *pid != 1).map(|(pid, _)| pid).collect::<Vec<_>>();
            if others.is_empty() {
                break;
            }
            for pid in others.into_iter().filter_map(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = rustix::process::wait(WaitOptions::empty());
        }
        tree::empty(Path::new(SHM), Path::new(SOCKET));
        crate::intents::forget();
        let left = std::mem::take(&mut *self.world.lock().expect("alone"));
        left.silent.iter().for_each(|address| speak(address));
    }

    fn listen(&mut self, key: &str) {
        let myself = std::env::current_exe().expect("this program");
        let options = [
            "Port 22".to_owned(),
            format!("HostKey {}", kept(key).display()),
            format!("AuthorizedKeysFile {SHM}/keys"),
            format!("ForceCommand exec {} node", myself.display()),
        ];
        let more = ["PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin yes", "PasswordAuthentication no"];
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", "/dev/null"]);
        for option in options.iter().map(String::as_str).chain(more).chain(["MaxStartups 100", "PrintMotd no"]) {
            command.args(["-o", option]);
        }
        let mut sshd = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sshd");
        let mut said = BufReader::new(sshd.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("Server listening") {
            line.clear();
            assert!(said.read_line(&mut line).expect("said") > 0, "sshd ended");
        }
        // It goes on to say who logs in, to nobody.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        self.sshd = Some(sshd);
    }

    #[expect(clippy::zombie_processes, reason = "it is waited for with every other child of the lane")]
    fn run(&mut self, run: &Run) -> Ran {
        let is_of_tool = |point: &&String| ["tofu.", "packer.", "ansible."].iter().any(|tool| point.starts_with(tool));
        self.world.lock().expect("alone").begin(run.crash.clone().filter(|point| is_of_tool(&point)));
        drop(std::fs::remove_file(RECORD));
        let begun = Instant::now();
        let said = std::fs::File::create(in_memory("said")).expect("a file");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", kept("bin").display());
        let crash = run.crash.as_ref().filter(|point| !is_of_tool(point)).map(|point| match point.strip_prefix(DISK) {
            Some(fault) => ("SRE_DISK_FAULT", fault),
            None => ("SRE_CRASH", point.as_str()),
        });
        command
            .args(["program", &run.command, &run.environment, "--workspace", WORKSPACE])
            .args(["up", "down"].contains(&run.command.as_str()).then_some("--yes"))
            .args(&run.more)
            .env_clear()
            .envs([("PATH", path.as_str()), ("HOME", "/dev/shm/home"), ("SRE_CRASH_RECORD", RECORD)])
            .envs(crash)
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a file"))
            .stderr(said);
        let program = command.spawn().expect("this program");
        let code = wait(i32::try_from(program.id()).expect("small"));
        settle();
        let record = std::fs::read_to_string(RECORD).unwrap_or_default();
        let (deaths, passed): (Vec<&str>, Vec<&str>) = record.lines().partition(|line| line.starts_with(KILLED));
        let world = self.world.lock().expect("alone");
        let points = passed.into_iter().map(str::to_owned).chain(world.passed.clone()).collect();
        let killed = !deaths.is_empty() || world.has_killed();
        let said = std::fs::read_to_string(in_memory("said")).unwrap_or_default();
        let millis = u64::try_from(begun.elapsed().as_millis()).expect("small");
        Ran { code, points, killed, said, seen: judge::look(&run.environment, &world), millis }
    }
}

/// Waits for one child; whoever else ends meanwhile is reaped.
fn wait(pid: i32) -> Option<i32> {
    let (ended, watched) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if watched.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(Pid::from_raw(pid).expect("a process"), Signal::KILL);
        }
    });
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((ended_one, status))) if ended_one.as_raw_nonzero().get() == pid => {
                drop(ended);
                return status.exit_status();
            }
            Ok(_) => {}
            Err(error) => panic!("the program is no child of the lane: {error}"),
        }
    }
}

/// Waits until no supervisor and no tool runs any more. They are children of the lane once the program is gone.
fn settle() {
    let is_at_work = |command: &str| {
        ["__supervise", "/tofu", "/packer", "/ansible-playbook", "\0program\0"]
            .iter()
            .any(|word| command.contains(word))
    };
    while processes().iter().any(|(_, command)| is_at_work(command)) {
        let _ = rustix::process::wait(WaitOptions::empty());
    }
}

/// Every process of the lane, with its command line.
fn processes() -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.map(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, String::from_utf8_lossy(&command).into_owned())
    })
    .collect()
}

/// Answers everybody who asks the world.
fn serve(world: Arc<Mutex<World>>) {
    let listener = UnixListener::bind(SOCKET).expect("nobody else is in this memory");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            if stream.read_line(&mut line).is_err() {
                continue;
            }
            let request = serde_json::from_str(&line).unwrap_or(Value::Null);
            let answer = match world.lock().expect("nobody panics with the world").answer(&request) {
                Ok(answer) => json!({ "ok": answer }),
                Err(why) => json!({ "refused": why }),
            };
            // Who asked may have been killed meanwhile.
            let _ = stream.get_mut().write_all(format!("{answer}\n").as_bytes());
        }
    });
}
