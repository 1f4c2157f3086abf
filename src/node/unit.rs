//! Work on a node that takes longer than one round trip: a transient systemd unit that outlives the connection.
//!
//! The unit is named by run and step. Script, output and exit code lie in a directory of its own on the node's disk,
//! so that whoever comes back, in this run or after a crash of ours, asks the unit instead of starting another.

use std::time::Duration;

use crate::crash_point;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::connection::{Connection, quote};
use crate::node::wait::{Look, Wait};

/// Where a node keeps what its units were told and what they said.
const UNITS: &str = "/var/lib/sre-provision/units";
/// One look waits this long on the node for the unit's end, in fifths of a second.
const LONG_POLL: u32 = 50;

/// How a unit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitResult {
    /// `None` when it was cut off before its end, such as by a restart of the node: what it did is unknown.
    pub code: Option<i32>,
    /// The last 64 KiB of stdout and stderr.
    pub output: String,
    /// Whether it had been started before this call.
    pub reattached: bool,
}

impl Connection {
    /// Runs a script as root in the unit `sre-<name>` and waits for its end; a unit of that name that runs or has
    /// ended with the same script is asked instead of started.
    ///
    /// # Errors
    /// Exit 8 when the name stands for another script; what [`Wait::until`] gives. A unit is not stopped when waiting
    /// ends: it goes on, and the next call finds it.
    pub async fn unit(&self, name: &str, script: &str, wait: &Wait<'_>) -> Result<UnitResult, Failure> {
        let what = format!("unit `sre-{name}` on `{}`", self.name());
        crash_point!("unit.before-start", name);
        let started = self.ask(&format!("starting {what}"), &starting(name, script)).await?;
        crash_point!("unit.started", name);
        let reattached = match started.trim() {
            "started" => false,
            "known" => true,
            _ => {
                return Err(Failure::new(Exit::Held, format!("{what} was started for something else"))
                    .hint(format!("look at {UNITS}/{name} on the node")));
            }
        };
        let looking = looking(name);
        wait.until(&what, Exit::Tool, Duration::from_millis(200), || async {
            let said = self.ask(&format!("asking {what}"), &looking).await?;
            let (state, output) = said.split_once('\n').unwrap_or((said.trim(), ""));
            Ok(match state {
                "running" => Look::NotYet(last_line(output)),
                code => Look::Done(UnitResult { code: code.parse().ok(), output: output.to_owned(), reattached }),
            })
        })
        .await
    }

    /// Removes what an ended unit left, so that its name may be used again.
    pub async fn forget_unit(&self, name: &str) -> Result<(), Failure> {
        let script = format!(
            "if systemctl is-active --quiet {unit}; then echo 'it still runs' >&2; exit 1; fi\nrm -rf {dir}",
            unit = quote(&format!("sre-{name}.service")),
            dir = quote(&format!("{UNITS}/{name}")),
        );
        self.ask(&format!("removing unit `sre-{name}`"), &script).await.map(drop)
    }
}

/// Starts the unit unless it was started; says `started`, `known` or `other`.
fn starting(name: &str, script: &str) -> String {
    let digest = Digest::of(script.as_bytes());
    let end = format!("end-{}", digest.short());
    format!(
        r#"set -eu
d={dir}; u={unit}
if [ -e "$d/digest" ]; then
  if [ "$(cat "$d/digest")" = {digest} ]; then echo known; else echo other; fi
  exit 0
fi
mkdir -p -m 0700 {UNITS}
rm -rf "$d"
mkdir -m 0700 "$d"
cat >"$d/script" <<'{end}'
{script}
{end}
: >"$d/output"
printf '%s\n' {digest} >"$d/digest.new"
sync "$d/script" "$d/digest.new"
mv "$d/digest.new" "$d/digest"
systemd-run --quiet --collect --unit="$u" --property=Type=exec --working-directory=/ \
  sh -c 'sh "$0/script" >"$0/output" 2>&1 </dev/null; echo $? >"$0/code.new"; sync "$0/code.new"; mv "$0/code.new" "$0/code"' "$d" ||
  {{ code=$?; rm -rf "$d"; exit $code; }}
echo started"#,
        dir = quote(&format!("{UNITS}/{name}")),
        unit = quote(&format!("sre-{name}.service")),
    )
}

/// Waits on the node for the end, for a while; says `running`, the exit code or `lost`, then the end of the output.
fn looking(name: &str) -> String {
    format!(
        r#"d={dir}; u={unit}; n=0
while [ "$n" -lt {LONG_POLL} ] && [ ! -e "$d/code" ] && systemctl is-active --quiet "$u"; do
  sleep 0.2
  n=$((n + 1))
done
if [ -e "$d/code" ]; then cat "$d/code"
elif systemctl is-active --quiet "$u"; then echo running
elif [ -e "$d/code" ]; then cat "$d/code"
else echo lost
fi
tail -c 65536 "$d/output""#,
        dir = quote(&format!("{UNITS}/{name}")),
        unit = quote(&format!("sre-{name}.service")),
    )
}

fn last_line(output: &str) -> String {
    output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("running").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_on_the_nodes_disk_before_its_unit_starts() {
        let text = starting("run-7-join", "echo it's done");

        let written = text.find("mv \"$d/digest.new\"").expect("the digest is written");
        let started = text.find("systemd-run").expect("the unit is started");
        assert!(written < started);
        assert!(text.contains("echo it's done\nend-"));
    }

    #[test]
    fn while_a_unit_runs_its_last_line_is_its_state() {
        assert_eq!(last_line("unpacking\nimporting 3 of 9\n\n"), "importing 3 of 9");
        assert_eq!(last_line(""), "running");
    }
}
