"""What is known of a neck without importing torch."""

import pytest

from experiments.errors import UserError
from experiments.spec.neck_catalog import known_necks, neck_options


def test_own_and_mmdets_necks_are_known():
    assert {"A2FPN", "FPN", "PAFPN", "FPN_CARAFE", "NASFPN", "BFP"} <= set(known_necks())
    assert "AFFResNet" not in known_necks(), "a backbone is no neck"


def test_options_are_those_of_the_constructor():
    assert {"lateral", "gcn", "orthogonal_weight"} <= set(neck_options("A2FPN"))
    assert "add_extra_convs" in neck_options("FPN")


@pytest.mark.usefixtures("forgotten")
def test_a_neck_file_that_is_no_python_is_named(tmp_path, monkeypatch):
    (tmp_path / "necks").mkdir()
    (tmp_path / "necks/broken.py").write_text("class Broken(:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"necks/broken.py, line 1: invalid syntax"):
        known_necks()
