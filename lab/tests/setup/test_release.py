"""Tools from a release: taken by digest from a server that the test starts, or not at all."""

import hashlib
import http.server
import io
import os
import subprocess
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path

SETUP = Path(__file__).resolve().parents[2] / "setup"
SCRIPT = """
set -euo pipefail
. "$SETUP/cache.sh"
. "$SETUP/release.sh"
"$@"
"""


def archive(**programs: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as written:
        for name, text in programs.items():
            written.writestr(name, text)
    return held.getvalue()


class Publisher(http.server.ThreadingHTTPServer):
    """Serves what `files` holds and counts who asks."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


class Release(unittest.TestCase):
    def setUp(self):
        self.publisher = Publisher()
        self.addCleanup(self.publisher.server_close)
        self.addCleanup(self.publisher.shutdown)
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.cache = Path(place.name) / "cache"
        self.list = Path(place.name) / "releases.list"
        self.url = f"http://127.0.0.1:{self.publisher.server_port}"

    def publishes(self, body: bytes, digest: str | None = None):
        self.publisher.files["/tofu_1.12.6.zip"] = body
        digest = digest or hashlib.sha256(body).hexdigest()
        self.list.write_text(f"# a remark\ntofu 1.12.6 {digest} {self.url}/tofu_1.12.6.zip\n")

    def call(self, function: str, version: str = "1.12.6", **more: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment = kept | {"SETUP": str(SETUP), "SRE_LAB_CACHE": str(self.cache)} | more
        words = ["bash", "-c", SCRIPT, "test", function, str(self.list), "tofu", version]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def left(self) -> list[str]:
        """What is in the cache beside locks."""
        return sorted(entry.name for entry in self.cache.iterdir() if not entry.name.endswith(".lock"))

    def test_a_listed_release_is_taken_once_and_found_ever_after(self):
        self.publishes(archive(tofu="#!/bin/sh\necho OpenTofu\n", LICENSE="MPL"))

        before = self.call("released")
        taken = self.call("release")
        after = self.call("released")

        self.assertEqual((1, 0, 0), (before.returncode, taken.returncode, after.returncode), taken.stderr)
        self.assertEqual(taken.stdout, after.stdout)
        [directory] = self.left()
        program = Path(taken.stdout.strip()) / "tofu"
        self.assertEqual([directory], [program.parent.name])
        self.assertEqual("OpenTofu\n", subprocess.run([program], capture_output=True, text=True, check=True).stdout)
        self.assertEqual(["tofu"], [entry.name for entry in program.parent.iterdir()])
        self.assertEqual(["/tofu_1.12.6.zip"], self.publisher.asked)

    def test_another_digest_ends_setup_and_leaves_nothing(self):
        body = archive(tofu="#!/bin/sh\n")
        self.publishes(body, digest="0" * 64)

        refused = self.call("release")

        self.assertEqual(2, refused.returncode)
        self.assertIn(f"cause: its SHA-256 is {hashlib.sha256(body).hexdigest()}, expected is {'0' * 64}", refused.stderr)
        self.assertEqual([], self.left())

    def test_a_release_that_is_not_in_reach_is_for_the_caller_to_build(self):
        self.publishes(archive(tofu=""))
        self.publisher.files.clear()

        missing = self.call("release")

        self.assertEqual((1, ""), (missing.returncode, missing.stdout))
        self.assertIn("tofu 1.12.6 is not in reach, so it is built", missing.stderr)
        self.assertEqual([], self.left())

    def test_a_version_that_is_not_listed_asks_nobody(self):
        self.publishes(archive(tofu=""))

        other = self.call("release", version="1.13.0")

        self.assertEqual((1, "", ""), (other.returncode, other.stdout, other.stderr))
        self.assertEqual([], self.publisher.asked)

    def test_an_archive_without_the_program_is_no_release_of_it(self):
        self.publishes(archive(terraform="#!/bin/sh\n"))

        refused = self.call("release")

        self.assertEqual(2, refused.returncode)
        self.assertIn("holds no program `tofu`", refused.stderr)

    def test_a_mirror_stands_for_the_publishers_address(self):
        self.publishes(archive(tofu="#!/bin/sh\n"))
        self.publisher.files["/mirror/tofu_1.12.6.zip"] = self.publisher.files.pop("/tofu_1.12.6.zip")

        taken = self.call("release", SRE_LAB_TOOL_MIRROR=f"{self.url}/mirror/")

        self.assertEqual(0, taken.returncode, taken.stderr)
        self.assertEqual(["/mirror/tofu_1.12.6.zip"], self.publisher.asked)


if __name__ == "__main__":
    unittest.main()
