"""The tables' LaTeX compiles, where there is a LaTeX."""

import shutil
import subprocess

import pytest

from reports.render import render
from tests.reports.test_tables import leave_seeds, table

PDFLATEX = shutil.which("pdflatex")
pytestmark = pytest.mark.skipif(not PDFLATEX, reason="needs pdflatex: apt-get install texlive-latex-recommended")
DOCUMENT = r"""\documentclass{{article}}
\usepackage[T1]{{fontenc}}
\usepackage{{booktabs,amssymb,graphicx}}
\begin{{document}}
{body}
\end{{document}}
"""


def compiled(folder, body):
    """The log of a document with a table."""
    (folder / "table.tex").write_text(DOCUMENT.format(body=body), encoding="utf-8")
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    result = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    log = result.stdout.decode("latin-1")
    assert result.returncode == 0, log[-2000:]
    return log


def test_a_table_with_gains_marks_and_verdicts_compiles(made_reports, tmp_path):
    log = compiled(tmp_path, (made_reports / "reports/table2.tex").read_text(encoding="utf-8"))
    assert "Overfull" not in log, log


def test_verdicts_compile(finished, study, tmp_path):
    leave_seeds(
        finished, "coco", pafpn=(37.5, 37.7), gacarafe=(39.4, 39.5), mgc=(45.0, 45.1), gacap=(30.0, 30.2), fpn=(20.0, 60.0)
    )
    compiled(tmp_path, render(table(study, scale="coco", seeds=(0, 1), with_gains=True), "tex"))
    finished("a2fpn", 39.9, 5, "coco")
    text = render(table(study, scale="coco", seeds=(5,), with_gains=True), "tex")
    assert "$\\approx$" in text
    assert "[$\\approx$]" in text
    compiled(tmp_path, text)


@pytest.mark.parametrize("key", ["table1", "table3", "table6"])
def test_tables_of_which_little_has_run_compile(finished, study, tmp_path, key):
    finished("fpn", 20.0)
    assert "Overfull" not in compiled(tmp_path, render(table(study, key, with_gains=True), "tex"))
