"""Parameters and attributes of instances that moto reads otherwise than the EC2 API reference describes them."""

from moto.ec2.models import instances as models
from moto.ec2.responses.instances import InstanceResponse

from ..errors import Refused
from ..patching import patch

NOT_WHILE_RUNNING = {"instance_type", "user_data", "kernel", "ramdisk", "ebs_optimized"}


@patch(InstanceResponse, "run_instances")
def run_many(old, self):
    """AWS launches up to MaxCount instances, moto MinCount."""
    self.params["MinCount"] = self._get_param("MaxCount", self._get_param("MinCount", 1))
    return old(self)


@patch(InstanceResponse, "_parse_block_device_mapping")
def parse_mappings(old, self):
    """moto's parser drops Throughput, and wants a size where AWS takes the image's."""
    given = self._get_param("BlockDeviceMappings", [])
    unsized = [m["Ebs"] for m in given if "Ebs" in m and not m["Ebs"].get("VolumeSize")]
    for disk in unsized:
        disk["VolumeSize"] = 1
    parsed = old(self)
    for mapping, wanted in zip(parsed, given, strict=True):
        disk = wanted.get("Ebs", {})
        mapping["Ebs"]["Throughput"] = disk.get("Throughput")
        mapping["Ebs"]["DeleteOnTermination"] = disk.get("DeleteOnTermination", True)
        if disk in unsized:
            mapping["Ebs"]["VolumeSize"] = None
    return parsed


@patch(InstanceResponse, "_security_grp_instance_attribute_handler")
def group_attribute(old, self):
    """ModifyInstanceAttribute of an attribute moto does not know must not empty the security groups."""
    if self._get_param("Groups"):
        return old(self)
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    behaviour = self._get_param("InstanceInitiatedShutdownBehavior.Value")
    if behaviour is not None:
        instance.instance_initiated_shutdown_behavior = behaviour
    known = ("InstanceInitiatedShutdownBehavior.Value", "EnaSupport.Value", "SriovNetSupport.Value")
    return any(self._get_param(key) is not None for key in known)


@patch(models.InstanceBackend, "modify_instance_attribute")
def modify_attribute(old, self, instance_id, key, value):
    instance = self.get_instance(instance_id)
    if key in NOT_WHILE_RUNNING and instance._state.name != "stopped":
        raise Refused("IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state.")
    return old(self, instance_id, key, value)


@patch(models.InstanceBackend, "modify_instance_metadata_options")
def metadata_options(
    old,
    self,
    instance_id,
    http_tokens=None,
    hop_limit=None,
    http_endpoint=None,
    dry_run=False,
    http_protocol=None,
    metadata_tags=None,
):
    """Options that the call does not name stay as they were."""
    now = self.get_instance(instance_id).metadata_options
    return old(
        self,
        instance_id,
        http_tokens or now.http_tokens,
        hop_limit or now.http_put_response_hop_limit,
        http_endpoint or now.http_endpoint,
        dry_run,
        http_protocol or now.http_protocol_ipv6,
        metadata_tags or now.instance_metadata_tags,
    )
