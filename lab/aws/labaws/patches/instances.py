"""Instances are real machines: pending, stopping and shutting-down last as long as the machine command takes.

Further, as https://docs.aws.amazon.com/AWSEC2/latest/APIReference/ says: RunInstances repeated with its ClientToken
gives the instance of the first call, a root volume without size takes the image's, an instance in the wrong state is
refused with IncorrectInstanceState, and what belongs to an instance goes when it is gone, not before.
"""

import base64
import copy
import datetime
import shutil
from pathlib import Path

from moto.ec2.models import instances as models

from .. import machines, settings, world
from ..errors import Refused
from ..patching import add, patch

Instance = models.Instance


def enter(instance: Instance, name: str, code: int) -> None:
    instance._state.name, instance._state.code = name, code


def request_of(image_id: str, count: int, user_data: object, given: dict) -> tuple:
    """What must be the same when a ClientToken is used again."""
    keys = ("instance_type", "subnet_id", "key_name", "private_ip", "security_group_ids", "tags")
    return (image_id, count, str(user_data), *(repr(given.get(key)) for key in keys))


def earlier(backend: object, token: str | None, request: tuple) -> object | None:
    if not token or token == "ABCDE":  # moto's stand-in for "no token"
        return None
    for reservation in backend.reservations.values():
        if reservation.instances and reservation.instances[0].client_token == token:
            if reservation.lab_request != request:
                raise Refused(
                    "IdempotentParameterMismatch",
                    f"The client token {token} was used with other parameters.",
                )
            return reservation
    return None


@patch(models.InstanceBackend, "run_instances")
def run_instances(old, self, image_id, count, user_data, groups, **given):
    token = given.get("client_token")
    request = request_of(image_id, count, user_data, given)
    known = earlier(self, token, request)
    if known:
        return known
    mappings = given.get("block_device_mappings") or []
    image = self.amis.get(image_id)
    if image and image.state != "available":
        raise Refused("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is not available.")
    for mapping in mappings:
        disk = mapping["Ebs"]
        if not disk.get("VolumeSize") and not disk.get("SnapshotId"):
            disk["VolumeSize"] = image.lab_gib if image else settings.SOURCE_IMAGE_GIB
    reservation = old(self, image_id, count, user_data, groups, **given)
    reservation.lab_request = request
    for instance in reservation.instances:
        keep_disk_settings(self, instance, mappings)
        own_interfaces(instance, given.get("nics") or [])
        start_machine(instance)
    return reservation


def keep_disk_settings(backend, instance, mappings) -> None:
    """moto forgets Iops and Throughput of a volume made with its instance."""
    for mapping in mappings:
        device = instance.block_device_mapping.get(mapping["DeviceName"])
        if not device:
            continue
        volume = backend.get_volume(device.volume_id)
        gp3 = volume.volume_type == "gp3"
        volume.iops = mapping["Ebs"].get("Iops") or volume.iops or (3000 if gp3 else None)
        throughput = mapping["Ebs"].get("Throughput") or getattr(volume, "throughput", None)
        volume.throughput = throughput or (125 if gp3 else None)


def own_interfaces(instance, nics) -> None:
    """The groups named in NetworkInterfaces are the instance's; an interface made with it goes with it."""
    brought = {nic.get("NetworkInterfaceId") for nic in nics}
    if not instance.security_groups and 0 in instance.nics:
        instance.security_groups = list(instance.nics[0]._group_set)
    for eni in instance.nics.values():
        eni.delete_on_termination = eni.id not in brought


@add(Instance, "lab_files")
def files(self) -> tuple[Path, Path]:
    """Writes the files that the machine command reads: the public key and the user data."""
    directory = settings.current.dir / "instances" / self.id
    directory.mkdir(parents=True, exist_ok=True)
    key, user_data = directory / "pubkey", directory / "userdata"
    pair = self.ec2_backend.key_pairs.get(self.key_name) if self.key_name else None
    key.write_text(pair.public_key if pair else "")
    user_data.touch(mode=0o600)
    user_data.write_bytes(base64.b64decode(str(self.user_data)) if self.user_data else b"")
    return key, user_data


def start_machine(instance) -> None:
    enter(instance, "pending", 0)
    machines.ask(instance, "up", instance.id, instance.private_ip, instance.image_id, *files(instance))


