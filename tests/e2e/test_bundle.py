"""A bundle from servers, registries and repositories to a side without any of them, where the real tools use what it brought.

Both sides are in the lab's network, which has no route out. What the bundle is made of is taken away before it is loaded.
"""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import unittest
import zipfile
from pathlib import Path

from world import CHECKOUT, LAB, World

NAME = "airgap"
NEAR, FAR = 5000, 5001
USER, PASSWORD = "puller", "of-the-lab-only"
# bcrypt of PASSWORD, as `htpasswd -B` writes it.
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuu6B8pXuKlGSQtlp35LOaVqTVz2k4CqLm\n"
OCI = "application/vnd.oci.image"
CHART = "application/vnd.cncf.helm"
SUPPLY = """
bundle:
  providers: given/providers
  wheels: given/wheels
  iso: given/iso
  images: ["localhost:5000/team/app:1.4@sha256:IMAGE"]
  oci_charts: ["localhost:5000/charts/app:1.4.0@sha256:ARCHIVE"]
  logins: {"localhost:5000": {plain_http: true, user: puller, password: "file:keys/password"}}
  rpms:
    packages: [rke2-selinux, chrony]
    repositories:
      baseos: {from: given/repo/baseos, keys: ["file:keys/rpm.asc"]}
      appstream: {from: given/repo/appstream, keys: ["file:keys/rpm.asc"]}
    base: given/database
  registry: {host: "localhost:5001", ca: "file:keys/ca.pem", user: puller, password: "file:keys/password"}
"""


def called(*words: str | Path, cwd: Path | None = None, **variables: str) -> str:
    """Runs a program in the lab's network to its end; gives what it printed."""
    call = [LAB, "exec", "--", "env", *[f"{name}={value}" for name, value in variables.items()], *words]
    done = subprocess.run([str(word) for word in call], capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode != 0:
        raise AssertionError(f"`{words[0]}` ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done.stdout


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Registry:
    """Debian's docker-registry on a port of the lab, with its content in a directory."""

    def __init__(self, port: int, directory: Path, more: dict, access: tuple[str | Path, ...] = ()):
        self.directory, self.access = directory, access
        directory.mkdir(parents=True)
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(directory / "content")}},
            "http": {"addr": f"127.0.0.1:{port}", **more.pop("http", {})},
            **more,
        }
        (directory / "config.yml").write_text(json.dumps(config))
        self.url = f"{'https' if 'tls' in config['http'] else 'http'}://localhost:{port}"
        self.log = (directory / "log").open("w")
        call = [LAB, "exec", "--", "docker-registry", "serve", directory / "config.yml"]
        self.process = subprocess.Popen(
            [str(word) for word in call], stdout=self.log, stderr=self.log, start_new_session=True
        )

    def curl(self, *words: str | Path) -> str:
        return called("curl", "--silent", "--show-error", "--fail", *self.access, *words)

    def wait(self) -> None:
        until = time.monotonic() + 120
        while True:
            try:
                # A connection that begins before it listens may never be answered.
                self.curl("--max-time", "5", f"{self.url}/v2/")
                return
            except AssertionError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def put(self, repository: str, tag: str, kind: str, config: bytes, layers: list[tuple[str, bytes]]) -> str:
        """Puts an image there; gives the digest of its manifest."""
        scratch = self.directory / "scratch"
        for content in [config, *[content for _, content in layers]]:
            scratch.write_bytes(content)
            head = self.curl("-X", "POST", "-D", "-", "-o", "/dev/null", f"{self.url}/v2/{repository}/blobs/uploads/")
            place = next(line.split(": ", 1)[1].strip() for line in head.splitlines() if line.lower().startswith("location"))
            where = f"{place}{'&' if '?' in place else '?'}digest=sha256:{digest(content)}"
            self.curl("-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", f"@{scratch}", where)

        def part(media: str, content: bytes) -> dict:
            return {"mediaType": media, "digest": f"sha256:{digest(content)}", "size": len(content)}

        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": part(kind, config),
            "layers": [part(media, content) for media, content in layers],
        }
        text = json.dumps(manifest).encode()
        scratch.write_bytes(text)
        header = f"Content-Type: {manifest['mediaType']}"
        where = f"{self.url}/v2/{repository}/manifests/{tag}"
        self.curl("-X", "PUT", "-H", header, "--data-binary", f"@{scratch}", where)
        return digest(text)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
        self.log.close()


