//! The forms of single values. Each function says what is wrong with a value, or nothing.

/// A word that AWS, Kubernetes and file names all take.
pub fn label(text: &str, longest: usize) -> Option<String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    let bytes = text.as_bytes();
    let good = bytes.len() <= longest && bytes.iter().copied().all(inner) && edge(bytes.first()) && edge(bytes.last());
    (!good).then(|| format!("is `{text}`; up to {longest} lower-case letters, digits and inner dashes are wanted"))
}

/// A DNS name or an IP address.
pub fn host(text: &str) -> Option<String> {
    let good = !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|part| label(&part.to_ascii_lowercase(), 63).is_none());
    (!good && text.parse::<std::net::IpAddr>().is_err())
        .then(|| format!("is `{text}`, neither a DNS name nor an address"))
}

/// A host, and maybe a port behind a colon.
pub fn host_and_port(text: &str) -> Option<String> {
    let (name, port) = text.split_once(':').unwrap_or((text, "443"));
    let good = host(name).is_none() && port.parse::<u16>().is_ok_and(|port| port > 0);
    (!good).then(|| format!("is `{text}`; a host such as `registry.example` or `registry.example:5000` is wanted"))
}

/// Where a mirror of a registry answers.
pub fn endpoint(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| host_and_port(rest.split('/').next().unwrap_or_default()).is_none());
    (!good).then(|| format!("leads to `{text}`; a URL such as `https://registry.example:5000` is wanted"))
}

/// A container image that cannot be another one tomorrow.
pub fn pinned_image(text: &str) -> Option<String> {
    let (name, digest) = text.split_once("@sha256:").map_or((text, None), |(name, digest)| (name, Some(digest)));
    if digest.is_some() && !name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        return Some(format!("is `{text}`, without a tag; nodes know it by its tag: `name:tag@sha256:…`"));
    }
    let good = digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (!good)
        .then(|| format!("is `{text}`, which could be another image tomorrow; name it with its digest, `…@sha256:…`"))
}

/// A network interface, as the kernel takes its name.
pub fn interface(text: &str) -> Option<String> {
    let good = (1..=15).contains(&text.len()) && !text.contains(|sign: char| sign.is_whitespace() || sign == '/');
    (!good).then(|| format!("is `{text}`; up to 15 signs without spaces and slashes are wanted"))
}

/// An argument of a component: `flag=value`.
pub fn argument(text: &str) -> Option<String> {
    let is_flag = |flag: &str| !flag.is_empty() && !flag.starts_with('-') && !flag.contains(char::is_whitespace);
    let good = text.split_once('=').is_some_and(|(flag, _)| is_flag(flag));
    (!good).then(|| format!("is `{text}`; `flag=value` without leading dashes is wanted"))
}

/// A public host key; Ed25519 is outside what FIPS allows, and our SSH offers FIPS algorithms only.
pub fn host_key(text: &str) -> Option<String> {
    let key = match ssh_key::PublicKey::from_openssh(text) {
        Ok(key) => key,
        Err(_) => return Some("is no public key; write it like `ecdsa-sha2-nistp256 AAAA…`".to_owned()),
    };
    match key.algorithm() {
        ssh_key::Algorithm::Ecdsa { .. } | ssh_key::Algorithm::Rsa { .. } => None,
        other => Some(format!("is an `{other}` key, which FIPS does not allow; give the machine's ECDSA or RSA key")),
    }
}

/// Where a secret is: never the secret.
pub fn key_reference(text: &str) -> Option<String> {
    let good = text.strip_prefix("file:").is_some_and(|path| !path.is_empty());
    (!good).then(|| "is no reference; write `file:PATH`, the key itself does not belong here".to_owned())
}

pub fn user(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let good = matches!(bytes.first(), Some(b'a'..=b'z' | b'_'))
        && bytes.len() <= 32
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'));
    (!good).then(|| format!("is `{text}`, which is no user name"))
}

