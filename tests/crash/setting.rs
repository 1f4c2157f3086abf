//! What lies in the workspace before the program starts: an environment, assets of one line each, a release.

use std::path::Path;

use sre_provision::fingerprint::Digest;

use crate::cluster::VERSION;
use crate::wire::WORKSPACE;

/// The environments: name, servers, hardening profile, name of the source image.
pub const ENVIRONMENTS: [(&str, u8, &str, &str); 5] = [
    ("small", 1, "none", "Rocky-9-*"),
    ("three", 3, "none", "Rocky-9-*"),
    ("hardened", 1, "cis", "Rocky-9-*"),
    // Beside `small`: one of the same images, one of others.
    ("twin", 1, "none", "Rocky-9-*"),
    ("other", 1, "none", "Rocky-9.5-*"),
];

/// The files of the role's rules; the world's profile has one rule.
const RULES: [&str; 8] =
    ["sshd.yml", "sysctl.yml", "modules.yml", "pam.yml", "files.yml", "auditd.yml", "other.yml", "system.yml"];
const RULE: &str =
    "os_hardening_sysctl:\n- {key: kernel.dmesg_restrict, value: \"1\", stig: [RHEL-09-213010], cis: [CIS-1.5.4]}\n";

const ASSETS: [&str; 22] = [
    "packer/base/base.pkr.hcl",
    "packer/node/node.pkr.hcl",
    "packer/ansible.sh",
    "ansible/base.yml",
    "ansible/node-image.yml",
    "ansible/hardening.yml",
    "ansible/servers.yml",
    "ansible/agents.yml",
    "ansible/ansible.cfg",
    "ansible/roles/os_hardening/tasks",
    "ansible/roles/image_seal/tasks",
    "ansible/roles/rke2_common/tasks",
    "ansible/roles/rke2_server/tasks",
    "ansible/roles/rke2_agent/tasks",
    "ansible/callback_plugins/sre_events.py",
    "tofu/modules/aws/vpc/main.tf",
    "tofu/modules/aws/nlb/main.tf",
    "tofu/modules/aws/compute/main.tf",
    "tofu/roots/aws/network/main.tf.json",
    "tofu/roots/aws/load-balancer/main.tf.json",
    "tofu/roots/aws/nodes/main.tf.json",
    "home/.keep",
];

const RELEASE: [&str; 3] =
    ["rke2.linux-amd64.tar.gz", "rke2-images-core.linux-amd64.tar.zst", "rke2-images-canal.linux-amd64.tar.zst"];

pub fn lay_out(environment: &str) {
    let workspace = Path::new(WORKSPACE);
    for asset in ASSETS {
        write(&workspace.join(asset), "{}\n");
    }
    for file in RULES {
        let rules = workspace.join("ansible/roles/os_hardening/vars/main").join(file);
        write(&rules, if file == "sysctl.yml" { RULE } else { "{}\n" });
    }
    let release = workspace.join("release").join(VERSION);
    let mut sums = String::new();
    for file in RELEASE {
        write(&release.join(file), file);
        sums.push_str(&format!("{}  {file}\n", Digest::of(file.as_bytes())));
    }
    write(&release.join("sha256sum-amd64.txt"), &sums);
    let known = ENVIRONMENTS.iter().find(|(name, ..)| *name == environment);
    let (_, servers, profile, source) = known.expect("a known environment");
    write(&workspace.join(format!("environments/{environment}.yaml")), &described(*servers, profile, source));
    std::fs::create_dir_all("/dev/shm/home").expect("a home");
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(path, text).expect("written");
}

fn described(servers: u8, profile: &str, source: &str) -> String {
    format!(
        "version: 1\nplatform: aws\nclass: ephemeral\nexpires_after: 72h\naccess:\n  via: direct\n  from: [192.0.2.0/24]\n\
         aws:\n  region: eu-central-1\nnetwork:\n  cidr: 10.20.0.0/16\n  zones: 1\n  nat: none\n  flow_logs: false\n\
         image:\n  fips: false\n  source: {{owner: \"792107900819\", name: \"{source}\", user: root}}\n\
         nodes:\n  servers: {{count: {servers}, size: m6i.xlarge, disk: 100GiB}}\n  agents:\n    general: {{count: 1, size: m6i.xlarge}}\n\
         load_balancer:\n  kind: nlb\nrke2:\n  version: {VERSION}\n  profile: none\n  release: release\n\
         hardening:\n  profile: {profile}\n"
    )
}
