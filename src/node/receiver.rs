//! The other end of a transfer: a program on the node that takes one file, and what is said between it and us.
//!
//! The program is `receive.py`. It comes over stdin with each file and is gone with the session, so nothing of ours
//! stays on a node. Orders and answers are lines of JSON; bytes follow the order that announces them.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use openssh::{Child, ChildStdin, ChildStdout, Session};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, pread, write};
use rustix::pipe::{SpliceFlags, splice};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::SemaphorePermit;

use crate::failure::{Exit, Failure};
use crate::node::connection::{Connection, Output};
use crate::node::shipment::{Shipment, unreadable};

const PROGRAM: &str = include_str!("receive.py");
/// Runs the program that stands, after a line with its length, on stdin.
const START: &str = r#"for python in /usr/libexec/platform-python /usr/bin/python3 python3; do
  if command -v "$python" >/dev/null; then exec "$python" -I -S -c "$1"; fi
done
echo 'there is no python3' >&2
exit 127"#;
const RUN: &str = "import sys; exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))";
/// The digest of a large file that is already there may take a while on a slow disk.
const LOOKING: Duration = Duration::from_secs(300);
/// What the pipe to ssh holds.
const PIPE: usize = 1 << 20;
/// What one thread puts into the pipe before it is let go, and how long it waits for room.
const STEP: u64 = 8 << 20;
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// A longer answer is none.
const LONGEST: u64 = 1 << 20;

/// What may be told while a file is on its way: how much of it a node has. An error ends the transfer.
pub type Heard<'a> = &'a (dyn Fn(u64) -> Result<(), Failure> + Sync);

/// What the receiver says.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "said", rename_all = "lowercase")]
pub(super) enum Said {
    /// The whole file is there with its digest.
    There,
    /// So many bytes are there that may belong to it.
    Found {
        bytes: u64,
    },
    /// There is not enough room; nothing was left behind.
    Full {
        free: u64,
    },
    Probed,
    Listening,
    Closed {
        why: String,
    },
    /// These ranges are lacking; `why` another node did not give them.
    Need {
        ranges: Vec<(u64, u64)>,
        #[serde(default)]
        why: Option<String>,
    },
    Has {
        bytes: u64,
    },
    Done,
    /// What arrived is not what was promised; nothing was left behind.
    Other {
        why: String,
    },
}

/// A receiver that waits for orders; ends when it is dropped.
pub(super) struct Receiver<'a> {
    connection: &'a Connection,
    shipment: &'a Shipment,
    remote: String,
    child: Option<Child<Arc<Session>>>,
    session: Arc<Session>,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    _turn: SemaphorePermit<'a>,
}

