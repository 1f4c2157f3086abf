//! What the driver makes once for all lanes: host key, certificates, kubeconfig, and the tools as programs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Makes them in a directory of cargo's for tests.
pub fn prepare() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("bin")).expect("made");
    for key in ["host", "other-host"] {
        run(&dir, "ssh-keygen", &["-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f", key]);
    }
    certificates(&dir);
    let read = |name: &str| BASE64_STANDARD.encode(std::fs::read(dir.join(name)).expect("made"));
    let (ca, certificate, key) = (read("ca.pem"), read("api.pem"), read("api-key.pem"));
    let kubeconfig = format!(
        "clusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: https://127.0.0.1:6443\n  name: default\n\
         users:\n- name: default\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n"
    );
    std::fs::write(dir.join("kubeconfig"), kubeconfig).expect("written");
    let myself = std::env::current_exe().expect("this program");
    for tool in ["tofu", "packer", "ansible-playbook"] {
        let path = dir.join("bin").join(tool);
        let script = format!("#!/bin/sh\nexec {} tool {tool} \"$@\"\n", myself.display());
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    // By this file the program tells that its Ansible is still the same.
    let release = dir.join("lib/python3.13/site-packages/ansible");
    std::fs::create_dir_all(&release).expect("made");
    std::fs::write(release.join("release.py"), "").expect("written");
    dir
}

/// A CA, and the certificate under which the API answers.
fn certificates(dir: &Path) {
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
    let ca = ["-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=ca"];
    run(dir, "openssl", &[&new[..], &ca].concat());
    let api =
        ["-keyout", "api-key.pem", "-out", "api.pem", "-subj", "/CN=api", "-CA", "ca.pem", "-CAkey", "ca-key.pem"];
    let name = format!("subjectAltName=IP:{}", crate::world::API);
    let more = ["-addext", &name, "-addext", "basicConstraints=critical,CA:FALSE"];
    run(dir, "openssl", &[&new[..], &api, &more].concat());
    run(dir, "openssl", &["x509", "-in", "api.pem", "-outform", "DER", "-out", "api.der"]);
    run(
        dir,
        "openssl",
        &["pkcs8", "-topk8", "-nocrypt", "-in", "api-key.pem", "-outform", "DER", "-out", "api-key.der"],
    );
}

fn run(dir: &Path, program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).current_dir(dir).output().expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
