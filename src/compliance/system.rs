//! Findings about the system as a whole: packages, units, the kernel's command line, file systems.

use crate::compliance::judge::{Verdict, passes};
use crate::compliance::observation::Seen;
use crate::compliance::report::Status;

/// No verdict where the node was not looked at in depth.
pub(super) fn looked(seen: &Seen<'_>, verdict: impl FnOnce() -> Verdict) -> Verdict {
    match seen.all("system").is_empty() {
        true => (Status::NotLookedAt, "needs a deep check".to_owned(), String::new()),
        false => verdict(),
    }
}

/// No verdict where the node was not asked for the state of the system.
fn stood(seen: &Seen<'_>, verdict: impl FnOnce() -> Verdict) -> Verdict {
    match seen.all("state").is_empty() {
        true => (Status::NotLookedAt, "the node was not asked".to_owned(), String::new()),
        false => verdict(),
    }
}

fn is_installed(seen: &Seen<'_>, name: &str) -> bool {
    seen.all("rpm").contains(&name)
}

pub(super) fn package(seen: &Seen<'_>, name: &str, installed: bool) -> Verdict {
    looked(seen, || {
        let wanted = format!("{name} {}", if installed { "is installed" } else { "is not installed" });
        if seen.all("rpms").is_empty() {
            return (Status::Unknown, "`rpm -qa` did not come to its end".to_owned(), wanted);
        }
        let is = is_installed(seen, name);
        (passes(is == installed), format!("{name} {}", if is { "is installed" } else { "is not installed" }), wanted)
    })
}

pub(super) fn unit(seen: &Seen<'_>, name: &str, runs: bool) -> Verdict {
    stood(seen, || {
        let wanted = format!("{name} {}", if runs { "is enabled and active" } else { "is disabled and masked" });
        let line = seen.all("unit").iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let Some(line) = line else {
            return (Status::Unknown, format!("`systemctl show {name}` says nothing"), wanted);
        };
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or_default();
        let (load, active, enabled) = (next(), next(), next());
        match (load, runs) {
            ("not-found", false) => (Status::NotApplicable, format!("there is no {name}"), wanted),
            ("not-found", true) => (Status::Fail, format!("there is no {name}"), wanted),
            ("masked", false) if ["inactive", "failed"].contains(&active) => {
                (Status::Pass, format!("{name} is masked"), wanted)
            }
            _ => {
                let good = runs && active == "active" && ["enabled", "static", "indirect", "alias"].contains(&enabled);
                (passes(good), format!("{name} is {load}, {enabled} and {active}"), wanted)
            }
        }
    })
}

/// Only a unit that is there can run.
pub(super) fn unit_if_there(seen: &Seen<'_>, name: &str) -> Verdict {
    let (status, observed, wanted) = unit(seen, name, true);
    let is_missing = status == Status::Fail && observed == format!("there is no {name}");
    (if is_missing { Status::NotApplicable } else { status }, observed, wanted)
}

/// The line stands in the file, whole.
pub(super) fn line(seen: &Seen<'_>, path: &str, line: &str) -> Verdict {
    stood(seen, || {
        let wanted = format!("`{line}` in {path}");
        match seen.has_line("key", &format!("{path} {line}")) {
            true => (Status::Pass, format!("{path} has it"), wanted),
            false => (Status::Fail, format!("`{line}` is not in {path}"), wanted),
        }
    })
}

/// The last of several words with one key decides, as for the kernel.
pub(super) fn kernel_argument(seen: &Seen<'_>, argument: &str, present: bool) -> Verdict {
    let key = argument.split('=').next();
    let has = |line: &str| {
        let last = line.split(' ').rfind(|word| word.split('=').next() == key);
        // `enforcing=0` is not to be there, and `enforcing=1` may.
        if present || argument.contains('=') { last == Some(argument) } else { last.is_some() }
    };
    stood(seen, || {
        let wanted = format!("`{argument}` {}", if present { "at every boot" } else { "at no boot" });
        let now = has(seen.first("cmdline"));
        let stored = seen.first("kernelopts");
        let entries = seen.all("boot-entry");
        let each = |entry: &str| has(&entry.replace("$kernelopts", stored));
        let later = entries.iter().filter(|entry| each(entry)).count();
        let there = if now { "there" } else { "not there" };
        if entries.is_empty() && now == present {
            return (Status::Unknown, format!("{there} now; no boot entry could be read"), wanted);
        }
        let good = if present { now && later == entries.len() } else { !now && later == 0 };
        (passes(good), format!("{there} now, in {later} of {} boot entries", entries.len()), wanted)
    })
}

