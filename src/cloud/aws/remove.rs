//! Removes one thing, and waits where what comes later needs it gone.
//!
//! Each removal succeeds when the thing is already gone, and can be repeated after any stop. AWS is slow to let go: a
//! subnet stays "in use" for some time after its last interface went, so a refusal for that reason is asked again.

use std::time::Duration;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{NatGatewayState, NetworkInterfaceStatus, VolumeState};

use super::{Aws, errors, machines, tagged, wait};
use crate::cloud::{MachineState, Thing, ThingKind};
use crate::failure::Failure;

pub(super) const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Reads the answer to a removal: gone, gone already, still in use (`None`), or a failure.
pub(super) fn settled<T, E, R>(thing: &Thing, answer: Result<T, SdkError<E, R>>) -> Result<Option<()>, Failure>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: Send + Sync + std::fmt::Debug + 'static,
{
    match answer {
        Ok(_) => Ok(Some(())),
        Err(error) if errors::is_gone(&error) => Ok(Some(())),
        Err(error) if errors::is_busy(&error) => Ok(None),
        Err(error) => Err(errors::failure(format!("removing {}", label(thing)), error)),
    }
}

pub(super) fn label(thing: &Thing) -> String {
    format!("{} `{}`", thing.kind.name(), thing.id)
}

/// Repeats a removal until it is answered with anything but "in use".
macro_rules! remove {
    ($thing:expr, $call:expr) => {
        wait::until(&format!("{} is still in use and was not removed", label($thing)), LIMIT, || async {
            settled($thing, $call.send().await)
        })
        .await
    };
}
pub(super) use remove;

impl Aws {
    pub(super) async fn remove_thing(&self, thing: &Thing) -> Result<(), Failure> {
        let id = thing.id.as_str();
        match thing.kind {
            ThingKind::Listener => remove!(thing, self.elb.delete_listener().listener_arn(id)),
            ThingKind::LoadBalancer => self.remove_balancer(thing).await,
            ThingKind::TargetGroup => remove!(thing, self.elb.delete_target_group().target_group_arn(id)),
            ThingKind::Machine => self.remove_machine(thing).await,
            ThingKind::NatGateway => self.remove_nat_gateway(thing).await,
            ThingKind::Endpoint => self.remove_endpoint(thing).await,
            ThingKind::FlowLog => remove!(thing, self.ec2.delete_flow_logs().flow_log_ids(id)),
            ThingKind::NetworkInterface => self.remove_interface(thing).await,
            ThingKind::Volume => self.remove_volume(thing).await,
            ThingKind::Address => self.remove_address(thing).await,
            ThingKind::InternetGateway => self.remove_internet_gateway(thing).await,
            ThingKind::RouteTable => self.remove_route_table(thing).await,
            ThingKind::SecurityGroup => self.remove_group(thing).await,
            ThingKind::Subnet => remove!(thing, self.ec2.delete_subnet().subnet_id(id)),
            ThingKind::Vpc => remove!(thing, self.ec2.delete_vpc().vpc_id(id)),
            ThingKind::Folder | ThingKind::Rule | ThingKind::Tag | ThingKind::TagCategory => {
                Err(Failure::bug(format!("AWS has no {}", thing.kind.name())))
            }
            ThingKind::KeyPair => remove!(thing, self.ec2.delete_key_pair().key_name(id)),
            ThingKind::LogGroup => remove!(thing, self.logs.delete_log_group().log_group_name(id)),
            ThingKind::InstanceProfile => self.remove_profile(thing).await,
            ThingKind::Role => self.remove_role(thing).await,
            ThingKind::Image => remove!(thing, self.ec2.deregister_image().image_id(id)),
            ThingKind::Snapshot => remove!(thing, self.ec2.delete_snapshot().snapshot_id(id)),
        }
    }

