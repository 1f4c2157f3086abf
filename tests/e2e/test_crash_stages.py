"""Killed in every stage of `up` and of `down`, in a cluster of one server and an agent: what a stage does with its tool and
its journal does not depend on how many servers there are. Joins are `test_crash_joins`. `tests/crash-lab` runs it.
"""

import unittest

from course import methods_of_cases
from crashing import Crashing, cases
from striking import STAGES

FIRST = [("up", "nodes"), ("up", "network"), ("down", "network"), ("down", "nodes"), ("down", "load-balancer")]
PLACES = {"up": STAGES, "down": list(reversed(STAGES))}
ORDER = FIRST + [(command, place) for command, places in PLACES.items() for place in places if (command, place) not in FIRST]


class CrashStages(Crashing):
    servers = 1
    cases = cases(ORDER)
    places = PLACES


load_tests = methods_of_cases(CrashStages, CrashStages.cases)


if __name__ == "__main__":
    unittest.main()
