"""Weights are fetched once, whole and checked, or one sentence says why not."""

import hashlib

import pytest
import torch
from mmengine.config import Config

from experiments.configs.weights import address_of, weights_named
from experiments.errors import UserError
from experiments.paths import FETCHED_WEIGHTS
from experiments.preflight import weights as module
from experiments.preflight.weights import fetch, fetch_weights
from tests.own_necks import run_of
from tests.servers import file_server

CONTENT = bytes(range(256)) * 5000
CAFFE = "https://mmassets.onedl.ai/pretrain/third_party/resnet50_msra-5891d200.pth"
NAME = f"resnet-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with one file of weights, and an empty project beside an empty cache of torch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_ATTEMPTS", 0)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "cache"))
    with file_server() as server:
        server.files[NAME] = CONTENT
        yield server


def fetched(server, name=NAME):
    fetch(f"{server.address}/{name}", FETCHED_WEIGHTS / name)
    return (FETCHED_WEIGHTS / name).read_bytes()


def test_a_file_is_fetched_once(server):
    assert fetched(server) == fetched(server) == CONTENT
    assert server.requests[NAME] == 1


def test_a_transfer_that_breaks_goes_on_where_it_stopped(server):
    server.broken_after = 1000
    assert fetched(server) == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_a_server_that_cannot_send_the_rest_sends_all_of_it(server):
    server.broken_after, server.knows_ranges = 1000, False
    assert fetched(server) == CONTENT


def test_a_whole_draft_that_was_not_renamed_is_taken(server):
    FETCHED_WEIGHTS.mkdir(parents=True)
    (FETCHED_WEIGHTS / f"{NAME}.part").write_bytes(CONTENT)
    assert fetched(server) == CONTENT


def test_a_server_that_is_busy_is_asked_again(server):
    server.refusals = 2
    assert fetched(server) == CONTENT


def test_what_torch_has_fetched_before_serves(server, tmp_path):
    (tmp_path / "cache/checkpoints").mkdir(parents=True)
    (tmp_path / "cache/checkpoints" / NAME).write_bytes(CONTENT)
    assert fetched(server) == CONTENT
    assert not server.requests


def test_a_cut_file_in_torchs_cache_is_not_taken(server, tmp_path):
    (tmp_path / "cache/checkpoints").mkdir(parents=True)
    (tmp_path / "cache/checkpoints" / NAME).write_bytes(CONTENT[:10])
    assert fetched(server) == CONTENT
    assert server.requests[NAME] == 1


def test_a_file_that_was_put_there_serves_without_internet(server):
    FETCHED_WEIGHTS.mkdir(parents=True)
    (FETCHED_WEIGHTS / NAME).write_bytes(CONTENT)
    fetch(f"http://127.0.0.1:9/{NAME}", FETCHED_WEIGHTS / NAME)


def test_another_file_of_the_name_is_refused(server):
    FETCHED_WEIGHTS.mkdir(parents=True)
    (FETCHED_WEIGHTS / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=f"pretrained/checkpoints/{NAME}: its SHA-256 begins with [0-9a-f]{{8}}, its name says"):
        fetched(server)


def test_a_transfer_that_is_not_of_the_checksum_is_removed(server):
    server.files[NAME] = b"<html>log in first</html>"
    with pytest.raises(UserError, match="it was removed, the same command fetches it again"):
        fetched(server)
    assert not list(FETCHED_WEIGHTS.iterdir())


@pytest.mark.parametrize(
    ("address", "reason"),
    [("http://127.0.0.1:9", "Connection refused"), ("http://no.such.host.invalid", ""), (None, "Not Found")],
)
def test_what_cannot_be_fetched_is_one_sentence_with_the_remedy(server, address, reason):
    with pytest.raises(UserError) as caught:
        fetch(f"{address or server.address}/other.pth", FETCHED_WEIGHTS / "other.pth")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("put it here: pretrained/checkpoints/other.pth")
    assert "\n" not in str(caught.value)


def test_weights_are_found_wherever_a_config_names_them():
    pretrained = {"type": "Pretrained", "checkpoint": "open-mmlab://resnet"}
    config = Config(
        {
            "load_from": "all.pth",
            "model": {
                "pretrained": "https://x/old.pth",
                "backbone": {"init_cfg": pretrained},
                "neck": [{"init_cfg": [{"type": "Kaiming"}, {"type": "Pretrained", "checkpoint": "neck.pth"}]}],
                "roi_head": {"init_cfg": pretrained},
            },
        }
    )
    assert weights_named(config) == ["all.pth", "https://x/old.pth", "open-mmlab://resnet", "neck.pth"]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("https://x/a.pth", "https://x/a.pth"),
        ("/data/a.pth", None),
        (
            "open-mmlab://detectron2/resnet50_caffe",
            CAFFE,
        ),
    ],
)
def test_names_have_addresses(name, address):
    assert address_of(name) == address


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torchvision://resnet50", "torchvision is not part of the environment"),
        ("open-mmlab://no_such", "mmengine knows no weights of this name"),
        ("ftp://x/a.pth", "unknown kind of address; allowed: http, https, open-mmlab"),
    ],
)
def test_names_without_an_address_are_one_sentence(name, sentence):
    with pytest.raises(UserError, match=sentence):
        address_of(name)


@pytest.fixture
def run():
    """A run whose backbone starts from weights; made before the working folder changes."""
    return run_of({"type": "FPN"})


def start_from(run, name):
    run.scale.backbones["resnet50"].config["init_cfg"] = {"type": "Pretrained", "checkpoint": name}


def test_the_weights_of_runs_are_fetched_and_others_need_none(run, server):
    assert fetch_weights([run]) == {}
    start_from(run, f"{server.address}/{NAME}")
    assert fetch_weights([run, run]) == {f"{server.address}/{NAME}": f"pretrained/checkpoints/{NAME}"}


def test_a_file_that_does_not_exist_is_one_sentence(run, server):
    start_from(run, "/data/none.pth")
    with pytest.raises(UserError, match=r"weights /data/none\.pth: the file does not exist"):
        fetch_weights([run])


def test_all_weights_that_are_missing_are_named(run, server, capsys):
    start_from(run, f"{server.address}/one.pth")
    run.scale.config["load_from"] = f"{server.address}/two.pth"
    with pytest.raises(UserError, match=r"two\.pth cannot be fetched"):
        fetch_weights([run])
    assert "one.pth cannot be fetched" in capsys.readouterr().err


def test_two_addresses_of_one_file_name_are_refused(run, server):
    start_from(run, f"{server.address}/{NAME}")
    run.scale.config["load_from"] = f"{server.address}/other/{NAME}"
    with pytest.raises(UserError, match="have the same file name; rename one of them"):
        fetch_weights([run])
