//! What a machine is told through guestinfo, as cloud-init's data source VMware reads it. Nothing in it is a secret:
//! whoever may see a machine in the vCenter may read it.

use serde_json::{Value, json};

use super::machines::HOST_KEYS;
use crate::environment::Vsphere;

/// Metadata: who the machine is, and its address. JSON, which is YAML too.
pub fn of(place: &Vsphere, instance: &str, name: &str, address: &str) -> String {
    let addresses = &place.addresses;
    let card = json!({
        "match": { "name": "e*" },
        "dhcp4": false,
        "addresses": [format!("{address}/{}", addresses.cidr.prefix_len())],
        "routes": [{ "to": "0.0.0.0/0", "via": addresses.gateway }],
        "nameservers": { "addresses": addresses.dns, "search": addresses.domain.iter().collect::<Vec<_>>() },
    });
    json!({
        "instance-id": instance,
        "local-hostname": host_name(place, name),
        "network": { "version": 2, "ethernets": { "card0": card } },
    })
    .to_string()
}

/// User data: the environment's public key for the image's user, who tells the time, and what makes the machine tell its host
/// keys.
pub fn user_data(place: &Vsphere, user: &str, key: &str) -> String {
    let mut config = json!({
        "users": [{ "name": user, "ssh_authorized_keys": [key] }],
        "preserve_hostname": false,
        "runcmd": [tell_host_keys()],
    });
    if !place.addresses.ntp.is_empty() {
        config["ntp"] = json!({ "enabled": true, "servers": place.addresses.ntp });
    }
    cloud_config(&config)
}

/// The command by which a machine tells its host keys, once they are made.
pub fn tell_host_keys() -> Value {
    let script = format!("vmware-rpctool \"info-set {HOST_KEYS} $(cat /etc/ssh/ssh_host_*_key.pub | base64 -w0)\"");
    json!(["sh", "-c", script])
}

fn host_name(place: &Vsphere, name: &str) -> String {
    match &place.addresses.domain {
        Some(domain) => format!("{name}.{domain}"),
        None => name.to_owned(),
    }
}

fn cloud_config(config: &Value) -> String {
    format!("#cloud-config\n{config}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_machine_is_told_who_tells_the_time_where_the_file_says_so() {
        let text = include_str!("../../../environments/vsphere-dev.yaml");
        let env = config::read("environments/vsphere-dev.yaml", "vsphere-dev", text).expect("valid");
        let mut place = env.vsphere.expect("its vCenter");

        assert!(!user_data(&place, "rocky", "ssh-ed25519 AAAA").contains("ntp"));
        place.addresses.ntp = vec!["ntp.example.internal".to_owned()];
        let told = user_data(&place, "rocky", "ssh-ed25519 AAAA");

        assert!(told.contains(r#""ntp":{"enabled":true,"servers":["ntp.example.internal"]}"#), "{told}");
    }
}
