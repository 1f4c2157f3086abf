//! What a case works with: the world to disturb, the program to run in it, and what came of each run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::disturbance::{Disturbance, Instead};
use crate::handle::Handle;
use crate::judge::Seen;
use crate::lane::Ran;
use crate::wire::text;

/// One environment that is up, in a lane of its own.
pub struct Scene<'a> {
    lane: &'a mut Handle,
    environment: &'static str,
    before: &'a Seen,
    now: Seen,
    /// How many effects there were when the last run began.
    effects: usize,
    /// What the program was asked and said, for people.
    said: Vec<String>,
}

/// What came of one `up`.
#[derive(Debug, PartialEq)]
pub struct Went {
    /// The stages that were not reused, in the order of the road, with their outcome where it is not success.
    pub made: Vec<String>,
    /// Calls of tools, sorted.
    pub calls: Vec<String>,
    /// What was done to the world and stays, in its order.
    pub effects: Vec<String>,
}

impl Went {
    /// These stages were made, by no tool and with nothing new in the world.
    pub fn of(made: &[&str]) -> Self {
        Self { made: owned(made), calls: vec![], effects: vec![] }
    }

    pub fn calling(self, calls: &[&str]) -> Self {
        Self { calls: owned(calls), ..self }
    }

    pub fn doing(self, effects: &[&str]) -> Self {
        Self { effects: owned(effects), ..self }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// How a command failed, as programs are told it.
#[derive(Debug, PartialEq)]
pub struct Failed {
    pub exit: i32,
    pub error: String,
    pub causes: Vec<String>,
    pub hints: Vec<String>,
}

impl<'a> Scene<'a> {
    pub fn new(lane: &'a mut Handle, environment: &'static str, before: &'a Seen) -> Self {
        Self { lane, environment, before, now: before.clone(), effects: before.effects.len(), said: Vec::new() }
    }

    /// All that the program said, run by run.
    pub fn told(&self) -> String {
        self.said.iter().map(|run| format!("\n{run}")).collect()
    }

    pub fn disturb(&mut self, disturbance: Disturbance) {
        self.lane.disturb(disturbance);
    }

    /// A thing of the platform is taken away.
    pub fn take(&mut self, id: &str) {
        self.disturb(Disturbance::Take(id.to_owned()));
    }

    pub fn deregister(&mut self, group: &str, machine: &str) {
        self.disturb(Disturbance::Deregister { group: group.to_owned(), machine: machine.to_owned() });
    }

    pub fn falls_ill(&mut self, node: &str, condition: &str, why: &str) {
        let [node, condition, why] = [node, condition, why].map(str::to_owned);
        self.disturb(Disturbance::Ill { node, condition, why });
    }

    /// Whoever asks the world for this is refused until it relents.
    pub fn refuse(&mut self, asked: Value, why: &str) {
        self.disturb(Disturbance::Instead(Instead::new(asked, Err(why.to_owned()))));
    }

    /// A machine answers our scripts with this until the world relents.
    pub fn answers(&mut self, address: &str, said: &str) {
        let asked = json!({ "do": "script", "address": address });
        self.disturb(Disturbance::Instead(Instead::new(asked, Ok(json!(said)))));
    }

    pub fn relent(&mut self) {
        self.disturb(Disturbance::Relent);
    }

    pub fn show_host_key(&mut self, file: &str) {
        self.lane.show_host_key(file);
    }

    pub fn write(&mut self, path: &str, text: &str) {
        self.lane.write(path, Some(text));
    }

    pub fn remove(&mut self, path: &str) {
        self.lane.write(path, None);
    }

    /// What a file holds, and its mode.
    #[track_caller]
    pub fn read(&mut self, path: &str) -> (String, u32) {
        let (text, mode) = self.lane.read(path);
        (text.unwrap_or_else(|| panic!("there is no {path}")), mode)
    }

    /// Changes the environment file.
    #[track_caller]
    pub fn describe(&mut self, old: &str, new: &str) {
        let file = format!("environments/{}.yaml", self.environment);
        let (text, _) = self.read(&file);
        assert_eq!(text.matches(old).count(), 1, "`{old}` in {text}");
        self.write(&file, &text.replace(old, new));
    }

    fn run(&mut self, command: &str) -> (Ran, Vec<Value>) {
        let ran = self.lane.run_for_programs(self.environment, command);
        let environment = self.environment;
        self.said
            .push(format!("── {command} {environment}: exit code {:?}, {} ms\n{}", ran.code, ran.millis, ran.said));
        self.now = ran.seen.clone();
        let lines = ran.said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (ran, lines)
    }

    /// Asks for the plan, which must go through and name these stages and no other as not reused.
    #[track_caller]
    pub fn plans(&mut self, expected: &[&str]) {
        let (ran, lines) = self.run("plan");
        alike(&decisions(&lines), expected);
        assert_eq!(ran.code, Some(0));
        assert_eq!(ran.seen.effects.len(), self.effects, "a look changes nothing");
    }

    /// As [`plans`](Self::plans), of one stage and those that follow it.
    #[track_caller]
    pub fn plans_followed(&mut self, first: &str, following: &[&str]) {
        self.plans(&[&[first], following].concat());
    }

    /// As [`plans`](Self::plans), of a plan that nobody may carry out.
    #[track_caller]
    pub fn plans_in_vain(&mut self, expected: &[&str]) -> Failed {
        let (ran, lines) = self.run("plan");
        alike(&decisions(&lines), expected);
        failure(&ran, &lines)
    }

    /// Runs `up`, which must come to its end.
    #[track_caller]
    pub fn up(&mut self) -> Went {
        let (ran, lines) = self.run("up");
        assert_eq!((ran.code, &ran.seen.faults), (Some(0), &vec![]));
        self.went(&ran, &lines)
    }

    /// Runs `up`, which must fail.
    #[track_caller]
    pub fn up_in_vain(&mut self) -> (Went, Failed) {
        let (ran, lines) = self.run("up");
        assert_eq!(ran.seen.faults, Vec::<String>::new());
        (self.went(&ran, &lines), failure(&ran, &lines))
    }

    /// Runs `up` once more, which must find everything as described and do nothing.
    #[track_caller]
    pub fn rests(&mut self) {
        let (ran, lines) = self.run("up");
        let event = lines.last().map(|line| text(line, "event"));
        assert_eq!((ran.code, event.as_deref(), &ran.seen.faults), (Some(0), Some("as-described"), &vec![]));
        assert_eq!(self.went(&ran, &lines), Went::of(&[]));
    }

    /// What went and what came since the case began, seen after the last run: things, who is behind which target group,
    /// members.
    #[track_caller]
    pub fn differs(&self, expected: &[&str]) {
        let (before, now) = (inhabitants(self.before), inhabitants(&self.now));
        let gone = before.difference(&now).map(|one| format!("- {one}"));
        let new = now.difference(&before).map(|one| format!("+ {one}"));
        assert_eq!(gone.chain(new).collect::<Vec<_>>(), expected);
    }

    fn went(&mut self, ran: &Ran, lines: &[Value]) -> Went {
        let ended = lines.iter().filter(|line| line["event"] == "stage-ended" && line["outcome"] != "skipped");
        let ended: BTreeMap<String, String> = ended.map(|line| (text(line, "stage"), text(line, "outcome"))).collect();
        let in_order = sre_provision::artifact::Kind::ALL.iter().filter_map(|kind| ended.get_key_value(kind.name()));
        let made = in_order.map(|(stage, outcome)| match outcome.as_str() {
            "succeeded" => stage.clone(),
            outcome => format!("{stage} {outcome}"),
        });
        let made = made.collect();
        let mut calls: Vec<String> = ran.points.iter().filter_map(|point| call(point)).collect();
        calls.sort();
        let new = ran.seen.effects[self.effects..].iter();
        let effects = new.filter(|effect| !is_of_a_build(effect)).cloned().collect();
        self.effects = ran.seen.effects.len();
        Went { made, calls, effects }
    }
}

impl Failed {
    /// Compares each part; `…` stands for what differs from run to run. That the same command goes on is hinted at in
    /// the end of every failed `up` and need not be named.
    #[track_caller]
    pub fn tells(&self, exit: i32, error: &str, causes: &[&str], hints: &[&str]) {
        assert_eq!(self.exit, exit, "{self:?}");
        alike(std::slice::from_ref(&self.error), &[error]);
        alike(&self.causes, causes);
        let own = self.hints.iter().filter(|hint| !hint.ends_with("goes on where this run stopped"));
        alike(&own.cloned().collect::<Vec<_>>(), hints);
    }
}

#[track_caller]
fn alike(found: &[String], expected: &[&str]) {
    let is_alike = |(found, expected): (&String, &&str)| is_like(found, expected);
    let all = found.len() == expected.len() && found.iter().zip(expected).all(is_alike);
    assert!(all, "\nfound    {found:#?}\nexpected {expected:#?}");
}

fn is_like(found: &str, expected: &str) -> bool {
    let Some((begin, rest)) = expected.split_once('…') else { return found == expected };
    let Some(mut left) = found.strip_prefix(begin) else { return false };
    let parts: Vec<&str> = rest.split('…').collect();
    let (last, middle) = parts.split_last().expect("never empty");
    for part in middle {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

/// Verdict, stage and reason of every stage that is not reused.
fn decisions(lines: &[Value]) -> Vec<String> {
    let plan = lines.first().map_or(&Value::Null, |line| &line["plan"]);
    let all = plan["decisions"].as_array().into_iter().flatten().filter(|decision| decision["verdict"] != "reuse");
    all.map(|one| format!("{} {}: {}", text(one, "verdict"), text(one, "stage"), text(one, "reason"))).collect()
}

#[track_caller]
fn failure(ran: &Ran, lines: &[Value]) -> Failed {
    let last = lines.last().filter(|line| line["event"] == "failed").expect("it fails");
    let all = |name: &str| {
        let each = last[name].as_array().into_iter().flatten();
        each.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let exit = ran.code.expect("an exit code");
    assert_eq!(last["exit"], exit, "what is told and what it ends with");
    Failed { exit, error: text(last, "error"), causes: all("causes"), hints: all("hints") }
}

/// The call of a tool that a point of it tells of, once for each call.
fn call(point: &str) -> Option<String> {
    let (point, _) = point.rsplit_once(':')?;
    let telling = [
        ("tofu.plan ", "tofu plan "),
        ("tofu.apply ", "tofu apply "),
        ("packer.begun ", "packer build "),
        ("ansible.told ", "ansible-playbook "),
    ];
    telling.iter().find_map(|(sign, call)| Some(format!("{call}{}", point.strip_prefix(sign)?)))
}

/// Whether it is about what is there for a build only.
fn is_of_a_build(effect: &str) -> bool {
    effect.starts_with("start build") || effect.starts_with("start check") || {
        ["-build-", "-check-"].iter().any(|sign| effect.contains(sign))
    }
}

fn inhabitants(seen: &Seen) -> BTreeSet<String> {
    let each = |of: &str| seen.world[of].as_object().cloned().unwrap_or_default();
    let things = each("things").into_iter().map(|(id, _)| id);
    let behind = |(group, machines): (String, Value)| {
        let machines = machines.as_array().cloned().unwrap_or_default();
        machines.into_iter().map(move |machine| format!("{} behind {group}", machine.as_str().unwrap_or_default()))
    };
    let targets = each("targets").into_iter().flat_map(behind);
    let members = each("members").into_iter();
    let members =
        members.map(|(node, member)| format!("{node} as {} on {}", text(&member, "role"), text(&member, "machine")));
    things.chain(targets).chain(members).collect()
}
