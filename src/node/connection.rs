//! One open connection to a machine, and scripts over it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use openssh::{Child, Session, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use crate::artifact::Reach;
use crate::failure::{Exit, Failure};
use crate::node::connections::{Peer, Table};
use crate::node::trouble::lost;
use crate::node::wait::spoken;

/// How long a script may take unless its caller says otherwise.
const PATIENCE: Duration = Duration::from_secs(120);
/// More output than this is no answer: what all packages of a large machine provide has about half of it.
const LIMIT: u64 = 32 << 20;
/// What a shell and `sudo` say when there is no such command.
const NOT_FOUND: i32 = 127;

/// What a script wrote and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

/// An open connection; cheap to clone. One that was lost is opened again by the next use.
#[derive(Clone)]
pub struct Connection {
    pub(super) table: Arc<Table>,
    pub(super) peer: Arc<Peer>,
}

impl Connection {
    pub(super) fn new(table: Arc<Table>, peer: Arc<Peer>) -> Self {
        Self { table, peer }
    }

    /// The name of the node, or of whatever machine this is.
    pub fn name(&self) -> &str {
        &self.peer.host.name
    }

    pub fn reach(&self) -> &Reach {
        &self.peer.host.reach
    }

    /// Runs a POSIX script, as root where `sudo`; gives its output whatever its exit code.
    ///
    /// The script goes over stdin, so it may hold secrets, and is read whole before its first line runs. It starts
    /// with `LC_ALL=C`, umask 077, the system directories in `PATH`, and an empty stdin.
    ///
    /// # Errors
    /// Exit 6, transient, when the connection was lost: the script may have run. Exit 5 when it took longer than two
    /// minutes; it may still run then.
    pub async fn run(&self, script: &str, sudo: bool) -> Result<Output, Failure> {
        self.run_within(script, sudo, PATIENCE).await
    }

    /// As [`run`](Self::run), with a deadline of the caller's.
    pub async fn run_within(&self, script: &str, sudo: bool, deadline: Duration) -> Result<Output, Failure> {
        let words = [self.root_words(sudo), vec!["sh".to_owned(), "-s".to_owned()]].concat();
        let input = whole(script);
        let work = self.feed(&words, |mut stdin| async move {
            stdin.write_all(input.as_bytes()).await?;
            stdin.shutdown().await
        });
        match tokio::time::timeout(deadline, work).await {
            Ok(output) => output,
            Err(_) => Err(Failure::new(
                Exit::Tool,
                format!("a script on `{}` did not end within {}", self.name(), spoken(deadline)),
            )),
        }
    }

    /// Runs a script as root that is expected to succeed; gives what it wrote.
    ///
    /// # Errors
    /// As [`run`](Self::run), and exit 5 with `what` when it ends with another code than 0.
    pub async fn ask(&self, what: &str, script: &str) -> Result<String, Failure> {
        let output = self.run(script, true).await?;
        if output.code == 0 { Ok(output.stdout) } else { Err(self.refused(what, &output)) }
    }

    /// The failure of something that ended with a code of its own.
    pub(super) fn refused(&self, what: &str, output: &Output) -> Failure {
        let said = output.stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
        let failure = Failure::new(Exit::Tool, format!("{what} on `{}` ended with code {}", self.name(), output.code))
            .because(said);
        if output.stderr.contains("No space left on device") {
            return failure.hint(format!("make room on `{}`, then run the same command again", self.name()));
        }
        if said.starts_with("sudo:") {
            return failure.hint(format!("`{}` must be able to use sudo without a password there", self.reach().user));
        }
        failure
    }

    /// The words that make the next ones run as root.
    pub(super) fn root_words(&self, sudo: bool) -> Vec<String> {
        let needed = sudo && self.reach().user != "root";
        if needed { ["sudo", "-n", "--"].map(str::to_owned).to_vec() } else { vec![] }
    }

    pub(super) async fn session(&self) -> Result<Arc<Session>, Failure> {
        self.table.session(&self.peer).await
    }

