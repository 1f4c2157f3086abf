"""Tags of os_hardening, the data in its vars/, the published rules and the page about them agree. Run: python3 -m unittest
discover ansible/tests"""

import json
import pathlib
import unittest

import yaml

ROOT = pathlib.Path(__file__).parents[2]
ROLE = ROOT / "ansible" / "roles" / "os_hardening"
PROFILES = ("stig", "cis")
PUBLISHED = {"stig": "rhel9-stig.json", "cis": "rhel9-cis-l1.json"}
SEVERITIES = ("high", "medium", "low")
# Lists that say what is not applied, or what stands against it.
NOT_APPLIED = ("os_hardening_left", "os_hardening_tailoring")


def variables():
    merged = {}
    for file in sorted((ROLE / "vars" / "main").glob("*.yml")):
        merged.update(yaml.safe_load(file.read_text()))
    return merged


def published(profile):
    return {rule["id"]: rule for rule in json.loads((ROOT / "src/compliance/data" / PUBLISHED[profile]).read_text())}


def rules_in_data():
    lists = [value for name, value in variables().items() if isinstance(value, list) and name not in NOT_APPLIED]
    return {rule for entries in lists for entry in entries for profile in PROFILES for rule in entry[profile]}


def tagged():
    tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())
    return [task["tags"] for task in tasks if isinstance(task["tags"], list)]


def rules_of(tags):
    return {tag for tag in tags if tag.startswith(("RHEL-09-", "CIS-"))}


def rules_in_tags():
    return set().union(*map(rules_of, tagged()))


def left():
    return [(entry["why"], rule, profile) for entry in variables()["os_hardening_left"] for profile in PROFILES for rule in entry[profile]]


def table():
    """What docs/hardening.md says of every published rule."""
    data, excepted = rules_in_data(), set(variables()["os_hardening_exceptions"])
    rows = [("applied", *(len(data & published(profile).keys()) for profile in PROFILES))]
    rows.append(("an exception on nodes of a cluster", *(len(excepted & published(profile).keys()) for profile in PROFILES)))
    for entry in variables()["os_hardening_left"]:
        rows.append((f"not applied: {entry['why']}", *(len(entry[profile]) for profile in PROFILES)))
    lines = ["| | stig | cis |", "|---|---|---|", *(f"| {what} | {stig} | {cis} |" for what, stig, cis in rows)]
    return "\n".join(lines) + "\n"


class Rules(unittest.TestCase):
    def test_every_rule_in_the_data_is_a_tag_and_every_tag_is_in_the_data(self):
        self.assertEqual(rules_in_data() ^ rules_in_tags(), set())

    def test_what_is_tagged_with_a_rule_is_tagged_with_its_profile_and_severity(self):
        rules = published("stig") | published("cis")
        for tags in tagged():
            named = rules_of(tags)
            severities = {rules[rule].get("severity") for rule in named} & set(SEVERITIES)
            profiles = {profile for profile in PROFILES if named & published(profile).keys()}
            self.assertEqual(set(tags) & {*SEVERITIES, *PROFILES}, severities | profiles, tags[0])

    def test_every_published_rule_is_applied_excepted_or_left_with_a_reason(self):
        data, excepted = rules_in_data(), set(variables()["os_hardening_exceptions"])
        not_applied = [rule for _, rule, _ in left()]
        for profile in PROFILES:
            told = sorted([*(data & published(profile).keys()), *(excepted & published(profile).keys()),
                           *(rule for _, rule, of in left() if of == profile)])
            self.assertEqual(told, sorted(published(profile)))
        self.assertEqual(len(set(not_applied)), len(not_applied))
        self.assertTrue(all(why.strip() for why, _, _ in left()))

    def test_the_page_counts_the_rules(self):
        page = (ROOT / "docs/hardening.md").read_text()
        self.assertIn(table(), page, f"docs/hardening.md should have\n{table()}")

    def test_what_a_cluster_needs_has_a_reason_a_risk_and_something_against_it(self):
        data = variables()
        rules = [rule for entry in data["os_hardening_tailoring"] for rule in entry["rules"]]
        for entry in data["os_hardening_tailoring"]:
            self.assertEqual(set(entry), {"what", "rules", "why", "risk", "instead"}, entry["what"])
        self.assertEqual(len(set(rules)), len(rules))
        self.assertEqual(set(rules) - (published("stig").keys() | published("cis").keys()), set())
        excepted = {*data["os_hardening_exceptions"], *data["os_hardening_audit_exceptions"]}
        self.assertEqual(excepted - set(rules), set())
        page = (ROOT / "docs/hardening.md").read_text()
        self.assertEqual([entry["what"] for entry in data["os_hardening_tailoring"] if f"| {entry['what']} |" not in page], [])

    def test_an_exception_for_every_node_is_not_in_the_data(self):
        self.assertEqual(rules_in_data() & set(variables()["os_hardening_exceptions"]), set())

    def test_an_exception_for_auditing_is_in_the_data(self):
        self.assertEqual(set(variables()["os_hardening_audit_exceptions"]) - rules_in_data(), set())

    def test_every_word_of_a_walk_is_text(self):
        words = [word for entry in variables()["os_hardening_walks"] for word in entry["where"] + entry["find"]]
        self.assertEqual([word for word in words if not isinstance(word, str)], [])

    def test_every_file_has_a_mode_that_the_role_knows(self):
        data = variables()
        self.assertEqual({entry["mode"] for entry in data["os_hardening_files"]} - set(data["os_hardening_mode_limits"]), set())


if __name__ == "__main__":
    unittest.main()
