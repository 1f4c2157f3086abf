//! What is asked for on the command line: the matrix, a sample of it, or one row again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::handle::Handle;
use crate::judge::Seen;
use crate::kept;
use crate::matrix::{Extent, Matrix};
use crate::stages;
use crate::two::{self, Two};
use crate::verdict::problems;

const USAGE: &str = "crash sample | all [MINUTES [SEED]] | disk [MINUTES [EVERY]] | two [ENVIRONMENT POINT] | points | repeat ENVIRONMENT up|down POINT... | stages [WORD]";

/// How long the whole matrix may take: half an hour less what compiling and the last worlds need.
const MINUTES: u64 = 25;

/// What is carried out and compared: an environment brought up, or one that is up taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Course {
    pub environment: &'static str,
    pub command: &'static str,
}

/// The smaller one first: of the larger one only those points are tried that the smaller one does not have.
const COURSES: [Course; 4] = [
    Course { environment: "small", command: "up" },
    Course { environment: "small", command: "down" },
    Course { environment: "three", command: "up" },
    Course { environment: "three", command: "down" },
];

/// How a course goes undisturbed.
pub struct Reference {
    pub points: Vec<String>,
    /// Those that no course before it has.
    pub own: Vec<String>,
    pub seen: Seen,
    /// Where the world before it is kept, and what is seen of it.
    pub before: PathBuf,
    pub at_first: Seen,
}

/// The role `driver`.
pub fn main(args: &[String]) -> u8 {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let kept = kept::prepare();
    let code = match words.as_slice() {
        ["repeat", environment, command, points @ ..] => repeat(&kept, environment, command, points),
        ["points"] => points(&kept),
        ["stages"] => stages::main(&kept, ""),
        ["stages", word] => stages::main(&kept, word),
        ["all", rest @ ..] if rest.len() <= 2 => match (number(rest, 0, MINUTES), number(rest, 1, 0)) {
            (Some(minutes), Some(seed)) => all(&kept, Extent { minutes, every: 1, deep: usize::MAX, seed }),
            _ => usage(),
        },
        ["disk", rest @ ..] if rest.len() <= 2 => match (number(rest, 0, MINUTES), number(rest, 1, 1)) {
            (Some(minutes), Some(every)) if every > 0 => {
                disk(&kept, &references(&kept), usize::try_from(every).unwrap_or(usize::MAX), within(minutes))
            }
            _ => usage(),
        },
        ["two"] => two(&kept, 1, within(MINUTES)),
        ["two", beside, point] => two::repeat(&kept, beside, point),
        ["sample"] => sample(&kept),
        _ => usage(),
    };
    std::fs::remove_dir_all(&kept).expect("our own directory");
    println!("{:.0} s, {:.0} s of processor", begun.elapsed().as_secs_f64(), processor());
    code
}

/// The number at a place of the command line, or the usual one where it ends before.
fn number(words: &[&str], place: usize, usual: u64) -> Option<u64> {
    words.get(place).map_or(Some(usual), |text| text.parse().ok())
}

fn within(minutes: u64) -> Instant {
    Instant::now() + Duration::from_secs(minutes * 60)
}

/// What everything that has ended used of the processor, in seconds: fields 16 and 17 of our `stat`, in hundredths.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn usage() -> u8 {
    eprintln!("{USAGE}");
    2
}

