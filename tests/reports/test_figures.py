"""Figures: what they show, and that nothing is cut or lies on something else."""

from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from experiments.spec.metrics import METRICS, Metric
from experiments.spec.scale import load_scale
from reports.collect import collect
from reports.cost_figure import plot_flops, plot_latency
from reports.curve_figure import OTHERS, plot_curves
from reports.figure_data import FigureData
from reports.figure_style import STYLE
from reports.figures import plot_ap
from reports.gain_figure import plot_gains
from reports.gains import gains

DEMO = load_scale("demo")


def by_setting(study, costs):
    """Costs of the rows of Table 2 under the keys of their settings."""
    return dict(zip([setting.key for setting in study.tables["table2"].settings], costs, strict=True))


@pytest.fixture
def collected(finished, study):
    plt.rcParams.update(STYLE)
    for seed in (0, 1):
        for number, setting in enumerate(("fpn", "pafpn", "mgc", "gacarafe", "gacap", "a2fpn")):
            finished(setting, 20.0 + number + seed, seed)
    yield collect(study.tables["table2"], "demo", [0, 1])
    plt.close("all")


def test_ap_shows_measured_mean_and_published_number_of_every_row(collected):
    left, right = plot_ap(FigureData(DEMO, collected.results)).axes
    assert [label.get_text() for label in left.get_yticklabels()][::8] == ["FPN", "MC+GE+GP"]
    assert left.containers[0].lines[0].get_xdata()[0] == 20.5
    assert right.lines[0].get_xdata()[0] == 37.1
    assert left.get_xlabel() == right.get_xlabel() == "AP (%)"


def test_gains_show_seeds_mean_interval_and_what_was_published(collected, study):
    of_rows = gains(study.tables["table2"], DEMO, collected.results)
    left, right = plot_gains(FigureData(DEMO, collected.results, gains=of_rows)).axes
    assert [label.get_text() for label in left.get_yticklabels()][:3] == ["FPN", "PAFPN", "MC"]
    assert " ".join(left.get_xlabel().split()) == "gain in box AP over PAFPN (21.5)"
    assert " ".join(right.get_xlabel().split()) == "gain in mask AP over PAFPN (21.5)"
    lines = {(tuple(line.get_ydata()), line.get_marker()): line for line in left.lines}
    # Rows that have not run are left out.
    assert len(left.get_yticklabels()) == 6
    place = 5
    assert lines[(place,), "|"].get_xdata()[0] == pytest.approx(4.0)
    dots = next(line for line in left.lines if line.get_marker() == "o" and line.get_ydata()[0] == pytest.approx(place + 0.17))
    assert list(dots.get_xdata()) == pytest.approx([3.5, 4.5])
    interval = next(line for line in left.lines if list(line.get_ydata()) == [place, place])
    low, high = interval.get_xdata()
    line = of_rows[(of_rows.row == 8) & (of_rows.metric == "box_AP")].iloc[0]
    assert (low, high) == (line.low, line.high)
    published = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "D"]
    assert published == pytest.approx([-0.5, 1.0, 1.8, 0.7, 2.4])


def test_a_table_without_a_measured_pair_has_a_figure_that_says_so(collected):
    (axes,) = plot_gains(FigureData(DEMO, collected.results)).axes
    assert axes.texts[0].get_text() == "no row and its baseline were both measured"


def test_flops_places_every_row_that_ran(collected, study):
    (axes,) = plot_flops(FigureData(DEMO, collected.results, flops=by_setting(study, [1e9 * (n + 1) for n in range(9)]))).axes
    points = [container.lines[0].get_xydata()[0] for container in axes.containers]
    assert [tuple(point) for point in points][:2] == [(1.0, 20.5), (2.0, 21.5)]
    assert "(G)" in axes.get_xlabel()


def test_every_row_that_ran_has_a_panel_with_a_line_for_each_seed_before_the_other_rows_in_grey(collected):
    figure = plot_curves(FigureData(DEMO, collected.results, collected.history))
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["FPN", "PAFPN", "MC", "GE", "GP", "MC+GE+GP"]
    for axes in panels:
        grey = [line for line in axes.lines if line.get_color() == OTHERS]
        assert (len(grey), len(axes.lines)) == (5, 7)
    assert figure.get_supylabel() == "training loss"


def test_losses_of_another_detector_are_neither_behind_a_row_nor_on_its_axis(collected):
    history = collected.history.copy()
    other = history.name.isin(["GE", "GP"])
    history.loc[other, "detector"] = "mask2former"
    history.loc[other, "value"] += 100.0
    panels = {axes.get_title(): axes for axes in plot_curves(FigureData(DEMO, collected.results, history)).axes}
    grey = {title: sum(line.get_color() == OTHERS for line in axes.lines) for title, axes in panels.items() if title}
    assert grey == {"FPN": 3, "PAFPN": 3, "MC": 3, "GE": 1, "GP": 1, "MC+GE+GP": 3}
    assert panels["FPN"].get_ylim() == panels["MC+GE+GP"].get_ylim()
    assert panels["FPN"].get_ylim()[1] < 100 < panels["GE"].get_ylim()[0]


