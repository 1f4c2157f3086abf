//! The disk fails at its nth operation, for n = 1, 2, … until a run passes untouched; the next run goes on with a whole disk.
//!
//! The program's disk, and that of each supervisor, which counts for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use crate::driver::{Course, Reference};
use crate::handle::Handle;
use crate::lane::{DISK, Ran};
use crate::matrix::{in_lanes, to_the_end};
use crate::verdict::{last_words, problems};

/// What becomes of the nth operation: `src/workspace/fault.rs`.
const KINDS: [&str; 4] = ["once", "sync", "full", "read-only"];
/// How a program ends whose disk fails: it did not mind, could not write, or found something else not to be as it was.
const ENDS: [i32; 5] = [0, 1, 5, 6, 7];
/// What the program records of a fault that struck.
const STRUCK: &str = "disk.fault:1";

/// One course with one kind of fault, and how far its numbers have been tried.
struct Series {
    course: Course,
    kind: &'static str,
    /// Whose supervisor's disk it is; none, the program's.
    slot: Option<String>,
    next: usize,
    /// Beyond the last operation.
    is_done: bool,
    struck: usize,
}

pub struct Disk<'a> {
    kept: &'a Path,
    references: &'a BTreeMap<Course, Reference>,
    /// One number of this many is tried, and one supervisor.
    every: usize,
    until: Instant,
    series: Mutex<Vec<Series>>,
    failed: Mutex<Vec<String>>,
}

impl<'a> Disk<'a> {
    pub fn new(kept: &'a Path, references: &'a BTreeMap<Course, Reference>, every: usize, until: Instant) -> Self {
        let smaller = references.iter().filter(|(course, _)| course.environment == "small");
        let whose = smaller.flat_map(|(course, reference)| {
            let slots = supervised(reference).into_iter().step_by(every).map(Some);
            std::iter::once(None).chain(slots).map(|slot| (*course, slot))
        });
        let series = whose
            .flat_map(|(course, slot)| KINDS.map(|kind| (course, kind, slot.clone())))
            .map(|(course, kind, slot)| Series { course, kind, slot, next: 1, is_done: false, struck: 0 })
            .collect();
        Self { kept, references, every, until, series: Mutex::new(series), failed: Mutex::default() }
    }

    pub fn carry_out(&self) {
        in_lanes(|| self.work());
    }

    fn work(&self) {
        let mut lane = Handle::start(self.kept);
        while let Some((index, course, fault)) = self.next() {
            let reference = &self.references[&course];
            lane.restore(reference.before.clone());
            let ran = lane.run(course.environment, course.command, Some(&format!("{DISK}{fault}")));
            let has_struck = ran.points.iter().any(|point| point == STRUCK);
            {
                let mut series = self.series.lock().expect("alone");
                series[index].struck += usize::from(has_struck);
                series[index].is_done |= !has_struck;
            }
            let wrong = judged(course, &ran, reference, &mut lane);
            if !wrong.is_empty() {
                let words = format!("{} {} {DISK}{fault}", course.environment, course.command);
                println!("✗ {words}");
                wrong.iter().for_each(|problem| println!("    {problem}"));
                self.failed.lock().expect("alone").push(words);
            }
        }
    }

    fn next(&self) -> Option<(usize, Course, String)> {
        if Instant::now() >= self.until {
            return None;
        }
        let mut series = self.series.lock().expect("alone");
        // The program's before its supervisors', and those with the lowest numbers first, so that all come equally far.
        let open = series.iter_mut().enumerate().filter(|(_, one)| !one.is_done);
        let (index, one) = open.min_by_key(|(_, one)| (one.slot.is_some(), one.next))?;
        let whose = one.slot.as_ref().map(|slot| format!("@{slot}")).unwrap_or_default();
        let fault = format!("{}:{}{whose}", one.kind, one.next);
        // A supervisor has far fewer.
        one.next += if one.slot.is_some() { self.every.min(11) } else { self.every };
        Some((index, one.course, fault))
    }

    /// The last lines; the exit code.
    pub fn tell(self) -> u8 {
        let (series, failed) = (self.series.into_inner().expect("alone"), self.failed.into_inner().expect("alone"));
        for course in self.references.keys() {
            for kind in KINDS {
                let of = |is_its: &dyn Fn(&Series) -> bool| {
                    let its = series.iter().filter(|one| one.course == *course && one.kind == kind && is_its(one));
                    its.fold((0, 0), |(struck, left), one| (struck + one.struck, left + usize::from(!one.is_done)))
                };
                let (own, others) = (of(&|one| one.slot.is_none()), of(&|one| one.slot.is_some()));
                if own.0 > 0 {
                    println!(
                        "disk {kind}, {} {}: {} faults of the program's, {} of its supervisors', {} series cut short",
                        course.command,
                        course.environment,
                        own.0,
                        others.0,
                        own.1 + others.1
                    );
                }
            }
        }
        println!("{} did not converge", failed.len());
        failed.iter().for_each(|words| println!("    tests/crash-matrix repeat {words}"));
        u8::from(!failed.is_empty())
    }
}

/// The slots whose supervisors a course starts.
fn supervised(reference: &Reference) -> BTreeSet<String> {
    let begun = reference.points.iter().filter_map(|point| point.strip_prefix("supervisor.started[children/"));
    begun.filter_map(|rest| Some(rest.split_once("-]")?.0.to_owned())).collect()
}

/// What is wrong with how a run ended whose disk failed, and with what the next ones made of it.
fn judged(course: Course, ran: &Ran, reference: &Reference, lane: &mut Handle) -> Vec<String> {
    let mut wrong = Vec::new();
    if ran.code.is_none_or(|code| !ENDS.contains(&code)) {
        wrong.push(format!(
            "with a disk that fails `{}` ends with {:?}: {}",
            course.command,
            ran.code,
            last_words(ran)
        ));
    }
    let after = (ran.code != Some(0)).then(|| to_the_end(course, lane));
    let last = after.as_ref().map_or(ran, |(first, last)| last.as_ref().unwrap_or(first));
    wrong.extend(problems(course.command, last, &reference.seen));
    wrong
}
