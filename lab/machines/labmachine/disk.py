"""Disks and images: a machine's disk is an overlay over its image, an image is such a disk, captured.

`images/IMAGE/upper` is what a machine had written, `images/IMAGE/lower` the directories under it, its own first. An
unknown image is the base. Nothing is cleaned when a disk is captured: what a build forgot to remove is in the image,
as it would be anywhere.
"""

import json
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from . import guest
from .place import METADATA, Failure, Lab, Machine, safe

GROWING = "."  # begins the name of an image that is not whole yet


def lower(lab: Lab, image: str) -> str:
    """The directories that a machine of `image` is laid over."""
    known = lab.images / safe(image, "image id") / "lower"
    return known.read_text().strip() if known.exists() else str(lab.base)


def create(
    machine: Machine, ip: str, image: str, public_key: Path | None, user_data: Path | None, metadata: Path | None
) -> None:
    """Gives a machine its disk and what its first boot needs to know; an existing one keeps its disk."""
    if (machine.dir / "ip").exists():
        return
    for part in ("upper", "work", "root"):
        (machine.dir / part).mkdir(parents=True, exist_ok=True)
    machine.console.touch()
    machine.write("image", image)
    machine.write("lower", lower(machine.lab, image))
    if metadata:
        # On the disk, where a guest that is made an image forgets it: as what was read from guestinfo.
        where = machine.dir / "upper/var/lib/cloud/seed/nocloud-net"
        where.mkdir(parents=True)
        seed(machine, where, ip, public_key, user_data)
        shutil.copyfile(metadata, where / "meta-data")
    elif not metadata_service(machine.lab):
        (machine.dir / "seed").mkdir(exist_ok=True)
        seed(machine, machine.dir / "seed", ip, public_key, user_data)
    machine.write("ip", ip)  # last: it says that the machine exists


def metadata_service(lab: Lab) -> bool:
    """Whether somebody serves instance metadata in this lab."""
    listeners = lab.inside("ss", "-Hltn", f"src {METADATA}:80")
    return bool(subprocess.run(listeners, capture_output=True, text=True, check=True).stdout.strip())


def seed(machine: Machine, where: Path, ip: str, public_key: Path | None, user_data: Path | None) -> None:
    """cloud-init's NoCloud seed, for platforms without a metadata service."""
    keys = public_key.read_text().splitlines() if public_key and public_key.exists() else []
    meta = {
        "instance-id": machine.id,
        "local-hostname": "ip-" + ip.replace(".", "-"),
        "public-keys": [key for key in keys if key.strip()],
    }
    (where / "meta-data").write_text(json.dumps(meta) + "\n")
    given = user_data.read_bytes() if user_data and user_data.exists() else b""
    (where / "user-data").write_bytes(given or b"#cloud-config\n{}\n")


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)


def capture(machine: Machine, image: str) -> None:
    """Makes an image of a machine's disk; a running machine is held still meanwhile."""
    machine.note("ip")
    target = machine.lab.images / safe(image, "image id")
    if (target / "lower").exists():
        return
    growing = target.with_name(f"{GROWING}{target.name}")
    for left in (growing, target):
        shutil.rmtree(left, ignore_errors=True)
    growing.mkdir(parents=True)
    with still([machine]):
        copy(machine.dir / "upper", growing / "upper")
    (growing / "lower").write_text(f"{target}/upper:{machine.note('lower')}\n")
    growing.rename(target)


def alias(lab: Lab, new: str, old: str) -> None:
    """A copy of an image shares its directories."""
    target = lab.images / safe(new, "image id")
    if (target / "lower").exists():
        return
    growing = target.with_name(f"{GROWING}{target.name}")
    growing.mkdir(parents=True, exist_ok=True)
    (growing / "lower").write_text(lower(lab, old) + "\n")
    growing.rename(target)


def forget(lab: Lab, image: str) -> None:
    """Removes an image; its files go when no machine and no other image needs them."""
    known = lab.images / safe(image, "image id")
    (known / "lower").unlink(missing_ok=True)
    collect(lab)


def collect(lab: Lab) -> None:
    """Removes the files of forgotten images that nothing lies on any more."""
    if not lab.images.is_dir():
        return
    whole = [image for image in lab.images.iterdir() if not image.name.startswith(GROWING)]
    used = [m.note("lower") for m in lab.every_machine()]
    used += [(image / "lower").read_text() for image in whole if (image / "lower").exists()]
    for image in whole:
        if not (image / "lower").exists() and not any(f"{image}/upper" in text for text in used):
            shutil.rmtree(image)


class still(ExitStack):
    """Holds machines still: their disks all show the same moment, as after a power loss."""

    def __init__(self, machines: list[Machine]) -> None:
        super().__init__()
        for machine in machines:
            if guest.running(machine) and not guest.frozen(machine):
                guest.freeze(machine)
                self.callback(guest.thaw, machine)


def save(lab: Lab, target: Path) -> None:
    """Keeps all machines and images in the directory `target`."""
    if target.exists():
        raise Failure(f"{target} exists; a saved state is not overwritten")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "machines").mkdir(parents=True)
    machines = lab.every_machine()
    with still(machines):
        for machine in machines:
            copy(machine.dir, partial / "machines" / machine.id)
            if guest.running(machine):
                (partial / "machines" / machine.id / "was-on").touch()
        if lab.images.is_dir():
            subprocess.run(["cp", "-al", str(lab.images), str(partial / "images")], check=True)
        network = lab.dir / "network.json"
        if network.exists():
            copy(network, partial / "network.json")
    partial.rename(target)


def restore(lab: Lab, source: Path) -> list[Machine]:
    """Puts all machines and images back as `save` found them; returns those that were running, still off."""
    if not (source / "machines").is_dir():
        raise Failure(f"no saved state at {source}")
    for machine in lab.every_machine():
        guest.down(machine)
    for name in ("machines", "images"):
        shutil.rmtree(lab.dir / name, ignore_errors=True)
    copy(source / "machines", lab.machines)
    if (source / "images").is_dir():
        subprocess.run(["cp", "-al", str(source / "images"), str(lab.images)], check=True)
    machines = lab.every_machine()
    return [m for m in machines if (m.dir / "was-on").exists()]