def test_rows_that_vary_a_number_are_drawn_over_it(collected):
    results = collected.results[collected.results.name.isin(["MC", "GE", "GP"])]
    results = results.assign(x_name="n", x=results.name.map({"MC": 8.0, "GE": 2.0, "GP": 4.0}))
    measured, published = plot_ap(FigureData(DEMO, results)).axes
    assert (measured.get_xlabel(), published.get_xlabel(), measured.get_ylabel()) == ("n", "n", "AP (%)")
    line, _, (bars,) = measured.containers[0]
    assert [tuple(point) for point in line.get_xydata()] == [(2.0, 23.5), (4.0, 24.5), (8.0, 22.5)]
    assert len(bars.get_segments()) == 3
    assert [tuple(point) for point in published.containers[0][0].get_xydata()] == [(2.0, 39.4), (4.0, 38.3), (8.0, 38.6)]


def test_rows_of_several_kinds_that_vary_a_number_have_a_line_for_each_kind(collected):
    names = {"PAFPN": "sum 1", "MC": "sum 2", "GE": "choice 1", "GP": "choice 2"}
    results = collected.results[collected.results.name.isin(names) & (collected.results.metric == "box_AP")]
    results = results.assign(name=results.name.map(names), x_name="b", x=results.name.map(lambda name: float(names[name][-1])))
    over_sum = pd.DataFrame({"against": ["sum 1", "sum 2"], "gain": [1.0, 1.0]})
    measured, published = plot_ap(FigureData(DEMO, results, gains=over_sum)).axes
    assert [container.get_label() for container in measured.containers] == ["sum", "choice"]
    assert [container[0].get_color() == "black" for container in measured.containers] == [True, False]
    assert [list(container[0].get_xdata()) for container in measured.containers] == [[1.0, 2.0]] * 2
    assert len({container[0].get_color() for container in published.containers}) == 2


def test_metrics_are_shown_in_the_order_of_the_columns_and_their_labels_stay_apart(collected, study):
    results = pd.concat([
        collected.results[collected.results.metric == "box_AP"].assign(metric=name)
        for name in ("PQ", "mIoU", "box_AP", "mask_AP")
    ])  # fmt: skip
    of_rows = gains(study.tables["table2"], DEMO, collected.results)
    of_rows = pd.concat([of_rows[of_rows.metric == "box_AP"].assign(metric=name) for name in dict.fromkeys(results.metric)])
    figure = plot_gains(FigureData(DEMO, results, gains=of_rows))
    figure.canvas.draw()
    labels = [axes.xaxis.label for axes in figure.axes]
    assert [label.get_text().split()[2] for label in labels] == ["PQ", "mIoU", "box", "mask"]
    places = [label.get_window_extent() for label in labels]
    assert all(one.x1 < other.x0 for one, other in pairwise(places))


@pytest.mark.parametrize("words", [0, 6])
def test_labels_of_gains_stay_apart_and_on_the_page_however_long_names_are(collected, study, words):
    named = {name: name + " and more" * words for name in collected.results.name.unique()}
    of_rows = gains(study.tables["table2"], DEMO, collected.results)
    of_rows = of_rows.assign(name=of_rows.name.map(named), against=of_rows.against.map(named))
    results = collected.results.assign(name=collected.results.name.map(named))
    figure = plot_gains(FigureData(DEMO, results, gains=of_rows))
    figure.canvas.draw()
    places = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert all(one.x1 < other.x0 for one, other in pairwise(places))
    assert places[0].y0 >= figure.bbox.y0


def test_the_baseline_is_black_and_a_setting_has_its_colour_in_every_table(collected, study):
    of_rows = gains(study.tables["table2"], DEMO, collected.results)
    alone = collected.history[collected.history.name.isin(["PAFPN", "GE"])]
    colours = {}
    for history in (collected.history, alone):
        for axes in plot_curves(FigureData(DEMO, collected.results, history, gains=of_rows)).axes:
            own = {line.get_color() for line in axes.lines} - {OTHERS}
            colours.setdefault(axes.get_title(), set()).update(own)
    assert colours["PAFPN"] == {"black"}
    assert all(len(found) == 1 for title, found in colours.items() if title)
    assert "black" not in colours["GE"]


