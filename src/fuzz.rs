//! The readers of the program as fuzzing sees them: a name, a function over bytes, and where its first inputs are.
//!
//! A room lists its own in a file `fuzz.rs`. A reader may refuse what it is given; it must not panic, and what its
//! function asserts must hold. `tests/fuzz` feeds readers with changed bytes; the inputs that reach something of their own
//! are kept in `tests/corpus/`, one file per reader, and every `make test` reads them again. Compiled for tests and for the
//! feature `fuzzing` alone.

/// One reader.
pub struct Target {
    /// Also the name of its corpus file.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Real inputs to begin with: files of the repository, or the beginning of their paths before a `*`.
    pub seeds: &'static [&'static str],
}

/// The inputs in a corpus file: one per line, bytes spelled as [`u8::escape_ascii`] does. Lines that are spelled otherwise
/// are left out.
pub fn inputs(corpus: &str) -> Vec<Vec<u8>> {
    corpus.lines().filter_map(unescaped).collect()
}

fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut bytes = line.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            itself => itself,
        });
    }
    Some(out)
}

#[cfg(feature = "fuzzing")]
pub use counted::counters;

/// The counters that LLVM's SanitizerCoverage puts into what `tests/fuzzing/rustc` compiles.
#[cfg(feature = "fuzzing")]
mod counted {
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    static START: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
    static LENGTH: AtomicUsize = AtomicUsize::new(0);

    /// Called by the constructors that SanitizerCoverage adds, once per object file and always with the same section.
    ///
    /// # Safety
    /// Both pointers are the ends of one section of this program.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
        START.store(start, Ordering::Relaxed);
        LENGTH.store((end as usize).saturating_sub(start as usize), Ordering::Relaxed);
    }

    /// The counters of this program; empty when it has none. For the one thread that reads inputs.
    pub fn counters() -> &'static mut [u8] {
        let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
        if start.is_null() {
            return &mut [];
        }
        // SAFETY: the section lives as long as the program, and the one thread that counts is the one that reads.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }
}

/// Reads again what is kept of each reader.
#[cfg(test)]
pub fn replay(targets: &[Target]) {
    for target in targets {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target.name);
        let corpus = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let inputs = inputs(&corpus);
        assert_eq!(inputs.len(), corpus.lines().count(), "{}: every line is an input", file.display());
        assert!(!inputs.is_empty(), "{}: nothing is kept", file.display());
        inputs.iter().for_each(|input| (target.run)(input));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_spelling() {
        let all: Vec<u8> = (0..=255).collect();

        let kept = format!("{}\n{}\n", all.escape_ascii(), b"two".escape_ascii());

        assert_eq!(inputs(&kept), [all, b"two".to_vec()]);
    }

    #[test]
    fn a_spelling_that_is_cut_off_is_no_input() {
        assert_eq!(inputs("good\nbad\\x4\nbad\\"), [b"good".to_vec()]);
    }
}
