"""Instance metadata, version 2 only: who asks is told by the source address.

A token is fetched by PUT with a time to live and sent along with each GET; without one the answer is 401. As AWS
documents, a folder lists its entries, a leaf is plain text, what is absent is 404, and an instance whose endpoint is
disabled gets 403. The hop limit is not enforced.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
"""

import base64
import datetime
import json
import re
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from moto.utilities.utils import get_partition

from . import settings, world

TOKENS: dict[str, tuple[str, float]] = {}  # token → instance id, end
CREDENTIALS: dict[tuple[str, str], tuple[dict, float]] = {}
VERSION = re.compile(r"^/(latest|20\d\d-\d\d-\d\d|1\.0)(/|$)")
VERSIONS = ["1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"]
LONGEST = 21600
HOURS_6 = 6 * 3600


def tree(instance) -> dict:
    """The instance's metadata as folders (dicts) and leaves."""
    eni = instance.nics[0]
    meta = {
        "ami-id": instance.image_id,
        "ami-launch-index": str(instance.ami_launch_index),
        "ami-manifest-path": "(unknown)",
        "hostname": instance.private_dns_name,
        "iam": profile(instance),
        "instance-action": "none",
        "instance-id": instance.id,
        "instance-life-cycle": "on-demand",
        "instance-type": instance.instance_type,
        "local-hostname": instance.private_dns_name,
        "local-ipv4": instance.private_ip,
        "mac": eni.mac_address,
        "network": {"interfaces": {"macs": {eni.mac_address: interface(instance, eni)}}},
        "placement": {
            "availability-zone": instance.availability_zone,
            "region": instance.region_name,
        },
        "public-ipv4": instance.public_ip,
        "public-hostname": instance.public_dns_name,
        "public-keys": keys(instance),
        "reservation-id": reservation(instance),
        "security-groups": "\n".join(sorted(g.name for g in world.groups_of(eni))),
        "services": {"domain": "amazonaws.com", "partition": get_partition(instance.region_name)},
    }
    user_data = base64.b64decode(str(instance.user_data)) if instance.user_data else None
    document = {"instance-identity": {"document": json.dumps(identity(instance), indent=2)}}
    return pruned({"meta-data": meta, "user-data": user_data, "dynamic": document})


def pruned(folder: dict) -> dict:
    return {
        key: pruned(value) if isinstance(value, dict) else value
        for key, value in folder.items()
        if value is not None and value != {}
    }


def interface(instance, eni) -> dict:
    subnet, vpc = eni.subnet, instance.ec2_backend.get_vpc(eni.vpc_id)
    return {
        "device-number": "0",
        "interface-id": eni.id,
        "local-hostname": instance.private_dns_name,
        "local-ipv4s": instance.private_ip,
        "mac": eni.mac_address,
        "owner-id": settings.ACCOUNT,
        "public-ipv4s": instance.public_ip,
        "security-group-ids": "\n".join(sorted(g.id for g in world.groups_of(eni))),
        "security-groups": "\n".join(sorted(g.name for g in world.groups_of(eni))),
        "subnet-id": subnet.id,
        "subnet-ipv4-cidr-block": subnet.cidr_block,
        "vpc-id": vpc.id,
        "vpc-ipv4-cidr-block": vpc.cidr_block,
        "vpc-ipv4-cidr-blocks": vpc.cidr_block,
    }


def keys(instance) -> dict | None:
    pair = instance.ec2_backend.key_pairs.get(instance.key_name) if instance.key_name else None
    return {f"0={instance.key_name}": {"openssh-key": pair.public_key.strip()}} if pair else None


def reservation(instance) -> str | None:
    for known in instance.ec2_backend.reservations.values():
        if instance in known.instances:
            return known.id
    return None


