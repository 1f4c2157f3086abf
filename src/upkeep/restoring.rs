//! What a restore does on a node: scripts, each safe to run again.

use crate::failure::{Exit, Failure};
use crate::node::{Connection, Wait, quote};
use crate::rke2::{ADMIN_KUBECONFIG, DATA_DIR};

/// Where a snapshot that is restored lies meanwhile: outside of the store, which is moved away.
pub const SNAPSHOTS: &str = "/var/lib/sre-provision/restore";
const CONFIG: &str = "/etc/rancher/rke2/config.yaml";
/// Where a server joins, while it does; its own configuration may name one that is gone.
const JOINS_BY: &str = "/etc/rancher/rke2/config.yaml.d/95-sre-restore.yaml";
/// What RKE2 says when the membership is down to the one server.
const RESET: &str = "cluster membership has been reset";

/// Runs a script in a unit of its own and gives what it said; one that was cut off before its end is run again.
///
/// # Errors
/// Exit 5 with its last line, and the unit is forgotten: the next call runs it again.
pub async fn unit(server: &Connection, name: &str, script: &str, wait: &Wait<'_>) -> Result<String, Failure> {
    let mut ended = server.unit(name, script, wait).await?;
    if ended.code.is_none() {
        server.forget_unit(name).await?;
        ended = server.unit(name, script, wait).await?;
    }
    match ended.code {
        Some(0) => Ok(ended.output),
        code => {
            server.forget_unit(name).await?;
            let code = code.map_or_else(|| "without a result".to_owned(), |code| format!("with code {code}"));
            let mut failure = Failure::new(Exit::Tool, format!("`sre-{name}` on `{}` ended {code}", server.name()));
            for line in telling(&ended.output) {
                failure = failure.because(line);
            }
            Err(failure)
        }
    }
}

/// The last errors of a log, or its last line.
fn telling(output: &str) -> Vec<&str> {
    let is_bad = |line: &&str| line.contains("level=fatal") || line.contains("level=error");
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    match lines().rfind(is_bad).or_else(|| lines().next_back()) {
        Some(line) => vec![line],
        None => vec![],
    }
}

/// Ends every pod of a stopped server, and proves that etcd runs no more. RKE2's script for that tells nothing by how it
/// ends: its last deeds, such as removing links that are not there, may fail.
const KILLED: &str = "/usr/local/bin/rke2-killall.sh >/dev/null 2>&1 || echo \"rke2-killall.sh ended with $?\"\n\
     n=0\nwhile pgrep -x etcd >/dev/null; do\n  n=$((n + 1))\n  \
     [ $n -le 50 ] || { echo 'etcd still runs' >&2; exit 1; }\n  sleep 0.2\ndone\n";

/// Stops a server so that neither etcd nor the API runs on, nor comes back with a reboot, nor is started by what an
/// operation that was given up for the restore of this run has left at work here.
pub fn stopping(run: u32) -> String {
    format!(
        "set -eu\nsystemctl list-units --plain --no-legend 'sre-certificates-*' 'sre-restore-*' | awk '{{ print $1 }}' | \
         {{ grep -v '^sre-restore-{run}-' || test $? = 1; }} | xargs -r systemctl stop\n\
         systemctl disable --quiet rke2-server.service\nsystemctl stop rke2-server.service\n{KILLED}"
    )
}

/// Puts a snapshot of this server aside, where the reset does not move it.
pub fn setting_aside(snapshot: &str) -> String {
    format!(
        "set -eu\numask 077\nmkdir -p {SNAPSHOTS}\nt={to}\n[ -s \"$t\" ] || {{ cp {from} \"$t.new\"; sync \"$t.new\"; mv \"$t.new\" \"$t\"; }}\n\
         [ -s \"$t\" ]\n",
        to = quote(&format!("{SNAPSHOTS}/{snapshot}")),
        from = quote(&format!("{DATA_DIR}/server/db/snapshots/{snapshot}")),
    )
}

/// Makes a stopped server the only member of a cluster with the snapshot's data. Its configuration without what names
/// other servers lies in memory while that runs; the token is the one in its token file.
pub fn resetting(snapshot: &str) -> String {
    format!(
        "set -eu\numask 077\n! systemctl is-active --quiet rke2-server.service\n\
         rm -f {DATA_DIR}/server/db/reset-flag\nd=/run/sre-provision-reset; mkdir -p \"$d\"\n\
         grep -Ev '^(server|cluster-init):' {CONFIG} >\"$d/config.yaml\"\n\
         code=0\nRKE2_CONFIG_FILE=\"$d/config.yaml\" /usr/local/bin/rke2 server --config \"$d/config.yaml\" --cluster-reset \
         --etcd-s3=false --cluster-reset-restore-path={path} || code=$?\nrm -rf \"$d\"\n{KILLED}exit $code\n",
        path = quote(&format!("{SNAPSHOTS}/{snapshot}")),
    )
}

