"""Sources that a test may change."""

import shutil

import pytest

from experiments.spec import fingerprint, neck_catalog


def forget_sources() -> None:
    """What a new process would not know."""
    for module in (fingerprint, neck_catalog):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


@pytest.fixture
def forgotten():
    """Nothing is remembered of the sources, before and after the test."""
    forget_sources()
    yield
    forget_sources()


@pytest.fixture
def copied_sources(tmp_path, monkeypatch, forgotten):
    """The working folder: copies of the sources."""
    for folder in ("necks", "kernels", "experiments"):
        shutil.copytree(folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "libraries"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
