"""What another process has not finished writing fails no training."""

import os
import subprocess
import sys

import pytest

# yapf comes with mmengine.
pytestmark = pytest.mark.torch
YAPF = "import yapf.yapflib.yapf_api"
OURS = "from experiments.training.config_formatter import import_formatter; import_formatter()"


def start(program, cache):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False, timeout=600)


@pytest.fixture
def half_written(tmp_path):
    """A folder in which yapf has left its grammar, of which nothing has been written yet."""
    assert start(YAPF, tmp_path).returncode == 0
    files = list(tmp_path.rglob("*.pickle"))
    assert files
    for file in files:
        file.write_bytes(b"")
    return tmp_path


def test_the_formatter_reads_no_grammar_that_another_process_is_writing(half_written):
    assert "EOFError" in start(YAPF, half_written).stderr
    result = start(f"{OURS}; {YAPF}", half_written)
    assert result.returncode == 0, result.stderr


def test_the_formatter_leaves_the_cache_and_the_environment_as_they_were(tmp_path):
    result = start(f"import os; {OURS}; print(os.environ['XDG_CACHE_HOME'])", tmp_path)
    assert result.stdout.strip() == str(tmp_path)
    assert not list(tmp_path.iterdir())
