//! Crash points: the places at which a test ends the program as a power cut would, without a destructor.
//!
//! Only the feature `crash-points` compiles them in, and no release has it: without it [`crash_point!`](crate::crash_point)
//! is nothing at all. A point is known by its name and what it is about, such as `write.before-rename[dev/identity.json]`,
//! because stages run side by side: the order in which two of them pass `write.before-rename` is nobody's promise.
//!
//! `SRE_CRASH=<point>:<nth>` kills the process that passes the point for the nth time; a supervisor counts for itself.
//! `SRE_CRASH_GROUP=yes` kills the whole process group of whoever passes it.
//! `SRE_CRASH_RECORD=FILE` appends every `<point>:<nth>` that is passed, by the program and by its supervisors.

/// A place at which a test may end the program; what follows the name says what is worked on there: a word, or with
/// `at` a file and what is written to it.
#[macro_export]
macro_rules! crash_point {
    ($name:expr) => {
        $crate::crash_point!($name, "")
    };
    ($name:expr, at $path:expr, $bytes:expr) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::pass($name, &$crate::crash::about($path.as_ref(), $bytes));
    };
    ($name:expr, $about:expr) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::pass($name, AsRef::<str>::as_ref(&$about));
    };
}

#[cfg(feature = "crash-points")]
pub use armed::{KILLED, VARIABLES, about, arm, pass, passed_on};

#[cfg(feature = "crash-points")]
mod armed {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::path::Path;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::fs::{Mode, OFlags};
    use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
    use serde_json::Value;

    /// Which point kills, whether the process group with it, and the file that lists all.
    pub const VARIABLES: [&str; 3] = ["SRE_CRASH", "SRE_CRASH_GROUP", "SRE_CRASH_RECORD"];

    /// What the record says before the point at which a process killed itself.
    pub const KILLED: &str = "killed ";

    /// The values of [`VARIABLES`].
    static ARMED: OnceLock<[Option<OsString>; 3]> = OnceLock::new();
    static PASSED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

    /// Takes the values of [`VARIABLES`], once in the life of a process.
    pub fn arm(values: [Option<OsString>; 3]) {
        drop(ARMED.set(values));
    }

    /// What a supervisor is given in its environment, so that its points count too.
    pub fn passed_on() -> Vec<(&'static str, OsString)> {
        let values = ARMED.get().cloned().unwrap_or_default();
        VARIABLES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Passes a point, or ends here.
    pub fn pass(name: &str, about: &str) {
        let Some([crash, group, record]) = ARMED.get() else { return };
        let point = if about.is_empty() { name.to_owned() } else { format!("{name}[{about}]") };
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = passed.entry(point.clone()).or_default();
        *nth += 1;
        let point = format!("{point}:{nth}");
        let is_deadly = crash.as_ref().is_some_and(|crash| *crash == *point);
        if let Some(file) = record {
            let flags = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(Path::new(file), flags, Mode::RUSR | Mode::WUSR);
            let last = if is_deadly { format!("{KILLED}{point}\n") } else { String::new() };
            // One write, so that the lines of two processes do not mix.
            let _ = opened.map(|file| rustix::io::write(&file, format!("{point}\n{last}").as_bytes()));
        }
        if is_deadly && group.is_some() {
            let _ = kill_current_process_group(Signal::KILL);
        } else if is_deadly {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// What a file is about: its name and its directory's, without what differs from run to run; of a journal entry what
    /// it says, since the number tells nothing.
    pub fn about(path: &Path, bytes: &[u8]) -> String {
        let names = path.iter().rev().take(2).map(|name| steady(&name.to_string_lossy())).collect::<Vec<_>>();
        let (name, dir) = (names.first().map_or("", String::as_str), names.get(1).map_or("", String::as_str));
        if dir == "journal" { entry(bytes).unwrap_or_default() } else { format!("{dir}/{name}") }
    }

    /// `intent base-image/build`, `child-started network-apply`, `fact servers/founder`.
    fn entry(bytes: &[u8]) -> Option<String> {
        let entry: Value = serde_json::from_slice(bytes).ok()?;
        let text = |name: &str| entry[name].as_str().map(steady);
        let words =
            [text("kind"), text("deed").filter(|deed| deed == "remove"), text("stage"), text("slot"), text("name")];
        let mut said = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
        if let Some(step) = text("step") {
            said.push_str(&format!("/{step}"));
        }
        if let (Some(id), None) = (text("id"), text("slot")) {
            said.push_str(&format!(" {id}"));
        }
        Some(said)
    }

    /// A name without the digits that were drawn for it, such as those of a UUID.
    fn steady(name: &str) -> String {
        let is_drawn = |part: &str| {
            let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            part.len() >= 4 && is_hex && part.bytes().any(|byte| byte.is_ascii_digit())
        };
        name.split_inclusive(['-', '.']).filter(|part| !is_drawn(part.trim_end_matches(['-', '.']))).collect()
    }

    #[cfg(test)]
    mod tests {
        use std::path::Path;

        use super::about;

        #[test]
        fn what_a_point_is_about_is_the_same_in_every_run() {
            let told = |path: &str, bytes: &[u8]| about(Path::new(path), bytes);
            let intent = br#"{"kind":"intent","number":7,"stage":"base-image","step":"build"}"#;
            let ended = br#"{"kind":"child-ended","id":"network-apply-1f2e3d4c"}"#;

            assert_eq!(told("/x/dev/journal/0000000007.json", intent), "intent base-image/build");
            assert_eq!(told("/x/dev/journal/0000000008.json", ended), "child-ended network-apply-");
            assert_eq!(told("/x/children/network-apply-1f2e3d4c/exit.json", b""), "network-apply-/exit.json");
            assert_eq!(told("/x/dev/identity.json", b""), "dev/identity.json");
            assert_eq!(told("/x/keys/1f2e3d4c-93a0-4b1d-8c2e-0123456789ab.key", b""), "keys/key");
        }
    }
}