def test_validated_accuracy_takes_the_place_of_the_loss(collected):
    points = [{"metric": "box_AP", "epoch": epoch, "value": 10.0 + epoch} for epoch in (1, 2)]
    validated = collected.history.drop_duplicates("run").drop(columns=["metric", "epoch", "value", "iteration"])
    history = pd.concat([collected.history, *(validated.assign(**point) for point in points)])
    figure = plot_curves(FigureData(DEMO, collected.results, history))
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("epoch", "validated box AP (%)")
    assert list(figure.axes[0].lines[-1].get_xydata()[:, 1]) == [11.0, 12.0]


def test_the_first_losses_do_not_set_the_axis(collected):
    history = collected.history.copy()
    first = history.iteration == history.iteration.min()
    history.loc[first, ["iteration", "value"]] = [1.0, 1e6]
    assert plot_curves(FigureData(DEMO, collected.results, history)).axes[0].get_ylim()[1] < 10


@pytest.mark.parametrize("plot", ["ap", "flops", "curves"])
def test_nothing_leaves_the_page_and_the_legend_covers_no_axes(collected, study, plot):
    figure = {
        "ap": lambda: plot_ap(FigureData(DEMO, collected.results)),
        "flops": lambda: plot_flops(FigureData(DEMO, collected.results, flops=by_setting(study, [1e9] * 9))),
        "curves": lambda: plot_curves(FigureData(DEMO, collected.results, collected.history)),
    }[plot]()
    figure.canvas.draw()
    page = figure.bbox
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= page.width
        assert box.y1 <= page.height
        assert not any(box.overlaps(legend.get_window_extent()) for legend in figure.legends)


def test_the_baseline_is_black_against_cost_too(collected, study):
    flops, of_rows = by_setting(study, [1e9] * 9), gains(study.tables["table2"], DEMO, collected.results)
    (axes,) = plot_flops(FigureData(DEMO, collected.results, flops=flops, gains=of_rows)).axes
    black = [container.get_label() for container in axes.containers if container.lines[0].get_color() == "black"]
    assert black == ["PAFPN"]


def test_costs_are_relative_to_the_baseline_of_the_gains(collected, study):
    costs = [1.5e9, 2e9, *[3e9] * 7]
    flops, of_rows = by_setting(study, costs), gains(study.tables["table2"], DEMO, collected.results)
    (axes,) = plot_flops(FigureData(DEMO, collected.results, flops=flops, gains=of_rows)).axes
    places = {container.get_label(): container.lines[0].get_xdata()[0] for container in axes.containers}
    assert (places["FPN"], places["PAFPN"], places["MC"]) == (75, 100, 150)
    assert "% of PAFPN's 2 G" in axes.get_xlabel()


def test_costs_are_absolute_where_gains_are_over_several_baselines(collected, study):
    of_rows = gains(study.tables["table2"], DEMO, collected.results)
    of_rows.loc[of_rows.index[0], "against"] = "FPN"
    flops = by_setting(study, [1e9 * (1 + n / 9) for n in range(9)])
    (axes,) = plot_flops(FigureData(DEMO, collected.results, flops=flops, gains=of_rows)).axes
    assert "(G)" in axes.get_xlabel()
    assert min(container.lines[0].get_xdata()[0] for container in axes.containers) == 1


def test_names_beside_points_do_not_cover_one_another(collected, study):
    figure = plot_flops(FigureData(DEMO, collected.results, flops=by_setting(study, [1e9 * (1 + n / 99) for n in range(9)])))
    figure.canvas.draw()
    texts = figure.axes[0].texts
    assert {text.get_text() for text in texts} == {"FPN", "PAFPN", "MC", "GE", "GP", "MC+GE+GP"}
    boxes = sorted((text.get_window_extent() for text in texts), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in pairwise(boxes))
    assert max(box.x1 for box in boxes) <= figure.bbox.width


def test_costs_that_differ_much_stand_on_a_logarithmic_axis(collected, study):
    def scale_of(costs):
        return plot_flops(FigureData(DEMO, collected.results, flops=by_setting(study, costs))).axes[0].get_xscale()

    assert scale_of([1e9] * 8 + [4e9]) == "log"
    assert scale_of([1e9] * 8 + [2e9]) == "linear"


def test_a_table_of_which_nothing_has_run_still_has_figures(finished, study):
    nothing = collect(study.tables["table2"], "demo", [0])
    for figure in (
        plot_ap(FigureData(DEMO, nothing.results)),
        plot_flops(FigureData(DEMO, nothing.results, flops=by_setting(study, [1e9] * 9))),
        plot_curves(FigureData(DEMO, nothing.results, nothing.history)),
    ):
        figure.canvas.draw()
        plt.close(figure)


def test_latency_is_the_time_of_one_image(collected, study):
    (axes,) = plot_latency(
        FigureData(DEMO, collected.results, frames_per_second=by_setting(study, [100.0, 50.0, *[10.0] * 7]))
    ).axes
    points = [tuple(container.lines[0].get_xydata()[0]) for container in axes.containers]
    assert points[:2] == [(10.0, 20.5), (20.0, 21.5)]
    assert "(ms)" in axes.get_xlabel()


