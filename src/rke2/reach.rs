//! Whether a node reaches what it needs for a join, measured from the node itself before anything is started there.
//!
//! Most of what is asked for does not listen yet, which is no fault: a machine that refuses a connection was reached. A
//! way is closed where nobody answers at all, or where a router or firewall says no. Names are resolved by the node.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::environment::{NodeName, Role};
use crate::node::quote;

/// How long one connection may take; all of a node are tried at once.
const PATIENCE: u32 = 3;
/// One more try, for a packet that was lost.
const TRIES: u32 = 2;

/// What a way is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Without it the node cannot join.
    Join,
    /// It joins, and something else does not work.
    Later,
    /// As long as nothing is behind it, only its name can be judged.
    Name,
}

/// A way that a node needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Whom it leads to.
    pub to: String,
    pub host: String,
    pub port: u16,
    pub what: &'static str,
    pub need: Need,
}

impl Way {
    pub fn new(to: impl Into<String>, host: impl Into<String>, port: u16, what: &'static str, need: Need) -> Self {
        Self { to: to.into(), host: host.into(), port, what, need }
    }
}

/// A way that is closed, and how that shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hole {
    pub from: NodeName,
    #[serde(flatten)]
    pub way: Way,
    pub why: String,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Way { to, host, port, what, .. } = &self.way;
        write!(f, "{} → {to} {host}:{port} ({what}): {}", self.from, self.why)
    }
}

/// The ways of one node of a cluster: `nodes` are all that there are, with role and address.
pub fn ways(from: &NodeName, nodes: &BTreeMap<NodeName, (Role, String)>) -> Vec<Way> {
    let Some((role, _)) = nodes.get(from) else { return vec![] };
    let mut ways = Vec::new();
    for (name, (other, address)) in nodes.iter().filter(|(name, _)| *name != from) {
        let mut add = |port, what, need| ways.push(Way::new(name.0.clone(), address.clone(), port, what, need));
        if *other == Role::Server {
            add(9345, "registration", Need::Join);
            add(6443, "API", Need::Join);
            if *role == Role::Server {
                add(2379, "etcd clients", Need::Join);
                add(2380, "etcd peers", Need::Join);
            }
        }
        // Between agents as well, but their number squared is not worth it.
        if *role == Role::Server || *other == Role::Server {
            add(10250, "kubelet", Need::Later);
        }
    }
    ways
}

/// A script that tries these ways from a node, side by side, and asks for its clock. For root: on a hardened node chronyd answers
/// nobody else.
pub fn ask_ways(ways: &[Way]) -> String {
    let mut script = format!(
        r#"echo "@time $(date +%s.%N)"
try() {{
  for again in $(seq {TRIES}); do
    said=$(timeout {PATIENCE} bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$2" "$3" 2>&1); code=$?
    case "$code:$said" in 0:*|*efused*) break ;; esac
  done
  case "$code:$said" in
    0:*|*efused*) said=reached ;;
    124:*|*'timed out'*) said="no answer within {PATIENCE} s" ;;
    *'not known'*|*'failure in name'*) said="the name is not known" ;;
    *) said=$(printf '%s\n' "$said" | head -n 1 | sed 's/.*: //') ;;
  esac
  echo "@way $1 $said"
}}
"#
    );
    for (index, way) in ways.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(script, "try {index} {} {} &", quote(&way.host), way.port);
    }
    script.push_str(
        "wait\n\
         [ \"$(systemctl is-active firewalld.service 2>/dev/null)\" != active ] || echo @firewalld\n\
         if command -v chronyc >/dev/null; then\n\
         \x20 clock=$(timeout 5 chronyc -n tracking 2>&1) && echo \"$clock\" | grep -q 'Leap status *: Normal' || echo \"@clock not synchronised: $(echo \"$clock\" | grep -i 'leap\\|cannot' | tail -n 1)\"\n\
         fi\necho \"@time $(date +%s.%N)\"\nexit 0",
    );
    script
}

/// What a node told of its ways.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// By the index of the way, why it is closed.
    closed: BTreeMap<usize, String>,
    /// Its own firewall runs, and closes ways that lead to it.
    pub has_firewall: bool,
    /// What is wrong with its clock.
    pub clock: Option<String>,
    /// What its clock showed when it began and when it ended, in seconds since 1970.
    times: Vec<f64>,
}

