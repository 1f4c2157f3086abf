"""Servers: who founds when the first choice is gone, and who is left alone while another does not serve."""

import unittest

from world import NAME, Blow, World, lab, world_that_is_up

TERMINATE = "import boto3, sys; boto3.client('ec2').terminate_instances(InstanceIds=sys.argv[1:])"


class Founding(unittest.TestCase):
    def test_a_founder_whose_machine_ended_before_any_server_joined_is_chosen_anew(self):
        world: World = world_that_is_up()
        ended = world.run("down", NAME, "--yes")
        self.assertEqual(ended.code, 0, ended.said)
        moment, _, _ = world.stop_at({"servers/server-1": [Blow.KILL]})
        self.assertEqual("servers/server-1", moment)
        lost = world.machine("server-1")
        lab("exec", "--", "python3", "-c", TERMINATE, lost)

        ended = world.up()

        self.assertEqual(ended.code, 0, ended.said)
        self.assertNotEqual(lost, world.machine("server-1"))
        chosen = [entry["value"] for entry in world.journal() if entry.get("name") == "servers/founder"]
        self.assertEqual([lost, world.machine("server-1")], [founder["machine"] for founder in chosen])
        self.assertEqual(1, len(world.authorities()))


class Restarting(unittest.TestCase):
    def test_a_server_that_runs_is_touched_only_while_all_others_serve(self):
        world: World = world_that_is_up()
        world.file.write_text(world.file.read_text().replace("servers:\n    count: 1", "servers:\n    count: 3"))
        ended = world.up()
        self.assertEqual(ended.code, 0, ended.said)
        role = world.assets / "ansible/roles/rke2_server/tasks/main.yml"
        role.write_text(role.read_text() + "# a remark\n")
        # Its service runs on, and its kubelet starts nothing again.
        self.on(world, "server-3", "sudo pkill -STOP -x kubelet && sudo pkill -STOP -x etcd")
        before = len(world.journal())

        refused = world.up()

        self.assertEqual(refused.code, 7, refused.said)
        self.assertRegex(refused.line("error"), r"^servers: `server-1` is not restarted: `server-3` does not serve")
        self.assertEqual([], self.touched(world, before), "a server was touched")
        self.on(world, "server-3", "sudo pkill -CONT -x etcd && sudo pkill -CONT -x kubelet")
        before = len(world.journal())

        ended = world.up()

        self.assertEqual(ended.code, 0, ended.said)
        self.assertEqual(["server-1", "server-2", "server-3"], self.touched(world, before))
        self.assertEqual(1, len(world.authorities()))

    def on(self, world: World, node: str, command: str) -> None:
        ended = world.run("ssh", NAME, node, "--", command)
        self.assertEqual(ended.code, 0, ended.said)

    def touched(self, world: World, since: int) -> list[str]:
        """The servers on which work was begun, in order."""
        intents = [entry for entry in world.journal()[since:] if entry["kind"] == "intent"]
        return [entry["step"] for entry in intents if entry["stage"] == "servers" and entry.get("step")]


if __name__ == "__main__":
    unittest.main()
