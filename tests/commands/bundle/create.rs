//! `bundle create`.

use serde_json::json;

use sre_provision::fingerprint::Digest;

use super::{FILES, LIST, SIZE, Server, Side, change, create, manifest, noise};
use crate::sources::openssl;

#[test]
fn files_come_from_a_server_by_the_escaped_version_and_the_size_is_told_first() {
    let side = Side::new();
    let server = Server::plain(&side.path("release"));
    side.release(&format!("http://127.0.0.1:{}/releases", server.port));

    let made = side.create("disk", &["--version", "7"]);

    assert_eq!(made.code, 0, "{}", made.err);
    let first = made.err.lines().next().expect("a line");
    let size = format!("{} MiB to fetch from `http://127.0.0.1:{}/releases`", SIZE.div_ceil(1 << 20), server.port);
    assert_eq!(first, size);
    let asked = server.asked();
    for name in FILES.into_iter().chain([LIST]) {
        let target = format!("GET /releases/v1.35.4%2Brke2r1/{name}");
        assert_eq!(asked.iter().filter(|asked| **asked == target).count(), 1, "{asked:?}");
    }
    let of_size = format!("HEAD /releases/v1.35.4%2Brke2r1/{}", FILES[0]);
    assert!(asked.iter().position(|asked| *asked == of_size) < asked.iter().position(|asked| asked.starts_with("GET")));
    assert!(made.out.starts_with("bundle `airgap` version 7 is in `disk`: 6 files, "), "{}", made.out);
}

#[test]
fn plain_openssl_checks_the_signature() {
    let side = Side::new();
    let disk = side.made();

    openssl(&disk, &["base64", "-d", "-in", "manifest.sig", "-out", "sig.der"]);
    let check = ["dgst", "-sha256", "-verify", "../keys/trust.pem", "-signature", "sig.der", "manifest.json"];

    openssl(&disk, &check);
    assert_eq!(manifest(&disk)["line"], json!("airgap"));
}

#[test]
fn where_nobody_can_answer_nothing_is_fetched() {
    let side = Side::new();
    let server = Server::plain(&side.path("release"));
    side.release(&format!("http://127.0.0.1:{}", server.port));

    let ended = side.world.run(&["bundle", "create", "airgap", "--to", "disk", "--sign", "file:keys/sign.pem"]);

    ended.fails(
        9,
        "error: nothing was fetched and no bundle was written\n\
         hint:  answer with `y`, or give `--yes` where nobody can answer",
    );
    assert!(server.asked().iter().all(|asked| asked.starts_with("HEAD ")), "{:?}", server.asked());
    assert!(!side.path("disk").exists());
}

#[test]
fn of_a_file_with_another_checksum_than_the_published_one_nothing_is_kept() {
    let side = Side::new();
    let server = Server::plain(&side.path("release"));
    side.release(&format!("http://127.0.0.1:{}", server.port));
    change(&side.path("release").join(FILES[2]), 5000);

    let (code, failure) = side.world.json(&create("disk", &[]));

    assert_eq!(code, 1, "{failure}");
    let told = failure["error"].as_str().expect("an error");
    assert!(told.contains(FILES[2]) && told.ends_with("has a wrong checksum"), "{told}");
    assert!(!side.path(".sre-provision/store/rke2/v1.35.4+rke2r1").join(FILES[2]).exists());
    assert!(!side.path("disk").exists());
}

#[test]
fn a_server_under_a_private_ca_is_reached_through_a_proxy_and_only_with_that_ca() {
    let side = Side::new();
    let server = Server::with_tls(&side.path("release"), &side.path("keys"));
    let proxy = Server::proxy();
    side.release(&format!("https://localhost:{}", server.port));
    let way = [("HTTPS_PROXY", format!("http://127.0.0.1:{}", proxy.port))];

    let without = side.run_with(&create("disk", &[]), &way);
    side.add("bundle: {ca: \"file:keys/ca.pem\"}");
    let with = side.run_with(&create("disk", &[]), &way);

    assert_eq!(without.code, 1, "{}", without.err);
    assert!(without.err.contains("certificate"), "{}", without.err);
    assert!(without.err.contains("name the CA of the source in `bundle.ca`"), "{}", without.err);
    assert_eq!(with.code, 0, "{}", with.err);
    let through = format!("CONNECT localhost:{}", server.port);
    assert!(proxy.asked().iter().all(|asked| *asked == through), "{:?}", proxy.asked());
    assert_eq!(server.asked().iter().filter(|asked| asked.starts_with("GET ")).count(), FILES.len() + 1);
}

#[test]
fn a_creation_that_was_killed_inside_a_volume_keeps_its_whole_chunks() {
    let side = Side::new();
    let args = create("disk", &["--version", "7"]);

    side.killed_at(6_000_000, &args);
    let half = side.path("disk/chunks-0001").metadata().expect("begun").len();
    let not_yet = side.path("disk/manifest.sig").exists();
    let (code, done) = side.world.json(&args);

    assert_eq!((half, not_yet, code), (6_000_000, false, 0));
    // The list, and two files in three chunks each; that which crosses the limit is written again.
    assert_eq!(done["kept"], json!(7), "{done}");
    let chunks = side.world.json(&["bundle", "verify", "disk", "--environment", "airgap"]).1["chunks"].clone();
    assert_eq!(done["kept"].as_u64().zip(done["written"].as_u64()).map(|(one, other)| one + other), chunks.as_u64());
}

#[test]
fn a_directory_that_holds_a_bundle_is_not_written_to() {
    let side = Side::new();
    side.made();

    let again = side.create("disk", &["--version", "8"]);

    assert_eq!(again.code, 1);
    let told = "holds a bundle already\nhint:  name another directory, or remove that one first\n";
    assert!(again.err.ends_with(told), "{}", again.err);
}

#[test]
fn chunks_of_an_earlier_try_that_belong_to_no_file_now_are_removed() {
    let side = Side::new();
    side.killed_at(6_000_000, &create("disk", &["--version", "7"]));
    // Another file of the same name, and the store without the first one.
    let store = side.path(".sre-provision/store/rke2/v1.35.4+rke2r1");
    std::fs::remove_dir_all(store).expect("removed");
    let list = side.path("release").join(LIST);
    let text = std::fs::read_to_string(&list).expect("a list");
    let old = Digest::of(&std::fs::read(side.path("release").join(FILES[0])).expect("read")).to_string();
    let other = noise(99, 2_500_000);
    std::fs::write(&list, text.replace(&old, Digest::of(&other).as_str())).expect("written");
    std::fs::write(side.path("release").join(FILES[0]), other).expect("written");

    let made = side.create("disk", &["--version", "7"]);

    assert_eq!(made.code, 0, "{}", made.err);
    // The old list, and the three chunks of the file as it was.
    let told = "  4 chunks of an earlier try, which no file has any more, are removed";
    assert!(made.out.contains(told), "{}", made.out);
}
