"""What keeps a submission from being made is told before the model is built."""

import json

import pytest

from experiments.errors import UserError
from experiments.spec.scale import load_scale
from experiments.training.submission import write_submission

COCO, CITYSCAPES = load_scale("coco"), load_scale("cityscapes")
IMAGE_INFO = {"images": [{"id": 1, "file_name": "1.jpg", "width": 4, "height": 3}], "categories": []}


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """The folder of a finished run, beside an empty dataset."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/0123456789ab"
    run.mkdir(parents=True)
    (run / "metrics.json").write_text("{}")
    (tmp_path / "datasets/coco/annotations").mkdir(parents=True)
    return run


def one_test_image(run) -> None:
    path = run.parent.parent / "datasets/cityscapes/leftImg8bit/test/ulm/ulm_000000_000019_leftImg8bit.png"
    path.parent.mkdir(parents=True)
    path.touch()


def image_info(run, content) -> None:
    path = run.parent.parent / "datasets/coco/annotations/image_info_test-dev2017.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize("task", ["depth", "semantic_segmentation", "panoptic_segmentation"])
def test_a_task_of_which_the_server_takes_nothing_is_one_sentence(finished, task):
    image_info(finished, IMAGE_INFO)
    image = finished.parent.parent / "datasets/coco/test2017/1.jpg"
    image.parent.mkdir()
    image.touch()
    (finished / "config.py").write_text(f'task = "{task}"\n')
    with pytest.raises(
        UserError, match=f"run 0123456789ab: its task is {task}; the evaluation server takes boxes and masks of"
    ):
        write_submission(finished, COCO, finished.parent, 1)


def test_a_server_of_label_maps_takes_no_boxes(finished):
    scale = CITYSCAPES.replace(test_set=CITYSCAPES.test_set.replace(count=1))
    one_test_image(finished)
    (finished / "config.py").write_text('task = "detection"\n')
    with pytest.raises(UserError, match="its task is detection; the evaluation server takes label maps of semantic_segm"):
        write_submission(finished, scale, finished.parent, 1)


@pytest.mark.parametrize(
    ("scale", "prepare", "words"),
    [
        (COCO, lambda run: (run / "metrics.json").unlink(), ["run 0123456789ab has not finished", "metrics.json"]),
        (load_scale("demo"), lambda run: None, ["demo.yaml", "test_set", "nothing can be submitted"]),
        (COCO, lambda run: None, ["image_info_test-dev2017.json", "does not exist", "image_info_test2017.zip"]),
        (COCO, lambda run: image_info(run, "{"), ["image_info_test-dev2017.json", "is not COCO's list of images"]),
        (COCO, lambda run: image_info(run, {"images": []}), ["is not COCO's list of images", "'categories'"]),
        (COCO, lambda run: image_info(run, IMAGE_INFO), ["1 of 1 are missing", "test2017/1.jpg", "test2017.zip"]),
        (CITYSCAPES, lambda run: None, ["leftImg8bit/test", "holds 0 files that end in _leftImg8bit.png, not 1525"]),
        (CITYSCAPES, one_test_image, ["holds 1 files", "not 1525: unpack their archive again", "scales/cityscapes.yaml"]),
    ],
)
def test_what_is_missing_is_one_sentence(finished, scale, prepare, words):
    prepare(finished)
    with pytest.raises(UserError) as error:
        write_submission(finished, scale, finished / "submission", 1)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value), str(error.value)
