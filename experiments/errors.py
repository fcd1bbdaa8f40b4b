"""Errors that a user can mend, and the one place where they become a sentence and an exit code."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A problem in the user's files, data or machine, told in one sentence that names the place and the remedy."""


def run_or_explain(main: Callable[[], None]) -> None:
    """Run a program; end it with the sentence of a `UserError` or of the operating system and exit code 1, without a traceback.

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
