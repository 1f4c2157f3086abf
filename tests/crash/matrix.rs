//! Kills at every point, and sees that what follows ends as if nothing had happened; then kills what follows.
//!
//! A world that was killed is gone on from once: two of the same key are the same to the program. A recovery is killed
//! at each of its points whose stage was never killed there in the same state before; where the time does not suffice
//! for all of them, those that are left are counted. Their order is that of a digest, so that every run of the matrix
//! begins with the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use sre_provision::fingerprint::Digest;

use crate::driver::{Course, Reference};
use crate::handle::Handle;
use crate::judge::Seen;
use crate::lane::Ran;
use crate::local::{is_own_place, is_telling, part, stage_of};
use crate::verdict::{last_words, problems};

/// How many lanes there are for each processor: a run mostly waits, for gates that look once a second.
const LANES: usize = 3;
/// Runs after which a world that is not done is not going to be.
const PATIENCE: usize = 4;
/// How deep kills follow each other; the last depth is sampled: one world in five.
const DEEPEST: usize = 3;

/// How much of the matrix is tried.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub minutes: u64,
    /// One point of this many, at depth 1.
    pub every: usize,
    /// Kills at depth 2 and beyond, at most.
    pub deep: usize,
    /// Where the time does not suffice for everything, another seed begins with other places.
    pub seed: u64,
}

/// A world to kill in, and where.
#[derive(Clone, Debug)]
struct Task {
    course: Course,
    /// The points at which it was killed before, then the one of this task.
    killed: Vec<String>,
    /// The world before the last of them.
    from: PathBuf,
}

/// By depth, then by digest.
type Queue = BTreeMap<(usize, Digest), Task>;

#[derive(Default)]
struct Found {
    runs: BTreeMap<usize, usize>,
    pairs: BTreeSet<(Course, String)>,
    /// Points with the state of their stage at which somebody was killed or is going to be.
    tried: BTreeSet<(Course, String, Digest)>,
    missed: Vec<Task>,
    /// Worlds that needed more than one run, and what the first one ended with.
    again: Vec<(Task, String)>,
    failed: Vec<Task>,
    turn: usize,
}

pub struct Matrix<'a> {
    kept: PathBuf,
    references: &'a BTreeMap<Course, Reference>,
    extent: Extent,
    until: Instant,
    queue: Mutex<Queue>,
    found: Mutex<Found>,
}

impl<'a> Matrix<'a> {
    pub fn new(kept: &Path, references: &'a BTreeMap<Course, Reference>, extent: Extent, until: Instant) -> Self {
        let (mut queue, mut found) = (Queue::new(), Found::default());
        for (course, reference) in references {
            for point in &reference.points {
                found.tried.insert((*course, point.clone(), part(&reference.at_first, stage_of(point))));
            }
            for point in reference.own.iter().filter(|point| is_own_place(point)).step_by(extent.every) {
                let task = Task { course: *course, killed: vec![point.clone()], from: reference.before.clone() };
                queue.insert(task.order(extent.seed), task);
            }
        }
        let (queue, found) = (Mutex::new(queue), Mutex::new(found));
        Self { kept: kept.to_owned(), references, extent, until, queue, found }
    }

    pub fn carry_out(&self) {
        in_lanes(|| self.work());
    }

    fn work(&self) {
        let mut lane = Handle::start(&self.kept);
        while let Some(task) = self.next() {
            self.kill(&task, &mut lane);
        }
    }

    /// The next task: depth by depth, but of the deepest one in five as soon as there are any.
    fn next(&self) -> Option<Task> {
        let mut queue = self.queue.lock().expect("alone");
        let mut found = self.found.lock().expect("alone");
        let deep: usize = found.runs.iter().filter(|(depth, _)| **depth > 1).map(|(_, runs)| runs).sum();
        if Instant::now() >= self.until {
            return None;
        }
        found.turn += 1;
        let is_done = queue.first_key_value().is_none_or(|((depth, _), _)| *depth > 1);
        if is_done && deep >= self.extent.deep {
            return None;
        }
        let last = queue.last_key_value().map(|(order, _)| order.clone()).filter(|(depth, _)| *depth == DEEPEST);
        let order = match last.filter(|_| is_done && found.turn.is_multiple_of(5)) {
            Some(order) => order,
            None => queue.first_key_value()?.0.clone(),
        };
        queue.remove(&order)
    }