impl<'a> Receiver<'a> {
    /// Starts the receiver of one file; gives what is there of it, `None` when all of it is.
    ///
    /// # Errors
    /// Exit 5 when there is not enough room or no Python; exit 6, transient, when the connection was lost.
    pub async fn start(
        connection: &'a Connection,
        shipment: &'a Shipment,
        remote: &Path,
        mode: u32,
    ) -> Result<(Self, Option<u64>), Failure> {
        let turn = connection.peer.sessions.acquire().await;
        let turn = turn.map_err(|_| Failure::bug("a connection's turns were closed"))?;
        let session = connection.session().await?;
        let start = ["sh", "-c", START, "receive", RUN].map(str::to_owned).to_vec();
        let mut child = connection.spawn(Arc::clone(&session), &[connection.root_words(true), start].concat()).await?;
        let stdout = child.stdout().take().ok_or_else(|| Failure::bug("a command without an output"))?;
        let stdin = child.stdin().take();
        if let Some(stdin) = &stdin {
            // A longer pipe is fewer turns; a user who has used up what pipes may hold keeps the short one.
            let _ = rustix::pipe::fcntl_setpipe_size(stdin, PIPE);
        }
        let remote = remote.to_string_lossy().into_owned();
        let stdout = BufReader::new(stdout);
        let mut receiver =
            Self { connection, shipment, remote, child: Some(child), session, stdin, stdout, _turn: turn };
        receiver.write(format!("{}\n{PROGRAM}", PROGRAM.len()).as_bytes()).await;
        let (path, size, digest) = (&receiver.remote, shipment.size, &shipment.digest);
        let order = json!({ "path": path, "size": size, "digest": digest, "mode": mode });
        receiver.tell(&order).await;
        match tokio::time::timeout(LOOKING, receiver.hear()).await {
            Ok(Ok(Said::There)) => Ok((receiver, None)),
            Ok(Ok(Said::Found { bytes })) => Ok((receiver, Some(bytes))),
            Ok(Ok(said)) => Err(receiver.unexpected(&said)),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::new(Exit::Tool, format!("{} took too long", receiver.what("looking for")))),
        }
    }

    pub fn name(&self) -> &str {
        self.connection.name()
    }

    /// The address on which the node was reached, as the node sees it.
    pub async fn own_address(&self) -> Option<String> {
        let said = self.connection.run(r#"set -- $SSH_CONNECTION; echo "$3""#, false).await.ok()?;
        Some(said.stdout.trim().to_owned()).filter(|address| address.parse::<std::net::IpAddr>().is_ok())
    }

    /// Sends bytes that the node throws away; gives what it says when it has read them.
    pub async fn probe(&mut self, noise: &[u8]) -> Result<Said, Failure> {
        self.tell(&json!({ "do": "probe", "bytes": noise.len() })).await;
        self.write(noise).await;
        self.hear().await
    }

    /// Writes; who ended without reading it says why when it is heard.
    async fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(bytes).await.is_err()
        {
            self.stdin = None;
        }
    }

    pub async fn tell(&mut self, order: &Value) {
        self.write(format!("{order}\n").as_bytes()).await;
    }

    /// What is said next.
    pub async fn hear(&mut self) -> Result<Said, Failure> {
        match hear(&mut self.stdout).await {
            Some(said) => self.judge(said),
            None => Err(self.ended().await),
        }
    }

    /// What is said next but how much there is.
    pub async fn hear_past(&mut self, heard: Heard<'_>) -> Result<Said, Failure> {
        loop {
            match self.hear().await? {
                Said::Has { bytes } => heard(bytes)?,
                said => return Ok(said),
            }
        }
    }

    /// Has the blocks that are there looked at; gives the ranges that are not, or not right.
    pub async fn keep(&mut self, heard: Heard<'_>) -> Result<Vec<(u64, u64)>, Failure> {
        let blocks = self.shipment.blocks().await?;
        self.tell(&json!({ "do": "blocks", "digests": blocks })).await;
        match self.hear_past(heard).await? {
            Said::Need { ranges, .. } => Ok(ranges),
            said => Err(self.unexpected(&said)),
        }
    }

    /// Sends these ranges, which are all that is lacking, and waits until the file has its name; gives what was sent.
    pub async fn take(&mut self, ranges: &[(u64, u64)], heard: Heard<'_>) -> Result<u64, Failure> {
        self.tell(&json!({ "do": "take" })).await;
        let said = {
            let mut writing = pin!(send(self.shipment, self.stdin.as_mut(), ranges));
            let mut reading = pin!(until_end(&mut self.stdout, heard));
            let mut is_written = false;
            loop {
                tokio::select! {
                    written = &mut writing, if !is_written => { written?; is_written = true }
                    said = &mut reading => break said?,
                }
            }
        };
        match said {
            Some(said) => match self.judge(said)? {
                Said::Done => Ok(ranges.iter().map(|(start, end)| end - start).sum()),
                said => Err(self.unexpected(&said)),
            },
            None => Err(self.ended().await),
        }
    }

    /// Turns what ends a transfer into its failure.
    fn judge(&self, said: Said) -> Result<Said, Failure> {
        match said {
            Said::Full { free } => Err(no_room(self.name(), &self.remote, self.shipment.size, free)),
            Said::Other { why } => Err(Failure::new(Exit::Tool, format!("{} failed", self.what("sending")))
                .because(why)
                .because(format!("expected is {}", self.shipment.digest))
                .hint("fetch the file again: it was changed after it was verified")),
            said => Ok(said),
        }
    }

    /// Why nothing more is said.
    async fn ended(&mut self) -> Failure {
        self.stdin = None;
        let Some(mut child) = self.child.take() else {
            return Failure::new(Exit::Platform, format!("{} ended early", self.what("sending"))).transient();
        };
        let mut said = String::new();
        if let Some(stderr) = child.stderr().take() {
            // A stream that breaks ends here; the exit code tells what came of it.
            let _ = stderr.take(LONGEST).read_to_string(&mut said).await;
        }
        match self.connection.ended(child, &self.session).await {
            Ok(code) => {
                let output = Output { stdout: String::new(), stderr: said, code };
                self.connection.refused(&format!("sending `{}`", self.remote), &output)
            }
            Err(failure) => failure,
        }
    }

    pub fn unexpected(&self, said: &Said) -> Failure {
        Failure::bug(format!("{}: it said {said:?}", self.what("sending")))
    }

    fn what(&self, doing: &str) -> String {
        format!("{doing} `{}` on `{}`", self.remote, self.name())
    }
}