def wheel(directory: Path, name: str, version: str) -> None:
    """A wheel with one module, which tells its version."""
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{name}-{version}.dist-info/RECORD"
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for path, text in files.items()
    ]
    files[record] = "\n".join([*lines, f"{record},,"]) + "\n"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def provider(directory: Path) -> None:
    """A provider as a mirror holds it. `tofu init` takes it in and does not start it."""
    home = directory / "registry.opentofu.org/lab/tiny"
    home.mkdir(parents=True)
    with zipfile.ZipFile(home / "terraform-provider-tiny_1.0.0_linux_amd64.zip", "w") as archive:
        archive.writestr("terraform-provider-tiny_v1.0.0", "#!/bin/sh\n")


def summed(directory: Path) -> None:
    """Writes `SHA256SUMS` as `sha256sum` does."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    lines = [f"{digest(path.read_bytes())}  ./{path.relative_to(directory)}" for path in files]
    (directory / "SHA256SUMS").write_text("\n".join(lines) + "\n")


class Bundle(unittest.TestCase):
    """One bundle, made and loaded once; each test lets another tool use what came of it."""

    @classmethod
    def setUpClass(cls):
        cls.world = world = World("bundle", NAME)
        cls.loaded = world.state / "loaded"
        cls.running = []
        cls.addClassCleanup(lambda: [registry.stop() for registry in cls.running])
        for old in ("keys", "given", "near", "far", "disk", ".sre-provision"):
            shutil.rmtree(world.workspace / old, ignore_errors=True)
        cls.keys = world.workspace / "keys"
        cls.keys.mkdir()
        cls.make_keys()
        cls.given = world.workspace / "given"
        cls.make_given()
        login = ("--user", f"{USER}:{PASSWORD}")
        auth = {"htpasswd": {"realm": "lab", "path": str(cls.keys / "htpasswd")}}
        near = Registry(NEAR, world.workspace / "near", {"auth": auth}, login)
        cls.running.append(near)
        near.wait()
        cls.layer = os.urandom(300_000)
        cls.image = near.put(
            "team/app", "1.4", f"{OCI}.config.v1+json", b"{}", [(f"{OCI}.layer.v1.tar+gzip", cls.layer)]
        )
        cls.chart_archive = os.urandom(5_000)
        cls.chart = near.put(
            "charts/app", "1.4.0", f"{CHART}.config.v1+json", b'{"name":"app"}',
            [(f"{CHART}.chart.content.v1.tar+gzip", cls.chart_archive)],
        )
        text = (CHECKOUT / f"environments/{NAME}.yaml").read_text().partition("bundle:\n")[0]
        supply = SUPPLY.replace("IMAGE", cls.image).replace("ARCHIVE", cls.chart)
        disk = world.workspace / "disk"
        create = ("bundle", "create", NAME, "--to", str(disk), "--sign", f"file:{cls.keys / 'sign.pem'}", "--split", "64MiB", "--yes")
        (cls.keys / "password").write_text("of-somebody-else\n")
        world.file.write_text(text + supply)
        cls.refused, cls.left = world.run(*create), disk.exists()
        (cls.keys / "password").write_text(PASSWORD + "\n")
        cls.made = world.run(*create)
        assert cls.made.code == 0, cls.made.said
        near.stop()
        shutil.rmtree(cls.given)
        shutil.rmtree(world.workspace / ".sre-provision")
        far = {"http": {"tls": {"certificate": str(cls.keys / "web.pem"), "key": str(cls.keys / "web-key.pem")}}}
        cls.far = Registry(FAR, world.workspace / "far", far | {"auth": auth}, ("--cacert", cls.keys / "ca.pem", *login))
        cls.running.append(cls.far)
        cls.far.wait()
        cls.verified = world.run("bundle", "verify", str(disk), "--environment", NAME)
        cls.told = world.run("bundle", "load", NAME, str(disk))
        for ended in (cls.made, cls.verified, cls.told):
            if ended.code != 0:
                raise AssertionError(ended.said)

    @classmethod
    def make_keys(cls):
        def openssl(*words: str) -> None:
            subprocess.run(["openssl", *words], cwd=cls.keys, capture_output=True, check=True)

        curve = ("-pkeyopt", "ec_paramgen_curve:P-256")
        openssl("genpkey", "-algorithm", "EC", *curve, "-out", "sign.pem")
        openssl("pkey", "-in", "sign.pem", "-pubout", "-out", "trust.pem")
        new = ("req", "-x509", "-newkey", "ec", *curve, "-nodes", "-days", "30")
        openssl(*new, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=ca")
        web = ("-keyout", "web-key.pem", "-out", "web.pem", "-subj", "/CN=localhost", "-CA", "ca.pem", "-CAkey", "ca-key.pem")
        openssl(*new, *web, "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE")
        (cls.keys / "htpasswd").write_text(HTPASSWD)

    @classmethod
    def make_given(cls):
        """Wheels, a provider, an ISO, and the repositories and database of the lab's base image."""
        lab = os.environ.get("SRE_LAB_DIR", f"/var/lib/sre-lab/{os.environ.get('LAB_NAME', 'lab')}")
        base = Path(lab) / "base"
        for name in ("wheels", "providers", "iso"):
            (cls.given / name).mkdir(parents=True)
        wheel(cls.given / "wheels", "tiny_tool", "1.2")
        # Ansible itself, in the version of the lab, with what it requires.
        pins = (CHECKOUT / "lab/setup/requirements.txt").read_text()
        ansible = next(line.split()[0] for line in pins.splitlines() if line.startswith("ansible-core=="))
        python = shutil.which("python3", path=called("printenv", "PATH").strip())
        fetch = [python, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", cls.given / "wheels", ansible]
        subprocess.run([str(word) for word in fetch], check=True)
        provider(cls.given / "providers")
        (cls.given / "iso/base.iso").write_bytes(os.urandom(100_000))
        for name in ("wheels", "providers", "iso"):
            summed(cls.given / name)
        shutil.copytree(base / "opt/lab/repo", cls.given / "repo")
        shutil.copytree(base / "var/lib/rpm", cls.given / "database")
        shutil.copy(base / "etc/pki/rpm-gpg/RPM-GPG-KEY-lab", cls.keys / "rpm.asc")
        # What the far side has of its own: a machine of the base image.
        cls.root = cls.world.workspace / "root"
        shutil.rmtree(cls.root, ignore_errors=True)
        shutil.copytree(base / "var/lib/rpm", cls.root / "var/lib/rpm")

    def test_the_size_was_told_and_the_bundle_alone_was_enough(self):
        self.assertRegex(self.made.err, r"MiB to fetch from `http://127\.0\.0\.1:8080`, 2 images, \d+ packages\n")
        self.assertIn(f"; it is enough for `{NAME}`", self.verified.out)
        volumes = sorted((self.world.workspace / "disk").glob("chunks-*"))
        self.assertGreater(len(volumes), 1)
        self.assertTrue(all(volume.stat().st_size < 64 << 20 for volume in volumes))

    def test_images_were_pulled_with_the_login_of_their_registry_and_with_a_wrong_one_nothing_was_made(self):
        self.assertEqual(self.refused.code, 1, self.refused.said)
        self.assertIn("cannot pull `localhost:5000/", self.refused.line("error"))
        self.assertIn("`bundle.ca`, `bundle.logins`", self.refused.line("hint"))
        self.assertNotIn("of-somebody-else", self.refused.said)
        self.assertFalse(self.left)

    def test_pip_installs_from_the_index_of_wheels(self):
        target = self.world.workspace / "installed"
        index = f"file://{self.loaded}/wheels/simple/"
        called("python3", "-m", "pip", "install", "--quiet", "--index-url", index, "--target", target, "tiny-tool", HOME=target)

        said = called("python3", "-c", "import tiny_tool; print(tiny_tool.version)", PYTHONPATH=target)

        self.assertEqual(said, "1.2\n")

    def test_ansible_is_installed_from_its_wheels_once(self):
        playbook = self.loaded / "python/bin/ansible-playbook"
        self.assertNotIn("warning", self.told.out)
        made = playbook.stat().st_ino

        said = called("env", "-i", f"HOME={self.world.workspace}", playbook, "--version")

        self.assertIn("ansible-playbook [core ", said)
        self.assertIn(f"{self.loaded}/python/", said)
        again = self.world.run("bundle", "load", NAME, str(self.world.workspace / "disk"), "--output", "json")
        told = json.loads(again.out.splitlines()[-1])
        self.assertEqual((told["ansible"], told["ansible_problem"]), (f"{self.loaded}/python", None))
        self.assertEqual(playbook.stat().st_ino, made)

    def test_tofu_takes_the_provider_from_the_mirror(self):
        root = self.world.workspace / "tofu"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        (root / "main.tf").write_text('terraform {\n  required_providers {\n    tiny = { source = "lab/tiny" }\n  }\n}\n')

        said = called("tofu", f"-chdir={root}", "init", "-no-color", TF_CLI_CONFIG_FILE=f"{self.loaded}/tofu.rc")

        self.assertIn("Installing lab/tiny v1.0.0", said)
        self.assertIn("OpenTofu has been successfully initialized!", said)

    def test_dnf_installs_from_the_repository_onto_the_base_image(self):
        home = self.world.workspace / "dnf"
        home.mkdir(exist_ok=True)
        (home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
        call = ["dnf", "--quiet", "--assumeyes", "--disableplugin=*", "--releasever=9", f"--installroot={self.root}"]
        call += [f"--setopt=reposdir={self.loaded}", f"--setopt=cachedir={home}/cache", "--setopt=tsflags=noscripts"]
        called(*call, "install", "rke2-selinux", "chrony", HOME=home)

        installed = called("rpm", f"--dbpath={self.root}/var/lib/rpm", "-q", "rke2-selinux", "container-selinux", "chrony", HOME=home)

        self.assertEqual(len(installed.splitlines()), 3, installed)
        self.assertIn("container-selinux-2.229.0-1.el9.noarch", installed)

    def test_the_registry_gives_the_image_and_the_chart_by_digest(self):
        accept = ("-H", f"Accept: {OCI}.manifest.v1+json")
        url = f"{self.far.url}/v2/team/app"
        manifest = self.far.curl(*accept, f"{url}/manifests/sha256:{self.image}")
        pulled = self.world.workspace / "layer"
        self.far.curl("--output", pulled, f"{url}/blobs/sha256:{digest(self.layer)}")
        chart = self.far.curl(*accept, f"{self.far.url}/v2/charts/app/manifests/1.4.0")

        self.assertEqual(digest(manifest.encode()), self.image)
        self.assertEqual(pulled.read_bytes(), self.layer)
        self.assertEqual(digest(chart.encode()), self.chart)
        self.assertEqual((self.loaded / "charts/app-1.4.0.tgz").read_bytes(), self.chart_archive)

    def test_nodes_are_told_the_registry_and_no_secret(self):
        told = json.loads((self.loaded / "registries.yaml").read_text())

        self.assertEqual(told["mirrors"]["localhost:5000"], ["https://localhost:5001"])
        access = {"ca": "keys/ca.pem"}
        self.assertEqual(told["access"], {"localhost:5001": access})
        for path in (path for path in self.loaded.rglob("*") if path.is_file() and path.stat().st_size < 1 << 20):
            self.assertNotIn(PASSWORD.encode(), path.read_bytes(), path)

    def test_the_local_store_has_the_release_and_the_bill(self):
        release = self.loaded / "release/v1.35.4+rke2r1"
        sums = dict(reversed(line.split("  ")) for line in (release / "sha256sum-amd64.txt").read_text().splitlines())
        for path in release.glob("rke2*"):
            self.assertEqual(digest(path.read_bytes()), sums[path.name])
        bill = json.loads((self.loaded / "sbom/sbom.cdx.json").read_text())
        names = [component["name"] for component in bill["components"]]
        self.assertIn("localhost:5000/team/app:1.4", names)
        self.assertIn("tiny_tool-1.2-py3-none-any.whl", names)


if __name__ == "__main__":
    unittest.main()
