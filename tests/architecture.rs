//! Reads the source and fails where it leaves the lines that the design draws.
//!
//! Clippy finds forbidden calls (clippy.toml); this test says in which rooms an exception may stand, which room may use
//! which, and how large a file and a function may grow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// Each room, and the rooms it may use besides the words. `stages` connects almost everything, `cli` everything.
const ROOMS: [(&str, &[&str]); 20] = [
    ("workspace", &[]),
    ("report", &[]),
    ("cloud", &[]),
    ("process", &["workspace"]),
    ("config", &["workspace"]),
    ("objects", &["workspace"]),
    ("journal", &["objects", "workspace"]),
    ("secrets", &["objects", "workspace"]),
    ("tools", &["process", "workspace"]),
    ("node", &["process", "workspace"]),
    ("rke2", &["node"]),
    ("compliance", &["node"]),
    ("evidence", &["compliance"]),
    ("bundle", &["tools", "rke2", "workspace"]),
    // `bundle`: the keys that sign and are trusted; `cloud`: what an image says of itself.
    ("images", &["bundle", "cloud", "objects"]),
    (
        "stages",
        &["bundle", "images", "tools", "cloud", "node", "rke2", "compliance", "secrets", "workspace", "process"],
    ),
    ("plan", &["stages", "journal", "workspace"]),
    // `cloud`: what `down` sweeps by tag after the stages; `process`: the book is told of children.
    ("execute", &["plan", "stages", "journal", "cloud", "process"]),
    ("upkeep", &["stages", "node", "rke2", "secrets", "workspace"]),
    ("cli", EVERY_ROOM),
];

const EVERY_ROOM: &[&str] = &[
    "workspace",
    "report",
    "bundle",
    "cloud",
    "process",
    "config",
    "objects",
    "journal",
    "secrets",
    "tools",
    "node",
    "rke2",
    "compliance",
    "evidence",
    "images",
    "stages",
    "plan",
    "execute",
    "upkeep",
];

/// Rooms that connect others only where a value passes through them; one line each says why.
const PASSING: [(&str, &str, &str); 1] =
    [("execute", "process", "it writes down in the journal which children are open (Witness)")];

/// Where an exception from clippy's disallowed lists may stand.
const EXCEPTIONS: [(&str, &[&str]); 3] = [
    ("disallowed_methods", &["workspace", "objects", "journal", "process", "cli", "main"]),
    ("disallowed_macros", &["report"]),
    ("disallowed_types", &[]),
];

const MOST_LINES_OF_A_FILE: usize = 400;
const MOST_LINES_OF_A_FUNCTION: usize = 60;

/// One source file without its tests.
struct Source {
    /// Relative to `src/`.
    path: PathBuf,
    text: String,
    syntax: syn::File,
}

impl Source {
    /// The room it belongs to; for a word, the word itself.
    fn room(&self) -> String {
        let first = self.path.iter().next().expect("a name").to_string_lossy();
        first.strip_suffix(".rs").unwrap_or(&first).to_owned()
    }

    fn is_word(&self) -> bool {
        self.path.iter().count() == 1 && !["lib.rs", "main.rs"].iter().any(|file| self.path == Path::new(file))
    }

    /// Every `crate::first::second` that the file names, tests aside.
    fn named(&self) -> BTreeSet<(String, Option<String>)> {
        let mut paths = Paths::default();
        paths.visit_file(&self.syntax);
        let named = paths.found.into_iter().filter(|path| path.first().is_some_and(|first| first == "crate"));
        named.filter_map(|path| Some((path.get(1)?.clone(), path.get(2).cloned()))).collect()
    }
}

/// Reads every file of `src/`, and leaves out what is compiled for tests only.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(|entry| entry.expect("listed"));
    let files = files.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"));
    let read = |entry: walkdir::DirEntry| {
        let text = std::fs::read_to_string(entry.path()).expect("read");
        let mut syntax = syn::parse_file(&text).expect("Rust");
        syntax.items.retain(|item| !is_test(item));
        let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        Source { path: entry.path().strip_prefix(&root).expect("inside").to_owned(), text, syntax }
    };
    let sources: Vec<_> = files.filter(|entry| !is_test_file(entry.path())).map(read).collect();
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    sources
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.iter().any(|part| part == "tests")
}

