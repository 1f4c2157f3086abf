"""The fixed address that servers pass on among themselves: kube-vip itself, its image out of the bundle, run by the lab's
container runtime as a process that sees the image's files and the pod's mounts.

Needs `lab/lab setup kube-vip`, some three minutes once.
"""

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import time
import unittest
from pathlib import Path

from test_hosts import DISK, NAME, SERVERS, Far, bundle, on
from world import LIMIT, lab

ADDRESS = "10.20.9.2"
IMAGE = "registry.example/kube-vip/kube-vip:v0.9.1"
EXTERNAL = re.compile(r"load_balancer:\n  kind: external\n  address: .*\n")
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


def holders() -> list[str]:
    """The servers that have the address on an interface; one that is off has none."""
    on_now = [line.split()[0] for line in lab("machines").splitlines() if line.split()[2] == "on"]
    return [node for node in SERVERS if node in on_now and f" {ADDRESS}/" in on(node, "ip -o -4 addr show")]


def answers(url: str) -> str:
    """What the operator's machine gets there; empty without an answer."""
    return lab("exec", "--", "sh", "-c", f"curl --silent --insecure --max-time 2 {url} || true").strip()


class KubeVip(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.far = Far()

    def setUp(self):
        store = self.far.dir.parent / "connected/workspace/.sre-provision/store/blobs"
        reference = image(store)
        text = f"load_balancer:\n  kind: kube-vip\n  address: {ADDRESS}\n  image: {reference}\n"
        self.far.file.write_text(EXTERNAL.sub(text, self.far.text))
        bundle(self.far)
        loaded = self.far.run("bundle", "load", NAME, str(DISK))
        self.assertEqual(loaded.code, 0, loaded.said)

    def test_1_an_address_that_a_machine_has_already_is_refused_by_its_name(self):
        on("server-2", f"ip addr add {ADDRESS}/32 dev eth0")
        self.addCleanup(on, "server-2", f"ip addr del {ADDRESS}/32 dev eth0")

        up = self.far.up()

        self.assertEqual(up.code, 6, up.said)
        self.assertIn(f"`{ADDRESS}` is somebody's already", up.said)
        self.assertIn("`server-2` has it on an interface", up.said)

    def test_2_the_address_answers_and_moves_when_its_server_dies(self):
        up = self.far.up()
        self.assertEqual(up.code, 0, up.said)
        holder = holders()
        self.assertEqual(len(holder), 1)
        self.assertEqual(answers(f"https://{ADDRESS}:9345/ping"), "pong")
        script = "sed -n /^server:/p /etc/rancher/rke2/config.yaml /etc/rancher/rke2/config.yaml.d/*"
        joins = {node: on(node, script) for node in SERVERS}
        self.assertFalse([node for node, line in joins.items() if ADDRESS in line], joins)
        self.assertIn(ADDRESS, on("general-1", "grep -rh ^server: /etc/rancher/rke2"))

        died = time.monotonic()
        lab("fault", "crash", holder[0])
        self.addCleanup(lab, "machine", "start", holder[0])
        while not (answers(f"https://{ADDRESS}:9345/ping") == "pong" and set(holders()) - set(holder)):
            self.assertLess(time.monotonic() - died, LIMIT, "the address answers no more")

        print(f"moved from {holder[0]} to {holders()[0]} after {time.monotonic() - died:.1f} s", flush=True)
        self.assertEqual(len(holders()), 1)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main()
