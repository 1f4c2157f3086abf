//! What an image must not carry, looked for on a machine that was booted from it once, and its packages.
//!
//! What the boot itself makes is told from what the image brought by its time: host keys, machine id and logs must be
//! younger than the boot. The key that the machine was started with is the only one that may be there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    pub what: String,
    /// What was found and should not be there.
    pub found: Vec<String>,
}

impl Trace {
    pub fn is_clean(&self) -> bool {
        self.found.is_empty()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in it: {}", self.what, self.found.join(", "))
    }
}

/// A line of an answer: its word, and what was looked for.
const KINDS: [(&str, &str); 7] = [
    ("key", "authorised keys"),
    ("host-key", "host keys"),
    ("machine-id", "a machine id"),
    ("log", "logs"),
    ("user", "users"),
    ("password", "passwords"),
    ("history", "shell histories"),
];

/// What is asked of the machine, as root: one line for each thing that is there, and `end yes` when all was looked at:
/// a manager of packages that fails ends it before.
pub const LOOK: &str = r#"
now=$(date +%s); up=$(ps -o etimes= -p 1 | tr -d ' '); boot=@$((now - up - 5))
while IFS=: read -r name _ uid _ _ home _; do
  if [ "$uid" -ge 1000 ] && [ "$uid" -lt 65534 ]; then echo "user $name"; fi
  for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"; do
    if [ -f "$file" ]; then grep -Eo '(ssh|ecdsa|sk)-[^ ]+ AAAA[^ ]+' "$file" | sed "s/^/key $name /"; fi
  done
  for file in "$home/.bash_history" "$home/.sh_history"; do
    if [ -s "$file" ]; then echo "history $file"; fi
  done
done </etc/passwd
sed -n 's/^\([^:]*\):\([^!*:][^:]*\):.*/password \1/p; s/^\([^:]*\)::.*/password \1/p' /etc/shadow
find /etc/ssh -name 'ssh_host_*_key' ! -newermt "$boot" -printf 'host-key %p\n'
find /etc/machine-id ! -newermt "$boot" -size +0 -printf 'machine-id %p\n'
find /var/log -type f -size +0 ! -newermt "$boot" -printf 'log %p\n'
if command -v rpm >/dev/null; then rpm -qa --qf 'rpm %{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE} %{ARCH}\n' || exit 1; fi
if command -v dpkg-query >/dev/null; then dpkg-query -W -f 'deb ${Package} ${Version} ${Architecture}\n' || exit 1; fi
echo 'end yes'
"#;

/// What the machine told, kind by kind. `user` is the image's own user, `key` the OpenSSH public key the machine was
/// started with.
pub fn traces(said: &str, user: &str, key: &str) -> Vec<Trace> {
    let blob = key.split_whitespace().nth(1).unwrap_or(key);
    let is_ours = |word: &str, rest: &str| match word {
        "user" => rest == user,
        "key" => rest.split_whitespace().next_back() == Some(blob),
        _ => false,
    };
    let lines = || said.lines().filter_map(|line| line.split_once(' '));
    let found = |wanted: &str| {
        let of_kind = lines().filter(|(word, rest)| *word == wanted && !is_ours(word, rest));
        of_kind.map(|(_, rest)| shown(wanted, rest)).collect()
    };
    KINDS.iter().map(|(word, what)| Trace { what: (*what).to_owned(), found: found(word) }).collect()
}

/// Of a key only whose it is.
fn shown(kind: &str, rest: &str) -> String {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if kind == "key" { format!("of `{first}`") } else { rest.to_owned() }
}

/// The packages: form (`rpm` or `deb`), name, version, architecture; sorted.
pub fn packages(said: &str) -> Vec<[String; 4]> {
    let mut found: Vec<[String; 4]> = said
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [form @ ("rpm" | "deb"), name, version, arch] = words[..] else { return None };
            Some([form, name, version, arch].map(str::to_owned))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ecdsa-sha2-nistp256 AAAAours sre-provision";

    const CLEAN: &str = "user rocky\nkey rocky ecdsa-sha2-nistp256 AAAAours\nrpm bash 0:5.1.8-9.el9 x86_64\nend yes\n";

    #[test]
    fn an_image_with_its_own_user_and_our_key_alone_is_clean() {
        let traces = traces(CLEAN, "rocky", KEY);

        assert_eq!(traces.len(), KINDS.len());
        assert!(traces.iter().all(Trace::is_clean), "{traces:?}");
    }

    #[test]
    fn whatever_else_is_there_is_named_and_of_a_key_only_whose_it_is() {
        let dirty = "user build\nkey root ssh-rsa AAAAtheirs\nhost-key /etc/ssh/ssh_host_rsa_key\npassword root\n";

        let told: Vec<String> =
            traces(dirty, "rocky", KEY).iter().filter(|trace| !trace.is_clean()).map(ToString::to_string).collect();

        assert_eq!(
            told,
            [
                "authorised keys in it: of `root`",
                "host keys in it: /etc/ssh/ssh_host_rsa_key",
                "users in it: build",
                "passwords in it: root",
            ]
        );
    }

    #[test]
    fn packages_are_told_once_each_and_in_order() {
        let said = "rpm bash 0:5 x86_64\ndeb adduser 3.1 all\nrpm bash 0:5 x86_64\nuser rpm\n";

        let found = packages(said);

        assert_eq!(found, [["deb", "adduser", "3.1", "all"], ["rpm", "bash", "0:5", "x86_64"]]);
    }
}
