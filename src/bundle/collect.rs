//! Files that the operator's machine has, each checked before it is taken: by the `SHA256SUMS` of its directory, or, of
//! Packer's plugins, by the checksum that lies beside each.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::bundle::create::Item;
use crate::bundle::name::{FileKind, Name};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::file_digest;

/// As `sha256sum` writes it.
const SUMS: &str = "SHA256SUMS";
/// What Packer calls the checksum of a plugin.
const PLUGIN_SUM: &str = "_SHA256SUM";

/// The files of a directory that its `SHA256SUMS` names, each with its digest. Reads every one of them.
///
/// # Errors
/// Exit 1: there is no such list, or a line is none; a file is missing, of another digest, or has a name that its kind
/// cannot have.
pub fn listed(kind: FileKind, dir: &Path) -> Result<Vec<Item>, Failure> {
    let list = dir.join(SUMS);
    let refused = |cause: String| {
        Failure::new(Exit::NotDone, format!("cannot take the {kind}s in `{}`", dir.display())).because(cause)
    };
    let text = std::fs::read_to_string(&list).map_err(|error| {
        refused(format!("`{SUMS}`: {error}")).hint(format!(
            "check the files against what their publisher says, then: cd {} && find . -type f ! -name {SUMS} \
             -exec sha256sum {{}} + >{SUMS}",
            dir.display()
        ))
    })?;
    let mut items = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (digest, file) = parse(line).ok_or_else(|| refused(format!("`{SUMS}` has the line `{}`", cut(line))))?;
        let name = Name::parse(file).filter(|name| kind.has_form(name));
        let name = name.ok_or_else(|| refused(format!("`{}` is no name of a {kind}", cut(file))))?;
        items.push(checked(kind, name, dir.join(file), digest)?);
    }
    match items.is_empty() {
        true => Err(refused(format!("`{SUMS}` names nothing"))),
        false => Ok(items),
    }
}

/// `<64 hex>  <name>`, the name perhaps behind `*` or `./`.
fn parse(line: &str) -> Option<(Digest, &str)> {
    let (digest, file) = line.split_once(char::is_whitespace)?;
    let file = file.trim_start().trim_start_matches('*');
    Some((Digest::parse(digest)?, file.strip_prefix("./").unwrap_or(file)))
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

fn checked(kind: FileKind, name: Name, from: PathBuf, expected: Digest) -> Result<Item, Failure> {
    let found = file_digest(&from)?;
    if found == expected {
        return Ok(Item { kind, name, from, sha256: Some(expected) });
    }
    Err(Failure::new(Exit::NotDone, format!("`{}` has a wrong checksum", from.display()))
        .because(format!("its SHA-256 is {found}, expected {expected}"))
        .hint("fetch it again; if it stays wrong, do not use this source"))
}

/// Packer's plugins below a directory, with their checksums. A plugin without one is none: Packer takes it for none too.
///
/// # Errors
/// Exit 1: one is not what its checksum says, or there is none at all.
pub fn plugins(dir: &Path) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    for entry in WalkDir::new(dir).follow_links(true).sort_by_file_name() {
        let unreadable = || Failure::new(Exit::NotDone, format!("cannot read the plugins in `{}`", dir.display()));
        let entry = entry.map_err(|error| unreadable().because(error))?;
        let path = entry.path();
        let Some(plugin) = path.to_str().and_then(|path| path.strip_suffix(PLUGIN_SUM)).map(Path::new) else {
            continue;
        };
        let sum = std::fs::read_to_string(path).map_err(|error| unreadable().because(error))?;
        let expected =
            Digest::parse(sum.trim()).ok_or_else(|| unreadable().because(format!("`{}`", path.display())))?;
        let name = |path: &Path| path.strip_prefix(dir).ok()?.to_str().and_then(Name::parse);
        let names = name(plugin).zip(name(path)).filter(|(name, _)| FileKind::Plugin.has_form(name));
        let (name, sum) = names.ok_or_else(|| unreadable().because(format!("`{}` is no name", plugin.display())))?;
        items.push(checked(FileKind::Plugin, name, plugin.to_owned(), expected)?);
        items.push(Item { kind: FileKind::Plugin, name: sum, from: path.to_owned(), sha256: Some(file_digest(path)?) });
    }
    match items.is_empty() {
        true => Err(Failure::new(Exit::Missing, format!("there are no plugins of Packer in `{}`", dir.display()))
            .hint("packer init packer/base   installs them; name their directory in `bundle.plugins`")),
        false => Ok(items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheels(sums: &str) -> (tempfile::TempDir, Result<Vec<Item>, Failure>) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a-1-py3-none-any.whl"), "a").expect("written");
        std::fs::write(dir.path().join(SUMS), sums).expect("written");
        let items = listed(FileKind::Wheel, dir.path());
        (dir, items)
    }

    #[test]
    fn what_the_list_names_is_taken_and_nothing_else() {
        let sum = Digest::of(b"a");

        let (dir, items) = wheels(&format!("{sum} *./a-1-py3-none-any.whl\n"));
        std::fs::write(dir.path().join("b-1-py3-none-any.whl"), "b").expect("written");

        let items = items.expect("taken");
        assert_eq!(items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["a-1-py3-none-any.whl"]);
        assert_eq!(items[0].sha256, Some(sum));
    }

    #[test]
    fn a_wrong_checksum_a_line_that_is_none_and_a_way_out_are_refused() {
        let sum = Digest::of(b"b");
        let (_dir, wrong) = wheels(&format!("{sum}  a-1-py3-none-any.whl\n"));
        let (_dir, garbage) = wheels("<html>\n");
        let (_dir, out) = wheels(&format!("{sum}  ../a.whl\n"));
        let (_dir, nothing) = wheels("\n");

        assert!(wrong.expect_err("wrong").what().ends_with("a-1-py3-none-any.whl` has a wrong checksum"));
        assert_eq!(garbage.expect_err("refused").causes(), ["`SHA256SUMS` has the line `<html>`"]);
        assert_eq!(out.expect_err("refused").causes(), ["`../a.whl` is no name of a wheel"]);
        assert_eq!(nothing.expect_err("refused").causes(), ["`SHA256SUMS` names nothing"]);
    }

    #[test]
    fn plugins_are_taken_with_their_checksums_and_a_changed_one_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("github.com/hashicorp/amazon");
        std::fs::create_dir_all(&home).expect("made");
        let plugin = home.join("packer-plugin-amazon_v1.8.2_x5.0_linux_amd64");
        std::fs::write(&plugin, "plugin").expect("written");
        std::fs::write(format!("{}{PLUGIN_SUM}", plugin.display()), Digest::of(b"plugin").as_str()).expect("written");

        let taken = plugins(dir.path()).expect("taken");
        std::fs::write(&plugin, "another").expect("written");
        let changed = plugins(dir.path()).expect_err("refused");

        assert_eq!(taken.len(), 2);
        assert_eq!(taken[0].name.as_str(), "github.com/hashicorp/amazon/packer-plugin-amazon_v1.8.2_x5.0_linux_amd64");
        assert!(changed.what().contains("has a wrong checksum"), "{changed}");
    }
}
