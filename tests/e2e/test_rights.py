"""The calls of all tests before this one, held against docs/aws-iam-policy.json: run it last."""

import os
import subprocess
import unittest

from world import CHECKOUT, HERE, releases

LOG = releases().parent / "aws/api.jsonl"


class Rights(unittest.TestCase):
    def test_every_call_is_granted_and_every_grant_is_used_or_has_its_reason(self):
        """`SRE_E2E_WHOLE=yes` says that all tests ran before this one; else only what the sample does must be used."""
        whole = ["--whole"] if os.environ.get("SRE_E2E_WHOLE") == "yes" else []
        check = [CHECKOUT / "lab/aws/iam-check", CHECKOUT / "docs/aws-iam-policy.json", LOG]
        reasons = ["--unexercised", HERE / "unexercised-rights.json", *whole]
        done = subprocess.run([str(word) for word in [*check, *reasons]], capture_output=True, text=True, check=False)

        self.assertEqual((0, ""), (done.returncode, done.stdout + done.stderr))


if __name__ == "__main__":
    unittest.main()