    /// Waits for its interfaces too, which hold the subnets.
    async fn remove_balancer(&self, thing: &Thing) -> Result<(), Failure> {
        remove!(thing, self.elb.delete_load_balancer().load_balancer_arn(&thing.id))?;
        let suffix = thing.id.split_once("loadbalancer/").map_or("", |(_, suffix)| suffix);
        let description = format!("ELB {suffix}");
        wait::until(&format!("the network interfaces of {} did not go", label(thing)), LIMIT, || async {
            let filters = tagged::filter("description", &description);
            let answer = self.ec2.describe_network_interfaces().filters(filters).send().await;
            let answer = answer.map_err(|error| errors::failure("looking for network interfaces", error))?;
            Ok(answer.network_interfaces().is_empty().then_some(()))
        })
        .await
    }

    async fn remove_machine(&self, thing: &Thing) -> Result<(), Failure> {
        remove!(thing, self.ec2.terminate_instances().instance_ids(&thing.id))?;
        wait::until(&format!("{} did not end", label(thing)), LIMIT, || async {
            let instance = self.instance(&thing.id).await?;
            let Some(instance) = instance else { return Ok(Some(())) };
            let state = instance.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned());
            let ended =
                machines::read(&instance).state == MachineState::Gone && state.as_deref() != Some("shutting-down");
            Ok(ended.then_some(()))
        })
        .await
    }

    async fn remove_nat_gateway(&self, thing: &Thing) -> Result<(), Failure> {
        remove!(thing, self.ec2.delete_nat_gateway().nat_gateway_id(&thing.id))?;
        wait::until(&format!("{} did not go", label(thing)), LIMIT, || async {
            let gateways = self.nat_gateways(vec![tagged::filter("nat-gateway-id", &thing.id)]).await?;
            let live = gateways.iter().any(|gateway| gateway.state() != Some(&NatGatewayState::Deleted));
            Ok((!live).then_some(()))
        })
        .await
    }

    async fn remove_endpoint(&self, thing: &Thing) -> Result<(), Failure> {
        remove!(thing, self.ec2.delete_vpc_endpoints().vpc_endpoint_ids(&thing.id))?;
        wait::until(&format!("{} did not go", label(thing)), LIMIT, || async {
            let answer = match self.ec2.describe_vpc_endpoints().vpc_endpoint_ids(&thing.id).send().await {
                Err(error) if errors::is_gone(&error) => return Ok(Some(())),
                answer => answer.map_err(|error| errors::failure("looking for VPC endpoints", error))?,
            };
            let is_live = |endpoint: &aws_sdk_ec2::types::VpcEndpoint| {
                endpoint.state().is_some_and(|state| !state.as_str().eq_ignore_ascii_case("deleted"))
            };
            Ok((!answer.vpc_endpoints().iter().any(is_live)).then_some(()))
        })
        .await
    }

    /// An interface that a service or a machine holds goes with its holder; one that nobody holds is deleted.
    async fn remove_interface(&self, thing: &Thing) -> Result<(), Failure> {
        wait::until(&format!("{} is still held and was not removed", label(thing)), LIMIT, || async {
            let answer = match self.ec2.describe_network_interfaces().network_interface_ids(&thing.id).send().await {
                Err(error) if errors::is_gone(&error) => return Ok(Some(())),
                answer => answer.map_err(|error| errors::failure("looking for network interfaces", error))?,
            };
            let Some(interface) = answer.network_interfaces().first() else { return Ok(Some(())) };
            if interface.status() != Some(&NetworkInterfaceStatus::Available) {
                return Ok(None);
            }
            settled(thing, self.ec2.delete_network_interface().network_interface_id(&thing.id).send().await)
        })
        .await
    }

    async fn remove_volume(&self, thing: &Thing) -> Result<(), Failure> {
        wait::until(&format!("{} is still attached and was not removed", label(thing)), LIMIT, || async {
            let answer = match self.ec2.describe_volumes().volume_ids(&thing.id).send().await {
                Err(error) if errors::is_gone(&error) => return Ok(Some(())),
                answer => answer.map_err(|error| errors::failure("looking for volumes", error))?,
            };
            match answer.volumes().first().and_then(|volume| volume.state()) {
                None | Some(VolumeState::Deleted) => Ok(Some(())),
                Some(VolumeState::Available | VolumeState::Error) => {
                    settled(thing, self.ec2.delete_volume().volume_id(&thing.id).send().await)
                }
                Some(_) => Ok(None),
            }
        })
        .await
    }

    async fn remove_address(&self, thing: &Thing) -> Result<(), Failure> {
        let answer = match self.ec2.describe_addresses().allocation_ids(&thing.id).send().await {
            Err(error) if errors::is_gone(&error) => return Ok(()),
            answer => answer.map_err(|error| errors::failure("looking for elastic addresses", error))?,
        };
        if let Some(association) = answer.addresses().first().and_then(|address| address.association_id()) {
            remove!(thing, self.ec2.disassociate_address().association_id(association))?;
        }
        remove!(thing, self.ec2.release_address().allocation_id(&thing.id))
    }

    async fn remove_internet_gateway(&self, thing: &Thing) -> Result<(), Failure> {
        let answer = match self.ec2.describe_internet_gateways().internet_gateway_ids(&thing.id).send().await {
            Err(error) if errors::is_gone(&error) => return Ok(()),
            answer => answer.map_err(|error| errors::failure("looking for internet gateways", error))?,
        };
        let attachments = answer.internet_gateways().iter().flat_map(|gateway| gateway.attachments());
        for vpc in attachments.filter_map(|attachment| attachment.vpc_id()) {
            remove!(thing, self.ec2.detach_internet_gateway().internet_gateway_id(&thing.id).vpc_id(vpc))?;
        }
        remove!(thing, self.ec2.delete_internet_gateway().internet_gateway_id(&thing.id))
    }

    async fn remove_route_table(&self, thing: &Thing) -> Result<(), Failure> {
        let answer = match self.ec2.describe_route_tables().route_table_ids(&thing.id).send().await {
            Err(error) if errors::is_gone(&error) => return Ok(()),
            answer => answer.map_err(|error| errors::failure("looking for route tables", error))?,
        };
        let associations = answer.route_tables().iter().flat_map(|table| table.associations());
        let own = associations.filter(|association| association.main() != Some(true));
        for association in own.filter_map(|association| association.route_table_association_id()) {
            remove!(thing, self.ec2.disassociate_route_table().association_id(association))?;
        }
        remove!(thing, self.ec2.delete_route_table().route_table_id(&thing.id))
    }

    async fn remove_profile(&self, thing: &Thing) -> Result<(), Failure> {
        let answer = match self.iam.get_instance_profile().instance_profile_name(&thing.id).send().await {
            Err(error) if errors::is_gone(&error) => return Ok(()),
            answer => answer.map_err(|error| errors::failure(format!("looking for {}", label(thing)), error))?,
        };
        for role in answer.instance_profile().into_iter().flat_map(|profile| profile.roles()) {
            let call = self.iam.remove_role_from_instance_profile().instance_profile_name(&thing.id);
            remove!(thing, call.clone().role_name(role.role_name()))?;
        }
        remove!(thing, self.iam.delete_instance_profile().instance_profile_name(&thing.id))
    }

    /// Its own policies go with it; attached ones, which are not ours, are only detached.
    async fn remove_role(&self, thing: &Thing) -> Result<(), Failure> {
        let policies = match self.iam.list_role_policies().role_name(&thing.id).send().await {
            Err(error) if errors::is_gone(&error) => return Ok(()),
            answer => answer.map_err(|error| errors::failure(format!("looking for {}", label(thing)), error))?,
        };
        for policy in policies.policy_names() {
            remove!(thing, self.iam.delete_role_policy().role_name(&thing.id).policy_name(policy))?;
        }
        let attached = self.iam.list_attached_role_policies().role_name(&thing.id).send().await;
        let attached = attached.map_err(|error| errors::failure(format!("looking for {}", label(thing)), error))?;
        for arn in attached.attached_policies().iter().filter_map(|policy| policy.policy_arn()) {
            remove!(thing, self.iam.detach_role_policy().role_name(&thing.id).policy_arn(arn))?;
        }
        remove!(thing, self.iam.delete_role().role_name(&thing.id))
    }
}