/// By how many seconds a clock may differ from the others: certificates and leases bear that.
const APART: f64 = 10.0;

/// By how many seconds a node's clock is ahead of ours: at least the one, at most the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ahead {
    least: f64,
    most: f64,
}

/// The nodes whose clock differs from the others' by more than it may, with the seconds that it is ahead by. Our own clock
/// is one voice among them, so that of two nodes the right one is told.
pub fn apart(clocks: &BTreeMap<NodeName, Ahead>) -> BTreeMap<NodeName, i64> {
    let mut voices: Vec<f64> = clocks.values().map(|ahead| f64::midpoint(ahead.least, ahead.most)).collect();
    voices.push(0.0);
    voices.sort_by(f64::total_cmp);
    let agreed = voices[voices.len() / 2];
    let is_apart = |ahead: &Ahead| ahead.least - agreed > APART || agreed - ahead.most > APART;
    let wrong = clocks.iter().filter(|(_, ahead)| is_apart(ahead));
    #[expect(clippy::cast_possible_truncation, reason = "seconds between clocks, rounded to be told")]
    let seconds = |ahead: &Ahead| (f64::midpoint(ahead.least, ahead.most) - agreed).round() as i64;
    wrong.map(|(node, ahead)| (node.clone(), seconds(ahead))).collect()
}

impl Measured {
    /// Reads the answer to [`ask_ways`]; a way that nothing was said of is not judged.
    pub fn read(answer: &str) -> Self {
        let mut measured = Self::default();
        for line in answer.lines() {
            if let Some((index, said)) = line.strip_prefix("@way ").and_then(|rest| rest.split_once(' ')) {
                if let (Ok(index), false) = (index.parse(), said == "reached") {
                    measured.closed.insert(index, said.trim().to_owned());
                }
            } else if line.trim() == "@firewalld" {
                measured.has_firewall = true;
            } else if let Some(time) = line.strip_prefix("@time ").and_then(|time| time.trim().parse().ok()) {
                measured.times.push(time);
            } else if let Some(why) = line.strip_prefix("@clock ") {
                measured.clock = Some(why.trim().trim_end_matches(':').to_owned());
            }
        }
        measured
    }

    /// How its clock stands to ours, which showed `asked` before it was asked and `heard` when it had answered.
    pub fn ahead(&self, asked: f64, heard: f64) -> Option<Ahead> {
        let (began, ended) = (self.times.first()?, self.times.last()?);
        Some(Ahead { least: ended - heard, most: began - asked })
    }