fn is_test(item: &syn::Item) -> bool {
    let (syn::Item::Mod(syn::ItemMod { attrs, .. })
    | syn::Item::Fn(syn::ItemFn { attrs, .. })
    | syn::Item::Use(syn::ItemUse { attrs, .. })
    | syn::Item::Impl(syn::ItemImpl { attrs, .. })) = item
    else {
        return false;
    };
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg") && attr.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Collects paths, in `use` trees, in code and in the arguments of macros.
#[derive(Default)]
struct Paths {
    found: Vec<Vec<String>>,
}

impl Paths {
    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.found.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.found.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.found.push([before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.found.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let tokens = called.tokens.to_string().replace(' ', "");
        for path in tokens.split("crate::").skip(1) {
            let names = path.split("::").map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_').next());
            let names = names.map(|name| name.unwrap_or_default().to_owned());
            self.found.push(["crate".to_owned()].into_iter().chain(names).collect());
        }
        visit::visit_macro(self, called);
    }
}

/// Fails with one line per fault.
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_room_uses_only_the_rooms_that_it_may() {
    let rooms: BTreeMap<_, _> = ROOMS.into();
    let mut faults = Vec::new();

    for source in sources() {
        let room = source.room();
        if ["lib", "main"].contains(&room.as_str()) {
            continue;
        }
        let may: &[&str] = match rooms.get(room.as_str()) {
            Some(may) => may,
            None if source.is_word() => &[],
            None => {
                faults.push(format!("{}: `{room}` is no room of the design", source.path.display()));
                continue;
            }
        };
        for (used, _) in source.named() {
            let passes = PASSING.iter().any(|(from, to, _)| (*from, *to) == (room.as_str(), used.as_str()));
            if rooms.contains_key(used.as_str()) && used != room && !may.contains(&used.as_str()) && !passes {
                faults.push(format!("{}: `{room}` may not use `{used}`", source.path.display()));
            }
        }
    }

    none(&faults);
}

#[test]
fn no_stage_names_another_stage() {
    let sources: Vec<_> = sources().into_iter().filter(|source| source.room() == "stages").collect();
    let is_stage = |source: &&Source| source.text.contains("impl Stage for");
    let module = |source: &Source| source.path.iter().nth(1).expect("a file").to_string_lossy().replace(".rs", "");
    let stages: BTreeSet<String> = sources.iter().filter(is_stage).map(module).collect();
    let mut faults = Vec::new();

    for source in sources.iter().filter(|source| source.path != Path::new("stages/mod.rs")) {
        let mut paths = Paths::default();
        paths.visit_file(&source.syntax);
        for path in paths.found {
            let other = match path.first().map(String::as_str) {
                Some("super") => path.get(1),
                Some("crate") if path.get(1).is_some_and(|room| room == "stages") => path.get(2),
                _ => None,
            };
            if let Some(other) = other.filter(|other| stages.contains(*other) && **other != module(source)) {
                faults.push(format!("{}: names the stage `{other}`", source.path.display()));
            }
        }
    }

    none(&faults);
}

#[test]
fn every_file_says_in_its_first_line_what_it_is() {
    let is_bare = |source: &Source| !source.text.starts_with("//! ");
    let faults: Vec<_> = sources().iter().filter(|source| is_bare(source)).map(|source| shown(&source.path)).collect();

    none(&faults);
}

#[test]
fn no_file_and_no_function_grows_beyond_what_one_reads_at_once() {
    let mut faults = Vec::new();

    for source in sources() {
        let lines = source.text.lines().count();
        if lines > MOST_LINES_OF_A_FILE {
            faults.push(format!("{}: {lines} lines; the most are {MOST_LINES_OF_A_FILE}", source.path.display()));
        }
        for (name, lines) in functions(&source.text) {
            if lines > MOST_LINES_OF_A_FUNCTION {
                let most = MOST_LINES_OF_A_FUNCTION;
                faults.push(format!("{}: `{name}` has {lines} lines; the most are {most}", source.path.display()));
            }
        }
    }

    none(&faults);
}

/// The functions of formatted code with their lengths: from `fn` to the brace at the same depth.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| {
        let code = line.trim_start();
        let words = ["pub", "pub(super)", "pub(crate)", "const", "async", "unsafe"];
        let rest = code.split_inclusive(' ').skip_while(|word| words.contains(&word.trim())).collect::<String>();
        rest.strip_prefix("fn ").map(|rest| rest.split(['(', '<']).next().unwrap_or_default().to_owned())
    };
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = begins(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = lines[index..].iter().position(|line| *line == format!("{indent}}}"));
        let is_one_line = line.trim_end().ends_with(['}', ';']);
        if let (false, Some(end)) = (is_one_line, end) {
            found.push((name, end + 1));
        }
    }
    found
}

#[test]
fn the_measure_of_functions_measures() {
    let text =
        "pub async fn one(\n    a: u8,\n) -> u8 {\n    a\n}\n\nimpl X {\n    fn two() -> u8 {\n        2\n    }\n}\n";

    assert_eq!(functions(text), [("one".to_owned(), 5), ("two".to_owned(), 3)]);
}

#[test]
fn only_the_rooms_that_may_except_themselves_from_the_forbidden_calls() {
    let mut faults = Vec::new();

    for source in sources() {
        for (lint, rooms) in EXCEPTIONS {
            let excepts = source
                .text
                .lines()
                .any(|line| line.contains(&format!("clippy::{lint}")) && !line.contains("cfg_attr(test"));
            if excepts && !rooms.contains(&source.room().as_str()) {
                faults.push(format!("{}: may not expect `clippy::{lint}`", source.path.display()));
            }
        }
        if source.text.contains("#[allow(") || source.text.contains("#![allow(") {
            faults.push(format!("{}: `expect` with a reason instead of `allow`", source.path.display()));
        }
    }

    none(&faults);
}

#[test]
fn there_are_no_globs_but_those_of_the_language() {
    let mut faults = Vec::new();

    for source in sources() {
        let mut paths = Paths::default();
        paths.visit_file(&source.syntax);
        for path in paths.found.iter().filter(|path| path.last().is_some_and(|last| last == "*")) {
            faults.push(format!("{}: `use {}`", source.path.display(), path.join("::")));
        }
    }

    none(&faults);
}

#[test]
fn the_map_in_lib_rs_names_every_room() {
    let map = sources().into_iter().find(|source| source.path == Path::new("lib.rs")).expect("lib.rs");
    let declared: BTreeSet<String> = map
        .text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned()))
        .collect();
    let there: BTreeSet<String> =
        sources().iter().map(Source::room).filter(|room| !["lib", "main"].contains(&room.as_str())).collect();

    let missing: Vec<_> = there.difference(&declared).map(|room| format!("lib.rs: `{room}` is not declared")).collect();

    none(&missing);
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