def identity(instance) -> dict:
    return {
        "accountId": settings.ACCOUNT,
        "architecture": instance.architecture,
        "availabilityZone": instance.availability_zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "pendingTime": instance.launch_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "privateIp": instance.private_ip,
        "region": instance.region_name,
        "version": "2017-09-30",
    }


def profile(instance) -> dict | None:
    """The instance profile and credentials of its role."""
    association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    if association is None:
        return None
    partition = get_partition(instance.region_name)
    arn = association.iam_instance_profile.arn
    found = iam_backends[settings.ACCOUNT][partition].get_instance_profile(arn.rsplit("/", 1)[1])
    info = {"Code": "Success", "InstanceProfileArn": arn, "InstanceProfileId": found.id}
    roles = {role.name: json.dumps(credentials(instance, role)) for role in found.roles}
    return {"info": json.dumps(info), "security-credentials": roles}


def credentials(instance, role) -> dict:
    """Temporary credentials that GetCallerIdentity knows; renewed half an hour before their end."""
    now = time.time()
    known = CREDENTIALS.get((instance.id, role.arn))
    if known and known[1] - now > 1800:
        return known[0]
    sts = sts_backends[settings.ACCOUNT][get_partition(instance.region_name)]
    assumed = sts.assume_role(instance.region_name, instance.id, role.arn, "", HOURS_6, "")
    made = {
        "Code": "Success",
        "LastUpdated": stamp(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": assumed.access_key_id,
        "SecretAccessKey": assumed.secret_access_key,
        "Token": assumed.session_token,
        "Expiration": stamp(now + HOURS_6),
    }
    CREDENTIALS[instance.id, role.arn] = (made, now + HOURS_6)
    return made


def stamp(when: float) -> str:
    return datetime.datetime.fromtimestamp(when, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def look_up(folder: dict, path: str) -> bytes | None:
    """The text at a path; a folder's listing marks folders by a slash, and `0=name` is reached as `0`."""
    found: object = folder
    for part in [part for part in path.split("/") if part]:
        if not isinstance(found, dict):
            return None
        named = [key for key in found if key == part or key.split("=", 1)[0] == part]
        if not named:
            return None
        found = found[named[0]]
    if isinstance(found, dict):
        lines = [key + ("/" if isinstance(value, dict) and "=" not in key else "") for key, value in found.items()]
        return "\n".join(lines).encode()
    return found if isinstance(found, bytes) else str(found).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "EC2ws", ""

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token":
            return self.say(404)
        life = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if "X-Forwarded-For" in self.headers:
            return self.say(403)
        if not life.isdigit() or not 1 <= int(life) <= LONGEST:
            return self.say(400)
        instance = self.instance()
        if instance is None:
            return self.say(403)
        token = secrets.token_urlsafe(42)
        TOKENS[token] = (instance.id, time.time() + int(life))
        return self.say(200, token.encode(), life)

    def do_GET(self) -> None:
        instance = self.instance()
        if instance is None:
            return self.say(403)
        token = self.headers.get("X-aws-ec2-metadata-token", "")
        owner, end = TOKENS.get(token, ("", 0.0))
        if owner != instance.id or end < time.time():
            return self.say(401)
        path = self.path.split("?", 1)[0]
        if path == "/":
            return self.say(200, "\n".join(VERSIONS).encode())
        version = VERSION.match(path)
        if not version or version.group(1) not in VERSIONS:
            return self.say(404)
        with world.change():
            text = look_up(tree(instance), path[version.end(1) :])
        return self.say(404) if text is None else self.say(200, text)

    do_HEAD = do_GET

    def instance(self):
        """The instance that asks, unless its metadata endpoint is disabled."""
        with world.LOCK:
            found = world.instance_at(self.client_address[0])
        return found if found and found.metadata_options.http_endpoint != "disabled" else None

    def say(self, status: int, text: bytes = b"", life: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        if life:
            self.send_header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", life)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Quiet: machines ask often."""


def serve(address: tuple[str, int]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(address, Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metadata", daemon=True).start()
    return server
