"""Wrong input ends in one clear sentence and a non-zero exit code, and nothing finished is lost."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml


def refused(result, *words: str) -> None:
    text = result.stdout + result.stderr
    assert result.returncode != 0, text
    sentences = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1, text
    for word in words:
        assert word in sentences[0], sentences[0]
    assert "Traceback" not in text, text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scale": "dmeo"}, ["experiments/scales/dmeo.yaml", "coco", "demo", "tiny_coco"]),
        ({"studies": ["a2fnp"]}, ["experiments/studies/a2fnp.yaml", "a2fpn"]),
        ({"sede": 0}, ["experiments/config.yaml", "unknown key 'sede'", "seeds"]),
        ({"seeds": ["one"]}, ["experiments/config.yaml", "seeds"]),
        ({"train": "never"}, ["train", "'missing' or 'none'"]),
        ({"seeds": [0, 0]}, ["seeds", "names one twice"]),
        ({"studies": ["a2fpn", "a2fpn"]}, ["studies", "names one twice"]),
        ({"scale": "coco"}, ["data_root", "coco"]),
    ],
)
def test_wrong_configuration(project, values, words):
    project.configure(**values)
    refused(project.snakemake("-n"), *words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"scale: demo\nscale: coco\n", ["experiments/config.yaml, line", "duplicate key 'scale'"]),
        (b"scale: [\n", ["experiments/config.yaml, line"]),
        (b"# \xe9\n", ["experiments/config.yaml", "can't decode byte 0xe9"]),
        (b"# \x00\n", ["experiments/config.yaml", "control characters are not allowed"]),
    ],
)
def test_a_configuration_that_is_no_yaml_or_says_a_key_twice(project, line, words):
    with (project / "experiments/config.yaml").open("ab") as file:
        file.write(line)
    refused(project.snakemake("-n"), *words)
    refused(project.python("-m", "experiments", "status"), *words)


def test_wrong_value_on_the_command_line(project):
    refused(project.snakemake("-n", "--config", "scale=dmeo"), "experiments/scales/dmeo.yaml")


@pytest.mark.parametrize("file", ["metrics.json", "config.py"])
def test_unknown_run(project, file):
    refused(project.snakemake("-n", f"runs/0123456789ab/{file}"), "runs/0123456789ab", "two_necks", "scale instant", "seeds 0")


def test_unknown_neck(project):
    project.change_yaml("experiments/studies/two_necks.yaml", lambda s: s["settings"]["fpn"]["neck"].update(type="FNP"))
    refused(project.snakemake("-n"), "two_necks.yaml", "settings.fpn.neck", "unknown neck 'FNP'", "FPN")


def test_unknown_detector(project):
    project.change_yaml("experiments/studies/two_necks.yaml", lambda s: s["defaults"].update(detector="mask_rnn"))
    refused(project.snakemake("-n"), "two_necks.yaml", "tables.table1", "detector 'mask_rnn'", "mask_rcnn")


def test_study_with_a_typo(project):
    project.change_yaml("experiments/studies/two_necks.yaml", lambda s: s["tables"]["table1"].update(rwos=[]))
    refused(project.snakemake("-n"), "two_necks.yaml", "tables.table1", "unknown key 'rwos'", "rows")


def test_wrong_value_of_a_necks_option(project):
    project.change_yaml("experiments/studies/two_necks.yaml", lambda s: s["settings"]["mgc"]["neck"].update(lateral="mcg"))
    result = project.snakemake("reports/two_necks_table2.md", "--jobs", "1")
    refused(result, "lateral is 'mcg'", "conv, mgc")


def photos(project, tiny_coco: Path) -> Path:
    folder = project / "photos"
    shutil.copytree(tiny_coco, folder, copy_function=shutil.copyfile)
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True, timeout=600)
    project.configure(scale="tiny_coco", data_root=str(folder))
    return folder


def test_missing_annotation_file(project, tiny_coco):
    folder = photos(project, tiny_coco)
    (folder / "annotations/instances_train2017.json").unlink()
    refused(project.snakemake("datasets/tiny_coco.json"), "instances_train2017.json", "does not exist")


def test_truncated_image(project, tiny_coco):
    folder = photos(project, tiny_coco)
    photo = sorted((folder / "train2017").iterdir())[7]
    photo.write_bytes(photo.read_bytes()[:5000])
    refused(project.snakemake("datasets/tiny_coco.json"), photo.name, "damaged")


def test_wrong_category_ids(project, tiny_coco):
    folder = photos(project, tiny_coco)
    path = folder / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 1000
    path.write_text(json.dumps(content))
    refused(project.snakemake("datasets/tiny_coco.json"), "category_id: is 1000", "from 1 to 90")


NECK_OUTPUTS_NAN = """
_forward = A2FPN.forward
A2FPN.forward = lambda self, inputs: tuple(x * (float("nan") if self.training else 1) for x in _forward(self, inputs))
"""


def test_nan_loss_keeps_what_is_finished_and_is_not_trained_again_by_a_retry(project):
    neck = project / "necks/a2fpn.py"
    source = neck.read_text()
    neck.write_text(source + NECK_OUTPUTS_NAN)
    result = project.snakemake("--keep-going", "--retries", "1", "reports/two_necks_table2.md", "reports/two_necks_table1.md")
    assert result.returncode != 0
    assert "Traceback" not in result.stdout + result.stderr
    first, again = [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("error: ")]
    assert "is not finite in epoch 1, iteration 1; lower the learning rate" in first
    assert "not tried again, because it would end alike" in again
    (finished,) = project.folder.glob("runs/*/metrics.json")
    before, report = finished.read_bytes(), (project / "reports/two_necks_table1.md").read_bytes()
    neck.write_text(source)
    assert re.search(r"^train +1$", project.snakemake("-n", "reports/two_necks_table2.md").stdout, re.MULTILINE)
    assert finished.read_bytes() == before
    assert (project / "reports/two_necks_table1.md").read_bytes() == report


def test_no_write_permission(project):
    owner = []
    if os.geteuid() == 0:
        # The capability by which root overrides permissions is dropped: root is then an owner like any other.
        owner = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", "--"]
        if subprocess.run([*owner, "true"], capture_output=True, check=False, timeout=600).returncode != 0:
            pytest.skip("root cannot give up its right to write everywhere on this machine")
    project.folder.chmod(0o555)
    command = [*owner, *project.command("-n")]
    result = subprocess.run(
        command, cwd=project.folder, env=project.environment, text=True, capture_output=True, check=False, timeout=600
    )
    project.folder.chmod(0o755)
    refused(result, "no permission to write", str(project.folder))


def test_configuration_template_is_complete(project):
    configuration = yaml.safe_load((project / "experiments/config.yaml").read_text())
    assert set(configuration) == {"studies", "scale", "seeds", "data_root", "train", "rows"}