/// A region such as `us-gov-west-1`; whether it exists is asked when there is somebody to ask.
pub fn region(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('-').collect();
    let (words, number) = match parts.split_last() {
        Some((number, words)) => (words, *number),
        None => (&[][..], ""),
    };
    let good = (2..=4).contains(&words.len())
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    (!good).then(|| format!("is `{text}`; a region such as `eu-central-1` is wanted"))
}

pub fn account(text: &str) -> Option<String> {
    let good = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    (!good).then(|| format!("is `{text}`; the 12 digits of an account are wanted"))
}

/// Source: "General purpose bucket naming rules", Amazon S3 user guide.
pub fn bucket(text: &str) -> Option<String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let is_end = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let fits = (3..=63).contains(&text.len())
        && text.bytes().all(is_inner)
        && is_end(text.as_bytes().first())
        && is_end(text.as_bytes().last())
        && !text.contains("..");
    (!fits).then(|| {
        format!("is `{text}`; the name of a bucket is wanted: 3 to 63 lower-case letters, digits, dashes and dots")
    })
}

/// What keys begin with: parts between slashes, none of them empty or dots only.
pub fn prefix(text: &str) -> Option<String> {
    let is_part = |part: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && part.bytes().all(fits) && !part.bytes().all(|byte| byte == b'.')
    };
    let fits = text.len() <= 200 && text.split('/').all(is_part);
    (!fits).then(|| format!("is `{text}`; letters, digits, dashes, dots and single slashes between them are wanted"))
}

/// An id such as `vpc-0123abcd`.
pub fn resource(text: &str, kind: &str) -> Option<String> {
    let digits = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    let good = (8..=17).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!good).then(|| format!("is `{text}`; an id such as `{kind}-0123456789abcdef0` is wanted"))
}

/// A machine size such as `m6i.xlarge`; whether the region has it is asked when there is somebody to ask.
pub fn size(text: &str) -> Option<String> {
    let word = |part: &str| label(part, 30).is_none();
    let good = text.split_once('.').is_some_and(|(family, size)| word(family) && word(size));
    (!good).then(|| format!("is `{text}`; a size such as `m6i.xlarge` is wanted"))
}

/// A release of RKE2 such as `v1.35.4+rke2r1`.
pub fn release_version(text: &str) -> Option<String> {
    let number = |part: &str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let good = text.strip_prefix('v').and_then(|rest| rest.split_once("+rke2r")).is_some_and(|(version, revision)| {
        number(revision) && version.split('.').count() == 3 && version.split('.').all(number)
    });
    (!good).then(|| format!("is `{text}`; a release such as `v1.35.4+rke2r1` is wanted"))
}

/// A directory or a URL.
pub fn release_place(text: &str) -> Option<String> {
    match text.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() && !rest.contains('@') => None,
        Some(("http" | "https", rest)) if rest.contains('@') => {
            Some("holds a user or password; credentials do not belong here".to_owned())
        }
        Some(_) => Some(format!("is `{text}`; a directory or an http(s) URL is wanted")),
        None => None,
    }
}

/// The key of a Kubernetes label that a kubelet may give its own node.
pub fn node_label(key: &str) -> Option<String> {
    if let Some(wrong) = qualified_name(key) {
        return Some(wrong);
    }
    let (prefix, _) = key.split_once('/')?;
    let reserved =
        ["kubernetes.io", "k8s.io"].iter().any(|home| prefix == *home || prefix.ends_with(&format!(".{home}")));
    let allowed = ["node.kubernetes.io", "kubelet.kubernetes.io"]
        .iter()
        .any(|home| prefix == *home || prefix.ends_with(&format!(".{home}")));
    (reserved && !allowed).then(|| format!("`{prefix}` is Kubernetes's own; a node may not give itself such a label"))
}

fn qualified_name(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_good = prefix.is_none_or(|prefix| host(prefix).is_none());
    let good = prefix_good && !name.is_empty() && label_value(name).is_none();
    (!good).then(|| format!("`{key}` is no key of a label; `[example.com/]name` is wanted"))
}

