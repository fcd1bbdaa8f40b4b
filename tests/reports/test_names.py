"""Names are text: whatever a row, a column, a title or a note is called stands in every format as it was written."""

import csv
import io
import os
import re
import warnings
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from experiments.spec.scale import load_scale
from experiments.spec.study import Study
from reports.collect import HISTORY_COLUMNS, RESULT_COLUMNS, RUN_COLUMNS
from reports.cost_figure import plot_flops
from reports.curve_figure import plot_curves
from reports.escaping import TEX, escape_tex, escape_tex_heading, needs_unicode_engine, one_line
from reports.figure_data import FigureData
from reports.figure_style import STYLE
from reports.figures import plot_ap
from reports.render import render
from reports.tables import make_table
from reports.tidy_files import read_tidy, write_tidy

HARD = [
    *("None", "NA", "nan", "null", "N/A", "-", "1.0", "001", "True", "inf", "1e3", "a|b", "|", "\\|", "a\\", "_nothing", "__"),
    *("costs 5$ or 7$", "$\\alpha$", "{brace} \\back ~tilde", "<b>bold</b>", "<script>alert(1)</script>", "&amp;"),
    *("\\input{/etc/passwd}", "$(rm -rf ~)", "`code`", "*star* **bold**", "[link](https://x.y)", "[26]", "# heading", "- item"),
    *("50 % & more # ^2^3", "α → β ≥ ½ ± é ñ 中文 🙂", "שלום", "w" * 205, "two  blanks", "'\"", "=1+1", "a,b;c", "x^2"),
    *("–", "~~gone~~", "http://example.org", "1. first", "--", "---", "\u00a0x"),
]
NAMES = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=30).filter(str.strip)
DEMO = load_scale("demo")
# More of them once in a while: NAME_EXAMPLES=10000 pytest tests/reports/test_names.py
EXAMPLES = int(os.environ.get("NAME_EXAMPLES", 25))
TABLES = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def study_of(names, title="T", heading="AP", notes=()):
    rows = [
        {"name": [name], "setting": {"neck": {"type": "FPN"}}, "published": [20.0 + number]}
        for number, name in enumerate(names)
    ]
    table = {"title": title, "columns": {"box_AP": heading}, "rows": rows}
    defaults = {"detector": "mask_rcnn", "backbone": "resnet50", "schedule": "1x"}
    content = {"name": "own", "title": title, "reference": title, "defaults": defaults, "notes": list(notes)}
    return Study.model_validate(content | {"tables": {"table1": table}})


def collected(study):
    """Results, curves and provenance of a run of each row."""
    labels = [row.label for row in study.tables["table1"].rows]
    runs = [f"{number:012x}" for number in range(len(labels))]
    places = [
        {"row": number, "name": label, "run": run, "seed": 0}
        for number, (label, run) in enumerate(zip(labels, runs, strict=True))
    ]
    results = [
        place
        | {
            "setting": place["run"],
            "metric": "box_AP",
            "measured": 30.0 + place["row"],
            "published": 20.0 + place["row"],
            "date": "2026-01-02",
        }
        for place in places
    ]
    history = [
        place | {"setting": place["run"], "detector": "mask_rcnn", "metric": "loss", "iteration": step, "value": 1.0 / step}
        for place in places
        for step in (1, 2)
    ]
    runs = [place | {"stale": False, "date": "2026-01-02T03:04:05", "machine": "m", "repeats": "x86"} for place in places]
    return (
        pd.DataFrame(results, columns=RESULT_COLUMNS),
        pd.DataFrame(history, columns=HISTORY_COLUMNS),
        pd.DataFrame(runs, columns=RUN_COLUMNS),
    )


def through_files(folder, study):
    """The same, written and read."""
    read = []
    for name, frame in zip(("results", "history", "runs"), collected(study), strict=True):
        write_tidy(folder / f"{name}.csv", frame)
        read.append(read_tidy(folder / f"{name}.csv"))
    return read


def shown(text):
    """What a reader sees: white space counts once."""
    return one_line(text)


def rendered(folder, study, extension):
    results, _, runs = through_files(folder, study)
    return render(make_table(study, "table1", DEMO, results, runs), extension)


