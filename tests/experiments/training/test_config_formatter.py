"""What another process has not finished writing fails no training, and no time is spent on the layout of a config's text."""

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


def test_a_config_without_layout_says_the_same_and_is_kept_as_python(tmp_path, monkeypatch):
    from mmengine.config import Config

    from experiments.training.config_formatter import without_layout

    written = tmp_path / "config.py"
    written.write_text("model = dict(type='FPN', sizes=[(1, 2), (3, 4)], options={'a b': dict(c=None)})\nname = \"it's\"\n")
    config = Config.fromfile(written)
    monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda *_, **__: pytest.fail("its text is laid out"))
    plain = without_layout(config)
    plain.dump(tmp_path / "kept.py")
    assert Config.fromfile(tmp_path / "kept.py").to_dict() == plain.to_dict() == config.to_dict()
    assert (plain.filename, plain.text) == (config.filename, config.text)
