"""Two environments in one account at the same time: they share images, and nothing else."""

import json
import unittest

from world import World, inside, inventory


class Two(unittest.TestCase):
    """Both are made at once, from templates that no image was built from yet, and taken down at once."""

    @classmethod
    def setUpClass(cls):
        cls.before = inventory()
        cls.worlds = [World("one", "one"), World("two", "two")]
        for world, cidr in zip(cls.worlds, ("10.50.0.0/16", "10.60.0.0/16"), strict=True):
            world.file.write_text(world.file.read_text().replace("10.40.0.0/16", cidr))
            for image in ("base", "node"):
                template = world.assets / "packer" / image / "build.pkr.hcl"
                template.write_text(template.read_text() + "# built by two at once\n")
        calls = [world.start("up", world.environment, "--yes") for world in cls.worlds]
        cls.ended = [world.ended(call) for world, call in zip(cls.worlds, calls, strict=True)]

    def images(self, world: World) -> dict[str, str]:
        """The fingerprints of the two images, and which ones they are."""
        made = [entry["artifact"] for entry in world.journal() if entry["kind"] == "outcome" and entry.get("artifact")]
        images = [artifact for artifact in made if artifact["kind"] in ("base-image", "node-image")]
        return {image["fingerprint"]: image["id"] for image in images}

    def test_1_both_come_up(self):
        for ended in self.ended:
            self.assertEqual(ended.code, 0, ended.said)

    def test_2_each_image_was_registered_once_and_both_use_it(self):
        one, two = (self.images(world) for world in self.worlds)

        self.assertEqual(one, two)
        there = json.loads(inside("images"))
        self.assertEqual({made_of: [image] for made_of, image in one.items()}, {made_of: there[made_of] for made_of in one})

    def test_3_neither_reaches_the_other_and_the_operator_reaches_both(self):
        tried = json.loads(inside("groups", "across", "one", "two"))

        self.assertEqual({True}, {reached for way, reached in tried.items() if way.startswith("operator")}, tried)
        self.assertEqual({False}, {reached for way, reached in tried.items() if not way.startswith("operator")}, tried)

    def test_4_both_go_at_once_with_their_images_and_leave_nothing(self):
        made = self.images(self.worlds[0])
        calls = [world.start("down", world.environment, "--yes", "--images") for world in self.worlds]

        for world, call in zip(self.worlds, calls, strict=True):
            ended = world.ended(call)
            self.assertEqual(ended.code, 0, ended.said)
        self.assertEqual(self.before, inventory())
        self.assertEqual(set(), made.keys() & json.loads(inside("images")).keys())


if __name__ == "__main__":
    unittest.main()