/// Goes one course with kills at the given points, one in each run, then to its end; shows what the program said.
fn repeat(kept: &Path, environment: &str, command: &str, points: &[&str]) -> u8 {
    let course = COURSES.into_iter().find(|course| (course.environment, course.command) == (environment, command));
    let Some(course) = course else { return usage() };
    let mut lane = Handle::start(kept);
    let reference = Reference::of(course, kept, &mut lane, &BTreeSet::new());
    lane.restore(reference.before.clone());
    let mut wrong = Vec::new();
    for point in points.iter().map(|point| Some(*point)).chain([None]) {
        let ran = lane.run(environment, command, point);
        let killed = point.map_or_else(|| "to its end".to_owned(), |point| format!("killed at {point}"));
        let (points, seconds) = (ran.points.len(), ran.millis as f64 / 1000.0);
        println!("── {command} {environment}, {killed}: exit code {:?}, {points} points, {seconds:.1} s", ran.code);
        println!("{}", ran.said);
        wrong = problems(course.command, &ran, &reference.seen);
    }
    wrong.iter().for_each(|problem| println!("✗ {problem}"));
    u8::from(!wrong.is_empty())
}

/// Every point of every course.
fn points(kept: &Path) -> u8 {
    for (course, reference) in references(kept) {
        reference.points.iter().for_each(|point| println!("{} {} {point}", course.command, course.environment));
    }
    0
}

fn references(kept: &Path) -> BTreeMap<Course, Reference> {
    let mut lane = Handle::start(kept);
    let (mut references, mut known) = (BTreeMap::new(), BTreeSet::new());
    for course in COURSES {
        let reference = Reference::of(course, kept, &mut lane, &known);
        known.extend(reference.points.iter().map(|point| (course.command, point.clone())));
        references.insert(course, reference);
    }
    references
}

/// Two environments first, since that is soon done; the matrix takes the time that there is.
fn all(kept: &Path, extent: Extent) -> u8 {
    let until = within(extent.minutes);
    let codes = [two(kept, 1, until), matrix(kept, &references(kept), extent, until)];
    u8::from(codes.iter().any(|code| *code != 0))
}

fn matrix(kept: &Path, references: &BTreeMap<Course, Reference>, extent: Extent, until: Instant) -> u8 {
    for (course, reference) in references {
        let (all, own) = (reference.points.len(), reference.own.len());
        println!("{} {}: {all} crash points, {own} of its own", course.command, course.environment);
    }
    let matrix = Matrix::new(kept, references, extent, until);
    matrix.carry_out();
    matrix.tell()
}

/// A little of everything, the same each time.
fn sample(kept: &Path) -> u8 {
    let until = within(10);
    let references = references(kept);
    let extent = Extent { minutes: 10, every: 53, deep: 8, seed: 0 };
    let codes = [matrix(kept, &references, extent, until), disk(kept, &references, 149, until), two(kept, 31, until)];
    u8::from(codes.iter().any(|code| *code != 0))
}

/// Another environment is up, and the smaller one is killed and taken down.
fn two(kept: &Path, every: usize, until: Instant) -> u8 {
    let two = Two::new(kept, every, until);
    two.carry_out();
    two.tell()
}

/// The disk fails at each operation of the smaller environment, or at one of `every`.
fn disk(kept: &Path, references: &BTreeMap<Course, Reference>, every: usize, until: Instant) -> u8 {
    let disk = Disk::new(kept, references, every, until);
    disk.carry_out();
    disk.tell()
}

impl Reference {
    fn of(course: Course, kept: &Path, lane: &mut Handle, known: &BTreeSet<(&str, String)>) -> Self {
        let Course { environment, command } = course;
        let before = kept.join(format!("before-{command}-{environment}"));
        std::fs::create_dir_all(&before).expect("made");
        lane.fresh(environment);
        let mut at_first = Seen::default();
        if command == "down" {
            let ran = lane.run(environment, "up", None);
            assert_eq!((ran.code, &ran.seen.faults), (Some(0), &vec![]), "{}", ran.said);
            at_first = ran.seen;
        }
        lane.save(&before);
        let ran = lane.run(environment, command, None);
        assert_eq!((ran.code, &ran.seen.faults), (Some(0), &vec![]), "{}", ran.said);
        let own = ran.points.iter().filter(|point| !known.contains(&(command, (*point).clone()))).cloned().collect();
        Self { points: ran.points, own, seen: ran.seen, before, at_first }
    }
}
