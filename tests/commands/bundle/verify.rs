//! `bundle verify`, `have` and `diff`.

use serde_json::json;

use sre_provision::fingerprint::Digest;

use super::{FILES, LIST, Side, cut, damage, digest};
use crate::sources::openssl;

#[test]
fn a_whole_bundle_is_told_with_what_it_holds_and_whether_it_is_enough() {
    let side = Side::new();
    side.made();

    let told = side.world.run(&["bundle", "verify", "disk", "--environment", "airgap"]);
    let (code, data) = side.world.json(&["bundle", "verify", "disk", "--trust", "keys/trust.pem"]);

    assert_eq!((told.code, told.err.as_str()), (0, ""));
    assert!(told.out.starts_with("bundle `airgap` version 7 is whole: 6 files, "), "{}", told.out);
    assert!(
        told.out
            .ends_with(" chunks, RKE2 v1.35.4+rke2r1; it is enough for `airgap` with its own ansible and packages\n"),
        "{}",
        told.out
    );
    assert_eq!((code, &data["event"], &data["version"]), (0, &json!("bundle-verified"), &json!(7)));
    assert_eq!((&data["files"], &data["enough_for"]), (&json!(6), &json!(null)));
    assert_eq!(data["counts"], json!({ "images": 0, "rpms": 0, "wheels": 0, "charts": 0 }));
}

#[test]
fn a_damaged_chunk_and_a_truncated_one_are_named_and_only_they_travel_again() {
    let side = Side::new();
    let disk = side.made();
    std::fs::create_dir(side.path("bad")).expect("made");
    for name in ["manifest.json", "manifest.sig", "chunks-0001"] {
        std::fs::copy(disk.join(name), side.path("bad").join(name)).expect("copied");
    }
    damage(&side.path("bad"), FILES[0], 0);
    // The bill of materials is the last of the files.
    cut(&side.path("bad/chunks-0001"), 1);

    let verified = side.world.run(&["bundle", "verify", "bad", "--trust", "keys/trust.pem"]);
    let loaded = side.world.run(&["bundle", "load", "airgap", "bad"]);
    let (_, have) = side.world.json(&["bundle", "have", "bad", "--trust", "keys/trust.pem", "--to", "have.json"]);
    let nothing_has_its_name = !side.loaded("release").exists();
    let diff = ["bundle", "diff", "disk", "--have", "have.json", "--trust", "keys/trust.pem", "--to", "more"];
    let (_, lacks) = side.world.json(&diff);
    let healed = side.world.run(&["bundle", "load", "airgap", "bad", "more"]);

    let of = side.world.json(&["bundle", "verify", "disk", "--trust", "keys/trust.pem"]).1["chunks"].clone();
    assert_eq!(verified.code, 1, "{}", verified.err);
    let what = format!("error: 2 of {of} chunks of the bundle are missing or damaged\ncause: ");
    assert!(verified.err.starts_with(&what), "{}", verified.err);
    for (file, how) in [(FILES[0], "is damaged"), ("sbom.cdx.json", "is missing")] {
        let told = format!("chunk {} of `{file}` {how}", &digest(&disk, file, 0)[..12]);
        assert!(verified.err.contains(&told), "{told}: {}", verified.err);
    }
    assert!(
        verified.err.contains("hint:  sre-provision bundle have DIR --trust KEY --to have.json"),
        "{}",
        verified.err
    );
    assert_eq!(loaded.code, 1, "{}", loaded.err);
    assert_eq!(have["chunks"].as_u64().map(|right| right + 2), of.as_u64(), "{have}");
    assert_eq!((&lacks["event"], &lacks["chunks"]), (&json!("bundle-diff"), &json!(2)));
    assert!(side.path("more/chunks-0001").metadata().expect("there").len() < 2 * ((1 << 20) + 52) + 1);
    assert!(nothing_has_its_name);
    assert_eq!(healed.code, 0, "{}", healed.err);
    side.is_loaded();
}

#[test]
fn a_wrong_signature_is_refused_and_no_key_from_inside_a_bundle_is_used() {
    let side = Side::new();
    let disk = side.made();
    side.key("theirs.pem", "theirs-trust.pem");
    openssl(&disk, &["dgst", "-sha256", "-sign", "../keys/theirs.pem", "-out", "sig.der", "manifest.json"]);
    openssl(&disk, &["base64", "-A", "-in", "sig.der", "-out", "manifest.sig"]);
    std::fs::create_dir(disk.join("keys")).expect("made");
    for name in ["trust.pem", "keys/trust.pem", "cosign.pub"] {
        std::fs::copy(side.path("keys/theirs-trust.pem"), disk.join(name)).expect("copied");
    }

    let verified = side.world.run(&["bundle", "verify", "disk", "--environment", "airgap"]);
    let loaded = side.world.run(&["bundle", "load", "airgap", "disk"]);
    let theirs = side.world.run(&["bundle", "verify", "disk", "--trust", "keys/theirs-trust.pem"]);

    for ended in [&verified, &loaded] {
        assert_eq!((ended.code, ended.out.as_str()), (1, ""));
        assert!(ended.err.starts_with("error: disk: the signature is wrong\n"), "{}", ended.err);
        assert!(ended.err.contains("cause: it was made by none of the trusted keys ("), "{}", ended.err);
        let hint = "name their public key in `trust.keys` or `--trust FILE`";
        assert!(ended.err.contains("hint:  do not use it; if it comes from whom you trust, "), "{}", ended.err);
        assert!(ended.err.contains(hint), "{}", ended.err);
    }
    assert!(!side.loaded("").exists());
    assert_eq!(theirs.code, 0, "whoever trusts that key may: {}", theirs.err);
}

