"""How images are fitted into a scale's size, whatever is predicted from them."""

from typing import Any

from experiments.spec.run import Run


def training_resize(run: Run) -> dict[str, Any]:
    """The step of a pipeline that resizes a training image.

    Parameters
    ----------
    run : Run
        The run; its schedule may draw the length of the shorter side.
    """
    scale, schedule = run.scale, run.scale.schedules[run.setting.schedule]
    if schedule.resize_ratios is not None:
        ratios = {"scale": schedule.resize_scale or scale.image_scale, "ratio_range": schedule.resize_ratios}
        return {"type": "RandomResize", **ratios, "keep_ratio": True}
    if schedule.short_sides is None:
        return test_resize(run)
    longest = schedule.long_side or max(scale.image_scale)
    return {"type": "RandomResize", "scale": [(longest, side) for side in schedule.short_sides], "keep_ratio": True}


def test_resize(run: Run) -> dict[str, Any]:
    """The step of a pipeline that resizes an image to be measured.

    Parameters
    ----------
    run : Run
        The run.
    """
    return {"type": "Resize", "scale": run.scale.image_scale, "keep_ratio": True}
