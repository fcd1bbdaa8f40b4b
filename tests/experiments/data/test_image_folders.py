"""Images with one label each: folders for classes, CIFAR-100's own archive, drawn shapes."""

import pickle

import numpy as np
import pytest
from PIL import Image

from experiments.data import cifar100
from experiments.data.findings import DatasetError
from experiments.data.prepare import check_dataset, prepare_dataset
from experiments.errors import UserError
from experiments.spec.datasets import ExpectedSplit
from experiments.spec.image_datasets import Cifar100Dataset, ImageFoldersDataset
from tests.conftest import SHAPES

FOLDERS = ImageFoldersDataset(kind="image_folders", class_count=2)


@pytest.fixture
def folders(tmp_path):
    """Two classes, three images for training and one to measure of each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for name in ("n02", "n01"):
            (tmp_path / f"root/{split}/{name}").mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 255, (12, 16, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / f"root/{split}/{name}/{number}.JPEG", "JPEG")
    return tmp_path / "root"


def test_folders_are_linked_and_identified_by_names_and_sizes(folders, tmp_path):
    first = prepare_dataset(FOLDERS, tmp_path / "datasets/x", folders)
    assert (first.identity.train.images, first.identity.val.images) == (6, 2)
    assert (tmp_path / "datasets/x").resolve() == folders
    assert check_dataset(FOLDERS, folders, {}).identity == first.identity
    (folders / "train/n01/0.JPEG").rename(folders / "train/n01/9.JPEG")
    assert check_dataset(FOLDERS, folders, {}).identity.train != first.identity.train


def test_other_files_are_left_out_and_said(folders):
    (folders / "train/n01/Thumbs.db").write_bytes(b"x")
    checked = check_dataset(FOLDERS, folders, {})
    assert checked.identity.train.images == 6
    assert checked.notices == ["train: notice: 1 files are no images by their names and are left out"]


def flatten(root):
    for path in (root / "val").iterdir():
        (path / "0.JPEG").rename(root / f"val/{path.name}.JPEG")
        path.rmdir()


FAULTS = {
    "flat validation images": (flatten, r"val: holds images without folders of their classes; .* valprep\.sh"),
    "missing split": (lambda root: (root / "val").rename(root / "test"), r"val \(.*\) does not exist"),
    "third class": (lambda root: (root / "train/n03").mkdir(), "train: holds 3 folders; allowed: 2, the classes"),
    "another class": (lambda root: (root / "val/n01").rename(root / "val/n1"), r"val: has no folder n01, and train/ has one"),
    "empty class": (lambda root: (root / "val/n01/0.JPEG").unlink(), "folder n01 holds no image"),
    "broken image": (lambda root: (root / "val/n01/0.JPEG").write_bytes(b"x"), r"n01/0\.JPEG: is damaged, or no image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_sentence(fault, folders, tmp_path):
    damage, sentence = FAULTS[fault]
    damage(folders)
    with pytest.raises((UserError, DatasetError), match=sentence) as error:
        prepare_dataset(FOLDERS, tmp_path / "datasets/x", folders)
    assert "\n" not in str(error.value)


def test_an_incomplete_split_is_refused(folders, tmp_path):
    with pytest.raises(UserError, match="holds 6 images, not 7"):
        prepare_dataset(FOLDERS, tmp_path / "datasets/x", folders, {"train": ExpectedSplit(images=7)})


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """CIFAR-100's archive with few images: 100 classes, of which two in five belong to one of 20 superclasses."""
    monkeypatch.setattr(cifar100, "SPLITS", {"train": 200, "test": 100})
    folder, random = tmp_path / "root/cifar-100-python", np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = {
        "fine_label_names": [f"fine {n:02d}" for n in range(100)],
        "coarse_label_names": [f"coarse {n:02d}" for n in range(20)],
    }
    (folder / "meta").write_bytes(pickle.dumps(names, protocol=2))
    for split, count in cifar100.SPLITS.items():
        fine = [number % 100 for number in range(count)]
        content = {"data": random.integers(0, 255, (count, 3072), np.uint8), "fine_labels": fine}
        content["coarse_labels"] = [number // 5 for number in fine]
        (folder / split).write_bytes(pickle.dumps(content, protocol=2))
    return tmp_path / "root"


@pytest.mark.parametrize(("labels", "count"), [("coarse", 20), ("fine", 100)])
def test_cifars_images_lie_in_their_classes_folders(labels, count, archive, tmp_path):
    dataset, folder = Cifar100Dataset(kind="cifar100", labels=labels), tmp_path / "datasets/cifar"
    checked = prepare_dataset(dataset, folder, archive)
    assert (checked.identity.train.images, checked.identity.val.images) == (200, 100)
    assert len(list((folder / "images/train").iterdir())) == count
    content = pickle.loads((archive / "cifar-100-python/test").read_bytes())
    name = f"{labels} {content[f'{labels}_labels'][37]:02d}"
    with Image.open(folder / f"images/test/{name}/00037.png") as image:
        pixels = np.asarray(image)
    assert np.array_equal(pixels, content["data"][37].reshape(3, 32, 32).transpose(1, 2, 0))
    assert check_dataset(dataset, archive, {}).identity == checked.identity


class Harmful:
    def __reduce__(self):
        return (print, ("harm",))


ARCHIVE_FAULTS = {
    "missing": (lambda path: path.unlink(), "test does not exist; allowed as data_root"),
    "no pickle": (lambda path: path.write_bytes(b"\x1f\x8b"), "is no part of CIFAR-100's archive for Python"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:999]), "is no part of CIFAR-100's archive for Python"),
    "a program": (lambda path: path.write_bytes(pickle.dumps({"data": Harmful()})), r"it asks for \w+\.print; allowed: arrays"),
    "a list": (lambda path: path.write_bytes(pickle.dumps([1])), "it holds a list"),
    "too few": (
        lambda path: path.write_bytes(pickle.dumps({"data": np.zeros((7, 3072), np.uint8), "coarse_labels": [0] * 7})),
        r"data has the shape \(7, 3072\); allowed: 100, 3072",
    ),
}


@pytest.mark.parametrize("fault", ARCHIVE_FAULTS)
def test_faults_of_the_archive_are_one_sentence(fault, archive, tmp_path, capsys):
    damage, sentence = ARCHIVE_FAULTS[fault]
    damage(archive / "cifar-100-python/test")
    with pytest.raises(UserError, match=sentence):
        prepare_dataset(Cifar100Dataset(kind="cifar100", labels="coarse"), tmp_path / "datasets/cifar", archive)
    assert "harm" not in capsys.readouterr().out


def test_single_shapes_are_drawn_beside_the_scenes_and_repeat_themselves(tmp_path):
    one = [prepare_dataset(SHAPES, tmp_path / name, None).identity for name in ("a", "b")]
    assert one[0] == one[1]
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a/one_shape").rglob("*.png"))
    assert len(files) == SHAPES.train_count + SHAPES.val_count
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    with Image.open(tmp_path / "a" / files[0]) as image:
        assert image.size == (SHAPES.image_size // 2,) * 2