/// The next line, if there is one that can be read.
async fn hear(stdout: &mut BufReader<ChildStdout>) -> Option<Said> {
    let mut line = String::new();
    stdout.take(LONGEST).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

/// Reads until something else is said than how much there is.
async fn until_end(stdout: &mut BufReader<ChildStdout>, heard: Heard<'_>) -> Result<Option<Said>, Failure> {
    loop {
        match hear(stdout).await {
            Some(Said::Has { bytes }) => heard(bytes)?,
            said => return Ok(said),
        }
    }
}

/// Writes ranges of the file; who ends without reading them says why.
async fn send(shipment: &Shipment, stdin: Option<&mut ChildStdin>, ranges: &[(u64, u64)]) -> Result<(), Failure> {
    let Some(stdin) = stdin else { return Ok(()) };
    let failed = |error| unreadable(&shipment.local, &error);
    let file = Arc::new(tokio::fs::File::open(&shipment.local).await.map_err(failed)?.into_std().await);
    let no_way = |error| Failure::new(Exit::NotDone, "no second handle of the way to ssh").because(error);
    let pipe = Arc::new(stdin.as_fd().try_clone_to_owned().map_err(no_way)?);
    for (start, end) in ranges {
        let mut place = *start;
        while place < *end {
            let (from, to, most) = (Arc::clone(&file), Arc::clone(&pipe), (end - place).min(STEP));
            // Not here: the bytes may have to come from a disk, and the pipe may be full.
            let moved = tokio::task::spawn_blocking(move || put(&from, &to, place, most)).await;
            match moved.map_err(std::io::Error::other).flatten() {
                Ok(more) => place += more,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(())
}

/// Has the kernel put bytes of the file into the pipe, which does not block, until there are so many or nobody took any
/// for a while; gives how many.
fn put(file: &File, pipe: &OwnedFd, mut place: u64, most: u64) -> std::io::Result<u64> {
    let (start, end) = (place, place + most);
    while place < end {
        let left = usize::try_from(end - place).unwrap_or(usize::MAX);
        let moved = match splice(file, Some(&mut place), pipe, None, left, SpliceFlags::NONBLOCK) {
            // A file system that cannot: the bytes go through this process.
            Err(Errno::INVAL) => copied(file, pipe, place, left).inspect(|more| place += *more as u64),
            moved => moved,
        };
        match moved {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut room = [PollFd::new(pipe, PollFlags::OUT)];
                match poll(&mut room, Some(&PATIENCE)) {
                    Ok(0) => break,
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(place - start)
}

/// As many bytes as there is room for at once.
fn copied(file: &File, pipe: &OwnedFd, place: u64, most: usize) -> Result<usize, Errno> {
    let mut piece = vec![0; most.min(1 << 16)];
    let read = pread(file, &mut piece, place)?;
    match piece.get(..read) {
        Some(read) if !read.is_empty() => write(pipe, read),
        _ => Ok(0),
    }
}

fn no_room(name: &str, remote: &str, size: u64, free: u64) -> Failure {
    Failure::new(Exit::Tool, format!("`{remote}` does not fit on `{name}`"))
        .because(format!("it needs {} MiB, {} MiB are free", size.div_ceil(1 << 20), free >> 20))
        .hint(format!("make room on `{name}` or give it a larger disk, then run the same command again"))
}
