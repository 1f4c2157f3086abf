//! Machines: found, started for a while, listened to.

use std::time::Duration;

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, Instance, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceStateName, ResourceType, VolumeType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Aws, errors, tagged, wait};
use crate::cloud::{FoundMachine, MachineState, NewMachine, Tags};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

const START_LIMIT: Duration = Duration::from_secs(5 * 60);
/// How many machines that ended by themselves are forgotten before a token is given up.
const LIVES: u32 = 5;

impl Aws {
    pub(super) async fn machines_with(&self, tags: &Tags) -> Result<Vec<FoundMachine>, Failure> {
        let instances = self.instances(tagged::filters(tags)).await?;
        Ok(instances.iter().map(read).filter(|machine| machine.state != MachineState::Gone).collect())
    }

    pub(super) async fn instances(&self, filters: Vec<aws_sdk_ec2::types::Filter>) -> Result<Vec<Instance>, Failure> {
        let pages = self.ec2.describe_instances().set_filters(Some(filters)).into_paginator().items().send();
        let reservations = pages.try_collect().await.map_err(|error| errors::failure("looking for machines", error))?;
        Ok(reservations.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default()).collect())
    }

    pub(super) async fn machine_by_id(&self, id: &str) -> Result<Option<FoundMachine>, Failure> {
        Ok(self.instance(id).await?.as_ref().map(read))
    }

    pub(super) async fn instance(&self, id: &str) -> Result<Option<Instance>, Failure> {
        match self.ec2.describe_instances().instance_ids(id).send().await {
            Ok(answer) => {
                let reservations = answer.reservations.unwrap_or_default();
                Ok(reservations.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default()).next())
            }
            Err(error) if errors::is_gone(&error) => Ok(None),
            Err(error) => Err(errors::failure(format!("looking for machine `{id}`"), error)),
        }
    }

    /// Starts a machine and waits until it runs.
    ///
    /// AWS answers a repeated token with the machine it once started, in the words of that time, even when it has ended
    /// since; then the token's next life is used.
    pub(super) async fn start(&self, machine: &NewMachine) -> Result<FoundMachine, Failure> {
        let device = self.root_device(&machine.image).await?;
        for life in 0..LIVES {
            let token = Digest::of_value(&(&machine.token, life));
            let id = self.run_instance(machine, &device, token.as_str()).await?;
            let ended = self.machine_by_id(&id).await?.is_some_and(|found| found.state == MachineState::Gone);
            if !ended {
                return self.running(&id).await;
            }
        }
        let what = format!("{LIVES} machines of image `{}` ended by themselves", machine.image);
        Err(Failure::new(Exit::Platform, what).hint("look at their console: the image may not boot"))
    }

    async fn root_device(&self, image: &str) -> Result<String, Failure> {
        let found = self.raw_image(image).await?.ok_or_else(|| {
            Failure::new(Exit::Platform, format!("cannot start a machine: there is no image `{image}`"))
        })?;
        Ok(found.root_device_name.unwrap_or_else(|| "/dev/sda1".to_owned()))
    }

    async fn run_instance(&self, machine: &NewMachine, device: &str, token: &str) -> Result<String, Failure> {
        let disk = EbsBlockDevice::builder()
            .volume_size(i32::try_from(machine.disk_gib).unwrap_or(i32::MAX))
            .volume_type(VolumeType::Gp3)
            .encrypted(true)
            .delete_on_termination(true)
            .build();
        let interface = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .subnet_id(&machine.subnet)
            .groups(&machine.security_group)
            .associate_public_ip_address(machine.public_address)
            .delete_on_termination(true)
            .build();
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_put_response_hop_limit(1)
            .build();
        let tagged_kinds = [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
        let answer = self
            .ec2
            .run_instances()
            .client_token(token)
            .image_id(&machine.image)
            .instance_type(machine.size.as_str().into())
            .min_count(1)
            .max_count(1)
            .block_device_mappings(BlockDeviceMapping::builder().device_name(device).ebs(disk).build())
            .network_interfaces(interface)
            .metadata_options(metadata)
            .user_data(BASE64.encode(user_data(machine)))
            .set_tag_specifications(Some(
                tagged_kinds.into_iter().map(|kind| tagged::specification(kind, &machine.tags)).collect(),
            ))
            .send()
            .await
            .map_err(|error| errors::failure(format!("starting a machine of image `{}`", machine.image), error))?;
        let started = answer.instances.unwrap_or_default().into_iter().next();
        started.and_then(|instance| instance.instance_id).ok_or_else(|| {
            Failure::new(
                Exit::Platform,
                format!("AWS started no machine of image `{}` and gave no reason", machine.image),
            )
        })
    }

    async fn running(&self, id: &str) -> Result<FoundMachine, Failure> {
        wait::until(&format!("machine `{id}` did not start"), START_LIMIT, || async {
            // A machine that was started a moment ago may not be found yet.
            let Some(instance) = self.instance(id).await? else { return Ok(None) };
            let machine = read(&instance);
            match machine.state {
                MachineState::Running => Ok(Some(machine)),
                MachineState::Starting => Ok(None),
                MachineState::Stopping | MachineState::Stopped | MachineState::Gone => Err(ended(id, &instance)),
            }
        })
        .await
    }

    /// The latest output where the machine's hardware gives it, else what AWS kept at its last look.
    pub(super) async fn console_of(&self, id: &str) -> Result<String, Failure> {
        let doing = || format!("reading the console of `{id}`");
        let latest = self.ec2.get_console_output().instance_id(id).latest(true).send().await;
        let answer = match latest {
            Ok(answer) if answer.output.as_deref().is_some_and(|output| !output.is_empty()) => answer,
            Err(error)
                if !matches!(errors::code(&error), Some("UnsupportedOperation" | "InvalidParameterCombination")) =>
            {
                return Err(errors::failure(doing(), error));
            }
            Ok(_) | Err(_) => {
                let kept = self.ec2.get_console_output().instance_id(id).send().await;
                kept.map_err(|error| errors::failure(doing(), error))?
            }
        };
        let encoded: String = answer.output.unwrap_or_default().split_whitespace().collect();
        let bytes = BASE64.decode(encoded).map_err(|error| {
            Failure::new(Exit::Platform, format!("{}: AWS's answer is not base64", doing())).because(error)
        })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn ended(id: &str, instance: &Instance) -> Failure {
    let reason = instance.state_reason.as_ref();
    let text = |field: Option<&str>| field.unwrap_or_default().to_owned();
    let (code, message) =
        (text(reason.and_then(|reason| reason.code())), text(reason.and_then(|reason| reason.message())));
    let failure = Failure::new(Exit::Platform, format!("machine `{id}` ended instead of starting")).because(message);
    if code.contains("InsufficientInstanceCapacity") || code.contains("InternalError") {
        return failure.transient();
    }
    failure
}

/// The first boot of a temporary machine: one user, one key, no password.
fn user_data(machine: &NewMachine) -> String {
    let config = serde_json::json!({
        "users": [{
            "name": machine.user,
            "shell": "/bin/bash",
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": true,
            "ssh_authorized_keys": [machine.public_key.trim()],
        }],
        "ssh_pwauth": false,
        "disable_root": true,
    });
    // JSON is YAML.
    format!("#cloud-config\n{config:#}\n")
}

pub(super) fn read(instance: &Instance) -> FoundMachine {
    let state = instance.state.as_ref().and_then(|state| state.name.clone());
    FoundMachine {
        id: instance.instance_id.clone().unwrap_or_default(),
        state: match state {
            Some(InstanceStateName::Pending) => MachineState::Starting,
            Some(InstanceStateName::Running) => MachineState::Running,
            Some(InstanceStateName::Stopping) => MachineState::Stopping,
            Some(InstanceStateName::Stopped) => MachineState::Stopped,
            _ => MachineState::Gone,
        },
        private_address: instance.private_ip_address.clone(),
        public_address: instance.public_ip_address.clone().filter(|address| !address.is_empty()),
        image: instance.image_id.clone().unwrap_or_default(),
        size: instance.instance_type.as_ref().map(|size| size.as_str().to_owned()).unwrap_or_default(),
        zone: instance.placement.as_ref().and_then(|placement| placement.availability_zone.clone()).unwrap_or_default(),
        tags: tagged::read(instance.tags()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_boot_gets_a_user_a_key_and_no_secret() {
        let machine = NewMachine {
            token: "t".to_owned(),
            image: "ami-1".to_owned(),
            size: "m6i.large".to_owned(),
            disk_gib: 40,
            subnet: "subnet-1".to_owned(),
            security_group: "sg-1".to_owned(),
            public_address: false,
            public_key: "ecdsa-sha2-nistp256 AAAA builder\n".to_owned(),
            user: "rocky".to_owned(),
            tags: Tags::new(),
        };

        let text = user_data(&machine);

        let (first, config) = text.split_once('\n').expect("two parts");
        let config: serde_json::Value = serde_json::from_str(config).expect("JSON");
        assert_eq!(first, "#cloud-config");
        assert_eq!(config["users"][0]["ssh_authorized_keys"][0], "ecdsa-sha2-nistp256 AAAA builder");
        assert_eq!(config["users"][0]["lock_passwd"], true);
        assert_eq!(config["ssh_pwauth"], false);
    }
}
