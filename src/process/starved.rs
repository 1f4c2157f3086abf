//! Whether the kernel killed for want of memory while a child ran.
//!
//! A process that is killed so cannot say it, and its parent sees a SIGKILL like any other, or a plugin that went away.
//! The kernel counts its kills: per control group, and on the whole machine.

use std::path::{Path, PathBuf};

/// What the kernel had counted at one moment; what cannot be read is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kills {
    group: Option<u64>,
    machine: Option<u64>,
}

impl Kills {
    /// Of the control group of this process, and of the machine.
    pub(super) fn now() -> Self {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = files(Path::new("/sys/fs/cgroup"), &groups).into_iter().find_map(|file| count(&file));
        Self { group, machine: count(Path::new("/proc/vmstat")) }
    }

    /// Whose memory was used up since then, if any was.
    pub(super) fn since(self, before: Self) -> Option<&'static str> {
        let rose =
            |now: Option<u64>, before: Option<u64>| matches!((now, before), (Some(now), Some(before)) if now > before);
        if rose(self.group, before.group) {
            return Some("of its control group");
        }
        rose(self.machine, before.machine).then_some("of this machine")
    }
}

/// Where the kernel counts for the groups of `/proc/self/cgroup`: version 2 first, which is one line `0::<path>`.
fn files(root: &Path, groups: &str) -> Vec<PathBuf> {
    let at = |dir: &Path, path: &str, file: &str| dir.join(path.trim_start_matches('/')).join(file);
    let mut files = vec![];
    for line in groups.lines() {
        match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, "", path] => {
                files.extend([root.to_owned(), root.join("unified")].map(|dir| at(&dir, path, "memory.events")));
            }
            [_, controllers, path] if controllers.split(',').any(|one| one == "memory") => {
                files.push(at(&root.join("memory"), path, "memory.oom_control"));
            }
            _ => {}
        }
    }
    files
}

/// The number behind `oom_kill`.
fn count(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_laid_to_the_control_group_where_that_counted_it_and_else_to_the_machine() {
        let kills = |group, machine| Kills { group, machine };
        let before = kills(Some(1), Some(4));

        assert_eq!(kills(Some(2), Some(5)).since(before), Some("of its control group"));
        assert_eq!(kills(Some(1), Some(5)).since(before), Some("of this machine"));
        assert_eq!(kills(Some(1), Some(4)).since(before), None);
        assert_eq!(kills(Some(7), None).since(kills(None, None)), None);
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let root = tempfile::tempdir().expect("a directory");
        let found = |groups: &str, file: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            std::fs::write(&path, "max 3\noom 1\noom_kill 2\noom_group_kill 0\n").expect("written");
            let counts: Vec<_> = files(root.path(), groups).iter().filter_map(|file| count(file)).collect();
            std::fs::remove_file(path).expect("removed");
            counts
        };

        assert_eq!(found("0::/system.slice/ci.service\n", "system.slice/ci.service/memory.events"), [2]);
        assert_eq!(found("5:cpu,memory:/box\n1:name=systemd:/\n", "memory/box/memory.oom_control"), [2]);
        assert!(found("5:cpu:/box\n", "memory/box/memory.oom_control").is_empty());
    }
}