def front_of(axes):
    lines = [line for line in axes.lines if line.get_label() == "Pareto front"]
    return [tuple(point) for point in lines[0].get_xydata()] if lines else []


def ten_apart(results):
    """The means of rows in steps of 10 in place of 1, with the same noise."""
    return results.assign(measured=results.measured + 9 * results.row.where(results.row < 8, 5))


def test_the_pareto_front_joins_what_nothing_beats(collected, study):
    flops = by_setting(study, [1e9 * cost for cost in [2.0, 1.0, 4.0, 3.0, *[5.0] * 5]])
    (axes,) = plot_flops(FigureData(DEMO, ten_apart(collected.results), flops=flops)).axes
    assert front_of(axes) == [(1.0, 30.5), (3.0, 50.5), (5.0, 70.5)]
    assert next(line for line in axes.lines if line.get_label() == "Pareto front").get_drawstyle() == "steps-post"


def test_the_pareto_front_leaves_out_what_is_not_told_apart(collected, study):
    # GE is better than PAFPN by 2, with a standard deviation of 0.7 over two seeds.
    flops = by_setting(study, [1e9 * cost for cost in [2.0, 1.0, 4.0, 3.0, *[5.0] * 5]])
    (axes,) = plot_flops(FigureData(DEMO, collected.results, flops=flops)).axes
    assert front_of(axes) == [(1.0, 21.5), (5.0, 25.5)]


def test_one_seed_has_no_pareto_front(collected, study):
    one = ten_apart(collected.results[collected.results.seed != 1])
    (axes,) = plot_flops(FigureData(DEMO, one, flops=by_setting(study, [1e9 * cost for cost in range(1, 10)]))).axes
    assert front_of(axes) == []
    assert "one seed" in axes.get_title(loc="left")


def test_the_pareto_front_of_a_metric_whose_smallest_value_leads(collected, study, monkeypatch):
    monkeypatch.setitem(METRICS, "box_AP", Metric("box_AP", "run", lower_is_better=True, label="error (pixels)"))
    flops = by_setting(study, [1e9 * cost for cost in [2.0, 1.0, 4.0, 3.0, *[5.0] * 5]])
    (axes,) = plot_flops(FigureData(DEMO, ten_apart(collected.results), flops=flops)).axes
    assert front_of(axes) == [(1.0, 30.5), (2.0, 20.5)]
    assert axes.get_ylabel() == "error (pixels)"


def test_where_baselines_differ_rows_stand_below_theirs(collected, study):
    of_rows = gains(study.tables["table2"], DEMO, collected.results)
    over = {"MC": "FPN", "GE": "FPN", "GP": "GE"}
    of_rows = of_rows[of_rows.name.isin(over)].assign(against=lambda lines: lines.name.map(over))
    rows = ["PAFPN", "MC", "FPN", "GP", "GE"]
    results = collected.results[collected.results.name.isin(rows)]
    results = results.assign(row=results.name.map(rows.index)).sort_values("row")
    of_rows = of_rows.assign(row=of_rows.name.map(rows.index))
    left, _ = plot_gains(FigureData(DEMO, results, gains=of_rows)).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["PAFPN", "FPN", "MC", "GE", "GP\nover GE"]


def test_gains_in_an_error_say_that_less_is_better(collected, study, monkeypatch):
    error = Metric("box_AP", "run", is_tested=True, lower_is_better=True, label="error (pixels)")
    monkeypatch.setitem(METRICS, "box_AP", error)
    of_rows = gains(study.tables["table2"], DEMO, collected.results)
    left, _ = plot_gains(FigureData(DEMO, collected.results, gains=of_rows)).axes
    assert " ".join(left.get_xlabel().split()) == "difference in error from PAFPN (21.5), less is better"


def test_ap_of_rows_without_published_numbers_has_one_panel_and_only_the_columns_of_the_table(collected):
    boxes = collected.results[collected.results.metric == "box_AP"].assign(published=float("nan"))
    figure = plot_ap(FigureData(DEMO, boxes))
    assert len(figure.axes) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["box AP (%)"]


def test_rows_with_nothing_to_show_are_left_out(finished, study):
    finished("fpn", 20.0)
    (axes,) = plot_ap(FigureData(DEMO, collect(study.tables["table1"], "demo", [0]).results)).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 17, "the other 13 rows were published for other images and cannot be run"
    assert labels[0] == "Mask R-CNN* R-50-FPN 1x"
    assert axes.containers[0].lines[0].get_xydata()[0].tolist() == [20.0, -0.12]
    plt.close("all")
