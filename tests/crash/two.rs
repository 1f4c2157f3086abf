//! Two environments in one account and one workspace: one is up, the other is killed on its way up and taken down.
//!
//! Whatever the killed one had made goes, and the first one stays as it is: every thing with its tags and targets, its
//! cluster, and every file byte for byte, with mode and time. What is kept of both is images alone.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;

use crate::driver::Course;
use crate::handle::Handle;
use crate::matrix::{in_lanes, to_the_end};
use crate::verdict::{differences, last_words};

/// The one that is killed.
const KILLED: &str = "small";
/// Those that are up beside it: one of other images, and one that shares its images.
const BESIDE: [&str; 2] = ["other", "twin"];
/// Where an intent or outcome has just become durable, a tool is in the middle of its work, or the platform was just
/// asked to change something.
const BOUNDARIES: [&str; 6] =
    ["publish.after[intent", "publish.after[outcome", "tofu.", "packer.", "ansible.", "cloud.after-"];

/// One kill, and beside which environment.
struct Case {
    beside: &'static str,
    before: PathBuf,
    point: String,
}

#[derive(Default)]
struct Found {
    killed: usize,
    missed: Vec<String>,
    failed: Vec<String>,
}

pub struct Two<'a> {
    kept: &'a Path,
    until: Instant,
    queue: Mutex<Vec<Case>>,
    found: Mutex<Found>,
}

impl<'a> Two<'a> {
    /// One boundary of each `every`.
    pub fn new(kept: &'a Path, every: usize, until: Instant) -> Self {
        let mut queue: Vec<Case> = BESIDE.into_iter().flat_map(|beside| cases(kept, beside, every)).collect();
        queue.reverse();
        Self { kept, until, queue: Mutex::new(queue), found: Mutex::default() }
    }

    pub fn carry_out(&self) {
        in_lanes(|| self.work());
    }

    fn work(&self) {
        let mut lane = Handle::start(self.kept);
        while let Some(case) = self.next() {
            let (words, judged) = (format!("{} '{}'", case.beside, case.point), case.judged(&mut lane));
            let mut found = self.found.lock().expect("alone");
            match judged {
                None => found.missed.push(words),
                Some(wrong) => {
                    found.killed += 1;
                    if !wrong.is_empty() {
                        println!("✗ two {words}");
                        wrong.iter().for_each(|problem| println!("    {problem}"));
                        found.failed.push(words);
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Case> {
        if Instant::now() >= self.until {
            return None;
        }
        self.queue.lock().expect("alone").pop()
    }

    /// The last lines; the exit code.
    pub fn tell(self) -> u8 {
        let (left, found) = (self.queue.into_inner().expect("alone").len(), self.found.into_inner().expect("alone"));
        println!("two environments: {} kills on the way up, {left} places are left", found.killed);
        found.missed.iter().for_each(|words| println!("    not passed: {words}"));
        println!("{} touched the other one or left something", found.failed.len());
        found.failed.iter().for_each(|words| println!("    tests/crash-matrix two {words}"));
        u8::from(!found.failed.is_empty() || left > 0 || found.killed == 0)
    }
}

/// Brings the one beside up, sees where the other passes on its way up, and that it goes down.
fn cases(kept: &Path, beside: &'static str, every: usize) -> Vec<Case> {
    let before = before(kept, beside);
    let mut lane = Handle::start(kept);
    lane.restore(before.clone());
    let ran = lane.run(KILLED, "up", None);
    assert_eq!((ran.code, &ran.seen.faults), (Some(0), &vec![]), "{}", ran.said);
    let is_boundary = |point: &String| BOUNDARIES.iter().any(|begin| point.starts_with(begin));
    let points = ran.points.into_iter().filter(is_boundary).step_by(every);
    points.map(|point| Case { beside, before: before.clone(), point }).collect()
}

/// The world in which one is up and the other is only described.
fn before(kept: &Path, beside: &str) -> PathBuf {
    let (mut lane, to) = (Handle::start(kept), kept.join(format!("beside-{beside}")));
    std::fs::create_dir_all(&to).expect("made");
    lane.fresh(beside);
    let ran = lane.run(beside, "up", None);
    assert_eq!((ran.code, &ran.seen.faults), (Some(0), &vec![]), "{}", ran.said);
    lane.put_beside(KILLED);
    lane.save(&to);
    to
}

/// One kill again.
pub fn repeat(kept: &Path, beside: &str, point: &str) -> u8 {
    let Some(beside) = BESIDE.into_iter().find(|known| *known == beside) else { return 2 };
    let case = Case { beside, before: before(kept, beside), point: point.to_owned() };
    let wrong = case.judged(&mut Handle::start(kept)).unwrap_or_else(|| vec!["the point was not passed".to_owned()]);
    wrong.iter().for_each(|problem| println!("✗ {problem}"));
    u8::from(!wrong.is_empty())
}

impl Case {
    /// What is wrong after the kill and what followed; nothing where the point was not passed.
    fn judged(&self, lane: &mut Handle) -> Option<Vec<String>> {
        lane.restore(self.before.clone());
        let was = lane.look_beside();
        if !lane.run(KILLED, "up", Some(&self.point)).killed {
            return None;
        }
        let (first, last) = to_the_end(Course { environment: KILLED, command: "down" }, lane);
        let (ran, is) = (last.unwrap_or(first), lane.look_beside());
        let mut wrong = ran.seen.faults.clone();
        if ran.code != Some(0) {
            wrong.push(format!("`down` ends with {:?}: {}", ran.code, last_words(&ran)));
        }
        differences("beside", &was["its"], &is["its"], &mut wrong);
        let is_kept = |kind: &Value| ["image", "snapshot"].contains(&kind.as_str().unwrap_or_default());
        let others = is["others"].as_object().into_iter().flatten();
        wrong.extend(others.filter(|(_, kind)| !is_kept(kind)).map(|(id, kind)| format!("left behind: {kind} {id}")));
        Some(wrong)
    }
}
