"""Images are captured disks: CreateImage copies the machine's disk, later instances boot from it.

As AWS documents: the root device is an EBS snapshot with the instance's size and encryption, names are unique within
the account, a deregistered image is unknown, its snapshot stays. The answer to CreateImage waits for the capture,
because packer looks at a pending image only every 15 seconds.
"""

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidAMIIdError
from moto.ec2.models import amis as models
from moto.ec2.responses.amis import AmisResponse

from .. import machines, settings
from ..errors import Refused
from ..patching import add, patch

Ami = models.Ami


@patch(Ami, "__init__")
def init(old, self, *args, **given):
    """`lab_gib` and `lab_encrypted` describe the root volume; moto's images are 15 GiB, plain, of type `standard`."""
    given["root_device_type"] = "ebs"
    self.lab_gib, self.lab_encrypted = settings.SOURCE_IMAGE_GIB, False
    self.lab_protected, self.deprecation_time = False, None
    old(self, *args, **given)
    self.ebs_snapshot.volume.size = self.lab_gib
    if self.owner_id == settings.SOURCE_IMAGE_OWNER:
        self.owner_alias = None  # moto says "amazon" of every image it starts with


def mappings(self):
    disk = {
        "SnapshotId": self.ebs_snapshot.id,
        "VolumeSize": self.lab_gib,
        "DeleteOnTermination": True,
        "VolumeType": "gp3",
        "Encrypted": self.lab_encrypted,
    }
    return [{"DeviceName": self.root_device_name, "Ebs": disk}]


Ami.block_device_mappings = property(mappings)


def refuse_used_name(backend, name) -> None:
    for image in backend.amis.values():
        if image.name == name and image.owner_id == backend.account_id:
            raise Refused("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image.id}")


def describe_root(image, gib: int, encrypted: bool) -> None:
    image.lab_gib, image.lab_encrypted = gib, encrypted
    image.ebs_snapshot.volume.size, image.ebs_snapshot.encrypted = gib, encrypted


def tags_for(specifications, kind: str) -> dict:
    return {t["Key"]: t["Value"] for s in specifications if s["ResourceType"] == kind for t in s["Tags"]}


@patch(models.AmiBackend, "create_image")
def create_image(old, self, instance_id, name, description, tag_specifications):
    refuse_used_name(self, name)
    instance = self.get_instance(instance_id)
    if instance._state.name not in ("running", "stopped"):
        raise Refused("IncorrectState", f"The instance '{instance_id}' is in state `{instance._state.name}`.")
    own = [s for s in tag_specifications if s["ResourceType"] != "snapshot"]
    image = old(self, instance_id, name, description, own)
    image.instance = None
    image.ebs_snapshot.add_tags(tags_for(tag_specifications, "snapshot"))
    device = instance.block_device_mapping.get(instance.root_device_name)
    if device:
        volume = self.get_volume(device.volume_id)
        describe_root(image, volume.size, bool(volume.encrypted))
        image.ebs_snapshot.volume.id = volume.id
    wait_for(image, "image", image.id, instance_id)
    return image


@patch(models.AmiBackend, "copy_image")
def copy_image(old, self, source_image_id, source_region, name=None, description=None):
    refuse_used_name(self, name)
    image = old(self, source_image_id, source_region, name, description)
    source = models_of(self, source_region).amis[source_image_id]
    describe_root(image, source.lab_gib, source.lab_encrypted)
    wait_for(image, "copyimage", image.id, source_image_id)
    return image


def models_of(backend, region):
    from moto.ec2.models import ec2_backends

    return ec2_backends[backend.account_id][region]


def wait_for(image, *call) -> None:
    image.state, image.ebs_snapshot.status = "pending", "pending"
    machines.ask(image, *call)


@add(Ami, "lab_done")
def lab_done(self, verb: str, why: str | None) -> None:
    if verb in ("image", "copyimage"):
        self.state = "available" if why is None else "failed"
        self.ebs_snapshot.status = "completed" if why is None else "error"


@patch(AmisResponse, "copy_image")
def copy_image_encrypted(old, self):
    """moto ignores Encrypted, and the tags of the copy."""
    answer = old(self)
    image = self.ec2_backend.amis[answer._result["ImageId"]]
    if self._get_param("Encrypted"):
        describe_root(image, image.lab_gib, True)
    specifications = self._get_param("TagSpecifications", [])
    image.add_tags(tags_for(specifications, "image"))
    image.ebs_snapshot.add_tags(tags_for(specifications, "snapshot"))
    return answer


@patch(models.AmiBackend, "deregister_image")
def deregister_image(old, self, ami_id):
    image = self.amis.get(ami_id)
    if image is None or image.owner_id != self.account_id:
        raise InvalidAMIIdError([ami_id])
    if image.lab_protected:
        raise Refused("OperationNotPermitted", f"The image '{ami_id}' is protected from deregistration.")
    answer = old(self, ami_id)
    machines.ask(image, "rmimage", ami_id)
    return answer


@patch(models.AmiBackend, "describe_images")
def describe_images(old, self, ami_ids=None, filters=None, exec_users=None, owners=None):
    """Ids, owners and filters all hold at once, and every id must exist; moto takes ids alone."""
    unknown = [ami_id for ami_id in ami_ids or [] if ami_id not in self.amis]
    if unknown and all(ami_id.startswith("ami-") for ami_id in unknown):
        raise InvalidAMIIdError(unknown)
    found = old(self, None, filters, exec_users, owners) if ami_ids else old(self, ami_ids, filters, exec_users, owners)
    return [image for image in found if not ami_ids or image.id in ami_ids]


@patch(Ami, "get_filter_value")
def filter_value(old, self, filter_name, method_name=None):
    """Filters that packer, the provider's data sources and people use and moto does not know."""
    known = {
        "root-device-type": self.root_device_type,
        "root-device-name": self.root_device_name,
        "image-type": self.image_type,
        "hypervisor": self.hypervisor,
        "description": self.description,
        "ena-support": "true",
        "creation-date": self.creation_date.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    }
    return known[filter_name] if filter_name in known else old(self, filter_name, method_name)


def switch(attribute: str, value: object):
    def answer(self):
        setattr(self.ec2_backend.describe_images([self._get_param("ImageId")])[0], attribute, value)
        return ActionResult({"Return": True})

    return answer


@add(AmisResponse, "enable_image_deprecation")
def enable_deprecation(self):
    image = self.ec2_backend.describe_images([self._get_param("ImageId")])[0]
    image.deprecation_time = str(self._get_param("DeprecateAt"))
    return ActionResult({"Return": True})


AmisResponse.disable_image_deprecation = switch("deprecation_time", None)
AmisResponse.enable_image_deregistration_protection = switch("lab_protected", True)
AmisResponse.disable_image_deregistration_protection = switch("lab_protected", False)
