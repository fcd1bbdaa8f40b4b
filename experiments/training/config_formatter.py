"""yapf, with which mmengine formats the configs that it prints and keeps."""

import os
from importlib import import_module
from tempfile import TemporaryDirectory
from unittest.mock import patch

from mmengine.config import Config


def import_formatter() -> None:
    """Import yapf without the cache that all processes of a user share; call it before a runner is built.

    When it is imported, yapf reads its grammar from that cache, or leaves it there, and gives the file its name before it is
    written. Of two trainings that start together in a fresh environment, one would read an empty file and fail.
    """
    with TemporaryDirectory() as cache, patch.dict(os.environ, XDG_CACHE_HOME=cache):
        import_module("yapf.yapflib.yapf_api")


def without_layout(config: Config) -> Config:
    """The same config, whose text mmengine leaves as it is.

    A training makes the text five times, for the log, the run's folder and the checkpoints; yapf needs half a second for each.
    `Config.fromfile` takes the option too, and forgets it (onedl-mmengine 0.10.12).

    Parameters
    ----------
    config : Config
        As it was read.
    """
    return Config(
        config.to_dict(),
        cfg_text=config.text,
        filename=config.filename,
        env_variables=config.env_variables,
        format_python_code=False,
    )
