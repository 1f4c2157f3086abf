//! Starts a supervisor and hands it what must not be seen.
//!
//! The supervisor is this program again. Its standard input brings the letter: what to start, with which environment,
//! and the secrets to take out of the log; nothing of it stands in an argument, a variable or a file. Its standard
//! output is the child's lock, so that the lock is passed on without being open to other children that start at the
//! same time. A letter that is cut off by our death starts nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::crash_point;
use crate::failure::{Exit, Failure};
use crate::process::record::{Child, Record};
use crate::process::{HERE, Invocation};
use crate::secret::Secret;
use crate::workspace::{Disk, RealDisk};

/// What the supervisor is told; bytes as hex, since arguments and secrets need not be text.
#[derive(Serialize, Deserialize)]
pub(super) struct Letter {
    program: PathBuf,
    args: Vec<String>,
    cwd: PathBuf,
    env: BTreeMap<String, String>,
    redact: Vec<String>,
    log: PathBuf,
    here: PathBuf,
}

/// A letter as the supervisor uses it.
pub(super) struct Opened {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub cwd: PathBuf,
    pub env: BTreeMap<String, OsString>,
    pub redact: Vec<Secret>,
    pub log: PathBuf,
    pub here: PathBuf,
}

impl Letter {
    pub(super) fn new(invocation: &Invocation, child: &Child) -> Self {
        let here = child.here.as_path();
        let spell = |value: &OsStr| hex::encode(at(value, here).as_bytes());
        Self {
            program: invocation.program.clone(),
            args: invocation.args.iter().map(|arg| spell(arg)).collect(),
            cwd: invocation.cwd.clone(),
            env: invocation.env.iter().map(|(name, value)| (name.clone(), spell(value))).collect(),
            redact: invocation.redact.iter().map(|secret| hex::encode(secret.expose())).collect(),
            log: child.log.clone(),
            here: here.to_owned(),
        }
    }

    /// Reads a whole letter; `None` when it was cut off.
    pub(super) fn open(bytes: &[u8]) -> Option<Opened> {
        let letter: Self = serde_json::from_slice(bytes).ok()?;
        let value = |text: &String| hex::decode(text).ok().map(OsString::from_vec);
        Some(Opened {
            program: letter.program,
            args: letter.args.iter().map(value).collect::<Option<_>>()?,
            cwd: letter.cwd,
            env: letter.env.iter().map(|(name, text)| Some((name.clone(), value(text)?))).collect::<Option<_>>()?,
            redact: letter.redact.iter().map(|text| hex::decode(text).ok().map(Secret::new)).collect::<Option<_>>()?,
            log: letter.log,
            here: letter.here,
        })
    }
}

/// Puts the child's own directory where [`HERE`] stands: at the beginning, or right after an equals sign as in
/// `-var=file=@here@/x`.
pub(super) fn at(value: &OsStr, here: &Path) -> OsString {
    let (bytes, mark) = (value.as_bytes(), HERE.as_bytes());
    let is_mark = |start: usize| bytes[start..].starts_with(mark) && (start == 0 || bytes[start - 1] == b'=');
    match (0..bytes.len()).find(|start| is_mark(*start)) {
        Some(start) => {
            OsString::from_vec([&bytes[..start], here.as_os_str().as_bytes(), &bytes[start + mark.len()..]].concat())
        }
        None => value.to_owned(),
    }
}

/// Starts the supervisor of `child`; it holds `lock` from then on.
pub(super) async fn launch(
    supervisor: &Path,
    record: &Record,
    child: &Child,
    invocation: &Invocation,
    lock: File,
) -> Result<tokio::process::Child, Failure> {
    let failure = |error: std::io::Error| {
        Failure::new(Exit::Tool, format!("no supervisor for `{}`", invocation.program.display())).because(error)
    };
    let errors = RealDisk.create(&record.dir.join("supervisor.err"), 0o600).map_err(failure)?;
    crash_point!("child.before-supervisor", child.slot);
    let mut command = tokio::process::Command::new(supervisor);
    command.arg("__supervise").arg(&record.dir).env_clear();
    #[cfg(feature = "crash-points")]
    command.envs(crate::crash::passed_on()).envs(crate::workspace::fault::passed_on());
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::from(lock)).stderr(Stdio::from(errors)).spawn().map_err(failure)?;
    let letter = zeroize::Zeroizing::new(
        serde_json::to_vec(&Letter::new(invocation, child)).map_err(|error| failure(error.into()))?,
    );
    crash_point!("child.before-letter", child.slot);
    if let Some(mut stdin) = process.stdin.take() {
        stdin.write_all(&letter).await.map_err(failure)?;
        stdin.shutdown().await.map_err(failure)?;
    }
    crash_point!("child.after-letter", child.slot);
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_at_the_beginning_or_after_an_equals_sign() {
        let here = Path::new("/dev/shm/x");

        let seen = ["@here@/events", "-json-into=@here@/events", "a@here@", "-var=path=@here@"]
            .map(|text| at(OsStr::new(text), here));

        assert_eq!(seen, ["/dev/shm/x/events", "-json-into=/dev/shm/x/events", "a@here@", "-var=path=/dev/shm/x"]);
    }

    #[test]
    fn a_letter_that_was_cut_off_starts_nothing() {
        let letter = Letter {
            program: "/bin/true".into(),
            args: vec![hex::encode([b'a', 0xff])],
            cwd: "/".into(),
            env: BTreeMap::new(),
            redact: vec![hex::encode("secret")],
            log: "/dev/null".into(),
            here: "/dev/shm/x".into(),
        };
        let bytes = serde_json::to_vec(&letter).expect("a letter");

        let opened = Letter::open(&bytes).expect("whole");

        assert_eq!(opened.args, [OsString::from_vec(vec![b'a', 0xff])]);
        assert_eq!(opened.redact[0].expose(), b"secret");
        assert!((0..bytes.len()).all(|length| Letter::open(&bytes[..length]).is_none()));
    }
}