pub(super) fn mount(seen: &Seen<'_>, path: &str, option: Option<&str>) -> Verdict {
    let options = |family: &str| {
        let of = |line: &&str| Some(line.strip_prefix(path)?.strip_prefix(' ')?.to_owned());
        seen.all(family).iter().rev().find_map(of)
    };
    looked(seen, || {
        let has = |list: &str| option.is_none_or(|option| list.split(',').any(|one| one == option));
        let wanted = match option {
            Some(option) => format!("{path} is a file system of its own with `{option}`"),
            None => format!("{path} is a file system of its own"),
        };
        let Some(now) = options("mounted") else {
            return (Status::Fail, format!("{path} is no file system of its own"), wanted);
        };
        match options("fstab") {
            _ if !has(&now) => (Status::Fail, format!("{path} is mounted with {now}"), wanted),
            Some(later) if !has(&later) => (Status::Fail, format!("/etc/fstab mounts {path} with {later}"), wanted),
            Some(_) => (Status::Pass, format!("{path} is mounted with {now}"), wanted),
            None => (
                Status::Unknown,
                format!("{path} is mounted with {now}; /etc/fstab does not say that it stays so"),
                wanted,
            ),
        }
    })
}

/// The last line with the key counts, as in a shell; a value may be quoted.
pub(super) fn key(seen: &Seen<'_>, path: &str, key: &str, value: &str) -> Verdict {
    stood(seen, || {
        let wanted = format!("{key}={value} in {path}");
        let of_file = |line: &&str| Some(line.strip_prefix(path)?.strip_prefix(' ')?.to_owned());
        let lines: Vec<String> = seen.all("key").iter().filter_map(of_file).collect();
        let set = |line: &String| {
            let (name, rest) = line.split_once('=')?;
            (name.trim() == key).then(|| rest.trim().trim_matches(['"', '\'']).to_owned())
        };
        match lines.iter().rev().find_map(set) {
            Some(found) => (passes(found == value), format!("{key}={found}"), wanted),
            None if lines.is_empty() => (Status::Fail, format!("{path} is missing or empty"), wanted),
            None => (Status::Fail, format!("{key} is not set in {path}"), wanted),
        }
    })
}

pub(super) fn desktop(seen: &Seen<'_>) -> Verdict {
    looked(seen, || match (seen.all("rpms").is_empty(), is_installed(seen, "gdm")) {
        (true, _) => (Status::Unknown, "`rpm -qa` did not come to its end".to_owned(), String::new()),
        (false, false) => (Status::NotApplicable, "gdm is not installed".to_owned(), String::new()),
        (false, true) => {
            (Status::NotReviewed, "gdm is installed; no check is written for it".to_owned(), String::new())
        }
    })
}