    /// The ways that are closed.
    pub fn holes(&self, from: &NodeName, ways: &[Way]) -> Vec<Hole> {
        let counts = |way: &Way, why: &str| way.need != Need::Name || why.contains("name");
        let hole = |(index, way): (usize, &Way)| {
            let why = self.closed.get(&index).filter(|why| counts(way, why))?;
            Some(Hole { from: from.clone(), way: way.clone(), why: why.clone() })
        };
        ways.iter().enumerate().filter_map(hole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> BTreeMap<NodeName, (Role, String)> {
        let nodes = [
            ("general-1", Role::Agent, 6),
            ("general-2", Role::Agent, 7),
            ("server-1", Role::Server, 4),
            ("server-2", Role::Server, 5),
        ];
        nodes.map(|(name, role, last)| (NodeName(name.to_owned()), (role, format!("10.0.0.{last}")))).into()
    }

    fn told(from: &str) -> Vec<String> {
        let ways = ways(&NodeName(from.to_owned()), &cluster());
        ways.iter().map(|way| format!("{} {}", way.to, way.port)).collect()
    }

    #[test]
    fn servers_need_each_others_etcd_and_agents_the_servers() {
        assert_eq!(
            told("server-1"),
            [
                "general-1 10250",
                "general-2 10250",
                "server-2 9345",
                "server-2 6443",
                "server-2 2379",
                "server-2 2380",
                "server-2 10250"
            ]
        );
        assert_eq!(
            told("general-1"),
            ["server-1 9345", "server-1 6443", "server-1 10250", "server-2 9345", "server-2 6443", "server-2 10250"]
        );
    }

    #[test]
    fn a_machine_that_refuses_was_reached_and_one_that_is_silent_was_not() {
        let from = NodeName("server-1".to_owned());
        let mut ways = ways(&from, &cluster());
        ways.push(Way::new("load balancer", "api.example", 6443, "API", Need::Name));
        let measured = Measured::read(
            "@way 2 reached\n@way 5 no answer within 3 s\n@way 3 No route to host\n@way 7 no answer within 3 s\n\
             @clock not synchronised: Leap status     : Not synchronised\n",
        );

        let holes: Vec<String> = measured.holes(&from, &ways).iter().map(ToString::to_string).collect();

        assert_eq!(
            holes,
            [
                "server-1 → server-2 10.0.0.5:6443 (API): No route to host",
                "server-1 → server-2 10.0.0.5:2380 (etcd peers): no answer within 3 s",
            ]
        );
        assert_eq!(measured.clock.as_deref(), Some("not synchronised: Leap status     : Not synchronised"));
        let unknown = Measured::read("@way 7 the name is not known\n@firewalld\n");
        assert_eq!(unknown.holes(&from, &ways).len(), 1, "a name is judged whatever is behind it");
        assert!(unknown.has_firewall);
    }

    #[test]
    fn a_clock_that_differs_from_the_others_is_told_and_a_slow_answer_is_no_difference() {
        let told = |began: f64, ended: f64| {
            let measured = Measured::read(&format!("@time {began:.9}\n@way 1 reached\n@time {ended:.9}\n"));
            measured.ahead(1000.0, 1030.0).expect("told")
        };
        let clocks = |nodes: &[(&str, Ahead)]| -> BTreeMap<NodeName, Ahead> {
            nodes.iter().map(|(name, ahead)| (NodeName((*name).to_owned()), *ahead)).collect()
        };
        let told_apart = |nodes: &[(&str, Ahead)]| -> Vec<(String, i64)> {
            apart(&clocks(nodes)).into_iter().map(|(node, seconds)| (node.0, seconds)).collect()
        };
        let (right, slow) = (told(1001.0, 1029.0), told(1025.0, 1026.0));

        assert_eq!(told_apart(&[("server-1", right), ("server-2", slow), ("server-3", right)]), []);
        let behind = told(1001.0 - 3600.0, 1029.0 - 3600.0);
        assert_eq!(
            told_apart(&[("server-1", right), ("server-2", behind), ("server-3", slow)]),
            [("server-2".to_owned(), -3600)]
        );
        assert_eq!(told_apart(&[("server-1", right), ("server-2", behind)]), [("server-2".to_owned(), -3600)]);
        let all = [("server-1", behind), ("server-2", behind), ("server-3", behind)];
        assert_eq!(told_apart(&all), [], "it is our clock that is wrong");
        assert_eq!(Measured::read("@way 1 reached\n").ahead(0.0, 1.0), None);
    }

    #[test]
    fn what_was_not_measured_is_no_hole() {
        let from = NodeName("server-1".to_owned());

        assert_eq!(Measured::read("").holes(&from, &ways(&from, &cluster())), []);
    }

    #[test]
    fn the_script_tells_open_refused_and_unknown_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let open = listener.local_addr().expect("an address").port();
        let closed = {
            let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            other.local_addr().expect("an address").port()
        };
        let way = |host: &str, port| Way::new("x", host, port, "test", Need::Join);
        let tried = [way("127.0.0.1", open), way("127.0.0.1", closed), way("no-such-name.invalid", 80)];

        let output = std::process::Command::new("sh").arg("-c").arg(ask_ways(&tried)).output().expect("sh");
        let said = String::from_utf8_lossy(&output.stdout);
        let holes = Measured::read(&said).holes(&NodeName("a".to_owned()), &tried);

        assert!(said.contains("@way 0 reached") && said.contains("@way 1 reached"), "{said}");
        assert_eq!(
            holes.iter().map(|hole| hole.way.host.as_str()).collect::<Vec<_>>(),
            ["no-such-name.invalid"],
            "{said}"
        );
    }
}
