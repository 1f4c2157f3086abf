"""The callback plugin against a real ansible-playbook, which must be on the PATH."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ANSIBLE = pathlib.Path(__file__).parents[1]

PLAY = """
- hosts: localhost
  gather_facts: false
  handlers:
    - {name: Owed, ansible.builtin.debug: {msg: ran}}
  tasks:
    - {name: Secret, ansible.builtin.command: "echo %(secret)s", no_log: true, changed_when: false}
    - {name: Ask to stop, ansible.builtin.command: "touch %(stop)s", changed_when: %(changed)s, notify: Owed}
    - {name: Late, ansible.builtin.debug: {msg: late}}
    - {name: Handlers, ansible.builtin.meta: flush_handlers}
    - {name: Later, ansible.builtin.debug: {msg: later}}
"""


def run(changed):
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        (work / "play.yml").write_text(PLAY % {"secret": "hunter" "2", "stop": work / "stop", "changed": changed})
        environment = dict(
            os.environ,
            ANSIBLE_CONFIG=str(ANSIBLE / "ansible.cfg"),
            ANSIBLE_HOME=folder,
            ANSIBLE_CALLBACK_PLUGINS=str(ANSIBLE / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="sre_events",
            SRE_EVENTS_FILE=str(work / "events"),
            SRE_STOP_FILE=str(work / "stop"),
        )
        command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(work / "play.yml")]
        code = subprocess.run(command, env=environment, capture_output=True, check=False).returncode
        text = (work / "events").read_text()
    return code, text, [json.loads(line) for line in text.splitlines()]


class Events(unittest.TestCase):
    def test_a_stop_file_ends_the_run_before_the_next_task(self):
        code, _, events = run("false")

        self.assertEqual(code, 99)
        self.assertEqual((events[-1]["event"], events[-1]["before"]), ("stopped", "Late"))

    def test_a_handler_that_is_owed_runs_before_the_stop(self):
        code, _, events = run("true")

        self.assertEqual(code, 99)
        self.assertEqual([event["task"] for event in events if event["event"] == "handler_start"], ["Owed"])
        self.assertEqual((events[-1]["event"], events[-1]["before"]), ("stopped", "Later"))

    def test_a_censored_result_is_not_written_and_lines_are_numbered(self):
        _, text, events = run("false")

        self.assertNotIn("hunter" "2", text)
        self.assertEqual([event["seq"] for event in events], list(range(1, len(events) + 1)))


if __name__ == "__main__":
    unittest.main()
