//! `bundle load`.

use serde_json::json;

use super::{Side, damage};

#[test]
fn what_was_loaded_has_its_names_and_up_takes_the_release_from_there() {
    let side = Side::new();
    side.made();

    let (code, told) = side.world.json(&["bundle", "load", "airgap", "disk"]);
    let again = side.world.json(&["bundle", "load", "airgap", "disk"]).1;

    assert_eq!((code, &told["event"], &told["version"]), (0, &json!("bundle-loaded"), &json!(7)));
    assert_eq!((&told["files"], &told["kept"], &told["removed"]), (&json!(6), &json!(0), &json!(0)));
    assert_eq!(again["kept"], json!(6));
    side.is_loaded();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &side.loaded("bin/sre-provision").metadata().expect("loaded").permissions(),
    );
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn an_older_bundle_is_refused_and_another_one_of_the_same_version() {
    let side = Side::new();
    side.made();
    assert_eq!(side.create("older", &["--version", "6"]).code, 0);
    assert_eq!(side.create("another", &["--version", "7", "--without", "packer"]).code, 0);
    assert_eq!(side.world.run(&["bundle", "load", "airgap", "disk"]).code, 0);

    let older = side.world.run(&["bundle", "load", "airgap", "older"]);
    let another = side.world.run(&["bundle", "load", "airgap", "another"]);

    let hint = "hint:  take the newest bundle of this line; to go back on purpose, make it anew under a higher version";
    let refused = |version: u32, cause: &str| {
        format!("error: version {version} of bundle `airgap` is refused\ncause: {cause}\n{hint}")
    };
    older.fails(1, &refused(6, "version 7 was accepted before"));
    another.fails(1, &refused(7, "another bundle of this version was accepted before"));
    side.is_loaded();
}

#[test]
fn a_load_that_was_killed_inside_a_file_goes_on_behind_its_last_right_chunk() {
    let side = Side::new();
    let disk = side.made();
    let load = ["bundle", "load", "airgap", "disk"];

    side.killed_at(6_500_000, &load);
    let nothing_has_its_name = !side.loaded("bin").exists() && !side.loaded("release").exists();
    // The first chunk of the file was taken; the medium need not give it again.
    damage(&disk, "sre-provision", 0);
    let verified = side.world.run(&["bundle", "verify", "disk", "--trust", "keys/trust.pem"]);
    let went_on = side.world.run(&load);

    assert!(nothing_has_its_name);
    assert!(verified.err.starts_with("error: 1 of "), "{}", verified.err);
    assert_eq!(went_on.code, 0, "{}", went_on.err);
    side.is_loaded();
}

#[test]
fn what_an_earlier_bundle_fed_and_this_one_does_not_is_gone() {
    let side = Side::new();
    side.made();
    assert_eq!(side.world.run(&["bundle", "load", "airgap", "disk"]).code, 0);
    // As a bundle with providers, packages and images leaves them.
    std::fs::create_dir_all(side.loaded("images")).expect("made");
    let feeds = ["tofu.rc", "rpms.repo", "images/index.json", "images/oci-layout"];
    for name in feeds {
        std::fs::write(side.loaded(name), "old").expect("written");
    }

    let again = side.world.run(&["bundle", "load", "airgap", "disk"]);

    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(feeds.map(|name| side.loaded(name).exists()), [false; 4]);
}

#[test]
fn a_supplement_of_another_bundle_is_refused() {
    let side = Side::new();
    side.made();
    assert_eq!(side.create("other", &["--version", "8"]).code, 0);

    let ended = side.world.run(&["bundle", "load", "airgap", "disk", "other"]);

    ended.fails(1, "error: `other` is part of another bundle\ncause: its manifest is not that of `disk`");
}

#[test]
fn of_a_bundle_that_nobody_is_trusted_for_nothing_is_read() {
    let side = Side::new();
    side.made();
    let file = side.path("environments/airgap.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let (untrusting, _) = text.split_once("trust:\n").expect("before the last section");
    std::fs::write(file, untrusting).expect("written");

    let ended = side.world.run(&["bundle", "load", "airgap", "disk"]);

    ended.fails(
        3,
        "error: no key is trusted\n\
         hint:  name the public key of whoever signs: `trust: {keys: [file:PATH]}` or `--trust FILE`",
    );
}