pub(super) fn no_usb(seen: &Seen<'_>) -> Verdict {
    looked(seen, || match seen.all("usb") {
        [] => (Status::NotApplicable, "the machine has no USB".to_owned(), String::new()),
        devices => {
            let good = is_installed(seen, "usbguard");
            let observed =
                format!("{} USB devices, usbguard is {}", devices.len(), if good { "there" } else { "not there" });
            let status = if good { Status::NotReviewed } else { Status::Fail };
            (status, observed, "usbguard decides which devices are taken".to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = "state yes\nsystem yes\nrpm audit\nrpm sudo\nrpms yes\n";

    fn seen_of(more: &str) -> String {
        format!("{SYSTEM}{more}")
    }

    #[test]
    fn a_package_is_there_or_not() {
        let text = seen_of("");
        let seen = Seen::read(&text);

        assert_eq!(package(&seen, "sudo", true).0, Status::Pass);
        assert_eq!(package(&seen, "vsftpd", true).0, Status::Fail);
        assert_eq!(package(&seen, "vsftpd", false).0, Status::Pass);
        assert_eq!(package(&seen, "sudo", false).0, Status::Fail);
        assert_eq!(package(&Seen::read("system yes\nrpm audit\n"), "vsftpd", false).0, Status::Unknown, "it broke off");
        assert_eq!(package(&Seen::read(""), "vsftpd", false).0, Status::NotLookedAt);
    }

    #[test]
    fn a_unit_runs_or_cannot() {
        let text = seen_of(
            "unit chronyd.service loaded active enabled\nunit kdump.service loaded inactive disabled\n\
             unit debug-shell.service masked inactive masked\nunit autofs.service not-found inactive \n\
             unit nfs-server.service masked failed masked\n",
        );
        let seen = Seen::read(&text);
        let of = |name: &str, runs| unit(&seen, name, runs).0;

        assert_eq!((of("chronyd.service", true), of("chronyd.service", false)), (Status::Pass, Status::Fail));
        assert_eq!((of("kdump.service", true), of("kdump.service", false)), (Status::Fail, Status::Fail));
        assert_eq!((of("debug-shell.service", true), of("debug-shell.service", false)), (Status::Fail, Status::Pass));
        assert_eq!(of("nfs-server.service", false), Status::Pass, "it cannot run again");
        assert_eq!((of("autofs.service", true), of("autofs.service", false)), (Status::Fail, Status::NotApplicable));
        assert_eq!(of("unheard.service", true), Status::Unknown);
        assert_eq!(unit_if_there(&seen, "chronyd.service").0, Status::Pass);
        assert_eq!(unit_if_there(&seen, "kdump.service").0, Status::Fail);
        assert_eq!(unit_if_there(&seen, "autofs.service").0, Status::NotApplicable);
        assert_eq!(unit(&Seen::read("system yes\n"), "chronyd.service", true).0, Status::NotLookedAt);
    }

    #[test]
    fn an_argument_holds_now_and_after_the_next_boot() {
        let entries = "boot-entry root=/dev/sda1 $kernelopts\nboot-entry root=/dev/sda1 pti=on audit=1\n";
        let text = seen_of(&format!("cmdline ro pti=on audit=1\nkernelopts ro pti=on\n{entries}"));
        let seen = Seen::read(&text);
        let of = |argument: &str, present| kernel_argument(&seen, argument, present).0;

        assert_eq!((of("pti=on", true), of("audit=1", true)), (Status::Pass, Status::Fail));
        assert_eq!(of("systemd.confirm_spawn", false), Status::Pass);
        assert_eq!(of("pti", false), Status::Fail, "it is there, whatever its value is");
        assert_eq!((of("pti=on", false), of("pti=off", false)), (Status::Fail, Status::Pass));
        let bare = seen_of("cmdline audit=1 pti=on audit=0\n");
        let of = |argument: &str, present| kernel_argument(&Seen::read(&bare), argument, present).0;
        assert_eq!((of("audit=1", true), of("pti=on", true)), (Status::Fail, Status::Unknown));
        assert_eq!(of("systemd.confirm_spawn", false), Status::Unknown, "nobody knows what the next boot has");
    }

    #[test]
    fn a_file_system_is_mounted_so_now_and_later() {
        let text = seen_of(
            "mounted /tmp rw,nosuid,nodev\nmounted /var rw,nodev\nfstab /tmp defaults,nodev,nosuid\nfstab /var defaults\nmounted /srv rw,nodev\n",
        );
        let seen = Seen::read(&text);
        let of = |path: &str, option| mount(&seen, path, option).0;

        assert_eq!((of("/tmp", Some("nodev")), of("/tmp", Some("noexec"))), (Status::Pass, Status::Fail));
        assert_eq!((of("/tmp", None), of("/home", None)), (Status::Pass, Status::Fail));
        assert_eq!(of("/var", Some("nodev")), Status::Fail, "gone after the next boot");
        assert_eq!(of("/srv", Some("nodev")), Status::Unknown, "nothing tells whether it stays so");
    }

    #[test]
    fn of_a_key_the_last_line_counts() {
        let text = seen_of(
            "key /etc/a.conf gpgcheck=0\nkey /etc/a.conf gpgcheck = \"1\"\nkey /etc/b.conf gpgcheck=1\nkey /etc/b.conf gpgcheck=0\n",
        );
        let seen = Seen::read(&text);
        let of = |path: &str, name: &str| key(&seen, path, name, "1").0;

        assert_eq!((of("/etc/a.conf", "gpgcheck"), of("/etc/b.conf", "gpgcheck")), (Status::Pass, Status::Fail));
        assert_eq!((of("/etc/a.conf", "other"), of("/etc/c.conf", "gpgcheck")), (Status::Fail, Status::Fail));
    }

    #[test]
    fn every_line_of_ours_must_stand_in_its_file() {
        let text = seen_of("key /etc/a.conf [Manager]\nkey /etc/a.conf One=1\nkey /etc/b.conf Two=2\n");
        let seen = Seen::read(&text);
        let of = |path: &str, wanted: &str| {
            let (status, observed, _) = line(&seen, path, wanted);
            (status, observed)
        };

        assert_eq!(of("/etc/a.conf", "One=1").0, Status::Pass);
        assert_eq!(of("/etc/a.conf", "Two=2"), (Status::Fail, "`Two=2` is not in /etc/a.conf".to_owned()));
        assert_eq!(of("/etc/c.conf", "One=1").0, Status::Fail, "there is no such file");
    }

    #[test]
    fn what_is_about_a_desktop_does_not_bear_on_a_machine_without_one() {
        assert_eq!(desktop(&Seen::read(&seen_of(""))).0, Status::NotApplicable);
        assert_eq!(desktop(&Seen::read(&seen_of("rpm gdm\n"))).0, Status::NotReviewed);
        assert_eq!(no_usb(&Seen::read(&seen_of(""))).0, Status::NotApplicable);
        assert_eq!(no_usb(&Seen::read(&seen_of("usb usb1\n"))).0, Status::Fail);
    }
}