pub fn label_value(text: &str) -> Option<String> {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let good = bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (!good).then(|| format!("is `{text}`; up to 63 letters, digits, and inner dashes, dots or underscores are wanted"))
}

/// `key=value:effect`, the value may be left out.
pub fn taint(text: &str) -> Option<String> {
    let form = || Some(format!("is `{text}`; `key=value:effect` is wanted"));
    let Some((what, effect)) = text.rsplit_once(':') else { return form() };
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Some(format!("has the effect `{effect}`; `NoSchedule`, `PreferNoSchedule` or `NoExecute` is wanted"));
    }
    let (key, value) = what.split_once('=').unwrap_or((what, ""));
    if qualified_name(key).is_some() || label_value(value).is_some() { form() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort<'t>(check: fn(&str) -> Option<String>, texts: &[&'t str]) -> Vec<&'t str> {
        texts.iter().copied().filter(|text| check(text).is_none()).collect()
    }

    #[test]
    fn forms_take_what_the_world_takes_and_nothing_else() {
        assert_eq!(
            sort(region, &["us-gov-west-1", "eu-central-1", "us-east", "US-east-1", ""]),
            ["us-gov-west-1", "eu-central-1"]
        );
        assert_eq!(
            sort(size, &["m6i.xlarge", "u-6tb1.56xlarge", "large", "m6i.", "m6i.x large"]),
            ["m6i.xlarge", "u-6tb1.56xlarge"]
        );
        assert_eq!(
            sort(release_version, &["v1.35.4+rke2r1", "1.35.4+rke2r1", "v1.35+rke2r1", "v1.35.4", "v1.35.4-rke2r1"]),
            ["v1.35.4+rke2r1"]
        );
        assert_eq!(
            sort(taint, &["a=b:NoSchedule", "a:NoExecute", "a=b", "a=b:noschedule", "=b:NoExecute"]),
            ["a=b:NoSchedule", "a:NoExecute"]
        );
        assert_eq!(sort(account, &["123456789012", "12345678901", "self"]), ["123456789012"]);
        assert_eq!(sort(|id| resource(id, "vpc"), &["vpc-0123abcd", "subnet-0123abcd", "vpc-"]), ["vpc-0123abcd"]);
        assert_eq!(
            sort(host, &["bastion.example", "192.0.2.7", "-x.example", "a b"]),
            ["bastion.example", "192.0.2.7"]
        );
        assert_eq!(sort(user, &["rocky", "_svc-1", "Root", "a b", ""]), ["rocky", "_svc-1"]);
        assert_eq!(
            sort(release_place, &["/srv/rke2", "https://x.example/rke2", "ftp://x", "https://u:p@x"]),
            ["/srv/rke2", "https://x.example/rke2"]
        );
    }

    #[test]
    fn labels_that_only_kubernetes_may_give_are_refused() {
        let texts = [
            "tier",
            "example.com/tier",
            "node.kubernetes.io/x",
            "node-role.kubernetes.io/worker",
            "kubernetes.io/os",
            "a/b/c",
        ];

        assert_eq!(sort(node_label, &texts), ["tier", "example.com/tier", "node.kubernetes.io/x"]);
        assert_eq!(
            node_label("node-role.kubernetes.io/worker").expect("refused"),
            "`node-role.kubernetes.io` is Kubernetes's own; a node may not give itself such a label"
        );
    }

    #[test]
    fn a_host_key_that_fips_forbids_is_refused_by_its_name() {
        let ed25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

        assert_eq!(
            host_key(ed25519).expect("refused"),
            "is an `ssh-ed25519` key, which FIPS does not allow; give the machine's ECDSA or RSA key"
        );
        assert_eq!(
            host_key("nonsense").expect("refused"),
            "is no public key; write it like `ecdsa-sha2-nistp256 AAAA…`"
        );
    }
}
