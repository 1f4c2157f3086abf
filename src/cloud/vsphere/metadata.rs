//! What a machine is told through guestinfo, as cloud-init's data source VMware reads it. Nothing in it is a secret:
//! whoever may see a machine in the vCenter may read it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::machines::HOST_KEYS;
use crate::environment::Vsphere;

/// What the only card of a machine is called in it: by its PCI slot, which the virtual hardware gives (192 and 160 to a
/// VMXNET 3, 33 to 35 to any in newer hardware), or `eth0` where the kernel is told to count.
const CARDS: [&str; 6] = ["ens192", "ens160", "ens33", "ens34", "ens35", "eth0"];

/// Metadata: who the machine is, and its address. JSON, which is YAML too.
///
/// # Why
///
/// 2026-12-01: cloud-init's renderers for `NetworkManager` and ifcfg files, which Rocky has, know no patterns, only names and
/// hardware addresses. A hardware address would have to be set, and the provider sets none on a clone of a template that was
/// built with one (1.26.0, `NetworkInterfaceSubresource.Update`). A profile of a card that is not there does nothing.
pub fn of(place: &Vsphere, instance: &str, name: &str, address: &str) -> String {
    let addresses = &place.addresses;
    let card = json!({
        "dhcp4": false,
        "addresses": [format!("{address}/{}", addresses.cidr.prefix_len())],
        "routes": [{ "to": "0.0.0.0/0", "via": addresses.gateway }],
        "nameservers": { "addresses": addresses.dns, "search": addresses.domain.iter().collect::<Vec<_>>() },
    });
    let usual: Vec<&str> = place.card.as_deref().map_or(CARDS.to_vec(), |card| vec![card]);
    let cards: BTreeMap<&str, Value> = usual.into_iter().map(|name| (name, card.clone())).collect();
    json!({
        "instance-id": instance,
        "local-hostname": host_name(place, name),
        "network": { "version": 2, "ethernets": cards },
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
    fn the_address_is_given_to_the_card_by_a_name_that_it_may_have_and_by_no_pattern() {
        let text = include_str!("../../../environments/vsphere-dev.yaml");
        let env = config::read("environments/vsphere-dev.yaml", "vsphere-dev", text).expect("valid");
        let mut place = env.vsphere.expect("its vCenter");
        let cards = |place: &Vsphere| -> Vec<String> {
            let told: Value =
                serde_json::from_str(&of(place, "5b1e7c1f-server-1", "server-1", "10.0.0.5")).expect("JSON");
            let cards = told["network"]["ethernets"].as_object().expect("cards").clone();
            assert!(cards.values().all(|card| card["addresses"][0].as_str().expect("text").starts_with("10.0.0.5/")));
            assert!(cards.values().all(|card| card.get("match").is_none()), "{told}");
            cards.keys().cloned().collect()
        };

        assert_eq!(cards(&place), ["ens160", "ens192", "ens33", "ens34", "ens35", "eth0"]);
        place.card = Some("enp11s0".to_owned());
        assert_eq!(cards(&place), ["enp11s0"]);
    }

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
