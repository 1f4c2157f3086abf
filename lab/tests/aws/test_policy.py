"""The comparison of calls with an IAM policy."""

import json  # noqa: I001  harness knows where labaws lies
import unittest

import harness  # noqa: F401
from labaws import policy


def line(*actions: str, agent: str = "tofu") -> str:
    return json.dumps({"service": "ec2", "action": "X", "agent": agent, "iam": list(actions)})


def allow(*actions: str, sid: str = "All") -> dict:
    return {"Statement": [{"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": "*"}]}


class Policy(unittest.TestCase):
    def test_a_policy_that_allows_what_was_called_and_no_more_is_quiet(self):
        self.assertEqual([], policy.compare(allow("ec2:CreateVpc"), [line("ec2:CreateVpc")]))

    def test_a_call_without_grant_is_named_with_its_caller(self):
        found = policy.compare(allow("ec2:CreateVpc"), [line("ec2:CreateVpc"), line("iam:PassRole")])
        self.assertEqual(["missing: `iam:PassRole`, needed by ec2:X of tofu"], found)

    def test_a_grant_without_call_is_named(self):
        found = policy.compare(allow("ec2:CreateVpc", "ec2:DeleteVpc"), [line("ec2:CreateVpc")])
        self.assertEqual(["unused: `ec2:DeleteVpc`"], found)

    def test_a_wildcard_is_refused_with_its_statement(self):
        found = policy.compare(allow("ec2:*", sid="Lazy"), [])
        self.assertIn("Lazy: wildcard action `ec2:*` is not among the documented ones", found)

    def test_an_unused_grant_with_a_reason_is_quiet_as_long_as_its_path_is_not_among_the_tests(self):
        reasons = {"images": {"why": "only down --images", "actions": ["ec2:DeregisterImage"]}}
        granted = allow("ec2:DeregisterImage")

        self.assertEqual([], policy.compare(granted, [], reasons, whole=False))
        self.assertEqual(["unused: `ec2:DeregisterImage`"], policy.compare(granted, [], reasons, whole=True))
        reasons["images"]["whole"] = True
        self.assertEqual([], policy.compare(granted, [], reasons, whole=True))

    def test_a_reason_to_be_unused_by_all_tests_is_named_once_one_of_them_uses_it(self):
        reasons = {"roles": {"why": "nobody attaches any", "whole": True, "actions": ["iam:DetachRolePolicy"]}}
        granted, calls = allow("iam:DetachRolePolicy"), [line("iam:DetachRolePolicy")]

        found = policy.compare(granted, calls, reasons, whole=True)

        self.assertEqual(["used: `iam:DetachRolePolicy` has a reason to be unused even by all tests"], found)
        self.assertEqual([], policy.compare(granted, calls, reasons, whole=False))

    def test_a_reason_without_a_grant_is_named(self):
        reasons = {"old": {"why": "was once", "actions": ["ec2:CreateKeyPair"]}}

        found = policy.compare(allow(), [], reasons)

        self.assertEqual(["without need: `ec2:CreateKeyPair` has a reason to be unused, and no grant"], found)

    def test_the_inventorys_own_calls_do_not_count(self):
        self.assertEqual([], policy.compare(allow(), [line("ec2:DescribeVpcs", agent="Boto3/1.40.1 lab-inventory")]))

    def test_actions_are_compared_without_regard_to_case_as_iam_does(self):
        self.assertEqual([], policy.compare(allow("ec2:createvpc"), [line("ec2:CreateVpc")]))
