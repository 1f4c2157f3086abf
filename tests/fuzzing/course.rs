//! One reader from its first input to its last.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use sre_provision::fuzz::Target;

use crate::corpus;
use crate::coverage::{self, Seen};
use crate::mutate::{Random, dictionary, mutate};

/// An input that takes longer, of the processor's time and not of a busy machine's, is a finding.
const SLOW: Duration = Duration::from_millis(500);
/// One that takes this long ends the process.
const HANGS: Duration = Duration::from_secs(20);
/// What a reader may take of memory, all in all.
const MEMORY: u64 = 4 << 30;

/// Where the last panic was, and what it said.
static PANIC: Mutex<String> = Mutex::new(String::new());
/// Inputs begun so far.
static BEGUN: AtomicU64 = AtomicU64::new(0);

pub struct Course {
    target: &'static Target,
    random: Random,
    seen: Seen,
    corpus: Vec<Vec<u8>>,
    /// The shortest input by what came of it.
    findings: BTreeMap<String, Vec<u8>>,
    /// Holds the length of the input that is just being read and the input, in case it ends the process.
    current: File,
    slowest: Duration,
}

impl Course {
    pub fn new(target: &'static Target, seed: u64) -> Self {
        std::panic::set_hook(Box::new(|panic| {
            *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string().replace('\n', " ");
        }));
        setrlimit(Resource::As, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) }).expect("a limit");
        watch(target.name);
        let file = Path::new(crate::NOTES).join(format!("fuzz-current-{}", target.name));
        Self {
            target,
            random: Random::new(seed),
            seen: Seen::new(),
            corpus: vec![],
            findings: BTreeMap::new(),
            current: File::create(file).expect("a note"),
            slowest: Duration::ZERO,
        }
    }

    pub fn run(mut self, inputs: usize) -> ExitCode {
        let begun = Instant::now();
        if self.seen.is_blind() {
            eprintln!("{}: compiled without coverage; start it with tests/fuzz", self.target.name);
        }
        let first = corpus::all(self.target);
        let dictionary = dictionary(&first);
        for input in first {
            self.read(&input);
            self.corpus.push(input);
        }
        for _ in 0..inputs {
            let input = mutate(&mut self.random, &self.corpus, &dictionary);
            if self.read(&input) {
                self.corpus.push(input);
            }
        }
        corpus::write(&corpus::found(self.target), &self.corpus);
        self.tell(inputs, begun.elapsed())
    }

    /// Gives whether the input took a new branch.
    fn read(&mut self, input: &[u8]) -> bool {
        // Its length and itself in one write: what an earlier, longer one left behind it does not count.
        let note = [format!("{:>8}\n", input.len()).as_bytes(), input].concat();
        self.current.write_all_at(&note, 0).expect("noted");
        BEGUN.fetch_add(1, Ordering::Relaxed);
        coverage::forget();
        let begun = spent();
        let panicked = outcome(self.target, input);
        let took = spent().saturating_sub(begun);
        self.slowest = self.slowest.max(took);
        let is_new = self.seen.learn();
        let finding = panicked.or_else(|| (took > SLOW).then(|| "it takes long".to_owned()));
        if let Some(finding) = finding {
            let shortest = self.findings.entry(finding).or_insert_with(|| input.to_vec());
            if shortest.len() > input.len() {
                *shortest = input.to_vec();
            }
            return false;
        }
        is_new
    }

    fn tell(&self, inputs: usize, took: Duration) -> ExitCode {
        println!(
            "{:<18} {inputs:>8} inputs in {:>4.0} s, {:>7.0} per second, slowest {:>3} ms, {:>5} branches, {} findings",
            self.target.name,
            took.as_secs_f64(),
            inputs as f64 / took.as_secs_f64(),
            self.slowest.as_millis(),
            self.seen.branches(),
            self.findings.len(),
        );
        for (finding, input) in &self.findings {
            let same = |input: &[u8]| outcome(self.target, input).as_ref() == Some(finding);
            let short = if same(input) { corpus::shortened(input.clone(), same) } else { input.clone() };
            println!("  {finding}\n    {}", short.escape_ascii());
        }
        if self.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Where and why reading an input panicked.
fn outcome(target: &Target, input: &[u8]) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).err()?;
    let panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Numbers and texts of the input differ from one to the next: the place and the first words tell findings apart.
    Some(panic.chars().take(160).collect())
}

/// What this thread has had of the processor.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Ends the process when one input takes too long; it stands in the note.
fn watch(name: &'static str) {
    std::thread::spawn(move || {
        let mut last = 0;
        loop {
            std::thread::sleep(HANGS);
            let now = BEGUN.load(Ordering::Relaxed);
            if now == last && now > 0 {
                eprintln!(
                    "{name}: input {now} takes more than {HANGS:?}; it is in {}/fuzz-current-{name}",
                    crate::NOTES
                );
                std::process::abort();
            }
            last = now;
        }
    });
}
