"""What a command that fails has said."""

import re
import subprocess


def sentence_of(result: subprocess.CompletedProcess[str]) -> str:
    """The one sentence with which a command has refused something."""
    text = result.stdout + result.stderr
    assert result.returncode != 0, text
    assert "Traceback" not in text
    # Another job's progress bar may stand in the line.
    (sentence,) = [found[0] for line in text.splitlines() if (found := re.search(r"(?:^|(?<=\]))error: .*", line))]
    return sentence
