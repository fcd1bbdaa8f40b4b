"""One version of each package, wherever it is named."""

import re
from pathlib import Path

PINS = dict(re.findall(r"^([\w.-]+)==([\w.+]+)", Path("envs/requirements.txt").read_text(), re.MULTILINE))


def test_pre_commit_runs_the_linters_of_the_environment():
    text = Path(".pre-commit-config.yaml").read_text()
    assert f"rev: v{PINS['ruff']}" in text
    assert f"snakefmt=={PINS['snakefmt']}" in text


def test_every_package_of_the_light_environment_has_one_version():
    for line in Path("envs/light.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert bool(version) != (name in PINS), line
