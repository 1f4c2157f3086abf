//! Packages of the nodes, with the real dnf, rpm and createrepo_c: a repository that the test builds and signs.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{Side, manifest};

/// `app` requires `lib` and something of the base image, `lib` a file of it; nobody asks for `other`, nobody signed `loose`.
const BUILD: &str = r#"
set -eu
export HOME=$PWD GNUPGHOME=$PWD/gpg
echo '%_dbpath /var/lib/rpm' >.rpmmacros
mkdir -m 700 gpg
gpg -q --batch --passphrase '' --quick-gen-key 'Test <test@invalid>' rsa3072 sign never 2>/dev/null
gpg --export -a >key.asc
package() {
  name=$1 version=$2 tags=$3
  {
    printf 'Name: %s\nVersion: %s\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\nAutoReqProv: no\n' "$name" "$version"
    printf "$tags"
    printf '%%description\nx\n%%install\nmkdir -p %%{buildroot}/usr/share/%s\n' "$name"
    printf 'echo x >%%{buildroot}/usr/share/%s/file\n%%files\n/usr/share/%s/file\n' "$name" "$name"
  } >spec
  rpmbuild -bb --quiet --define "_topdir $PWD/build" --define '_build_id_links none' spec
  mkdir -p "$4"
  mv build/RPMS/noarch/*.rpm "$4"
}
package base 1 'Provides: thing = 3\n' base
package app 2 'Requires: lib >= 1\nRequires: (thing >= 2 and lib)\n' repo
package lib 1.4 'Requires: /usr/share/base/file\n' repo
package other 1 '' repo
package loose 1 '' repo
rpmsign --define '_gpg_name Test' --define "_gpg_path $GNUPGHOME" --define "__gpg $(command -v gpg)" \
  --addsign repo/app-* repo/lib-* repo/other-* >/dev/null 2>&1
gpgconf --kill gpg-agent
createrepo_c -q repo
mkdir -p database
rpm --dbpath "$PWD/database" --justdb --nodeps --noscripts -i base/*.rpm 2>/dev/null
"#;

fn side(packages: &str) -> Side {
    let side = Side::new();
    let dir = side.path("packages");
    std::fs::create_dir(&dir).expect("made");
    let built = Command::new("sh").args(["-c", BUILD]).current_dir(&dir).output().expect("a shell");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let repositories = "{lab: {from: packages/repo, keys: [\"file:packages/key.asc\"]}}";
    side.add(&format!(
        "bundle: {{rpms: {{packages: {packages}, repositories: {repositories}, base: packages/database}}}}"
    ));
    side
}

/// What dnf finds in a directory as a repository.
fn found(dir: &Path) -> Vec<String> {
    let scratch = tempfile::tempdir().expect("a directory");
    let output = Command::new("dnf")
        .args(["-q", "--disableplugin=*", "--releasever=9", "--setopt=reposdir=/nonexistent", "--repo=far"])
        .arg(format!("--setopt=cachedir={}", scratch.path().display()))
        .arg(format!("--installroot={}", scratch.path().display()))
        .arg(format!("--repofrompath=far,file://{}", dir.display()))
        .args(["repoquery", "--qf", "%{name}-%{version}"])
        .env("HOME", scratch.path())
        .output()
        .expect("dnf");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn packages_come_with_what_they_require_beyond_the_base_image_and_the_bundle_alone_proves_it() {
    let side = side("[app]");

    let made = side.create("disk", &["--version", "7"]);
    let verified = side.world.run(&["bundle", "verify", "disk", "--environment", "airgap"]);
    let (code, _) = side.world.json(&["bundle", "load", "airgap", "disk"]);

    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.err.contains(" to fetch from `"), "{}", made.err);
    assert!(made.err.contains("/release`, 2 packages\n"), "{}", made.err);
    let manifest = manifest(&side.path("disk"));
    let of_kind = |kind: &str| -> Vec<String> {
        let files = manifest["files"].as_array().expect("files").iter().filter(|file| file["kind"] == json!(kind));
        files.map(|file| file["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(of_kind("rpm"), ["app-2-1.noarch.rpm", "lib-1.4-1.noarch.rpm"]);
    assert!(of_kind("rpm-metadata").contains(&"repomd.xml".to_owned()));
    assert_eq!(verified.code, 0, "{}", verified.err);
    assert!(verified.out.contains(", RKE2 v1.35.4+rke2r1, 2 rpms; it is enough"), "{}", verified.out);
    assert!(
        verified.out.ends_with("it is enough for `airgap` with its own ansible and packages\n"),
        "{}",
        verified.out
    );
    assert_eq!(code, 0);
    assert_eq!(found(&side.loaded("rpms")), ["app-2", "lib-1.4"]);
}

#[test]
fn what_somebody_asks_for_later_is_not_in_the_bundle() {
    let side = side("[app]");
    side.made();
    let file = side.path("environments/airgap.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(file, text.replace("packages: [app]", "packages: [app, other]")).expect("written");

    let verified = side.world.run(&["bundle", "verify", "disk", "--environment", "airgap"]);

    assert_eq!(verified.code, 1);
    let told = "error: the bundle is not enough for `airgap`\ncause: it lacks rpm `other`\n";
    assert!(verified.err.starts_with(told), "{}", verified.err);
}

#[test]
fn a_package_that_no_key_of_its_repository_signed_ends_it() {
    let side = side("[app, loose]");

    let made = side.create("disk", &[]);

    assert_eq!(made.code, 1, "{}", made.err);
    let told = "error: `loose-1-1.noarch.rpm` is signed by none of the keys of its repository\n\
                cause: rpmkeys: digests OK\n";
    assert!(made.err.contains(told), "{}", made.err);
    assert!(!side.path("disk").exists());
}

#[test]
fn what_a_package_requires_and_nobody_has_is_told_in_the_words_of_dnf() {
    let side = side("[app]");
    let database = side.path("packages/database");
    std::fs::remove_dir_all(&database).expect("removed");
    let made_empty = Command::new("rpm").arg(format!("--dbpath={}", database.display())).arg("--initdb").status();
    assert!(made_empty.expect("rpm").success());

    let made = side.create("disk", &[]);

    assert_eq!(made.code, 1, "{}", made.err);
    assert!(made.err.contains("error: dnf cannot resolve the packages\n"), "{}", made.err);
    assert!(made.err.contains("nothing provides "), "{}", made.err);
    assert!(made.err.contains(" needed by "), "{}", made.err);
}
