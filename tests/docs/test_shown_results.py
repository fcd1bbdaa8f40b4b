"""Results that pages show are those of the examples that they link to."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {line for path in (ROOT / "reports/examples").glob("*.md") for line in path.read_text().splitlines()}


@pytest.mark.parametrize(("page", "rows"), [("README.md", 9), ("docs/necks.md", 18)])
def test_rows_of_results_are_those_of_an_example(page, rows):
    shown = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("| ") and " ± " in line]
    assert len(shown) == rows
    for row in shown:
        assert any(line.startswith(row.removesuffix("|")) for line in EXAMPLES), row
