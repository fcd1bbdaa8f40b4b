"""yapf, with which mmengine formats the configs that it prints and keeps."""

import os
from importlib import import_module
from tempfile import TemporaryDirectory
from unittest.mock import patch


def import_formatter() -> None:
    """Import yapf without the cache that all processes of a user share; call it before a runner is built.

    When it is imported, yapf reads its grammar from that cache, or leaves it there, and gives the file its name before it is
    written. Of two trainings that start together in a fresh environment, one would read an empty file and fail.
    """
    with TemporaryDirectory() as cache, patch.dict(os.environ, XDG_CACHE_HOME=cache):
        import_module("yapf.yapflib.yapf_api")
