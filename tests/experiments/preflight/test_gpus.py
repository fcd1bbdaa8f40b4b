"""GPUs are checked before trainings are submitted; here none is, so that torch's answers are played."""

import mmcv.ops
import pytest
import torch

from experiments.errors import UserError
from experiments.preflight.gpus import check_gpus, check_operators


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def fail(message: str):
    def raise_error(*_, **__):
        raise RuntimeError(message)

    return raise_error


def test_torch_without_cuda_is_named(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    sentence = refusal(check_gpus, 4)
    assert f"torch {torch.__version__} is built for CPUs only" in sentence
    assert "4 GPUs" in sentence
    assert "make setup" in sentence


def test_missing_gpus_are_counted_and_the_driver_is_quoted(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    sentence = refusal(check_gpus, 4)
    assert "torch sees 1 of the 4 GPUs" in sentence
    assert "CUDA_VISIBLE_DEVICES: 3" in sentence
    assert "driver: works" in sentence

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "init", fail("Found no NVIDIA driver on your system. Please check\nthat you have one."))
    assert "driver: Found no NVIDIA driver on your system. Please check" in refusal(check_gpus, 4)


def test_every_gpu_that_was_asked_for_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr("experiments.preflight.gpus.check_operators", tried.append)
    assert check_gpus(2) == {"gpus": ["GPU 0", "GPU 1"], "torch": torch.__version__, "cuda": "13.0"}
    assert tried == [torch.device("cuda", 0), torch.device("cuda", 1)]


def test_operators_pass_where_they_compute():
    check_operators(torch.device("cpu"))


@pytest.mark.parametrize("operator", ["nms", "roi_align", "modulated_deform_conv2d"])
def test_an_operator_that_fails_is_named_with_what_to_do(monkeypatch, operator):
    monkeypatch.setattr(
        mmcv.ops, operator, fail("CUDA error: no kernel image is available for execution on the device\nCompile")
    )
    sentence = refusal(check_operators, torch.device("cpu"))
    assert f"mmcv's operator {operator} fails on cpu: CUDA error: no kernel image" in sentence
    assert "FORCE_CUDA=1 make setup" in sentence


def test_a_wrong_result_is_found(monkeypatch):
    right, calls = mmcv.ops.roi_align, []

    def wrong_at_first(*arguments):
        calls.append(arguments)
        return right(*arguments) * (1.01 if len(calls) == 1 else 1)

    monkeypatch.setattr(mmcv.ops, "roi_align", wrong_at_first)
    assert "roi_align fails on cpu: its result is not that of the CPU" in refusal(check_operators, torch.device("cpu"))


def test_a_gpu_is_told_what_to_compile_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    operators = {"nms": fail("nms_impl: implementation for device cuda:0 not found.")}
    monkeypatch.setattr("experiments.preflight.gpus.OPERATORS", operators)
    sentence = refusal(check_operators, torch.device("cuda", 0))
    assert "fails on cuda:0 (NVIDIA H100): nms_impl: implementation for device cuda:0 not found;" in sentence
    assert sentence.endswith("TORCH_CUDA_ARCH_LIST=9.0 FORCE_CUDA=1 make setup")