#[test]
fn what_the_environment_needs_and_the_bundle_lacks_is_named() {
    let side = Side::new();
    side.made();
    let file = side.path("environments/airgap.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(file, text.replace("cni: canal", "cni: cilium")).expect("written");
    let image = format!("registry.example/team/app:1.4@sha256:{}", "a".repeat(64));
    side.add(&format!("bundle: {{images: [\"{image}\"]}}"));

    let verified = side.world.run(&["bundle", "verify", "disk", "--environment", "airgap"]);
    let loaded = side.world.run(&["bundle", "load", "airgap", "disk"]);

    for ended in [verified, loaded] {
        ended.fails(
            1,
            &format!(
                "error: the bundle is not enough for `airgap`\n\
                 cause: it lacks release file `rke2-images-cilium.linux-amd64.tar.zst`, which stage `servers` wants\n\
                \x20      it lacks image `{image}`\n\
                 hint:  sre-provision bundle create airgap   where there is internet, with the same environment file"
            ),
        );
    }
    assert!(!side.loaded("release").exists());
}

#[test]
fn what_each_stage_wants_and_nobody_has_is_named_with_the_stage_and_what_brings_it() {
    let side = Side::new();
    side.made();
    let file = side.path("environments/airgap.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replace("  elsewhere: [ansible, packages]\n", "  elsewhere: [packages]\n"))
        .expect("written");

    let without_ansible = side.world.run(&["bundle", "verify", "disk", "--environment", "airgap"]);
    std::fs::write(&file, text.replace("elsewhere: [ansible, packages]", "elsewhere: [ansible]")).expect("written");
    let without_packages = side.world.run(&["bundle", "load", "airgap", "disk"]);

    let wants = |what: &str, stage: &str| format!("it lacks {what}, which stage `{stage}` wants\n");
    assert_eq!(without_ansible.code, 1, "{}", without_ansible.err);
    assert!(without_ansible.err.contains(&wants("wheel `ansible-core`", "hardening")), "{}", without_ansible.err);
    assert!(without_ansible.err.contains("hint:  pip download --dest DIR ansible-core   "), "{}", without_ansible.err);
    assert_eq!(without_packages.code, 1, "{}", without_packages.err);
    for (rpm, stage) in [("iptables-nft", "servers"), ("rke2-selinux", "servers"), ("audit", "hardening")] {
        let line = wants(&format!("rpm `{rpm}`"), stage);
        assert!(without_packages.err.contains(&line), "{line}: {}", without_packages.err);
    }
    assert!(without_packages.err.contains("in `bundle.rpms` in environments/airgap.yaml"), "{}", without_packages.err);
    assert!(!side.loaded("release").exists(), "it is refused before anything is fed");
}

#[test]
fn an_ingress_controller_with_an_archive_of_its_own_is_collected_and_missed_where_it_is_not_there() {
    let side = Side::new();
    side.made();
    let file = side.path("environments/airgap.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replace("  cni: canal", "  cni: canal\n  config: {ingress_controller: traefik}"))
        .expect("written");
    let archive = "rke2-images-traefik.linux-amd64.tar.zst";

    let lacking = side.world.run(&["bundle", "verify", "disk", "--environment", "airgap"]);
    std::fs::write(side.path("release").join(archive), "images").expect("written");
    let list = side.path("release").join(LIST);
    let sums = std::fs::read_to_string(&list).expect("a list");
    std::fs::write(&list, format!("{sums}{}  {archive}\n", Digest::of(b"images"))).expect("written");
    let made = side.create("next", &["--version", "8"]);
    let enough = side.world.run(&["bundle", "verify", "next", "--environment", "airgap"]);

    let told = format!("cause: it lacks release file `{archive}`, which stage `servers` wants\n");
    assert!(lacking.err.contains(&told), "{}", lacking.err);
    assert_eq!((made.code, enough.code), (0, 0), "{}{}", made.err, enough.err);
    assert!(std::fs::read_to_string(side.path("next/manifest.json")).expect("there").contains(archive));
}

#[test]
fn the_next_version_brings_only_what_is_new() {
    let side = Side::new();
    let disk = side.made();
    assert_eq!(side.world.run(&["bundle", "load", "airgap", "disk"]).code, 0);
    std::fs::remove_dir_all(&disk).expect("removed");

    let (_, have) = side.world.json(&["bundle", "have", "airgap", "--to", "have.json"]);
    let (_, made) = side.world.json(&super::create("next", &["--version", "8", "--have", "have.json"]));
    let loaded = side.world.run(&["bundle", "load", "airgap", "next"]);

    assert_eq!(have["event"], json!("bundle-have"));
    assert_eq!((&made["written"], &made["left_out"]), (&json!(0), &have["chunks"]), "{made}");
    assert_eq!(loaded.code, 0, "{}", loaded.err);
    assert!(loaded.out.starts_with("bundle `airgap` version 8 is loaded for `airgap`: 6 files in "), "{}", loaded.out);
    side.is_loaded();
}
