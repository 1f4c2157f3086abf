//! Where an image is built, in the words of its platform's template, and whether nobody else is there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cloud::vsphere::metadata;
use crate::cloud::{BuildNetwork, Tags};
use crate::environment::Platform;
use crate::failure::{Class, Exit, Failure};
use crate::stages::{Context, answering};
use crate::vsphere::Size;

/// Looks whether the address that an image is built at is nobody's; a platform that gives addresses is not asked.
///
/// # Errors
/// Exit 6: who has it.
pub async fn is_free(cx: &Context<'_>) -> Result<(), Failure> {
    let Some(place) = &cx.env.vsphere else { return Ok(()) };
    let Some(address) = place.addresses.for_image(false).map(|address| address.to_string()) else { return Ok(()) };
    let machines = cx.cloud.machines(&Tags::new()).await?;
    let known = machines.into_iter().find(|machine| machine.private_address.as_ref() == Some(&address));
    let whose = match known {
        Some(machine) => format!("`{}`", machine.id),
        None if answering::answering(&BTreeSet::from([address.clone()]), cx).await?.is_empty() => return Ok(()),
        None => "something that the vCenter does not know".to_owned(),
    };
    Err(Failure::new(Exit::Platform, format!("`{address}`, where images are built, is in use by {whose}"))
        .class(Class::NeedsPerson)
        .hint("end the other build, or set `vsphere.addresses.last` so that it and the one before are nobody's"))
}

/// The variables of the template that tell what the machine is made of and where. `which`: `base` or `node`.
pub fn values(cx: &Context<'_>, which: &str, parent: &str, network: &BuildNetwork) -> Result<Value, Failure> {
    match cx.env.platform {
        Platform::Vsphere => vsphere(cx, which, parent),
        Platform::Aws | Platform::Hosts => Ok(json!({
            "region": cx.identity.region,
            "source_ami": parent,
            "instance_type": cx.env.image.build.size,
            "volume_size": cx.env.image.build.disk.gib(),
            "vpc_id": network.vpc,
            "subnet_id": network.subnet,
            "security_group_ids": [network.security_group],
            "ssh_interface": if network.public { "public_ip" } else { "private_ip" },
        })),
    }
}

fn vsphere(cx: &Context<'_>, which: &str, parent: &str) -> Result<Value, Failure> {
    let place = cx.env.own_vsphere()?;
    let address = place
        .addresses
        .for_image(false)
        .ok_or_else(|| Failure::new(Exit::Environment, "vsphere.addresses: there is no address to build images at"))?;
    let size = Size::read(&cx.env.image.build.size).unwrap_or(Size::FOR_IMAGES);
    let template = if which == "base" { parent.to_owned() } else { format!("{}/{parent}", place.folder) };
    let instance = format!("{}-{}-{which}-image", cx.identity.short(), cx.run);
    Ok(json!({
        "vcenter_server": place.server,
        "datacenter": place.datacenter,
        "cluster": place.cluster,
        "resource_pool": place.resource_pool.clone().unwrap_or_default(),
        "datastore": place.datastore,
        "folder": place.folder,
        "network": place.network,
        "template": template,
        "cpus": size.cpus,
        "memory_mib": u64::from(size.memory_gib) * 1024,
        "guest_metadata": metadata::of(place, &instance, &format!("{which}-image"), &address.to_string()),
    }))
}
