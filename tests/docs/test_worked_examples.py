"""The worked examples of the documentation do what they say."""

import re
import shlex
from pathlib import Path

import pytest

from experiments.spec.metrics import TASKS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FILE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TASK_LINE = re.compile(r'^```python\n("\w+": \(Metric.*)\n```$', re.MULTILINE)
WITH_COMMANDS = [page for page in PAGES if COMMANDS.search(page.read_text())]


def write_files(project, page: Path) -> list[str]:
    """Put the files of a page, and its line of the registry of tasks, into the project; the files' names."""
    text = page.read_text()
    for line in TASK_LINE.findall(text):
        registry = project / "experiments/spec/metrics.py"
        first = "TASKS: dict[str, tuple[Metric, ...]] = {\n"
        assert first in registry.read_text()
        registry.write_text(registry.read_text().replace(first, f"{first}    {line}\n"))
    written = FILE.findall(text)
    for name, content in written:
        assert not (project / name).exists(), name
        (project / name).write_text(content)
    return [name for name, _ in written]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_the_files_of_a_page_make_its_commands_plan_trainings(project, page):
    assert write_files(project, page)
    for command in COMMANDS.findall(page.read_text()):
        program, *arguments = shlex.split(command)
        assert program == "snakemake"
        result = project.snakemake(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        assert re.search(r"^train +\d+$", result.stdout, re.MULTILINE), result.stdout


@pytest.mark.slow
def test_the_neck_of_the_documentation_is_trained(project):
    write_files(project, ROOT / "docs/own_neck.md")
    page = project.python("-m", "experiments", "check-neck", "SumFPN", "--option", "bias=false")
    assert page.returncode == 0, page.stderr
    result = project.snakemake("reports/mine_table1.md", "--config", "studies=mine", "scale=instant")
    assert result.returncode == 0, result.stderr
    report = (project / "reports/mine_table1.md").read_text()
    for row in ("FPN", "with biases", "without"):
        assert re.search(rf"^\| {row} \| [*\d.]+ \|", report, re.MULTILINE), report


@pytest.mark.slow
def test_the_task_of_the_documentation_gives_a_table_figures_and_costs(project):
    write_files(project, ROOT / "docs/own_task.md")
    scale = project / "experiments/scales/distances.yaml"
    scale.write_text(scale.read_text().replace("base: demo", "base: instant").replace("in_channels: 48", "in_channels: 16"))
    files = [f"reports/figures/borders_table1_{name}.png" for name in ("ap", "flops")]
    files += ["complexity/distances/borders_table1_speed.json"]
    configuration = ("--config", "studies=borders", "scale=distances")
    result = project.snakemake("reports/borders_table1.md", *files, *configuration)
    assert result.returncode == 0, result.stderr
    report = (project / "reports/borders_table1.md").read_text()
    for row in ("FPN", "PAFPN"):
        assert re.search(rf"^\| {row} \| [*\d.]+ \|", report, re.MULTILINE), report
    assert all((project / file).exists() for file in files)
    plan = project.python("-m", "experiments", "plan", "--probe", *configuration)
    assert plan.returncode == 0, plan.stderr


@pytest.mark.torch
def test_the_detector_of_the_documentation_is_built(project, monkeypatch):
    from experiments.configs.build import build_model
    from experiments.spec.run import Run
    from experiments.spec.scale import load_scale
    from experiments.spec.setting import Setting

    write_files(project, ROOT / "docs/own_parts.md")
    monkeypatch.chdir(project.folder)
    neck = {"type": "FPN", "start_level": 1, "add_extra_convs": "on_output"}
    setting = Setting(neck=neck, detector="fcos", backbone="resnet50", schedule="1x")
    model = build_model(Run(setting, load_scale("with_fcos"), seed=0))
    assert type(model).__name__ == "FCOS"


def code_of(page: str, start: str) -> str:
    """The block of Python of a page that begins with given words."""
    blocks = re.findall(r"^```(?:python|text)\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if block.startswith(start))
    return block


def insert(path: Path, before: str, text: str) -> None:
    """Put text before the first occurrence of other text in a file."""
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, text + before, 1))


def test_the_option_of_the_documentation_reaches_the_config_and_the_run_id(project):
    ids = """
import sys
from experiments.configs.write import config_text
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study
run = Run(load_study("two_necks").settings["fpn"], load_scale(sys.argv[1]), 0)
print(run.id, config_text(run).count("EMAHook"))
"""
    before, _ = project.python("-c", ids, "instant").stdout.split()
    field, hook = code_of("own_parts.md", "ema_momentum"), code_of("own_parts.md", "*([")
    insert(project / "experiments/spec/scale.py", '    precision: Literal["float32"', f"    {field}")
    insert(project / "experiments/configs/write.py", '        {"type": "HistoryHook"},\n', f"        {hook}")
    (project / "experiments/scales/averaged.yaml").write_text(
        "base: instant\ntitle: averaged\ntraining: {ema_momentum: 0.001}\n"
    )
    plain, averaged = (project.python("-c", ids, scale).stdout.split() for scale in ("instant", "averaged"))
    assert plain == [before, "0"]
    assert averaged[1] == "1"
    assert averaged[0] != before


@pytest.mark.slow
def test_the_figure_of_the_documentation_is_drawn(project):
    insert(project / "reports/figures.py", "def main() -> None:", code_of("own_parts.md", "def plot_gain") + "\n\n")
    insert(project / "experiments/workflow/report_inputs.py", '"curves")', '"gain", ')
    figure = "reports/figures/two_necks_table2_gain.png"
    result = project.snakemake(figure, "--config", "studies=two_necks", "scale=instant")
    assert result.returncode == 0, result.stderr
    assert (project / figure).stat().st_size > 5000


def test_every_scale_of_the_documentation_can_be_read(project, monkeypatch):
    from experiments.spec.scale import load_scale

    monkeypatch.chdir(project.folder)
    monkeypatch.setattr("experiments.spec.scale.TASKS", TASKS | {"distance": ()})  # the line of own_task.md
    scales = [name for page in PAGES for name in write_files(project, page) if name.startswith("experiments/scales/")]
    assert scales
    for name in scales:
        assert load_scale(Path(name).stem).base


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target
