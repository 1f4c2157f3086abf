"""Holds the API calls of a run against an IAM policy, in both directions.

`missing`: a call was made whose action no statement allows. `unused`: an action is allowed that no call needed. What
IAM names otherwise than the API, and what a call needs besides its own action (tags set on creation, roles handed
over), is worked out when the call is logged: calls.py. Conditions and resources are not judged, only actions.

A grant for a documented path that no call of this log took has its reason in a file of reasons: JSON, path → `why`
and `actions`; `whole: true` where even all tests together do not take it. One of them without a grant is wrong too, and
one that all tests together did take.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

WILDCARDS: dict[str, str] = {}  # pattern → why it may stand in a policy; none so far
OWN_LOOKS = "lab-inventory"  # in the user agent of lab/aws/inventory, to be told apart in the log
NOT_THE_PRODUCTS = "Boto3/"  # nothing in the product speaks Python with AWS: the lab's own looks, and its tests'


def allowed(policy: dict) -> tuple[set[str], list[str]]:
    """The actions a policy allows, and what is wrong with the policy itself."""
    actions, wrong = set(), []
    statements = policy["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        name = statement.get("Sid", "statement without Sid")
        if "NotAction" in statement:
            wrong.append(f"{name}: NotAction allows what nobody listed")
        given = statement.get("Action", [])
        given = [given] if isinstance(given, str) else given
        if statement.get("Effect") != "Allow":
            continue
        wrong += [
            f"{name}: wildcard action `{a}` is not among the documented ones"
            for a in given
            if ("*" in a or "?" in a) and a not in WILDCARDS
        ]
        actions |= set(given)
    return actions, wrong


def needed(lines: Iterable[str]) -> dict[str, dict]:
    """IAM action → the first call that needed it."""
    found: dict[str, dict] = {}
    for line in lines:
        call = json.loads(line)
        if not call["agent"].startswith(NOT_THE_PRODUCTS):
            for action in call["iam"]:
                found.setdefault(action, call)
    return found


def excused(reasons: dict[str, dict], whole: bool) -> set[str]:
    """The actions that need not be used, when all tests ran (`whole`) or some of them."""
    return {action for path in reasons.values() if path.get("whole", False) or not whole for action in path["actions"]}


def compare(policy: dict, lines: Iterable[str], reasons: dict | None = None, whole: bool = True) -> list[str]:
    """What differs, as sentences; empty when the two agree."""
    actions, wrong = allowed(policy)
    reasons = reasons or {}
    stale = sorted(excused(reasons, whole=False) - actions)
    wrong += [f"without need: `{action}` has a reason to be unused, and no grant" for action in stale]
    exact = {action.lower(): action for action in actions}
    calls = {action.lower(): (action, call) for action, call in needed(lines).items()}
    for key in sorted(calls.keys() - exact.keys()):
        action, call = calls[key]
        wrong.append(f"missing: `{action}`, needed by {call['service']}:{call['action']} of {call['agent'][:60]}")
    unused = {exact[key] for key in exact.keys() - calls.keys()}
    wrong += [f"unused: `{action}`" for action in sorted(unused - excused(reasons, whole))]
    if whole:
        used = sorted(action for action in excused(reasons, whole=True) if action.lower() in calls)
        wrong += [f"used: `{action}` has a reason to be unused even by all tests" for action in used]
    return wrong


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="iam-check", description="Compares API calls with an IAM policy.")
    parser.add_argument("policy", type=Path)
    parser.add_argument("log", type=Path, nargs="+", help="api.jsonl of one or more runs")
    parser.add_argument("--allow-unused", action="store_true", help="report only missing grants and wildcards")
    parser.add_argument("--unexercised", type=Path, metavar="FILE", help="grants that need not be used, and why")
    parser.add_argument("--whole", action="store_true", help="all tests ran: less may be unused")
    given = parser.parse_args(words)
    lines = [line for log in given.log for line in log.read_text().splitlines()]
    reasons = json.loads(given.unexercised.read_text()) if given.unexercised else {}
    wrong = compare(json.loads(given.policy.read_text()), lines, reasons, given.whole)
    if given.allow_unused:
        wrong = [sentence for sentence in wrong if not sentence.startswith("unused")]
    for sentence in wrong:
        print(sentence)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
