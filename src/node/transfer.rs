//! Files to a node: streamed, verified where they arrive, and not sent again when they are there.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::connection::{Connection, quote};
use crate::workspace::Incoming;

/// The digest of a large file that is already there may take a while on a slow disk.
const LOOKING: Duration = Duration::from_secs(300);
/// Told by the receiving script: what arrived has another digest.
const OTHER_DIGEST: i32 = 65;

/// Receives stdin as `$1` if its digest is `$2`, with mode `$3`; a partial file never has the name.
const RECEIVE: &str = r#"set -eu
umask 077
new="$1.partial.$$"
trap 'rm -f "$new"' EXIT
cat >"$new"
got=$(sha256sum <"$new")
if [ "${got%% *}" != "$2" ]; then
  echo "what arrived has the digest ${got%% *}" >&2
  exit 65
fi
chmod "$3" "$new"
mv -f "$new" "$1"
"#;

/// What a transfer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The file was there with this digest.
    Already,
    Bytes(u64),
}

impl Connection {
    /// Brings a local file to an absolute path on the machine, owned by root.
    ///
    /// The remote file appears under its name only when it is whole and has the digest. It is not sent when a file of
    /// the same size and digest is there; only its mode is set then.
    ///
    /// # Errors
    /// Exit 5 when there is not enough room or the local file has another digest than promised, with nothing left
    /// behind; exit 6, transient, when the connection was lost.
    pub async fn put(&self, local: &Path, remote: &Path, mode: u32, digest: &Digest) -> Result<Sent, Failure> {
        let file = tokio::fs::File::open(local).await.map_err(|error| unreadable(local, &error))?;
        let size = file.metadata().await.map_err(|error| unreadable(local, &error))?.len();
        let remote = remote.to_string_lossy().into_owned();
        if self.has(&remote, size, mode, digest).await? {
            return Ok(Sent::Already);
        }
        let words = [self.root_words(true), receiving(&remote, mode, digest)].concat();
        let output = self
            .feed(&words, |mut stdin| async move {
                let mut file = tokio::io::BufReader::with_capacity(1 << 18, file);
                tokio::io::copy_buf(&mut file, &mut stdin).await?;
                stdin.shutdown().await
            })
            .await?;
        match output.code {
            0 => Ok(Sent::Bytes(size)),
            OTHER_DIGEST => Err(self
                .refused(&format!("sending `{remote}`"), &output)
                .because(format!("expected is {digest}"))
                .hint("fetch the file again: it was changed after it was verified")),
            _ => Err(self.refused(&format!("sending `{remote}`"), &output)),
        }
    }

    /// Brings a file of the machine, read as root, to a local path; it has the name only when it is whole and has the
    /// digest. Gives its size.
    ///
    /// # Errors
    /// Exit 1 when what arrived has another digest; exit 6, transient, when the connection was lost.
    pub async fn get(&self, remote: &str, local: &Path, digest: &Digest) -> Result<u64, Failure> {
        let words = [self.root_words(true), ["cat", "--", remote].map(str::to_owned).to_vec()].concat();
        let _turn = self.peer.sessions.acquire().await.map_err(|_| Failure::bug("a connection's turns were closed"))?;
        let session = self.session().await?;
        let mut child = self.spawn(&session, &words).await?;
        drop(child.stdin().take());
        let mut arriving = child.stdout().take().ok_or_else(|| Failure::bug("a command without an output"))?;
        let mut incoming = Incoming::start(local)?;
        loop {
            let mut piece = Vec::with_capacity(1 << 18);
            // One that breaks ends here; the exit code and the digest tell what came of it.
            match arriving.read_buf(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(_) => incoming.write(piece).await?,
            }
        }
        match self.ended(child, &session).await? {
            0 => incoming.accept(digest).await,
            code => {
                let what = format!("reading `{remote}` on `{}` ended with code {code}", self.name());
                Err(Failure::new(Exit::Tool, what))
            }
        }
    }

    /// Whether the file is there already; makes its directory and checks that it would fit if not.
    async fn has(&self, remote: &str, size: u64, mode: u32, digest: &Digest) -> Result<bool, Failure> {
        let script = format!(
            r#"set -eu
f={file}; size={size}; mode={mode:04o}
dir=$(dirname "$f")
[ -d "$dir" ] || mkdir -p -m 0755 "$dir"
if [ -f "$f" ] && [ "$(stat -c %s "$f")" = "$size" ]; then
  got=$(sha256sum <"$f")
  if [ "${{got%% *}}" = {digest} ]; then chmod "$mode" "$f"; echo there; exit 0; fi
fi
rm -f "$f".partial.*
free=$(df -Pk "$dir" | awk 'NR == 2 {{ print $4 }}')
if [ "$free" -le $((size / 1024 + 1024)) ]; then echo "full $free"; exit 0; fi
echo absent"#,
            file = quote(remote),
        );
        let output = self.run_within(&script, true, LOOKING).await?;
        if output.code != 0 {
            return Err(self.refused(&format!("looking for `{remote}`"), &output));
        }
        match output.stdout.trim().split_once(' ') {
            None => Ok(output.stdout.trim() == "there"),
            Some((_, free)) => Err(no_room(self.name(), remote, size, free)),
        }
    }
}

fn receiving(remote: &str, mode: u32, digest: &Digest) -> Vec<String> {
    let mode = format!("{mode:04o}");
    ["sh", "-c", RECEIVE, "receive", remote, digest.as_str(), &mode].map(str::to_owned).to_vec()
}

fn no_room(name: &str, remote: &str, size: u64, free_kib: &str) -> Failure {
    let needed = size.div_ceil(1 << 20);
    let free = free_kib.parse::<u64>().unwrap_or(0) / 1024;
    Failure::new(Exit::Tool, format!("`{remote}` does not fit on `{name}`"))
        .because(format!("it needs {needed} MiB, {free} MiB are free"))
        .hint(format!("make room on `{name}` or give it a larger disk, then run the same command again"))
}

fn unreadable(local: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot read `{}`", local.display())).because(error)
}
