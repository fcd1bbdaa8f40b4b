"""One version in all files that name it."""

import re
import tomllib
from pathlib import Path

import yaml


def test_the_newest_version_of_the_changelog_is_the_projects():
    newest = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", Path("CHANGELOG.md").read_text(), re.MULTILINE)
    citation = yaml.safe_load(Path("CITATION.cff").read_text())
    assert newest[1] == tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"] == citation["version"]