    /// Kills once, and goes on from there unless somebody went on from such a world before.
    fn kill(&self, task: &Task, lane: &mut Handle) {
        let Course { environment, command } = task.course;
        let (depth, point) = (task.killed.len(), task.killed.last().expect("a point"));
        lane.restore(task.from.clone());
        let ran = lane.run(environment, command, Some(point));
        {
            let mut found = self.found.lock().expect("alone");
            if !ran.killed {
                found.missed.push(task.clone());
                return;
            }
            *found.runs.entry(depth).or_default() += 1;
            if !found.pairs.insert((task.course, ran.seen.key())) {
                return;
            }
        }
        let saved = self.kept.join(format!("killed-{}", task.order(self.extent.seed).1.short()));
        if depth < DEEPEST {
            std::fs::create_dir_all(&saved).expect("made");
            lane.save(&saved);
        }
        let (first, last) = to_the_end(task.course, lane);
        let wrong = problems(command, last.as_ref().unwrap_or(&first), &self.references[&task.course].seen);
        self.note(task, last.is_some().then_some(&first), &wrong);
        if depth < DEEPEST && wrong.is_empty() {
            self.follow(task, &saved, &ran.seen, &first.points);
        }
    }

    fn note(&self, task: &Task, in_vain: Option<&Ran>, wrong: &[String]) {
        let mut found = self.found.lock().expect("alone");
        if let Some(ran) = in_vain {
            found.again.push((task.clone(), last_words(ran)));
        }
        if !wrong.is_empty() {
            println!("✗ {task}");
            wrong.iter().for_each(|problem| println!("    {problem}"));
            found.failed.push(task.clone());
        }
    }

    /// Notes where the recovery from a world is to be killed.
    fn follow(&self, task: &Task, from: &Path, seen: &Seen, points: &[String]) {
        let mut queue = self.queue.lock().expect("alone");
        let mut found = self.found.lock().expect("alone");
        for point in points.iter().filter(|point| is_telling(point)) {
            if found.tried.insert((task.course, point.clone(), part(seen, stage_of(point)))) {
                let killed = [&task.killed[..], std::slice::from_ref(point)].concat();
                let task = Task { course: task.course, killed, from: from.to_owned() };
                queue.insert(task.order(self.extent.seed), task);
            }
        }
    }

    /// The last lines of the test; the exit code.
    pub fn tell(self) -> u8 {
        let (found, queue) = (self.found.into_inner().expect("alone"), self.queue.into_inner().expect("alone"));
        let points: Vec<&String> = self.references.values().flat_map(|reference| &reference.own).collect();
        let same = points.iter().filter(|point| !is_own_place(point)).count();
        let left = |depth: usize| queue.keys().filter(|(of, _)| *of == depth).count();
        let (points, pairs) = (points.len(), found.pairs.len());
        println!(
            "{points} crash points, {same} of them the same place to a kill as the next; {pairs} pairs of journal and world"
        );
        for depth in 1..=DEEPEST {
            let runs = found.runs.get(&depth).copied().unwrap_or_default();
            println!("depth {depth}: {runs} runs were killed, {} places are left", left(depth));
        }
        println!("order of seed {}", self.extent.seed);
        println!("{} kills came too late: what they wait for was not passed", found.missed.len());
        found.missed.iter().for_each(|task| println!("    {task}"));
        println!("{} worlds needed more than one run", found.again.len());
        found.again.iter().for_each(|(task, why)| println!("    {task}: {why}"));
        println!("{} did not converge", found.failed.len());
        found.failed.iter().for_each(|task| println!("    tests/crash-matrix repeat {task}"));
        // What was to be tried at least is every point at depth 1, or those that a sample takes.
        let is_whole = left(1) == 0 && found.runs.contains_key(&1);
        u8::from(!found.failed.is_empty() || !is_whole)
    }
}

/// Does the same in every lane at once.
pub fn in_lanes(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..lanes() {
            scope.spawn(&work);
        }
    });
}

pub fn lanes() -> usize {
    LANES * std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Runs until it is done: the first run, and the last where that is another.
pub fn to_the_end(course: Course, lane: &mut Handle) -> (Ran, Option<Ran>) {
    let first = lane.run(course.environment, course.command, None);
    let mut last = None;
    for _ in 1..PATIENCE {
        if last.as_ref().unwrap_or(&first).code == Some(0) {
            break;
        }
        last = Some(lane.run(course.environment, course.command, None));
    }
    (first, last)
}

impl Task {
    fn order(&self, seed: u64) -> (usize, Digest) {
        (self.killed.len(), Digest::of_value(&(seed, self.course.environment, self.course.command, &self.killed)))
    }
}

/// As `repeat` takes it.
impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.course.environment, self.course.command)?;
        self.killed.iter().try_for_each(|point| write!(f, " '{point}'"))
    }
}