/// Whether the reset said that it came to its end.
pub fn is_reset(output: &str) -> bool {
    output.contains(RESET)
}

/// Starts a server again. The wait is ours. Its file of users is made anew from the datastore: one that is newer, as after
/// a rotation of tokens, would keep it from starting.
pub fn starting() -> String {
    format!(
        "set -eu\nif systemctl is-failed --quiet rke2-server.service; then systemctl reset-failed rke2-server.service; fi\n\
         rm -f {DATA_DIR}/server/cred/passwd\n\
         systemctl enable --quiet rke2-server.service\nsystemctl start --no-block rke2-server.service\n"
    )
}

/// Puts a server's old store aside and has it join by this address as a new member.
pub fn rejoining(address: &str) -> String {
    format!(
        "set -eu\numask 077\nsystemctl stop rke2-server.service\n{KILLED}\
         db={DATA_DIR}/server/db\nif [ -d \"$db\" ]; then\n  if [ -e \"$db.old\" ]; then rm -rf \"$db\"; else mv \"$db\" \"$db.old\"; fi\nfi\n\
         mkdir -p \"$(dirname {JOINS_BY})\"\nprintf 'server: https://%s:9345\\ncluster-init: false\\n' {address} >{JOINS_BY}\n{start}",
        address = quote(address),
        start = starting(),
    )
}

/// Once a server has joined: its own configuration counts again, its snapshots are back, the old store goes.
pub fn rejoined() -> String {
    format!(
        "set -eu\nrm -f {JOINS_BY}\ndb={DATA_DIR}/server/db\nif [ -d \"$db.old/snapshots\" ]; then\n  mkdir -p \"$db/snapshots\"\n  \
         cp -an \"$db.old/snapshots/.\" \"$db/snapshots/\"\nfi\nrm -rf \"$db.old\"\n"
    )
}

/// After the restore: what the reset put aside.
pub fn clearing(snapshot: &str) -> String {
    format!(
        "rm -rf {DATA_DIR}/server/db/etcd-old-* {}\n[ ! -d {SNAPSHOTS} ] || rmdir --ignore-fail-on-non-empty {SNAPSHOTS}\n",
        quote(&format!("{SNAPSHOTS}/{snapshot}"))
    )
}

/// `kubectl` on a server.
pub fn kubectl(arguments: &str) -> String {
    format!("{DATA_DIR}/bin/kubectl --kubeconfig {ADMIN_KUBECONFIG} --request-timeout=20s {arguments}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fatal_line_of_a_log_is_told_before_its_last_one() {
        let output = "level=info msg=one\nlevel=fatal msg=\"etcd: snapshot path does not exist: /x\"\nremark\n";

        assert_eq!(telling(output), ["level=fatal msg=\"etcd: snapshot path does not exist: /x\""]);
        assert_eq!(telling("one\ntwo\n\n"), ["two"]);
    }

    #[test]
    fn the_old_store_is_kept_until_the_server_has_joined_and_a_half_made_one_goes() {
        let script = rejoining("10.0.0.1");

        assert!(
            script.contains("if [ -e \"$db.old\" ]; then rm -rf \"$db\"; else mv \"$db\" \"$db.old\"; fi"),
            "{script}"
        );
        assert!(rejoined().ends_with("rm -rf \"$db.old\"\n"));
    }

    #[test]
    fn whoever_kills_pods_proves_that_etcd_runs_no_more() {
        for script in [stopping(7), resetting("pre-1"), rejoining("10.0.0.1")] {
            let killed = script.find("rke2-killall.sh >").expect("it kills");
            let proved = script.find("while pgrep -x etcd").expect("it proves");
            assert!(killed < proved, "{script}");
            assert!(!script.contains("|| true"), "{script}");
        }
        assert!(!starting().contains("|| true"));
    }

    #[test]
    fn what_a_given_up_operation_left_at_work_is_ended_before_rke2_is_stopped() {
        let script = stopping(7);

        let ended = script.find("grep -v '^sre-restore-7-'").expect("units but for ours");
        assert!(ended < script.find("systemctl stop rke2-server.service").expect("it stops"), "{script}");
        assert!(script.contains("awk '{ print $1 }'"), "{script}");
    }

    #[test]
    fn a_reset_is_told_by_what_rke2_says_of_it() {
        assert!(is_reset(
            "msg=\"Managed etcd cluster membership has been reset, restart without --cluster-reset flag now.\""
        ));
        assert!(!is_reset("msg=\"Starting rke2\""));
    }
}
