"""Errors that a user can fix, and the one place where they become a sentence and an exit code."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pydantic import ValidationError

Item = TypeVar("Item")
Result = TypeVar("Result")


class UserError(Exception):
    """A problem in the user's files, data or machine, told in one sentence that names the place and the remedy."""


def first_problem(error: ValidationError) -> str:
    """The first thing that a model refuses: its place, if it has one, and what is wrong.

    Parameters
    ----------
    error : ValidationError
        Raised by a pydantic model.
    """
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return (f"{place}: " if place else "") + first["msg"].removeprefix("Value error, ")


def report_user_errors(main: Callable[[], None]) -> None:
    """Run a program; on a `UserError` or an operating-system error print one sentence and exit with code 1, on Ctrl-C with 130.

    Parameters
    ----------
    main : callable
        The program, without arguments.
    """
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'input or output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; the same command goes on", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def each_result(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What a function gives for each of some items. If it refuses some, all faults but the first are printed, a sentence each.

    Parameters
    ----------
    function : callable
        From an item to its result.
    items : iterable
        The items.

    Raises
    ------
    UserError
        The first that the function raises, after all items.
    """
    results: list[Result] = []
    faults: list[UserError] = []
    for item in items:
        try:
            results.append(function(item))
        except UserError as error:
            faults.append(error)
    for fault in faults[1:]:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        raise faults[0]
    return results


def first_line(error: BaseException, otherwise: str) -> str:
    """The first line of an error's text.

    Parameters
    ----------
    error : BaseException
        The error.
    otherwise : str
        Stands where the error has no text.
    """
    return next(iter(str(error).strip().splitlines()), otherwise)


@contextmanager
def build_errors_as_user_errors(subject: str) -> Iterator[None]:
    """Turn the errors with which mmdet, mmengine and necks refuse options into a sentence.

    Parameters
    ----------
    subject : str
        Subject of the sentence: what is being built.

    Raises
    ------
    UserError
        If the body raises one of them.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # torch, mmcv and necks refuse options with any kind of error
        reason = first_line(error, "its options do not fit")
        raise UserError(f"{subject}: the model cannot be built: {type(error).__name__}: {reason}") from error
