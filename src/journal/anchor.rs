//! Tells the journal's end where whoever can write to the journal cannot reach, and reads it back from there.
//!
//! A chain of digests shows that an entry in its middle was altered. That its tail was cut, or all of it written anew, shows
//! only against an end that is known from elsewhere: a line in a file that is collected, or in the machine's syslog.

#![expect(clippy::disallowed_methods, reason = "a line is added to a file that others keep; it is never replaced")]

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Anchor, now};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::Identity;

/// Where the machine's syslog takes messages.
pub const SYSLOG: &str = "/dev/log";
/// Facility `authpriv`, severity `notice`. Source: RFC 5424, section 6.2.1.
const PRIORITY: u8 = 10 * 8 + 5;

/// A line of an anchor file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    environment: Uuid,
    name: String,
    number: u64,
    digest: Digest,
    time: Timestamp,
}

/// Adds a line to an anchor file, durably.
///
/// # Errors
/// Exit 1: the file cannot be written.
pub fn tell_file(file: &Path, identity: &Identity, anchor: &Anchor) -> Result<(), Failure> {
    let mut bytes = line(identity, anchor)?;
    let mut add = || -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(file)?;
        // A line that a crash tore must not take ours with it.
        if !ends_well(&mut file)? {
            bytes.insert(0, b'\n');
        }
        file.write_all(&bytes)?;
        file.sync_all()
    };
    add().map_err(|error| untold(&file.display(), error))
}

/// What is told of an end: a line of JSON.
pub(super) fn line(identity: &Identity, anchor: &Anchor) -> Result<Vec<u8>, Failure> {
    let line = Line {
        environment: identity.id,
        name: identity.name.clone(),
        number: anchor.number,
        digest: anchor.digest.clone(),
        time: now(),
    };
    let mut bytes = serde_json::to_vec(&line).map_err(|error| Failure::bug("no JSON").because(error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The end that a line tells of this environment.
pub(super) fn read_line(bytes: &[u8], environment: Uuid) -> Result<Anchor, String> {
    let line: Line = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if line.environment != environment {
        return Err(format!("it tells of {}", line.environment));
    }
    Ok(Anchor { number: line.number, digest: line.digest })
}

fn ends_well(file: &mut std::fs::File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Sends a message to the syslog that listens at `socket`.
///
/// # Errors
/// Exit 1: nobody takes it.
pub fn tell_syslog(socket: &Path, identity: &Identity, anchor: &Anchor) -> Result<(), Failure> {
    let (name, id) = (&identity.name, identity.id);
    let (number, digest) = (anchor.number, &anchor.digest);
    let text = format!("<{PRIORITY}>sre-provision: journal of {name} ({id}) ends with entry {number}:{digest}");
    let send = || UnixDatagram::unbound()?.send_to(text.as_bytes(), socket);
    send().map(drop).map_err(|error| untold(&socket.display(), error))
}

fn untold(place: &dyn std::fmt::Display, error: io::Error) -> Failure {
    Failure::new(Exit::NotDone, "the end of the journal could not be anchored")
        .because(format!("`{place}`: {error}"))
        .hint("make the place of `audit.anchor` writable; the next run anchors all that is there")
}

/// What an anchor file tells of an environment.
///
/// # Errors
/// Exit 1: it cannot be read, or one of its lines is none; a torn last line is left out.
pub fn told(file: &Path, environment: Uuid) -> Result<Vec<Anchor>, Failure> {
    let unreadable = |cause: &dyn std::fmt::Display| {
        Failure::new(Exit::NotDone, format!("cannot read `{}`", file.display())).because(cause)
    };
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
    told_in(&text, environment).map_err(|cause| unreadable(&cause))
}

/// What the text of an anchor file tells of an environment, or what is wrong with it.
pub(super) fn told_in(text: &str, environment: Uuid) -> Result<Vec<Anchor>, String> {
    let mut anchors = Vec::new();
    for (number, line) in (1..).zip(text.split_inclusive('\n')).filter(|(_, line)| line.ends_with('\n')) {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Line>(line.trim_end()) {
            Ok(line) if line.environment == environment => {
                anchors.push(Anchor { number: line.number, digest: line.digest });
            }
            Ok(_) => {}
            // A line that was torn and then ended by the next one.
            Err(error) if error.is_eof() => {}
            Err(error) => return Err(format!("line {number}: {error}")),
        }
    }
    Ok(anchors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::identity;

    fn anchor(number: u64) -> Anchor {
        Anchor { number, digest: Digest::of(&number.to_be_bytes()) }
    }

    #[test]
    fn a_file_gives_back_what_it_was_told_of_each_environment() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("heads");
        let (dev, prod) = (identity(), identity());

        tell_file(&file, &dev, &anchor(7)).expect("told");
        tell_file(&file, &prod, &anchor(9)).expect("told");
        tell_file(&file, &dev, &anchor(12)).expect("told");

        assert_eq!(told(&file, dev.id).expect("read"), [anchor(7), anchor(12)]);
        assert_eq!(told(&file, prod.id).expect("read"), [anchor(9)]);
    }

    #[test]
    fn a_torn_line_costs_no_other_and_a_wrong_one_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("heads");
        let dev = identity();
        tell_file(&file, &dev, &anchor(7)).expect("told");
        let whole = std::fs::read_to_string(&file).expect("read");

        std::fs::write(&file, format!("{whole}{}", &whole[..40])).expect("written");
        let torn = told(&file, dev.id).expect("read");
        tell_file(&file, &dev, &anchor(12)).expect("told");
        let mended = told(&file, dev.id).expect("read");
        std::fs::write(&file, format!("{whole}not a line\n")).expect("written");
        let wrong = told(&file, dev.id).expect_err("refused");

        assert_eq!(torn, [anchor(7)]);
        assert_eq!(mended, [anchor(7), anchor(12)]);
        assert!(wrong.causes()[0].starts_with("line 2: "), "{:?}", wrong.causes());
    }

    #[test]
    fn syslog_is_told_environment_number_and_digest() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("log");
        let listener = UnixDatagram::bind(&socket).expect("bound");
        let dev = identity();

        tell_syslog(&socket, &dev, &anchor(7)).expect("told");

        let mut heard = [0; 512];
        let length = listener.recv(&mut heard).expect("heard");
        let digest = anchor(7).digest;
        let id = dev.id;
        let wanted = format!("<85>sre-provision: journal of dev ({id}) ends with entry 7:{digest}");
        assert_eq!(String::from_utf8_lossy(&heard[..length]), wanted);
    }

    #[test]
    fn a_place_that_nobody_takes_it_at_is_told() {
        let dir = tempfile::tempdir().expect("a directory");

        let failure = tell_syslog(&dir.path().join("none"), &identity(), &anchor(1)).expect_err("nobody listens");

        assert_eq!(failure.what(), "the end of the journal could not be anchored");
    }
}
