//! Who writes: a person or a job, on which machine, in which process.

use std::fmt;
use std::fs::read_to_string;

use serde::{Deserialize, Serialize};

/// The value of `/proc/self/loginuid` when nobody logged in.
const NOBODY: &str = "4294967295";

/// How a user is shown whom `/etc/passwd` does not name.
const UNNAMED: &str = "uid ";

/// Who did something. Process, start and boot together name one process for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub user: String,
    /// Who became `user`, with `sudo` or otherwise: the one who logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    pub host: String,
    pub pid: u32,
    /// When the process started, in clock ticks since the boot.
    pub start: u64,
    /// The kernel's id of this boot.
    pub boot: String,
    /// The CI job, as a URL or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

impl Actor {
    /// This process. What the system does not tell is left empty.
    pub fn here() -> Self {
        let user = user_name(&rustix::process::getuid().as_raw().to_string());
        let login = read_to_string("/proc/self/loginuid").ok().filter(|uid| uid.trim() != NOBODY);
        let login = login.map(|uid| user_name(uid.trim())).filter(|login| *login != user);
        let pid = std::process::id();
        Self {
            user,
            login,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid,
            start: start_of(pid).unwrap_or_default(),
            boot: boot(),
            job: None,
        }
    }

    /// Names who became this user, where the kernel does not know it (`SUDO_USER`).
    pub fn with_login(mut self, login: Option<String>) -> Self {
        self.login = self.login.or(login).filter(|login| *login != self.user);
        self
    }

    /// Names the user, where `/etc/passwd` does not know it (`USER`); the number stays with it.
    pub fn with_name(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name.filter(|_| self.user.starts_with(UNNAMED)) {
            self.user = format!("{name}, {}", self.user);
        }
        self
    }

    /// Names the CI job.
    pub fn with_job(mut self, job: Option<String>) -> Self {
        self.job = job;
        self
    }

    /// Whether this process still runs; `None` when that cannot be known from this machine.
    pub fn is_alive(&self) -> Option<bool> {
        if self.host != rustix::system::uname().nodename().to_string_lossy() {
            return None;
        }
        Some(self.boot == boot() && start_of(self.pid) == Some(self.start))
    }
}

/// As in `root (a.operator) on build-1`.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        if let Some(login) = &self.login {
            write!(f, " ({login})")?;
        }
        write!(f, " on {}", self.host)?;
        self.job.as_ref().map_or(Ok(()), |job| write!(f, ", job {job}"))
    }
}

fn user_name(uid: &str) -> String {
    let users = read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|user| user.get(2) == Some(&uid));
    named.map_or_else(|| format!("{UNNAMED}{uid}"), |user| user[0].to_owned())
}

fn boot() -> String {
    read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Field 22 of `/proc/<pid>/stat`, counted behind the command, which may hold anything but ends with the last `)`.
fn start_of(pid: u32) -> Option<u64> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_pid_of_another_boot_is_not() {
        let here = Actor::here();
        let earlier = Actor { boot: "another".to_owned(), ..here.clone() };
        let reused = Actor { start: here.start + 1, ..here.clone() };
        let elsewhere = Actor { host: "another".to_owned(), ..here.clone() };

        assert_eq!(
            [here.is_alive(), earlier.is_alive(), reused.is_alive(), elsewhere.is_alive()],
            [Some(true), Some(false), Some(false), None]
        );
    }

    #[test]
    fn an_actor_is_shown_with_login_and_job() {
        let actor = Actor { user: "root".to_owned(), login: None, host: "build-1".to_owned(), ..Actor::here() }
            .with_login(Some("a.operator".to_owned()))
            .with_job(Some("4711".to_owned()));

        assert_eq!(actor.to_string(), "root (a.operator) on build-1, job 4711");
    }

    #[test]
    fn a_user_of_a_directory_service_keeps_the_number() {
        let unnamed = Actor { user: "uid 70001".to_owned(), ..Actor::here() };
        let named = Actor { user: "root".to_owned(), ..Actor::here() };

        assert_eq!(unnamed.with_name(Some("ann")).user, "ann, uid 70001");
        assert_eq!(named.with_name(Some("ann")).user, "root");
    }

    #[test]
    fn a_login_that_is_the_user_is_not_told_twice() {
        let actor = Actor { user: "ann".to_owned(), login: None, ..Actor::here() }.with_login(Some("ann".to_owned()));

        assert_eq!(actor.login, None);
    }
}
