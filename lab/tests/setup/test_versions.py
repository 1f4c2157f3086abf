"""What versions.env says for people is what is installed, and every line of it counts."""

import re
import unittest
from pathlib import Path

LAB = Path(__file__).resolve().parents[2]
PACKAGES = {"ANSIBLE_CORE_VERSION": "ansible-core", "MOTO_VERSION": "moto"}


def told() -> dict[str, str]:
    lines = (LAB / "versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def pinned(file: str) -> dict[str, str]:
    """Package → version, of a file for pip."""
    text = (LAB / "setup" / file).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^ \n]+)", text, re.MULTILINE))


class Versions(unittest.TestCase):
    def test_python_packages_are_those_that_are_wanted_and_installed(self):
        for variable, package in PACKAGES.items():
            for file in ("requirements.in", "requirements.txt"):
                self.assertEqual(told()[variable], pinned(file).get(package), f"{variable} and {file}")

    def test_every_other_line_is_read_by_a_script(self):
        scripts = [LAB / "lab", *(LAB / "setup").glob("*.sh")]
        read = "".join(script.read_text() for script in scripts)

        unread = [name for name in told() if name not in PACKAGES and f"${name}" not in read]

        self.assertEqual([], unread)


if __name__ == "__main__":
    unittest.main()
