"""One version of each package, wherever it is named."""

import re
from pathlib import Path


def pins(name):
    return dict(re.findall(r"^([\w.-]+)==([\w.+]+)", Path(f"envs/{name}.txt").read_text(), re.MULTILINE))


TRAINING, SNAKEMAKE = pins("requirements"), pins("snakemake")
PINS = SNAKEMAKE | TRAINING


def test_pre_commit_runs_the_linters_of_the_environment():
    text = Path(".pre-commit-config.yaml").read_text()
    assert f"rev: v{PINS['ruff']}" in text
    assert f"snakefmt=={PINS['snakefmt']}" in text


def test_every_package_of_the_light_environment_has_one_version():
    for line in Path("envs/light.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert bool(version) != (name in PINS), line


def test_what_both_environments_have_is_of_one_version_but_for_numpy_and_pandas():
    different = {name for name in TRAINING.keys() & SNAKEMAKE.keys() if TRAINING[name] != SNAKEMAKE[name]}
    assert different == {"numpy", "pandas"}
    assert not {"torch", "onedl-mmdetection"} & SNAKEMAKE.keys()
