"""A rule fails when its program fails, and nothing that is left of it passes for a result."""

import re
import subprocess

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.long

# Loaded by every Python that a test's project starts. Killed: by the kernel, within the first file that it writes.
SITECUSTOMIZE = """
import os, resource, signal, sys
sys.dont_write_bytecode = True
module, _, fault = os.environ.get("FAULT", "").partition("=")
if fault and module in sys.orig_argv:
    if fault == "exit":
        os._exit(3)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
"""
FAULTS = ("exit", "killed")
# Rule -> its program, and a file that it makes, in the order in which they need each other.
RULES = {
    "dataset": ("experiments.data.prepare", "datasets/instant.json"),
    "check_gpus": ("experiments.preflight.gpus", "checks/instant_0_gpus.json"),
    "check_disk": ("experiments.preflight.disk", "checks/instant_disk.json"),
    "check_necks": ("experiments.preflight.necks", "checks/necks_0123456789ab.json"),
    "weights": ("experiments.preflight.weights", "checks/weights_0123456789ab.json"),
    "config": ("experiments.configs.write", "runs/{run}/config.py"),
    "train": ("experiments.training.train", "runs/{run}/metrics.json"),
    "backbone": ("experiments.training.backbone_weights", "pretrained/backbones/{run}.pth"),
    "complexity": ("experiments.cost.complexity", "complexity/instant/two_necks_table1.json"),
    "speed": ("experiments.cost.speed", "complexity/instant/two_necks_table1_speed.json"),
    "collect": ("reports.collect", "reports/data/two_necks_table1.csv"),
    "tables": ("reports.tables", "reports/two_necks_table1.md"),
    "figures": ("reports.figures", "reports/figures/two_necks_table1_ap.png"),
    "flops_figure": ("reports.figures", "reports/figures/two_necks_table1_flops.png"),
    "index": ("reports.index", "reports/index.html"),
}
# What everyone uses; the others, which are wired alike, take minutes together.
EVERY_DAY = ("dataset", "train", "collect", "tables")
# Rules whose inputs the small study of the tests has not; empty files stand for them.
WITHOUT_INPUTS = {
    "stuff_maps": ("experiments.data.prepare", "datasets/instant_stuff_maps.json", []),
    "submission": ("experiments.training.submission", "submissions/{run}", ["datasets/instant.json"]),
    "examples_figure": (
        "reports.examples_figure",
        "reports/figures/two_necks_table1_examples.png",
        ["runs/{run}/metrics.json", "reports/data/two_necks_table1.csv", "datasets/instant.json"],
    ),
    "latency_figure": (
        "reports.figures",
        "reports/figures/two_necks_cost_latency.png",
        ["runs/{run}/metrics.json", "reports/data/two_necks_cost.csv", "complexity/instant/two_necks_cost_speed.json"],
    ),
}
GRID = "from experiments.__main__ import read_grid; print(*read_grid([]).runs)"
COST = {"title": "Cost", "columns": {"fps": "FPS"}, "rows": [{"name": "FPN", "setting": "fpn"}]}


def may_fail(project):
    """Let the program that the variable FAULT names fail in a project."""
    (project / "sitecustomize.py").write_text(SITECUSTOMIZE)
    project.change_yaml("experiments/studies/two_necks.yaml", lambda study: study["tables"].update(cost=COST))
    return project


@pytest.fixture(scope="module")
def faulty(shared_project):
    """A project in which one rule after the other fails and is made."""
    return may_fail(shared_project)


@pytest.fixture(scope="module")
def run(faulty):
    """Id of the run of Table 1."""
    return faulty.python("-c", GRID).stdout.split()[0]


def call(project, target, fault="", *options):
    return subprocess.run(
        project.command(*options, "--", target),
        cwd=project.folder,
        env={**project.environment, "FAULT": fault},
        text=True,
        capture_output=True,
        check=False,
        timeout=600,
    )


def fails(project, program, target, *options):
    for fault in FAULTS:
        result = call(project, target, f"{program}={fault}", *options)
        said = result.stdout + result.stderr
        assert result.returncode != 0, (program, fault, said)
        assert "latency-wait" not in said, "the program failed, not the file system"
        assert not (project / target).exists(), (program, fault)


def test_every_rule_with_a_program_is_tried_here():
    text = (ROOT / "Snakefile").read_text()
    rules = {name for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", text, re.MULTILINE) if "shell:" in body}
    assert rules - {"unknown_report"} == RULES.keys() | WITHOUT_INPUTS.keys()


def every_day_or_slow():
    return [pytest.param(rule, marks=() if rule in EVERY_DAY else pytest.mark.slow) for rule in RULES]


@pytest.mark.parametrize("rule", every_day_or_slow())
def test_a_rule_fails_with_its_program_and_is_made_by_the_same_command_afterwards(faulty, run, rule):
    program, target = RULES[rule]
    target = target.format(run=run)
    fails(faulty, program, target)
    result = call(faulty, target)
    assert result.returncode == 0, result.stderr
    assert (faulty / target).stat().st_size > 20


@pytest.mark.slow
@pytest.mark.parametrize("rule", WITHOUT_INPUTS)
def test_a_rule_fails_with_its_program(project, run, rule):
    may_fail(project)
    program, target, inputs = WITHOUT_INPUTS[rule]
    for name in inputs:
        path = project / name.format(run=run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    fails(project, program, target.format(run=run), "--allowed-rules", rule)


def test_a_training_fails_with_the_program_that_writes_its_config(project, run):
    fails(may_fail(project), "experiments.configs.write", f"runs/{run}/metrics.json")
