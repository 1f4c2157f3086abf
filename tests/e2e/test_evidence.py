"""Evidence of an environment that is up: every rule on every node, in forms that assessors read, signed; and what was
changed in it afterwards is named."""

import json
import re
import shutil
import subprocess
import unittest

from world import CHECKOUT, NAME, lab, world_that_is_up

RULES = 445
SCHEMA = CHECKOUT / "tests/e2e/schemas/cklb.json"
# In the lab's Python, which has the library.
VALID = "import json, sys, jsonschema; a, b = (json.load(open(f)) for f in sys.argv[1:]); jsonschema.validate(a, b)"


class Evidence(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = world_that_is_up()
        cls.keys = cls.world.dir / "evidence-keys"
        cls.keys.mkdir(exist_ok=True)
        made = ["openssl", "genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subprocess.run([*made, "-out", str(cls.keys / "sign.pem")], check=True)
        public = ["openssl", "pkey", "-in", str(cls.keys / "sign.pem"), "-pubout", "-out", str(cls.keys / "trust.pem")]
        subprocess.run(public, check=True)
        cls.pack = cls.world.dir / "evidence"
        shutil.rmtree(cls.pack, ignore_errors=True)
        before = len(cls.world.journal())
        sign = f"file:{cls.keys}/sign.pem"
        cls.taken = cls.world.run("evidence", NAME, "--to", str(cls.pack), "--sign", sign, "--output", "json")
        cls.wrote = len(cls.world.journal()) - before

    def verify(self, pack):
        return self.world.run("evidence", "verify", str(pack), "--trust", str(self.keys / "trust.pem"))

    def test_every_rule_of_the_stig_has_a_result_on_every_node_and_nothing_is_written_to_the_journal(self):
        self.assertEqual(self.taken.code, 0, self.taken.said)
        told = json.loads(self.taken.out.splitlines()[-1])
        results = json.loads((self.pack / "results.json").read_text())

        self.assertEqual((told["rules"], self.wrote), (RULES, 0))
        self.assertEqual(set(results["nodes"]), set(told["nodes"]))
        self.assertLessEqual({"server-1", "general-1"}, set(results["nodes"]))
        for node, result in results["nodes"].items():
            self.assertEqual(len(result["findings"]), RULES, node)
            self.assertEqual(sum(result["score"]["all"].values()), RULES, node)
            unknown = {one["observed"] for one in result["findings"].values() if one["status"] == "unknown"}
            # The lab's machines are no Rocky Linux: no such stack, no fstab.
            known = r"/etc/pam.d/(system|password)-auth is empty|no line has .* `pam_faillock.so |/dev/shm is mounted with .* /etc/fstab"
            self.assertEqual([one for one in unknown if not re.match(known, one)], [], node)
            self.assertGreater(result["score"]["all"]["pass"], 180, node)
            self.assertEqual({one["class"] for one in result["findings"].values()}, {"shown", "stand-in", "read", "not-testable"})
            checklist = json.loads((self.pack / f"checklists/{node}.cklb").read_text())
            self.assertEqual(len(checklist["stigs"][0]["rules"]), RULES)
            lab("run", "python3", "-c", VALID, str(self.pack / f"checklists/{node}.cklb"), str(SCHEMA))
        self.assertIn("RHEL-09-671010", (self.pack / "index.html").read_text())

    def test_a_pack_is_verified_without_the_environment_and_what_was_changed_is_named(self):
        whole = self.verify(self.pack)
        self.assertEqual(whole.code, 0, whole.said)
        changed = self.world.dir / "changed"
        for name, damage, told in (
            ("results.json", lambda path: path.write_bytes(path.read_bytes()[:-2] + b" \n"), "`results.json` is not as it was"),
            ("index.html", lambda path: path.unlink(), "`index.html` is missing"),
            ("more.json", lambda path: path.write_text("{}"), "`more.json` does not belong to it"),
            ("manifest.json", lambda path: path.write_text(path.read_text().replace(NAME, "other")), "the signature is wrong"),
        ):
            with self.subTest(name):
                shutil.rmtree(changed, ignore_errors=True)
                shutil.copytree(self.pack, changed)
                damage(changed / name)

                refused = self.verify(changed)

                self.assertEqual(refused.code, 1, refused.said)
                self.assertIn(told, refused.said)

    def test_a_pack_is_not_written_over_another(self):
        again = self.world.run("evidence", NAME, "--to", str(self.pack), "--sign", f"file:{self.keys}/sign.pem")

        self.assertEqual(again.code, 2, again.said)
        self.assertIn("exists", again.line("error"))