class Cells(HTMLParser):
    """First cells of the rows of a page's first table, its heading, and all tags."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.tags, self.heading, self._open = [], set(), "", None
        self.feed(text.partition("<h2>")[0])

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self._open = tag
        if tag == "td":
            self._open = "name" if ("class", "name") in attributes else None
        if self._open == "name":
            self.cells.append("")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open == "name":
            self.cells[-1] += data
        if self._open == "h1":
            self.heading += data


def cells_of_markdown(text):
    """First cells of the first table and the number of cells of each row, as a Markdown reader sees them."""
    table = text[text.index("\n| ") :].partition("\n\n")[0]
    cells, counts, row = [], [], []
    for token in MarkdownIt().enable("table").parse(table):
        if token.type == "tr_open":
            row = []
        elif token.type == "inline":
            kinds = {child.type for child in token.children}
            assert kinds <= {"text", "text_special", "strong_open", "strong_close", "softbreak"}, (token.content, kinds)
            row.append("".join(child.content for child in token.children))
        elif token.type == "tr_close":
            cells.append(row[0])
            counts.append(len(row))
    return cells[1:], counts


def parsed_tex(text):
    """First cells of a LaTeX table, unescaped."""
    body = text[text.index("\\midrule") :].partition("\\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(" \\\\")]
    return [untex(re.split(r"(?<!\\) & ", line)[0]) for line in lines]


def untex(text):
    back = {code: character for character, code in TEX.items()}
    pattern = "|".join(re.escape(code) for code in sorted(back, key=len, reverse=True))
    return re.sub(pattern, lambda found: back[found[0]], text.replace("-{}", "-"))


@TABLES
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
@example(HARD)
def test_names_pass_through_the_files_between_the_stages(tmp_path, names):
    study = study_of(names)
    for frame in through_files(tmp_path, study):
        assert list(dict.fromkeys(frame.name)) == [row.label for row in study.tables["table1"].rows]


@TABLES
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True), NAMES)
@example(HARD, "a|b")
@example(["FPN"], "<i>AP</i> | x")
def test_a_markdown_table_has_the_same_cells(tmp_path, names, title):
    text = rendered(tmp_path, study_of(names, title, notes=[title]), "md")
    cells, counts = cells_of_markdown(text)
    assert cells == [shown(name) for name in names]
    assert set(counts) == {2}


@TABLES
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True), NAMES)
@example(HARD, "<script>alert(1)</script>")
def test_an_html_table_has_the_same_cells_and_no_tag_of_a_name(tmp_path, names, title):
    page = Cells(rendered(tmp_path, study_of(names, title, notes=[title]), "html"))
    assert [shown(cell) for cell in page.cells] == [shown(name) for name in names]
    assert shown(page.heading) == shown(title)
    assert not page.tags & {"script", "i"}


@TABLES
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True), NAMES)
@example(HARD, "\\input{x}")
def test_a_latex_table_has_the_same_cells_and_no_command_of_a_name(tmp_path, names, title):
    text = rendered(tmp_path, study_of(names, title), "tex")
    greek = re.compile("[\u0370-\u03ff]")
    expected = [shown(name) for name in names]
    for cell, name in zip(parsed_tex(text), expected, strict=True):
        assert greek.search(name) or cell == name
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"\\(input|write|catcode|def|alpha\b)", code.replace(r"$\alpha$", "").replace(r"\textbackslash{}", ""))
    assert (needs_unicode_engine(code)) == text.startswith("% Has characters that pdfLaTeX cannot print")


@TABLES
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
@example(HARD)
def test_a_csv_table_has_the_same_cells(tmp_path, names):
    lines = list(csv.reader(io.StringIO(rendered(tmp_path, study_of(names), "csv"))))
    assert [line[0] for line in lines[1:]] == names


@pytest.fixture
def _style():
    plt.rcParams.update(STYLE)
    yield
    plt.close("all")


def figures(study):
    results, history, _ = collected(study)
    data = FigureData(DEMO, results, history, {run: 1e9 + number for number, run in enumerate(results.run)})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the machine's fonts lack some
        for plot in (plot_ap, plot_flops, plot_curves):
            figure = plot(data)
            figure.canvas.draw()
            yield figure
            plt.close(figure)


def joined(text):
    return re.sub(r"\s+", "", text)


@pytest.mark.usefixtures("_style")
@settings(TABLES, max_examples=max(5, EXAMPLES // 20))
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
@example([name for name in HARD if len(name) < 100])
def test_every_row_is_named_in_every_figure(names):
    ap, flops, curves = figures(study_of(names))
    wanted = [joined(name) for name in names]
    assert [joined(label.get_text()) for label in ap.axes[0].get_yticklabels()] == wanted
    assert [joined(axes.get_title()) for axes in curves.axes[: len(names)]] == wanted
    texts = flops.legends[0].get_texts() if flops.legends else flops.axes[0].texts
    labels = sorted(joined(text.get_text()) for text in texts)
    assert [label for label in labels if label != "Paretofront"] == sorted(
        joined(name) for name in names if name != "Pareto front" or not flops.legends
    )


@pytest.mark.usefixtures("_style")
def test_sixty_rows_and_long_names_fit_and_are_told_apart():
    names = [f"row {number}" for number in range(60)] + ["a very long name " * 12]
    drawn = list(figures(study_of(names)))
    for figure in drawn:
        page = figure.bbox
        titles = [title for axes in figure.axes for title in (axes.title, axes._left_title) if title.get_text()]
        for title in (title.get_window_extent() for title in titles):
            assert page.x0 <= title.x0 <= title.x1 <= page.x1
            assert not any(title.overlaps(legend.get_window_extent()) for legend in figure.legends)
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert page.y0 <= box.y0 <= box.y1 <= page.y1
        for axes in figure.axes:
            assert axes.bbox.width > 0.15 * page.width
    _, flops, curves = drawn
    looks = {(bar.lines[0].get_color(), bar.lines[0].get_marker()) for bar in flops.axes[0].containers}
    assert len(looks) == len(names)
    assert len(curves.axes) >= len(names)
    assert curves.axes[len(names) - 1].get_title().endswith("…")


@pytest.mark.parametrize(
    ("heading", "code"),
    [
        ("AP^bb", r"AP\textsuperscript{bb}"),
        ("AP^bb val", r"AP\textsuperscript{bb} val"),
        ("σ_1", r"$\sigma$\_1"),
        ("Ωλ Α ς", r"$\Omega$$\lambda$ A ς"),
        ("a & b", r"a \& b"),
    ],
)
def test_headings_have_superscripts_in_latex(heading, code):
    assert escape_tex_heading(heading) == code


def test_carets_of_names_are_carets_in_latex():
    assert escape_tex("x^2") == r"x\textasciicircum{}2"
