"""Images from the nightly build to their removal: built where an input moved, measured and signed, promoted, pruned."""

import base64
import json
import re
import shlex
import shutil
import subprocess
import unittest

from world import CHECKOUT, World, inside, lab, releases

NAME = "gold"
OTHER_REGION = "us-west-2"
ASKED = """
images:
  sign: file:keys/sign.pem
  trust: [file:keys/trust.pem]
  require: {score: 50}
"""


def keys(world: World) -> None:
    there = world.workspace / "keys"
    there.mkdir(exist_ok=True)
    made = ["openssl", "genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for name in ("sign", "stranger"):
        subprocess.run([*made, "-out", str(there / f"{name}.pem")], check=True)
    public = ["openssl", "pkey", "-in", str(there / "sign.pem"), "-pubout", "-out", str(there / "trust.pem")]
    subprocess.run(public, check=True)


class Images(unittest.TestCase):
    """One environment whose images are built once; each test goes on from the one before it."""

    @classmethod
    def setUpClass(cls):
        cls.world = World("images", NAME)
        keys(cls.world)
        cls.world.file.write_text(cls.world.file.read_text() + ASKED)
        template = cls.world.assets / "packer/base/build.pkr.hcl"
        template.write_text(template.read_text() + "# built by the test of images\n")
        cls.first = cls.world.run("images", "build", NAME, "--yes", "--output", "json")

    def told(self, ended) -> dict:
        return json.loads(ended.out.splitlines()[-1])

    def images(self, *words: str, code: int = 0) -> dict:
        ended = self.world.run("images", *words, "--output", "json")
        self.assertEqual(ended.code, code, ended.said)
        return self.told(ended)

    def build(self, *words: str) -> dict:
        [line] = self.images("build", "--all", "--yes", *words)["environments"]
        return line

    def listed(self) -> dict[str, dict]:
        return {image["id"]: image for image in self.images("list")["images"]}

    def statement(self, image: str):
        """The file of an image's statement, its envelope and what was signed."""
        digest = json.loads(inside("planted_images", "show", "us-east-1"))[image]["tags"]["sre:statement"]
        path = self.world.workspace / f".sre-provision/store/images/statements/{digest}.json"
        envelope = json.loads(path.read_text())
        return path, envelope, json.loads(base64.b64decode(envelope["payload"]))

    def test_01_both_images_are_built_and_nothing_else_is_made(self):
        self.assertEqual(self.first.code, 0, self.first.said)
        [line] = self.told(self.first)["environments"]

        self.assertEqual((line["environment"], line["outcome"]), (NAME, "built"))
        self.assertEqual(self.world.machines(), [])
        self.assertEqual(set(self.world.plan()["stages"]) - self.world.standing(), {
            "network", "load-balancer", "nodes", "access", "hardening", "servers", "agents", "health",
        })

    def test_02_each_has_a_signed_statement_of_what_was_measured_on_a_machine_of_it(self):
        [line] = self.told(self.first)["environments"]
        for which in ("base", "node"):
            with self.subTest(which):
                _, envelope, signed = self.statement(line[which])
                predicate = signed["predicate"]
                products = {one["name"]: one for one in predicate["runDetails"]["byproducts"]}
                gate = products["gate"]["annotations"]

                self.assertEqual(signed["_type"], "https://in-toto.io/Statement/v1")
                self.assertEqual(signed["predicateType"], "https://slsa.dev/provenance/v1")
                self.assertEqual([one["name"] for one in signed["subject"]], [line[which]])
                self.assertTrue(gate["machine"].startswith("i-"), gate)
                self.assertEqual(gate["fips"], {"wanted": True, "kernel": True})
                self.assertEqual({one["what"]: one["found"] for one in gate["hygiene"] if one["found"]}, {})
                self.assertEqual(len(gate["hygiene"]), 7)
                self.assertGreater(gate["profile"]["pass"], 180)
                bill = self.world.workspace / f".sre-provision/store/images/packages/{gate['bill']}.json"
                self.assertEqual(len(json.loads(bill.read_text())["components"]), gate["packages"])
                self.assertGreater(gate["packages"], 50)
                self.signed_by_openssl(envelope)

    def signed_by_openssl(self, envelope: dict) -> None:
        """The signature as another program sees it."""
        kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
        scratch = self.world.dir / "signature"
        scratch.mkdir(exist_ok=True)
        (scratch / "signed").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
        (scratch / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        trust = str(self.world.workspace / "keys/trust.pem")
        check = ["openssl", "dgst", "-sha256", "-verify", trust, "-signature", str(scratch / "sig"), str(scratch / "signed")]
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        self.assertEqual(done.stdout.strip(), "Verified OK", done.stderr)

    def test_03_the_statement_of_a_node_image_names_the_files_of_rke2_and_the_tools_by_digest(self):
        [line] = self.told(self.first)["environments"]
        _, _, signed = self.statement(line["node"])
        sums = next(releases().glob("v1.35.4+rke2r1/sha256sum-amd64.txt")).read_text()
        released = {name: digest for digest, name in (entry.split() for entry in sums.splitlines())}
        definition = signed["predicate"]["buildDefinition"]
        named = {one["name"]: one["digest"]["sha256"] for one in definition["resolvedDependencies"] if "digest" in one}

        files = {name: digest for name, digest in named.items() if name in released}
        self.assertIn("rke2.linux-amd64.tar.gz", files)
        self.assertEqual(files, {name: released[name] for name in files})
        self.assertIn("ansible/roles/image_seal", named)
        tools = signed["predicate"]["runDetails"]["builder"]["builderDependencies"]
        self.assertEqual({tool["name"] for tool in tools}, {"packer", "ansible-playbook"})
        images = [one["name"] for one in definition["resolvedDependencies"] if "digest" not in one]
        self.assertEqual(images[-1], line["base"])

    def test_04_the_list_tells_lineage_standing_and_who_uses_it(self):
        [line] = self.told(self.first)["environments"]
        listed = self.listed()

        node, base = listed[line["node"]], listed[line["base"]]
        self.assertEqual(node["lineage"], [*base["lineage"], line["base"]])
        self.assertEqual((node["kind"], node["state"], node["environment"]), ("node", "ready", NAME))
        self.assertEqual((node["statement"]["standing"], base["statement"]["standing"]), ("proven", "proven"))
        self.assertEqual(node["used_by"], [{"by": "journal", "environment": NAME, "stage": "node-image"}])
        shown = self.world.run("images", "list", NAME)
        self.assertRegex(shown.out, rf"{line['node']} +node .* proven \d+ % +{NAME}: node-image")

    def test_05_the_same_job_again_builds_nothing(self):
        [line] = self.told(self.first)["environments"]
        before = inside("own_images")

        again, nightly = self.build(), self.build("--if-older", "24h")

        self.assertEqual((again["outcome"], again["node"]), ("unchanged", line["node"]))
        self.assertEqual((nightly["outcome"], nightly["node"]), ("younger", line["node"]))
        self.assertEqual(inside("own_images"), before)

    def test_06_the_commands_of_the_examples_do_what_they_say(self):
        workflow = (CHECKOUT / ".github/workflows/nightly-images.yml").read_text()
        commands = re.findall(r"run: sre-provision (.*)", workflow)
        unit = (CHECKOUT / "docs/examples/sre-provision-images.service").read_text()
        started = re.search(r"^ExecStart=\S*/sre-provision --workspace \S+ (.*)$", unit, re.MULTILINE)
        self.assertEqual(len(commands), 2)
        before = inside("own_images")

        for command in [*commands, started[1]]:
            with self.subTest(command):
                ended = self.world.run(*shlex.split(command))
                self.assertEqual(ended.code, 0, ended.said)
        self.assertEqual(inside("own_images"), before)

    def test_07_the_units_of_the_examples_are_whole(self):
        scratch = self.world.dir / "units"
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(CHECKOUT / "docs/examples", scratch)
        service = scratch / "sre-provision-images.service"
        # systemd also looks whether the program is there, which it is on no machine that only tests.
        service.write_text(service.read_text().replace("/usr/local/bin/sre-provision", "/bin/true"))
        units = [str(scratch / f"sre-provision-images.{kind}") for kind in ("service", "timer")]

        done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)

        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_08_a_statement_with_a_changed_byte_or_of_a_stranger_or_missing_is_refused(self):
        [line] = self.told(self.first)["environments"]
        path, envelope, _ = self.statement(line["node"])
        whole = path.read_bytes()
        self.addCleanup(path.write_bytes, whole)
        good = self.world.run("images", "verify", line["node"])
        self.assertEqual(good.code, 0, good.said)
        self.assertRegex(good.out, rf"{line['node']} +proven +FIPS, \d+ % of stig, \d+ packages, until ")

        payload = bytearray(base64.b64decode(envelope["payload"]))
        payload[len(payload) // 2] ^= 1
        path.write_text(json.dumps(envelope | {"payload": base64.b64encode(payload).decode()}))
        changed = self.world.run("images", "verify", line["node"])
        path.unlink()
        missing = self.world.run("images", "verify", line["node"])
        path.write_bytes(whole)
        stranger = self.world.workspace / "keys/stranger.pub"
        key = str(self.world.workspace / "keys/stranger.pem")
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", str(stranger)], check=True)
        strange = self.world.run("images", "verify", line["node"], "--trust", str(stranger))

        for ended, why in ((changed, "has another digest"), (missing, "is not kept here"), (strange, "the signature is wrong")):
            self.assertEqual(ended.code, 1, ended.said)
            self.assertIn(why, ended.said)

    def test_09_up_refuses_an_image_without_a_good_statement_and_makes_nothing(self):
        [line] = self.told(self.first)["environments"]
        path, _, _ = self.statement(line["node"])
        whole, asked = path.read_bytes(), self.world.file.read_text()
        self.addCleanup(path.write_bytes, whole)
        self.addCleanup(self.world.file.write_text, asked)
        unsigned = asked.replace("  sign: file:keys/sign.pem\n", "")
        before = inside("own_images")

        path.unlink()
        self.world.file.write_text(unsigned)
        missing = self.world.up()
        path.write_bytes(whole)
        self.world.file.write_text(unsigned.replace("score: 50", "score: 100"))
        poor = self.world.up()

        self.assertEqual(missing.code, 6, missing.said)
        self.assertIn("is not what `images.require` wants: its statement", missing.said)
        self.assertEqual(poor.code, 6, poor.said)
        self.assertRegex(poor.said, r"\d+ % of profile `stig` passed, 100 % are required")
        self.assertEqual((self.world.machines(), inside("own_images")), ([], before))

    def test_10_a_changed_role_makes_both_anew(self):
        [line] = self.told(self.first)["environments"]
        role = self.world.assets / "ansible/roles/os_hardening/tasks/main.yml"
        role.write_text(role.read_text() + "# changed by the test\n")

        built = self.build()

        self.assertEqual(built["outcome"], "built")
        self.assertIn("os_hardening", " ".join(built["why"]))
        self.assertNotIn(built["base"], (line["base"], line["node"]))
        self.assertNotEqual(built["node"], line["node"])
        self.assertEqual(self.listed()[built["node"]]["statement"]["standing"], "proven")
        type(self).second = built

    def test_11_a_channel_leads_to_what_it_is_promoted_to_and_back(self):
        [line] = self.told(self.first)["environments"]
        digest = self.statement(self.second["node"])[2]["subject"][0]["digest"]["sha256"]

        wrong = self.world.run("images", "promote", line["node"], "--to", "stable", "--digest", digest)
        first = self.images("promote", line["node"], "--to", "stable")
        second = self.images("promote", self.second["node"], "--to", "stable", "--digest", digest)
        led = self.listed()
        back = self.images("rollback", "stable")
        moves = self.images("channel", "stable")["moves"]

        self.assertEqual(wrong.code, 1, wrong.said)
        self.assertIn(f"not {digest}", wrong.said)
        self.assertEqual((first["number"], second["number"], back["number"], back["to"]), (1, 2, 3, 1))
        self.assertEqual((led[self.second["node"]]["channels"], led[line["node"]]["channels"]), (["stable"], []))
        [target] = back["images"].values()
        self.assertEqual(target["id"], line["node"])
        self.assertEqual([move["why"].split()[0] for move in moves], ["promote", "promote", "rollback"])

    def test_11_one_that_follows_a_channel_comes_up_with_its_image_and_builds_none(self):
        [line] = self.told(self.first)["environments"]
        follower = self.world.file.with_name("fast.yaml")
        self.addCleanup(follower.unlink)
        asked = "\nimages: {channel: stable, trust: [file:keys/trust.pem], require: {score: 50}}\n"
        follower.write_text(self.world.file.read_text().replace(ASKED, asked))
        before = inside("own_images")

        up = self.world.run("up", "fast", "--yes", limit=1800)
        again = self.world.run("up", "fast", "--yes")
        nodes = self.told(self.world.run("nodes", "fast", "--output", "json"))["nodes"]
        self.images("promote", self.second["node"], "--to", "stable")
        moved = self.told(self.world.run("plan", "fast", "--output", "json"))
        self.images("rollback", "stable")
        down = self.world.run("down", "fast", "--yes", limit=600)

        self.assertEqual((up.code, again.code, down.code), (0, 0, 0), up.said + again.said + down.said)
        self.assertIn(f"{line['node']} of channel stable", up.said)
        self.assertIn("fast is up and as described", again.said)
        self.assertEqual({node["image"] for node in nodes}, {line["node"]})
        self.assertIn(f"channel stable: `{self.second['node']}` instead of `{line['node']}`", json.dumps(moved))
        self.assertEqual(inside("own_images"), before)

    def test_12_a_copy_in_another_region_is_held_against_its_original_and_has_a_statement_of_its_own(self):
        sign = f"file:{self.world.workspace}/keys/sign.pem"
        stranger = f"file:{self.world.workspace}/keys/stranger.pem"
        unsigned = self.world.run("images", "promote", self.second["node"], "--to", "wide", "--region", OTHER_REGION)
        strange = self.world.run(
            "images", "promote", self.second["node"], "--to", "wide", "--region", OTHER_REGION, "--sign", stranger
        )
        nowhere = self.world.run("images", "channel", "wide")
        wide = self.images("promote", self.second["node"], "--to", "wide", "--region", OTHER_REGION, "--sign", sign)
        there = json.loads(inside("planted_images", "show", OTHER_REGION))
        again = self.images("promote", self.second["node"], "--to", "wide", "--region", OTHER_REGION, "--sign", sign)

        self.assertEqual(unsigned.code, 2, unsigned.said)
        self.assertEqual((strange.code, nowhere.code), (1, 1), strange.said + nowhere.said)
        self.assertIn("the signature is wrong", strange.said)
        [copy] = [target for place, target in wide["images"].items() if place.endswith(OTHER_REGION)]
        self.assertEqual(list(there), [copy["id"]])
        self.assertEqual(there[copy["id"]]["tags"]["sre:copy-of"], f"us-east-1/{self.second['node']}")
        self.assertEqual(there[copy["id"]]["tags"]["sre:statement"], copy["statement"])
        self.assertTrue(there[copy["id"]]["whole"])
        self.assertEqual([one["id"] for one in again["images"].values()], [one["id"] for one in wide["images"].values()])

    def test_13_nothing_is_pruned_while_something_cannot_be_read(self):
        environment = json.loads((self.world.state / "identity.json").read_text())["id"]
        [line] = self.told(self.first)["environments"]
        type(self).planted = json.loads(inside("planted_images", "plant", environment, line["node"]))
        broken = self.world.file.with_name("broken.yaml")
        self.addCleanup(broken.unlink, missing_ok=True)
        before = inside("own_images")

        broken.write_text("platform: aws\n")
        unread = self.world.run("images", "prune", "--yes", "--min-age", "0s", "--keep", "0")
        broken.unlink()
        lab("fault", "api", "DescribeInstances", "error=InternalError", "status=500", "count=20")
        fault = self.world.run("images", "prune", "--yes", "--min-age", "0s", "--keep", "0")
        lab("fault", "clear")
        young = self.images("prune", "--yes", "--keep", "0")
        unanswered = self.world.run("images", "prune", "--min-age", "0s", "--keep", "0")

        self.assertEqual((unread.code, fault.code, unanswered.code), (3, 6, 9), unread.said + fault.said + unanswered.said)
        for ended in (unread, fault):
            self.assertIn("nothing was removed, because not everything could be looked at", ended.said)
        self.assertEqual(young["removed"], 0)
        self.assertEqual(inside("own_images"), before)

    def test_14_prune_takes_what_nothing_needs_and_goes_on_where_it_was_broken_off(self):
        planted = self.planted["images"]
        state = self.world.state / "tofu/nodes/terraform.tfstate"
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(json.dumps({"resources": [{"instances": [{"attributes": {"ami": planted[5]}}]}]}))
        self.addCleanup(state.unlink)
        [line] = self.told(self.first)["environments"]
        before = json.loads(inside("planted_images", "show", "us-east-1"))

        shown = self.images("prune", "--dry-run", "--min-age", "0s", "--keep", "0")
        lab("fault", "api", "DeleteSnapshot", "error=InternalError", "status=500", "count=20")
        broken = self.world.run("images", "prune", "--yes", "--min-age", "0s", "--keep", "0")
        lab("fault", "clear")
        half = json.loads(inside("planted_images", "show", "us-east-1"))
        begun = [json.loads(path.read_text()) for path in self.removing()]
        left = set(json.loads(inside("planted_images", "snapshots")))
        rest = self.images("prune", "--yes", "--min-age", "0s", "--keep", "0")
        after = json.loads(inside("planted_images", "show", "us-east-1"))

        fates = {image["id"]: image["fate"] for image in shown["images"]}
        # A machine and its base, the tag, the state; a channel leads or led to the first two; the journal has the second.
        kept = {planted[0], planted[2], planted[4], planted[5], line["base"], line["node"], *self.ids(self.second)}
        self.assertEqual({image for image, fate in fates.items() if fate == "stays"}, kept)
        self.assertEqual({image for image, fate in fates.items() if fate == "goes"}, set(before) - kept)
        self.assertEqual(len(set(before) - kept), 6)
        # The first image is gone and its snapshot is not; what was begun is written down.
        [one] = begun
        self.assertEqual(broken.code, 6, broken.said)
        self.assertEqual(set(before) - set(half), {one["image"]})
        self.assertEqual(one["snapshots"], before[one["image"]]["snapshots"])
        self.assertLessEqual(set(one["snapshots"]), left)
        self.assertLessEqual(set(kept), set(half))
        self.assertEqual(set(after), kept)
        self.assertTrue(all(image["whole"] for image in after.values()), after)
        gone = [disk for image, told in before.items() if image not in kept for disk in told["snapshots"]]
        self.assertEqual(set(gone) & set(json.loads(inside("planted_images", "snapshots"))), set())
        self.assertEqual(len(half) - len(after), rest["removed"])
        self.assertEqual(self.removing(), [])

    def test_15_a_first_up_that_could_not_sign_builds_nothing(self):
        asked = self.world.file.read_text()
        role = self.world.assets / "ansible/roles/os_hardening/tasks/main.yml"
        tasks = role.read_text()
        self.addCleanup(self.world.file.write_text, asked)
        self.addCleanup(role.write_text, tasks)
        before = inside("own_images")

        self.world.file.write_text(asked.replace("  sign: file:keys/sign.pem\n", ""))
        role.write_text(tasks + "# never built\n")
        refused = self.world.run("images", "build", NAME, "--yes")

        self.assertEqual(refused.code, 1, refused.said)
        self.assertIn("is not what `images.require` of `gold` wants", refused.said)
        self.assertIn("`images.sign` names no key that could sign one", refused.said)
        self.assertEqual(inside("own_images"), before)

    def removing(self) -> list:
        return list((self.world.workspace / ".sre-provision/store/images/removing").glob("*.json"))

    def ids(self, built: dict) -> list[str]:
        return [built["base"], built["node"]]


if __name__ == "__main__":
    unittest.main()
