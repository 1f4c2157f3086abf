//! The disk fails at its nth operation, for n = 1, 2, … until a run passes untouched; the next run goes on with a whole disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use crate::driver::{Course, Reference};
use crate::handle::Handle;
use crate::lane::{DISK, Ran};
use crate::matrix::{lanes, to_the_end};
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
    next: usize,
    /// Beyond the last operation.
    is_done: bool,
    struck: usize,
}

pub struct Disk<'a> {
    kept: &'a Path,
    references: &'a BTreeMap<Course, Reference>,
    until: Instant,
    series: Mutex<Vec<Series>>,
    failed: Mutex<Vec<String>>,
}

impl<'a> Disk<'a> {
    pub fn new(kept: &'a Path, references: &'a BTreeMap<Course, Reference>, until: Instant) -> Self {
        let smaller = references.keys().filter(|course| course.environment == "small");
        let series = smaller
            .flat_map(|course| KINDS.map(|kind| (*course, kind)))
            .map(|(course, kind)| Series { course, kind, next: 1, is_done: false, struck: 0 })
            .collect();
        Self { kept, references, until, series: Mutex::new(series), failed: Mutex::default() }
    }

    pub fn carry_out(&self) {
        std::thread::scope(|scope| {
            for _ in 0..lanes() {
                scope.spawn(|| self.work());
            }
        });
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
        // Those with the lowest numbers first, so that all come equally far.
        let (index, one) =
            series.iter_mut().enumerate().filter(|(_, one)| !one.is_done).min_by_key(|(_, one)| one.next)?;
        let fault = format!("{}:{}", one.kind, one.next);
        one.next += 1;
        Some((index, one.course, fault))
    }

    /// The last lines; the exit code.
    pub fn tell(self) -> u8 {
        let (series, failed) = (self.series.into_inner().expect("alone"), self.failed.into_inner().expect("alone"));
        for Series { course, kind, struck, is_done, .. } in &series {
            let extent = if *is_done { "all there are" } else { "no time for more" };
            println!("disk {kind}, {} {}: {struck} faults, {extent}", course.command, course.environment);
        }
        println!("{} did not converge", failed.len());
        failed.iter().for_each(|words| println!("    tests/crash-matrix repeat {words}"));
        u8::from(!failed.is_empty())
    }
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
