"""What the emulator was started with, and the one image it starts with.

prepare() must run before moto is imported: moto reads its environment at import.
"""

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ACCOUNT = "123456789012"
SOURCE_IMAGE_OWNER = "792107900819"  # Rocky Linux's account: https://rockylinux.org/cloud-images
SOURCE_IMAGE = {
    "ami_id": "ami-0ba5e00000000001",
    "name": "Rocky-9-EC2-Base-9.4-20240509.0.x86_64",
    "description": "Rocky-9-EC2-Base-9.4-20240509.0.x86_64",
    "owner_id": SOURCE_IMAGE_OWNER,
    "public": True,
    "virtualization_type": "hvm",
    "architecture": "x86_64",
    "state": "available",
    "creation_date": "2024-05-09T00:00:00.000Z",
    "platform": None,
    "image_type": "machine",
    "hypervisor": "xen",
    "root_device_name": "/dev/sda1",
    "root_device_type": "ebs",
    "sriov": "simple",
}
SOURCE_IMAGE_GIB = 10
PUBLIC_RANGE = "203.0.113.0/24"


@dataclass
class Settings:
    """`settle` is how many seconds a NAT gateway, an NLB or a leaving network interface takes to change its state."""

    dir: Path = Path(".")
    host: str = "127.0.0.1"
    port: int = 4566
    machine: list[str] = field(default_factory=list)
    consoles: Path | None = None
    metadata: tuple[str, int] | None = None
    haproxy: bool = True
    settle: float = 2.0

    @property
    def console_dir(self) -> Path:
        return self.consoles or self.dir.parent / "machines"


current = Settings()


def prepare(given: Settings) -> None:
    """Sets moto's environment and makes `given` the current settings."""
    global current
    current = given
    given.dir.mkdir(parents=True, exist_ok=True)
    images = given.dir / "images.json"
    images.write_text(json.dumps([SOURCE_IMAGE]))
    os.environ.update(
        MOTO_AMIS_PATH=str(images),
        MOTO_EC2_LOAD_DEFAULT_AMIS="false",
        MOTO_PORT=str(given.port),
        MOTO_ACCOUNT_ID=ACCOUNT,
        MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="1",
        MOTO_ENABLE_KEYPAIR_VALIDATION="1",
        MOTO_ENABLE_AMI_VALIDATION="1",
    )


def words(command: str) -> list[str]:
    return shlex.split(command)