@patch(Instance, "start")
def start(old, self):
    before = copy.copy(self._state)
    if before.name == "running":
        return before
    if before.name != "stopped":
        raise wrong_state(self, "started")
    old(self)
    enter(self, "pending", 0)
    machines.ask(self, "start", self.id)
    return before


@patch(Instance, "stop")
def stop(old, self):
    before = copy.copy(self._state)
    if before.name == "stopping" and not self.lab_call:  # the last try failed
        machines.ask(self, "stop", self.id)
    if before.name in ("stopped", "stopping"):
        return before
    if before.name != "running":
        raise wrong_state(self, "stopped")
    old(self)
    enter(self, "stopping", 64)
    machines.ask(self, "stop", self.id)
    return before


@patch(Instance, "reboot")
def reboot(old, self):
    if self._state.name != "running":
        raise wrong_state(self, "rebooted")
    machines.ask(self, "reboot", self.id)


moto_terminate = Instance.terminate


@patch(Instance, "terminate")
def terminate(old, self):
    before = copy.copy(self._state)
    if before.name == "shutting-down" and not self.lab_call:  # the last try failed
        machines.ask(self, "down", self.id)
    if before.name in ("terminated", "shutting-down"):
        return before
    enter(self, "shutting-down", 32)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    self._reason = f"User initiated ({now})"
    self.state_reason = models.StateReason(
        "Client.UserInitiatedShutdown: User initiated shutdown", "Client.UserInitiatedShutdown"
    )
    machines.ask(self, "down", self.id)
    return before


def gone(instance) -> None:
    """The end of a termination: interfaces, addresses, volumes and the profile association go now."""
    backend = instance.ec2_backend
    for address in list(backend.addresses):
        if address.instance is instance or (address.eni and address.eni.instance is instance):
            backend.disassociate_address(address=address.public_ip)
    for eni in instance.nics.values():
        if not eni.delete_on_termination:
            eni.instance, eni.attachment_id, eni.status = None, None, "available"
    reason = (instance._reason, instance.state_reason)
    moto_terminate(instance)
    shutil.rmtree(settings.current.dir / "instances" / instance.id, ignore_errors=True)
    instance._reason, instance.state_reason = reason


@add(Instance, "lab_done")
def lab_done(self, verb: str, why: str | None) -> None:
    """The machine command has answered; where a stop or an end failed, the state hangs until it is asked for again."""
    state = self._state.name
    if verb in ("down", "stop") and why:
        return
    if verb == "down":
        gone(self)
    elif verb in ("up", "start") and state == "pending":
        if why is None:
            enter(self, "running", 16)
        elif verb == "start":
            enter(self, "stopped", 80)
        else:
            self.state_reason = models.StateReason(
                f"Server.InternalError: Internal error on launch: {why}", "Server.InternalError"
            )
            self._reason = "Server.InternalError"
            enter(self, "shutting-down", 32)
            machines.ask(self, "down", self.id)
    elif verb == "stop" and state == "stopping":
        enter(self, "stopped", 80)


def powered_off(instance_id: str) -> bool:
    """The guest switched itself off: AWS stops or terminates, as InstanceInitiatedShutdownBehavior says."""
    instance = world.instance(instance_id)
    if instance is None or instance._state.name != "running":
        return False
    instance.state_reason = models.StateReason(
        "Client.InstanceInitiatedShutdown: Instance initiated shutdown", "Client.InstanceInitiatedShutdown"
    )
    if instance.instance_initiated_shutdown_behavior == "terminate":
        instance.terminate()
    else:
        enter(instance, "stopping", 64)
        machines.ask(instance, "stop", instance.id)
    return True


def wrong_state(instance, verb: str) -> Refused:
    return Refused(
        "IncorrectInstanceState",
        f"The instance '{instance.id}' is in state `{instance._state.name}` and cannot be {verb}.",
    )


@patch(Instance, "setup_defaults")
def setup_defaults(old, self):
    """Without mappings the root volume is as the image's own mapping says."""
    image = self.ec2_backend.amis[self.image_id]
    self.add_block_device(image.lab_gib, self.root_device_name, None, image.lab_encrypted, True, None, "gp3")