    /// Starts `words` on the machine, lets `write` fill its stdin, and collects what it says.
    pub(super) async fn feed<W, F>(&self, words: &[String], write: W) -> Result<Output, Failure>
    where
        W: FnOnce(openssh::ChildStdin) -> F,
        F: Future<Output = std::io::Result<()>>,
    {
        let _turn = self.peer.sessions.acquire().await.map_err(|_| Failure::bug("a connection's turns were closed"))?;
        let session = self.session().await?;
        let mut child = self.spawn(&*session, words).await?;
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let feeding = async {
            match stdin {
                // Who ends without reading its input says why by its exit code; the broken pipe says nothing more.
                Some(stdin) => write(stdin).await.or_else(|error| match error.kind() {
                    std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => Ok(()),
                    _ => Err(error),
                }),
                None => Ok(()),
            }
        };
        let (fed, stdout, stderr) = tokio::join!(feeding, read(stdout), read(stderr));
        let code = self.ended(child, &session).await?;
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            let what = format!("what ran on `{}` said more than {} MiB", self.name(), LIMIT >> 20);
            return Err(Failure::new(Exit::Tool, what));
        };
        if let (0, Err(error)) = (code, fed) {
            return Err(Failure::new(Exit::Tool, format!("cannot send to `{}`", self.name())).because(error));
        }
        Ok(Output { stdout, stderr, code })
    }

    pub(super) async fn spawn<S>(&self, session: S, words: &[String]) -> Result<Child<S>, Failure>
    where
        S: Deref<Target = Session> + Clone,
    {
        let Some((program, arguments)) = words.split_first() else {
            return Err(Failure::bug("nothing to run on a node"));
        };
        Session::to_command(session, program.clone())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .await
            .map_err(|error| lost(&self.peer.host, &error))
    }

    /// The exit code. The multiplexing protocol does not tell a killed command from a lost connection; the master does.
    pub(super) async fn ended<S>(&self, child: Child<S>, session: &Session) -> Result<i32, Failure>
    where
        S: Deref<Target = Session> + Clone,
    {
        match child.wait().await {
            Ok(status) => Ok(status.code().unwrap_or(-1)),
            Err(openssh::Error::Remote(_)) => Ok(NOT_FOUND),
            Err(openssh::Error::RemoteProcessTerminated) if session.check().await.is_ok() => {
                Err(Failure::new(Exit::Tool, format!("what ran on `{}` was killed", self.name())).transient())
            }
            Err(error) => Err(lost(&self.peer.host, &error)),
        }
    }
}

/// A word as a POSIX shell reads it back unchanged.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The script as one compound command: a shell parses it to its closing brace before it starts any of it.
fn whole(script: &str) -> String {
    format!(
        "{{\nLC_ALL=C; export LC_ALL; umask 077\nPATH=\"/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin:$PATH\"; \
         export PATH\n{script}\n}} </dev/null\n"
    )
}

/// Reads to the end. `None` where that was more than the limit: the rest is read and left out, so that the other side is not
/// held up.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> Option<String> {
    let Some(mut stream) = stream else { return Some(String::new()) };
    let mut bytes = Vec::new();
    // A stream that breaks ends here; the exit code tells what came of it.
    let _ = (&mut stream).take(LIMIT).read_to_end(&mut bytes).await;
    let more = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    (more.unwrap_or_default() == 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_says_too_much_is_read_to_its_end_and_is_no_answer() {
        let zeros = |count| tokio::io::AsyncReadExt::take(tokio::io::repeat(b'0'), count);

        let whole = read(Some(zeros(LIMIT))).await.expect("all of it");
        let mut endless = zeros(LIMIT + 1);

        assert_eq!(whole.len() as u64, LIMIT);
        assert_eq!(read(Some(&mut endless)).await, None);
        assert_eq!(endless.limit(), 0);
    }

    #[test]
    fn a_quoted_word_comes_back_unchanged_whatever_is_in_it() {
        assert_eq!(quote("it's $HOME `x`"), r"'it'\''s $HOME `x`'");
    }

    #[test]
    fn a_script_is_one_command_with_its_own_stdin() {
        let text = whole("echo a\nexit 3");

        assert!(text.starts_with("{\nLC_ALL=C; export LC_ALL; umask 077\n"), "{text}");
        assert!(text.ends_with("\necho a\nexit 3\n} </dev/null\n"), "{text}");
    }
}
