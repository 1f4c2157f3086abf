//! What must hold of RKE2's own configuration in an environment file.

use ipnet::Ipv4Net;

use crate::config::draft::Draft;
use crate::config::forms;
use crate::config::shape::nearest;
use crate::environment::Rke2;
use crate::rke2_config::{Arguments, Registries, Rke2Config, SecretsEncryption, Snapshots};
use crate::rke2_keys::{NODE_KEYS, OWN_KEYS, SERVER_KEYS};

const AT: &str = "rke2.config";

pub fn check(draft: &mut Draft<'_>) {
    let Some(Rke2 { config, .. }) = draft.rke2.clone() else { return };
    addresses(draft, &config);
    names(draft, &config);
    snapshots(draft, &config.snapshots);
    arguments(draft, &config.arguments);
    registries(draft, &config.registries);
    more(draft, &config);
    let is_fips = draft.image.as_ref().is_some_and(|image| image.fips);
    if is_fips && config.secrets_encryption == Some(SecretsEncryption::Secretbox) {
        draft
            .tell(&format!("{AT}.secrets_encryption"), "is `secretbox`, which FIPS does not allow; `aescbc` is wanted");
    }
}

fn addresses(draft: &mut Draft<'_>, config: &Rke2Config) {
    for (key, given, least, most) in
        [("cluster_cidr", config.cluster_cidr, 10, 20), ("service_cidr", config.service_cidr, 12, 24)]
    {
        if let Some(wrong) = given.and_then(|network| prefix_length(network, least, most)) {
            draft.tell(&format!("{AT}.{key}"), wrong);
        }
    }
    let (pods, services) = (config.pods(), config.services());
    let overlap = |one: Ipv4Net, other: Ipv4Net| one.contains(&other.network()) || other.contains(&one.network());
    if overlap(pods, services) {
        let key = if config.service_cidr.is_some() { "service_cidr" } else { "cluster_cidr" };
        draft.tell(&format!("{AT}.{key}"), format!("makes pods (`{pods}`) and services (`{services}`) overlap"));
    }
}

fn prefix_length(network: Ipv4Net, least: u8, most: u8) -> Option<String> {
    let length = network.prefix_len();
    (!(least..=most).contains(&length)).then(|| format!("is a /{length}; a /{least} to a /{most} is wanted"))
}

fn names(draft: &mut Draft<'_>, config: &Rke2Config) {
    for (index, name) in config.tls_san.iter().enumerate() {
        if let Some(wrong) = forms::host(name.trim_start_matches("*.")) {
            draft.tell(&format!("{AT}.tls_san[{index}]"), wrong);
        }
    }
    if let Some(wrong) = config.cluster_domain.as_deref().and_then(forms::host) {
        draft.tell(&format!("{AT}.cluster_domain"), wrong);
    }
    if let Some(path) = config.resolv_conf.as_ref().filter(|path| !path.is_absolute()) {
        draft.tell(&format!("{AT}.resolv_conf"), format!("is `{}`; a path on the nodes is wanted", path.display()));
    }
}

