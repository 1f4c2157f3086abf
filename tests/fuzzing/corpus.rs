//! Where inputs come from, and which of them are worth keeping.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sre_provision::fuzz::{Target, inputs};

use crate::coverage;
use crate::mutate::LONGEST;

/// What is kept of one reader, spelled out.
const MOST_KEPT: usize = 4 << 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn kept(target: &Target) -> PathBuf {
    root().join("tests/corpus").join(target.name)
}

/// What fuzzing found in earlier runs of this machine, beyond what is kept in the repository.
pub fn found(target: &Target) -> PathBuf {
    Path::new(crate::NOTES).join(format!("fuzz-corpus-{}", target.name))
}

/// All inputs to begin with: what was kept, what was found, the seeds whole and line by line, and the empty one.
pub fn all(target: &Target) -> Vec<Vec<u8>> {
    let mut all = vec![vec![]];
    for file in [kept(target), found(target)] {
        all.extend(std::fs::read_to_string(file).map(|text| inputs(&text)).unwrap_or_default());
    }
    for bytes in target.seeds.iter().flat_map(|seed| files(seed)).map(|file| std::fs::read(file).expect("a seed")) {
        all.extend(bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        all.push(bytes);
    }
    all.iter_mut().for_each(|input| input.truncate(LONGEST));
    all.sort();
    all.dedup();
    all
}

/// The file of that name, or those that begin so.
fn files(seed: &str) -> Vec<PathBuf> {
    let Some(beginning) = seed.strip_suffix('*') else { return vec![root().join(seed)] };
    let path = root().join(beginning);
    let (dir, name) = if beginning.ends_with('/') {
        (path.as_path(), "")
    } else {
        (path.parent().expect("a directory"), path.file_name().and_then(|name| name.to_str()).expect("a name"))
    };
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("listed").path()).collect();
    files.retain(|file| file.file_name().is_some_and(|found| found.to_string_lossy().starts_with(name)));
    files.sort();
    assert!(!files.is_empty(), "no file begins with `{seed}`");
    files
}

/// Writes inputs down, one per line.
pub fn write(file: &Path, inputs: &[Vec<u8>]) {
    let lines: String = inputs.iter().map(|input| format!("{}\n", input.escape_ascii())).collect();
    std::fs::write(file, lines).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

fn branches(target: &Target, input: &[u8]) -> BTreeSet<usize> {
    coverage::forget();
    (target.run)(input);
    coverage::taken().into_iter().map(|(at, _)| at).collect()
}

/// Keeps in the repository the shortest inputs that take every branch which any known one takes, as far as there is room.
pub fn keep(target: &Target) {
    let mut candidates = all(target);
    candidates.sort_by_key(Vec::len);
    // What is set up once must not count for the first input.
    drop(branches(target, b""));
    let mut taken = BTreeSet::new();
    let (mut chosen, mut size) = (vec![], 0);
    for candidate in candidates {
        let own: BTreeSet<usize> = branches(target, &candidate).difference(&taken).copied().collect();
        if own.is_empty() {
            continue;
        }
        let short = shortened(candidate, |input| own.is_subset(&branches(target, input)));
        let length = short.escape_ascii().count() + 1;
        if size + length > MOST_KEPT {
            continue;
        }
        size += length;
        taken.extend(branches(target, &short));
        chosen.push(short);
    }
    write(&kept(target), &chosen);
    println!("{:<18} {:>4} inputs kept, {size} bytes, {} branches", target.name, chosen.len(), taken.len());
}

/// The input without every piece that it does not need to stay what it is.
pub fn shortened(mut input: Vec<u8>, is_still: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(input.len()));
            if is_still(&shorter) {
                input = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}
