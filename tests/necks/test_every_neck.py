"""What every neck of this family keeps to: shapes, precisions, memory formats, refusals."""

import pytest
import torch

from tests.necks.helpers import build, level_sizes, levels, randomise

BATCH_NORM = {"type": "BN"}
GROUP_NORM = {"type": "GN", "num_groups": 2}
FORMS = {
    "fapn": ("FaPN", {}),
    "fapn_norm": ("FaPN", {"norm_cfg": GROUP_NORM}),
    "aff": ("AFFFPN", {"norm_cfg": BATCH_NORM}),
    "iaff": ("AFFFPN", {"fusion": "iaff", "norm_cfg": BATCH_NORM, "global_norm_cfg": {"type": "GN", "num_groups": 1}}),
    "aff_concat": ("AFFFPN", {"fusion": "concat"}),
    "mssa": ("AFA", {"mode": "self"}),
    "msca_adpms": ("AFA", {"mode": "cross", "pool": [7, 14]}),
    "fcat": ("FCAT", {}),
    **{f"fusion_{fusion}": ("FusionFPN", {"fusion": fusion}) for fusion in ("fast_normalised", "context", "align", "gacarafe")},
    "dysample": ("DySampleFPN", {}),
    "dysample_pl": ("DySampleFPN", {"style": "pl", "dyscope": True}),
}


@pytest.fixture(params=FORMS)
def neck(request):
    """A neck of each form with random weights."""
    name, options = FORMS[request.param]
    return randomise(build(name, **options))


@pytest.mark.parametrize("size", [(33, 27), (50, 84)])
@pytest.mark.parametrize("num_outs", [4, 5, 6])
@pytest.mark.parametrize(("name", "options"), FORMS.values(), ids=FORMS)
def test_outputs_have_the_sizes_of_the_inputs_and_half_of_them_above(name, options, num_outs, size):
    outputs = build(name, num_outs=num_outs, **options).eval()(levels(size=size))
    assert [tuple(output.shape) for output in outputs] == [(2, 16, *s) for s in level_sizes(size, num_outs)]


@pytest.mark.parametrize(("name", "options"), FORMS.values(), ids=FORMS)
def test_takes_any_number_and_width_of_levels(name, options):
    channels = [4, 10, 30]
    outputs = build(name, channels, 8, 4, **options).eval()(levels(channels))
    assert [output.shape[1] for output in outputs] == [8] * 4


def test_trains_under_automatic_mixed_precision(neck):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = neck(levels())
    sum(output.float().square().mean() for output in mixed).backward()
    assert all(torch.isfinite(p.grad).all() for p in neck.parameters())


def test_mixed_precision_stays_near_single_precision(neck):
    # In training, a batch norm of two values gives their signs, which rounding may turn.
    exact = neck.eval()(levels())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = neck(levels())
    for ours, reference in zip(mixed, exact, strict=True):
        assert (ours.float() - reference).norm() < 0.05 * reference.norm()


def test_computes_in_half_precision_as_a_whole(neck):
    exact = neck.eval()(levels())
    for ours, reference in zip(neck.bfloat16()(levels(dtype=torch.bfloat16)), exact, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - reference).norm() < 0.05 * reference.norm()


def test_channels_last_gives_the_same_result(neck):
    neck.double().eval()
    inputs = levels(size=(33, 27), dtype=torch.float64)
    plain = neck(inputs)
    neck.to(memory_format=torch.channels_last)
    last = neck([level.to(memory_format=torch.channels_last) for level in inputs])
    torch.testing.assert_close(last, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(32, 40), (33, 27)])
def test_contiguous_inputs_give_contiguous_outputs(neck, size):
    assert all(output.is_contiguous() for output in neck.eval()(levels(size=size)))


def test_is_deterministic_in_eval_mode(neck):
    neck.eval()
    for first, second in zip(neck(levels()), neck(levels()), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("neck", ["fapn", "aff", "msca_adpms", "dysample_pl"], indirect=True)
def test_compiles_to_one_graph(neck):
    neck.eval()
    compiled = torch.compile(neck, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(levels()), neck(levels()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted({name for name, _ in FORMS.values()}))
def test_fewer_outputs_than_inputs_are_refused(name):
    with pytest.raises(ValueError, match="num_outs is 3"):
        build(name, num_outs=3)