fn snapshots(draft: &mut Draft<'_>, snapshots: &Snapshots) {
    let at = format!("{AT}.snapshots");
    if let Some(schedule) = snapshots.schedule.as_deref().filter(|text| text.split_whitespace().count() != 5) {
        draft.tell(&format!("{at}.schedule"), format!("is `{schedule}`; five fields as `0 */12 * * *` are wanted"));
    }
    if snapshots.retention == Some(0) {
        draft.tell(&format!("{at}.retention"), "is 0; no snapshot would be kept");
    }
    let Some(s3) = &snapshots.s3 else { return };
    match (&s3.access_key, &s3.secret_key) {
        (Some(_), None) => draft.tell(&format!("{at}.s3.secret_key"), "is missing; `access_key` needs it"),
        (None, Some(_)) => draft.tell(&format!("{at}.s3.access_key"), "is missing; `secret_key` needs it"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let forms = [
        ("bucket", forms::bucket(&s3.bucket)),
        ("folder", s3.folder.as_deref().and_then(forms::prefix)),
        ("region", s3.region.as_deref().and_then(forms::region)),
        ("endpoint", s3.endpoint.as_deref().and_then(forms::host_and_port)),
        ("access_key", s3.access_key.as_deref().and_then(forms::key_reference)),
        ("secret_key", s3.secret_key.as_deref().and_then(forms::key_reference)),
    ];
    for (key, wrong) in forms {
        if let Some(wrong) = wrong {
            draft.tell(&format!("{at}.s3.{key}"), wrong);
        }
    }
}

fn arguments(draft: &mut Draft<'_>, arguments: &Arguments) {
    let all = [
        ("kubelet", &arguments.kubelet),
        ("kube_proxy", &arguments.kube_proxy),
        ("kube_apiserver", &arguments.kube_apiserver),
        ("kube_controller_manager", &arguments.kube_controller_manager),
        ("kube_scheduler", &arguments.kube_scheduler),
        ("etcd", &arguments.etcd),
    ];
    for (component, given) in all {
        for (index, argument) in given.iter().enumerate() {
            if let Some(wrong) = forms::argument(argument) {
                draft.tell(&format!("{AT}.arguments.{component}[{index}]"), wrong);
            }
        }
    }
}

fn registries(draft: &mut Draft<'_>, registries: &Registries) {
    let at = format!("{AT}.registries");
    for (name, endpoints) in &registries.mirrors {
        if let Some(wrong) = Some(name.as_str()).filter(|name| *name != "*").and_then(forms::host_and_port) {
            draft.tell_key(&format!("{at}.mirrors"), name, wrong);
        }
        if endpoints.is_empty() {
            draft.tell_key(&format!("{at}.mirrors"), name, "names no endpoint");
        }
        if let Some(wrong) = endpoints.iter().find_map(|endpoint| forms::endpoint(endpoint)) {
            draft.tell_key(&format!("{at}.mirrors"), name, wrong);
        }
    }
    for (host, access) in &registries.access {
        let password = access.password.as_deref();
        let wrong = forms::host_and_port(host).or_else(|| password.and_then(forms::key_reference)).or_else(|| {
            let half = access.username.is_some() != access.password.is_some();
            half.then(|| "has one of `username` and `password`; both or neither are wanted".to_owned())
        });
        if let Some(wrong) = wrong {
            draft.tell_key(&format!("{at}.access"), host, wrong);
        }
    }
}

/// RKE2 would only warn of a key that it does not know.
fn more(draft: &mut Draft<'_>, config: &Rke2Config) {
    let known = || NODE_KEYS.iter().chain(&SERVER_KEYS).copied();
    for key in config.more.keys() {
        let own = OWN_KEYS.iter().find(|(own, _)| own == key);
        let wrong = match (own, known().any(|known| known == key)) {
            (Some((_, instead)), _) => format!("cannot be set here: {instead}"),
            (None, true) => continue,
            (None, false) => match nearest(key, known()) {
                Some(near) => format!("is no key of RKE2; did you mean `{near}`?"),
                None => "is no key of RKE2".to_owned(),
            },
        };
        draft.tell_key(&format!("{AT}.more"), key, wrong);
    }
}

#[cfg(test)]
mod tests {
    const DEV: &str = include_str!("../../environments/dev.yaml");

    /// What is wrong with an environment that has these lines under `rke2.config`.
    fn problems(lines: &[&str]) -> Vec<String> {
        let config: String = lines.iter().map(|line| format!("    {line}\n")).collect();
        let text = format!("{DEV}\n").replace("  cni: canal", &format!("  config:\n{config}  cni: canal"));
        match crate::config::read("environments/dev.yaml", "dev", &text) {
            Ok(_) => vec![],
            Err(failure) => {
                let told = failure.what().lines().skip(1).map(|line| line.split_whitespace().skip(1));
                told.map(|words| words.collect::<Vec<_>>().join(" ")).collect()
            }
        }
    }

    #[test]
    fn a_whole_configuration_is_valid() {
        let lines = [
            "cluster_cidr: 10.44.0.0/16",
            "service_cidr: 10.45.0.0/16",
            "tls_san: [api.prod.example, 192.0.2.9]",
            "ingress_controller: traefik",
            "secrets_encryption: aescbc",
            "snapshots: {schedule: \"0 */6 * * *\", retention: 12, s3: {bucket: acme-snapshots, region: eu-central-1}}",
            "arguments: {kubelet: [max-pods=200], kube_apiserver: [audit-log-maxage=31]}",
            "registries:",
            "  mirrors: {docker.io: [\"https://registry.example:5000\"]}",
            "  access: {\"registry.example:5000\": {username: puller, password: \"file:secrets/registry\"}}",
            "more: {etcd-expose-metrics: \"true\"}",
        ];

        assert_eq!(problems(&lines), [""; 0]);
    }

    #[test]
    fn a_key_that_rke2_does_not_know_is_refused_with_the_nearest() {
        assert_eq!(
            problems(&["more: {etcd-expose-metric: \"true\"}"]),
            ["rke2.config.more.etcd-expose-metric is no key of RKE2; did you mean `etcd-expose-metrics`?"]
        );
        assert_eq!(
            problems(&["more: {cluster-cidr: 10.1.0.0/16}"]),
            ["rke2.config.more.cluster-cidr cannot be set here: set `rke2.config.cluster_cidr`"]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        for (line, wanted) in [
            (
                "service_cidr: 10.42.0.0/16",
                "rke2.config.service_cidr makes pods (`10.42.0.0/16`) and services (`10.42.0.0/16`) overlap",
            ),
            (
                "secrets_encryption: secretbox",
                "rke2.config.secrets_encryption is `secretbox`, which FIPS does not allow; `aescbc` is wanted",
            ),
            ("resolv_conf: resolv.conf", "rke2.config.resolv_conf is `resolv.conf`; a path on the nodes is wanted"),
            ("snapshots: {retention: 0}", "rke2.config.snapshots.retention is 0; no snapshot would be kept"),
            (
                "arguments: {kubelet: [--max-pods=2]}",
                "rke2.config.arguments.kubelet[0] is `--max-pods=2`; `flag=value` without leading dashes is wanted",
            ),
            (
                "registries: {access: {r.example: {username: u, password: hunter2}}}",
                "rke2.config.registries.access.r.example is no reference; write `file:PATH`, the key itself does not belong here",
            ),
        ] {
            assert_eq!(problems(&[line]), [wanted], "{line}");
        }
    }
}
