"""The figure of the operators' ratios."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from kernels.ratio_figure import plot_ratios

CASES = {"reassembly": ["256x104x160 -> 208x320", "256x120x120 -> 240x240"], "RoIAlign": ["48x24x24, 32 regions -> 7x7"]}
# More than there are colours.
FORMS = {"reassembly": ["copy", *(f"form {number}" for number in range(11))], "RoIAlign": ["copy", "mmcv RoIAlign"]}


@pytest.fixture
def figure(tmp_path, monkeypatch):
    rows = [
        {
            "operator": operator,
            "shape": shape,
            "batch": batch,
            "pass": name,
            "against": form,
            "other / ours": 10 * batch + place,
        }
        for operator, shapes in CASES.items()
        for shape in shapes
        for batch in (1, 2)
        for name in ("forward", "forward + backward")
        for place, form in enumerate(FORMS[operator])
    ]
    monkeypatch.setattr(plt, "close", lambda figure: None)
    plot_ratios(pd.DataFrame(rows), tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").stat().st_size > 10_000
    yield plt.gcf()
    monkeypatch.undo()
    plt.close("all")


def test_ratios_have_a_panel_for_each_operator_and_pass(figure):
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{operator}\n{name}" for operator in CASES for name in ("forward", "forward + backward")]
    mmcv = next(marks for marks in figure.axes[2].collections if marks.get_label() == "mmcv RoIAlign")
    assert mmcv.get_offsets().tolist() == [[11, 0], [21, 1]]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()][:2] == [
        "256×104×160 → 208×320\nbatch 1",
        "256×104×160 → 208×320\nbatch 2",
    ]


def test_all_forms_share_one_legend_with_one_look_each(figure):
    (legend,) = figure.legends
    forms = [*FORMS["reassembly"], "mmcv RoIAlign"]
    assert [text.get_text() for text in legend.get_texts()] == forms
    drawn = [marks for axes in figure.axes for marks in axes.collections]
    looks = {(marks.get_label(), tuple(marks.get_facecolor()[0]), marks.get_paths()[0].vertices.tobytes()) for marks in drawn}
    assert len(looks) == len({look[1:] for look in looks}) == len(forms)
    assert not any(axes.get_legend() for axes in figure.axes)
