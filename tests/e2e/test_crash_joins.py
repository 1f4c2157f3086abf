"""Killed in every join of three servers. The stages are `test_crash_stages`. `tests/crash-lab` runs it."""

import unittest

from course import methods_of_cases
from crashing import Crashing, cases

JOINS = [f"servers/server-{number}" for number in (1, 2, 3)]


class CrashJoins(Crashing):
    servers = 3
    cases = cases([("up", join) for join in JOINS])
    places = {"up": JOINS}


load_tests = methods_of_cases(CrashJoins, CrashJoins.cases)


if __name__ == "__main__":
    unittest.main()
