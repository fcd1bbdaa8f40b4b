"""Parts of models that compute in float32 under autocast, and parts whose results become float32."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map


def compute_in_float32(module: nn.Module) -> None:
    """Let a module compute in float32, whatever it is given.

    Parameters
    ----------
    module : nn.Module
        The module, whose forward is replaced.
    """
    forward: Callable[..., Any] = module.forward

    @wraps(forward)
    def in_float32(*arguments: Any, **options: Any) -> Any:
        with torch.autocast(next(module.parameters()).device.type, enabled=False):
            return forward(*tree_map(to_float32, arguments), **tree_map(to_float32, options))

    module.forward = in_float32  # type: ignore[method-assign]


def return_in_float32(module: nn.Module) -> None:
    """Convert bfloat16 in what a module returns.

    Parameters
    ----------
    module : nn.Module
        The module.
    """
    module.register_forward_hook(lambda _, __, results: tree_map(to_float32, results))


def to_float32(value: object) -> object:
    """A bfloat16 tensor in float32; anything else as it is.

    Parameters
    ----------
    value : object
        A tensor or not.
    """
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value
