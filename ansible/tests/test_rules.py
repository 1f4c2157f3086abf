"""Tags of os_hardening, the data in its vars/ and the exceptions agree. Run: python3 -m unittest discover ansible/tests"""

import pathlib
import unittest

import yaml

ROLE = pathlib.Path(__file__).parents[1] / "roles" / "os_hardening"
PROFILES = ("stig", "cis")


def variables():
    merged = {}
    for file in sorted((ROLE / "vars" / "main").glob("*.yml")):
        merged.update(yaml.safe_load(file.read_text()))
    return merged


def rules_in_data():
    lists = [value for value in variables().values() if isinstance(value, list)]
    return {rule for entries in lists for entry in entries for profile in PROFILES for rule in entry[profile]}


def rules_in_tags():
    tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())
    return {tag for task in tasks if isinstance(task["tags"], list) for tag in task["tags"] if tag.startswith(("RHEL-09-", "CIS-"))}


class Rules(unittest.TestCase):
    def test_every_rule_in_the_data_is_a_tag_and_every_tag_is_in_the_data(self):
        self.assertEqual(rules_in_data() ^ rules_in_tags(), set())

    def test_an_exception_for_every_node_is_not_in_the_data(self):
        self.assertEqual(rules_in_data() & set(variables()["os_hardening_exceptions"]), set())

    def test_an_exception_for_auditing_is_in_the_data(self):
        self.assertEqual(set(variables()["os_hardening_audit_exceptions"]) - rules_in_data(), set())

    def test_every_file_has_a_mode_that_the_role_knows(self):
        data = variables()
        self.assertEqual({entry["mode"] for entry in data["os_hardening_files"]} - set(data["os_hardening_mode_limits"]), set())


if __name__ == "__main__":
    unittest.main()
