"""The chain is what the journal tells, no more. Run: python3 -m unittest discover benches"""

import unittest

import chain


def entry(second: float, kind: str, **fields: object) -> dict:
    return {"run": 1, "time": f"2026-11-21T15:00:{second:09.6f}Z", "kind": kind, **fields}


def intent(second: float, stage: str, *reading: str, step: str | None = None) -> dict:
    more = {"step": step} if step else {}
    return entry(second, "intent", stage=stage, reading=dict.fromkeys(reading, "0"), **more)


def outcome(second: float, stage: str) -> dict:
    return entry(second, "outcome", stage=stage, outcome="succeeded")


def child(begin: float, took: str, slot: str) -> list[dict]:
    one = {"id": f"{slot}-1", "slot": slot}
    return [entry(begin, "child-started", **one), entry(begin + 9, "child-ended", id=one["id"], code=0, took=took)]


ROAD = [
    entry(0, "run-started", command="up dev"),
    intent(0, "network", "network"),
    intent(0, "base-image", "packer/base"),
    *child(1, "PT4S", "network-plan"),
    *child(3, "PT6S", "network-apply"),
    *child(1, "PT20S", "base-image-build"),
    outcome(12, "network"),
    outcome(24, "base-image"),
    # `access` is a section of the environment file here: no stage of that name has ended.
    intent(24, "nodes", "access", "network", "base-image"),
    *child(25, "PT3.5S", "nodes-apply"),
    outcome(29, "nodes"),
    intent(29, "servers", "nodes"),
    intent(29, "servers", step="server-1"),
    *child(30, "PT5S", "servers-server-1"),
    entry(45, "fact", name="start/server-1", value={"started": "2026-11-21T15:00:33Z", "ready": "2026-11-21T15:00:43Z"}),
    outcome(46, "servers"),
    entry(47, "run-ended", outcome="succeeded"),
]


class Chain(unittest.TestCase):
    def test_the_longest_chain_goes_through_the_stages_that_need_each_other(self):
        run = chain.read(ROAD)

        self.assertEqual([stage.name for stage in run.chain()], ["base-image", "nodes", "servers"])
        self.assertEqual(run.stages["nodes"].needs, ["network", "base-image"])
        self.assertEqual((run.number, run.end - run.begin, run.outcome), (1, 47, "succeeded"))

    def test_pieces_that_overlap_count_once_and_a_late_notice_does_not_count(self):
        stages = chain.read(ROAD).stages

        self.assertEqual(stages["network"].work, 8)
        self.assertEqual(stages["base-image"].work, 20)
        self.assertEqual(stages["servers"].work, 13)

    def test_a_service_that_ran_before_the_stage_began_is_no_work_of_it(self):
        stage = chain.Stage("servers", 10, 20, pieces=[chain.Piece("server-1 until ready", 1, 4), chain.Piece("play", 8, 12)])

        self.assertEqual(stage.work, 2)

    def test_durations_are_read_as_the_journal_writes_them(self):
        self.assertEqual([chain.seconds(text) for text in ("PT0.5S", "PT1M46.25S", "PT1H2M")], [0.5, 106.25, 3720])
        with self.assertRaises(ValueError):
            chain.seconds("1 min")


if __name__ == "__main__":
    unittest.main()
