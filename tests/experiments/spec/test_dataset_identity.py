"""The identity of a dataset, written and read."""

import json

import pytest

from experiments.errors import UserError
from experiments.spec.dataset_identity import DatasetIdentity, SplitIdentity, read_identity, write_identity

SPLIT = SplitIdentity(annotations_sha256="0" * 64, images=2, annotations=5)


@pytest.mark.parametrize("classes", [None, ["box", "can"]])
def test_what_was_written_is_read(tmp_path, classes):
    path = tmp_path / "demo.json"
    identity = DatasetIdentity(train=SPLIT, val=SPLIT, classes=classes)
    write_identity(path, identity)
    assert read_identity(path) == identity
    assert ("classes" in json.loads(path.read_text())) == (classes is not None)


@pytest.mark.parametrize(("content", "words"), [("", "EOF"), ("[]", "object"), ('{"train": {"images": 1}}', "train")])
def test_a_damaged_file_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "demo.json"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"demo.json is damaged or of an older version \(.*{words}.*: delete it"):
        read_identity(path)
