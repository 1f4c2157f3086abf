"""The fixed address that servers pass on among themselves, by kube-vip itself: an image with the program that
`lab/lab setup kube-vip` has built, and who has the address.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from pathlib import Path

from world import LIMIT, lab

IMAGE = "registry.example/kube-vip/kube-vip:v0.9.1"
CACHE = Path(os.environ.get("SRE_LAB_CACHE", Path.home() / ".cache/sre-provision/lab"))


def image(blobs: Path) -> str:
    """kube-vip in an image as its publisher makes it, put where `bundle create` keeps what it pulled; its reference."""
    program = next(CACHE.glob("kube-vip-*/kube-vip"))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as layer:
        info = layer.gettarinfo(program, "kube-vip")
        info.mtime, info.mode = 0, 0o755
        with program.open("rb") as content:
            layer.addfile(info, content)
    blobs.mkdir(parents=True, exist_ok=True)

    def put(kind: str, content: bytes) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    layer = put("layer.v1.tar+gzip", packed.getvalue())
    runs = {"os": "linux", "architecture": "amd64", "config": {"Entrypoint": ["/kube-vip"]}, "rootfs": {"type": "layers"}}
    config = put("config.v1+json", json.dumps(runs).encode())
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}
    return f"{IMAGE}@{put('manifest.v1+json', json.dumps(manifest).encode())['digest']}"


def holders(address: str) -> list[str]:
    """The machines that have the address on an interface; one that is off has none."""
    running = [line.split()[0] for line in lab("machines").splitlines() if line.split()[2] == "on"]
    return [node for node in running if f" {address}/" in lab("machine", "exec", node, "ip", "-o", "-4", "addr", "show")]


def answers(url: str) -> str:
    """What the operator's machine gets there; empty without an answer."""
    return lab("exec", "--", "sh", "-c", f"curl --silent --insecure --max-time 2 {url} || true").strip()


def moved(address: str, holder: str) -> str:
    """Who has the address after the machine that has it lost its power, and its servers answer there again."""
    died = time.monotonic()
    lab("fault", "crash", holder)
    try:
        return heir(address, holder, died)
    finally:
        lab("machine", "start", holder)


def heir(address: str, holder: str, died: float) -> str:
    while not (answers(f"https://{address}:9345/ping") == "pong" and set(holders(address)) - {holder}):
        if time.monotonic() - died > LIMIT:
            raise AssertionError(f"`{address}` answers no more")
    (found,) = holders(address)
    print(f"moved from {holder} to {found} after {time.monotonic() - died:.1f} s", flush=True)
    return found
