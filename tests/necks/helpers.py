"""What the tests of the necks share: small necks, levels, random weights, comparison with a literal form."""

import torch
from mmdet.registry import MODELS

SMALL = [8, 16, 24, 32]


def build(neck, in_channels=SMALL, out_channels=16, num_outs=5, **options):
    """A registered neck of small widths."""
    return MODELS.build(
        {"type": neck, "in_channels": in_channels, "out_channels": out_channels, "num_outs": num_outs, **options}
    )


def level_sizes(size, number=4):
    """Heights and widths of consecutive levels, halved with ceil."""
    return [tuple(-(-length // 2**level) for length in size) for level in range(number)]


def levels(in_channels=SMALL, size=(32, 40), batch=2, dtype=torch.float32):
    """The same random levels at every call, finest first."""
    generator = torch.Generator().manual_seed(0)
    sizes = level_sizes(size, len(in_channels))
    return [torch.randn(batch, c, *s, generator=generator).to(dtype) for c, s in zip(in_channels, sizes, strict=True)]


@torch.no_grad()
def randomise(module):
    """Give every parameter and running statistic a random value, also those that start at zero; returns the module."""
    generator = torch.Generator().manual_seed(1)
    for name, values in [*module.named_parameters(), *module.named_buffers()]:
        noise = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        if values.dim() > 1:
            values.copy_(noise * values[0].numel() ** -0.5)
        elif name.endswith("running_var"):
            values.copy_(0.5 + noise.square())
        elif values.is_floating_point():
            # A vector that is called weight scales what a norm gives.
            values.copy_(0.2 * noise + name.endswith("weight"))
    return module


def assert_computes(neck, literal, inputs, tolerance=1e-10):
    """Check that a neck and its literal form, a function of (state, inputs), agree in outputs and in every gradient."""
    state = neck.state_dict(keep_vars=True)
    parameters = dict(neck.named_parameters())
    results = []
    for forward in (neck, lambda levels: literal(state, levels)):
        leaves = [level.detach().clone().requires_grad_() for level in inputs]
        outputs = forward(leaves)
        gradients = torch.autograd.grad(
            sum(output.sin().sum() for output in outputs), [*leaves, *parameters.values()], materialize_grads=True
        )
        results.append([*outputs, *gradients])
    names = (
        [f"output {n}" for n in range(len(outputs))] + [f"gradient of input {n}" for n in range(len(inputs))] + [*parameters]
    )
    for name, ours, theirs in zip(names, *results, strict=True):
        assert ours.shape == theirs.shape, name
        assert (ours - theirs).abs().max() <= tolerance * (1 + theirs.abs().max()), name


def without_gradient(neck, inputs):
    """Names of the parameters whose gradient is missing, and of those that get nothing but zeros, in one backward."""
    neck.zero_grad()
    sum(output.sin().sum() for output in neck(inputs)).backward()
    missing = {name for name, p in neck.named_parameters() if p.grad is None}
    return missing, {name for name, p in neck.named_parameters() if p.grad is not None and not p.grad.any()}


def assert_uniform(parameter, bound):
    """Check that values fill the range from -bound to bound and balance."""
    assert 0.8 * bound < parameter.abs().max() <= bound
    assert parameter.mean().abs() < 4 * bound * (3 * parameter.numel()) ** -0.5
