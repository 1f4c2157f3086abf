//! Who answers at an address that the platform knows nobody to have: a machine outside of it, or one without Tools.
//!
//! Asked is whoever is in the network: a node that stands, else the jump machine; without either this machine itself, which
//! may be far away and sees only who takes or refuses a connection.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;

use crate::artifact::{Access, Artifact, Kind};
use crate::environment::Via;
use crate::failure::Failure;
use crate::node::{Connection, quote};
use crate::stages::{Context, jump};

/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Prints those of its arguments that answer: to a ping, or, where nothing lets one through, to the question who has them.
/// An address that was known before tells nothing by that: its machine may just have gone.
const WHO_ANSWERS: &str = r#"
command -v ip >/dev/null && command -v ping >/dev/null || { echo "there is no ip or no ping" >&2; exit 3; }
for address; do
  (
    known=$(ip neigh show to "$address" 2>/dev/null | grep lladdr)
    if ping -c 1 -W 1 "$address" >/dev/null 2>&1; then
      echo "$address"
    elif [ -z "$known" ] && ip neigh show to "$address" 2>/dev/null | grep -q lladdr; then
      echo "$address"
    fi
  ) &
done
wait
"#;

/// Those of these addresses at which somebody answers.
///
/// # Errors
/// Who is in the network cannot be asked.
pub async fn answering(addresses: &BTreeSet<String>, cx: &Context<'_>) -> Result<BTreeSet<String>, Failure> {
    if addresses.is_empty() {
        return Ok(BTreeSet::new());
    }
    match insider(cx).await? {
        Some(connection) => {
            let words: Vec<String> = addresses.iter().map(|address| quote(address)).collect();
            let script = format!("set -- {}{WHO_ANSWERS}", words.join(" "));
            let said = connection.ask("looking who has addresses", &script).await?;
            Ok(of(addresses, &said))
        }
        None => {
            let asked = addresses.iter().map(async |address| answers_here(address).await.then(|| address.clone()));
            Ok(join_all(asked).await.into_iter().flatten().collect())
        }
    }
}

/// A machine in the network: a node that was reached before and still is, else the jump machine.
async fn insider(cx: &Context<'_>) -> Result<Option<Connection>, Failure> {
    if let Some(Artifact::Access(access)) = cx.known.artifact(Kind::Access)
        && let Some(connection) = standing(access, cx).await
    {
        return Ok(Some(connection));
    }
    let reach = cx.env.access.jump.as_ref().filter(|_| cx.env.access.via == Via::Jump).and_then(jump::named_jump);
    match reach {
        Some(reach) => cx.connections.open_jump(&reach).await.map(Some),
        None => Ok(None),
    }
}

async fn standing(access: &Access, cx: &Context<'_>) -> Option<Connection> {
    for node in access.nodes.keys() {
        if let Ok(connection) = cx.connections.get(node, access).await {
            return Some(connection);
        }
    }
    None
}

/// Whether somebody takes or refuses a connection; silence tells nothing.
async fn answers_here(address: &str) -> bool {
    let tried = tokio::time::timeout(PATIENCE, TcpStream::connect((address, 22))).await;
    is_somebody(tried.ok().map(|tried| tried.map(drop)))
}

/// What came of a connection, unless nothing did in time.
fn is_somebody(tried: Option<std::io::Result<()>>) -> bool {
    match tried {
        Some(Ok(())) => true,
        Some(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
        None => false,
    }
}

fn of(addresses: &BTreeSet<String>, said: &str) -> BTreeSet<String> {
    said.lines().map(str::trim).filter(|line| addresses.contains(*line)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_counts() {
        let asked = BTreeSet::from(["10.98.1.11".to_owned(), "10.98.1.12".to_owned()]);

        assert_eq!(of(&asked, "10.98.1.12\nwarning: 10.98.1.11\n"), BTreeSet::from(["10.98.1.12".to_owned()]));
    }

    #[test]
    fn who_takes_or_refuses_a_connection_is_there_and_silence_tells_nothing() {
        assert!(is_somebody(Some(Ok(()))));
        assert!(is_somebody(Some(Err(ErrorKind::ConnectionRefused.into()))));
        assert!(!is_somebody(Some(Err(ErrorKind::HostUnreachable.into()))));
        assert!(!is_somebody(None));
    }
}
