//! Each stage by itself: a world in which `up` was done, something that changes in it, and what follows.
//!
//! A case belongs to the stage in whose file it stands and is named by its promise. Whoever plays it is given a
//! [`Scene`]: it disturbs the world, asks for the plan and carries it out.

mod access;
mod agents;
mod base_image;
mod bundle;
mod hardening;
mod health;
mod load_balancer;
mod network;
mod node_image;
mod nodes;
mod scene;
mod servers;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use crate::handle::Handle;
use crate::judge::Seen;
use crate::matrix::lanes;
use scene::Scene;

/// What is promised of a stage, and who shows it.
#[derive(Clone, Copy)]
struct Case {
    /// Its words are joined by underscores.
    promise: &'static str,
    /// What is up when it begins.
    environment: &'static str,
    play: fn(&mut Scene<'_>),
}

/// The cases of a file: environment and function of each.
macro_rules! cases {
    ($($environment:ident: $promise:ident),* $(,)?) => {
        &[$($crate::stages::Case {
            promise: stringify!($promise), environment: stringify!($environment), play: $promise
        }),*]
    };
}
use cases;

/// By stage. Those that wait longest come first, so that the others go on beside them.
const ALL: [(&str, &[Case]); 11] = [
    ("agents", agents::CASES),
    ("health", health::CASES),
    ("access", access::CASES),
    ("servers", servers::CASES),
    ("hardening", hardening::CASES),
    ("nodes", nodes::CASES),
    ("load-balancer", load_balancer::CASES),
    ("network", network::CASES),
    ("node-image", node_image::CASES),
    ("base-image", base_image::CASES),
    ("bundle", bundle::CASES),
];

/// An environment that is up: where it is kept, and what is seen of it.
struct Up {
    kept: PathBuf,
    seen: Seen,
}

type Queue = Mutex<Vec<(&'static str, Case)>>;

/// Plays all cases, or those whose stage or promise has this word; the exit code.
pub fn main(kept: &Path, word: &str) -> u8 {
    let each = ALL.iter().flat_map(|(stage, cases)| cases.iter().map(|case| (*stage, *case)));
    let mut wanted: Vec<_> =
        each.filter(|(stage, case)| stage.contains(word) || sentence(case.promise).contains(word)).collect();
    if wanted.is_empty() {
        eprintln!("no case is about `{word}`");
        return 2;
    }
    set_hook(Box::new(|told| LAST.set(told.to_string())));
    let count = wanted.len();
    let environments: BTreeSet<&str> = wanted.iter().map(|(_, case)| case.environment).collect();
    let up = bring_up(kept, &environments);
    wanted.reverse();
    let (queue, failed) = (Mutex::new(wanted), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..lanes().min(count) {
            scope.spawn(|| work(kept, &queue, &up, &failed));
        }
    });
    let failed = failed.into_inner().expect("alone");
    println!("{count} cases, {} failed", failed.len());
    failed.iter().for_each(|promise| println!("    tests/crash-matrix stages '{}'", sentence(promise)));
    u8::from(!failed.is_empty())
}

thread_local! {
    /// What the last panic of this thread said; it is told with its case.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

fn sentence(promise: &str) -> String {
    promise.replace('_', " ")
}

/// Makes each environment once, side by side.
fn bring_up(kept: &Path, environments: &BTreeSet<&'static str>) -> BTreeMap<&'static str, Up> {
    let make = |environment: &'static str| {
        let (mut lane, to) = (Handle::start(kept), kept.join(format!("up-{environment}")));
        std::fs::create_dir_all(&to).expect("made");
        lane.fresh(environment);
        let ran = lane.run(environment, "up", None);
        if (ran.code, &ran.seen.faults) != (Some(0), &vec![]) {
            eprintln!("`{environment}` does not come up: {:?}\n{}", ran.seen.faults, ran.said);
            std::process::exit(1);
        }
        lane.save(&to);
        (environment, Up { kept: to, seen: ran.seen })
    };
    std::thread::scope(|scope| {
        let making: Vec<_> = environments.iter().map(|environment| scope.spawn(move || make(environment))).collect();
        making.into_iter().map(|made| made.join().expect("made")).collect()
    })
}

fn work(kept: &Path, queue: &Queue, up: &BTreeMap<&str, Up>, failed: &Mutex<Vec<&'static str>>) {
    let mut lane = Handle::start(kept);
    loop {
        let Some((stage, case)) = queue.lock().expect("alone").pop() else { return };
        let (begun, world) = (Instant::now(), &up[case.environment]);
        lane.restore(world.kept.clone());
        let mut scene = Scene::new(&mut lane, case.environment, &world.seen);
        let played = catch_unwind(AssertUnwindSafe(|| (case.play)(&mut scene)));
        let (mark, told) = if played.is_ok() { ('✓', String::new()) } else { ('✗', LAST.take() + &scene.told()) };
        println!("{mark} {stage:<13} {} ({:.1} s){told}", sentence(case.promise), begun.elapsed().as_secs_f64());
        if played.is_err() {
            failed.lock().expect("alone").push(case.promise);
            // Whatever state it is in.
            lane = Handle::start(kept);
        }
    }
}
