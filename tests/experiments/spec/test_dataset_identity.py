"""The identity of a dataset, written and read."""

import json

import pytest

from experiments.errors import UserError
from experiments.spec.dataset_identity import (
    CheckedDataset,
    DatasetIdentity,
    SplitCheck,
    SplitIdentity,
    read_checked_dataset,
    read_identity,
    write_checked_dataset,
)

SPLIT = SplitIdentity(annotations_sha256="0" * 64, images=2, annotations=5)


@pytest.mark.parametrize("classes", [None, ["box", "can"]])
def test_what_was_written_is_read(tmp_path, classes):
    path = tmp_path / "demo.json"
    identity = DatasetIdentity(train=SPLIT, val=SPLIT, classes=classes)
    checked = CheckedDataset(identity=identity, checks={"val": SplitCheck(without_mask=3, notices=["3 boxes"])})
    write_checked_dataset(path, checked)
    assert read_checked_dataset(path) == checked
    assert read_identity(path) == identity
    assert ("classes" in json.loads(path.read_text())) == (classes is not None)


def test_a_file_of_an_older_version_has_no_checks(tmp_path):
    path = tmp_path / "demo.json"
    path.write_text(json.dumps(DatasetIdentity(train=SPLIT, val=SPLIT).plain))
    assert read_checked_dataset(path).checks is None


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "Expecting value"), ("[]", "dictionary"), ("[1]", "dictionary"), ('{"train": {"images": 1}}', "train")],
)
def test_a_damaged_file_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "demo.json"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"demo.json is damaged or of an older version \(.*{words}.*: delete it"):
        read_identity(path)
