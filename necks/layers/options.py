"""Checks of the options that necks share, with one sentence for each mistake."""

from collections.abc import Sequence


def check_choice(owner: str, option: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse a value that is not among the allowed ones.

    Parameters
    ----------
    owner : str
        Name of the module that has the option.
    option : str
        Name of the option.
    value, allowed
        The given value and the allowed ones.

    Raises
    ------
    ValueError
        If the value is not allowed.
    """
    if value not in allowed:
        raise ValueError(f"{owner}: {option} is {value!r}; allowed: {', '.join(map(str, allowed))}")


def check_num_outs(owner: str, num_outs: int, inputs: int) -> None:
    """Refuse fewer outputs than inputs.

    Parameters
    ----------
    owner : str
        Name of the module that has the option.
    num_outs, inputs : int
        Numbers of levels.

    Raises
    ------
    ValueError
        If there are fewer outputs than inputs.
    """
    if num_outs < inputs:
        raise ValueError(f"{owner}: num_outs is {num_outs}, but there are {inputs} inputs, each with an output")
