"""What a command that fails has said."""

import subprocess


def sentence_of(result: subprocess.CompletedProcess[str]) -> str:
    """The one sentence with which a command has refused something."""
    text = result.stdout + result.stderr
    assert result.returncode != 0, text
    assert "Traceback" not in text
    (sentence,) = [line for line in text.splitlines() if line.startswith("error: ")]
    return sentence
