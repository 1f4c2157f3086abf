//! Which branches of the library an input takes, and how often: the counters that LLVM's SanitizerCoverage put there.
//!
//! They are there only when the library was compiled by `tests/fuzzing/rustc`; without them nothing is ever new, and
//! `tests/fuzz` says so.

use sre_provision::fuzz::counters;

/// What was ever taken.
pub struct Seen {
    /// Per counter, one bit for each magnitude that it ever had.
    magnitudes: Vec<u8>,
}

impl Seen {
    pub fn new() -> Self {
        Self { magnitudes: vec![0; counters().len()] }
    }

    pub fn is_blind(&self) -> bool {
        self.magnitudes.is_empty()
    }

    /// How many branches were ever taken.
    pub fn branches(&self) -> usize {
        self.magnitudes.iter().filter(|seen| **seen != 0).count()
    }

    /// Takes what was counted since [`forget`]; gives whether anything of it is new.
    pub fn learn(&mut self) -> bool {
        let mut is_new = false;
        each_taken(|at, magnitude| {
            is_new |= self.magnitudes[at] & magnitude == 0;
            self.magnitudes[at] |= magnitude;
        });
        is_new
    }
}

/// The branches and magnitudes counted since [`forget`].
pub fn taken() -> Vec<(usize, u8)> {
    let mut all = vec![];
    each_taken(|at, magnitude| all.push((at, magnitude)));
    all
}

pub fn forget() {
    counters().chunks_mut(PAGE).filter(|page| **page != ZERO[..page.len()]).for_each(|page| page.fill(0));
}

/// An input touches few of the counters: pages without any are passed over at once.
const PAGE: usize = 1 << 10;
const ZERO: [u8; PAGE] = [0; PAGE];

/// Gives each counter that is not zero with its magnitude: 1, 2, 3, 4–7, 8–15, 16–31, 32–127, more.
fn each_taken(mut take: impl FnMut(usize, u8)) {
    for (index, page) in counters().chunks(PAGE).enumerate().filter(|(_, page)| **page != ZERO[..page.len()]) {
        for (offset, count) in page.iter().enumerate().filter(|(_, count)| **count > 0) {
            let magnitude = match *count {
                0..=2 => count - 1,
                3 => 2,
                4..=7 => 3,
                8..=15 => 4,
                16..=31 => 5,
                32..=127 => 6,
                128.. => 7,
            };
            take(index * PAGE + offset, 1 << magnitude);
        }
    }
}
