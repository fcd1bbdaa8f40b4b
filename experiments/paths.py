"""Where files lie, relative to the project's folder."""

from pathlib import Path

CONFIGURATION = Path("experiments/config.yaml")
STUDIES = Path("experiments/studies")
SCALES = Path("experiments/scales")
SERVER_RESULTS = Path("experiments/evaluation_server")
FORMER_SERVER_RESULTS = Path("experiments/test_dev")

RUNS = Path("runs")
# Regular expression of a run's id.
RUN_ID = "[0-9a-f]{12}"
DATASETS = Path("datasets")
COMPLEXITY = Path("complexity")
CHECKS = Path("checks")
# As torch.hub lays out its folder.
PRETRAINED = Path("pretrained")
FETCHED_WEIGHTS = PRETRAINED / "checkpoints"
# Of finished runs, for trainings that begin with them.
BACKBONES_OF_RUNS = PRETRAINED / "backbones"
REPORTS = Path("reports")
FIGURES = REPORTS / "figures"


def run_folder(run: str) -> Path:
    """The folder of a run.

    Parameters
    ----------
    run : str
        The run's id.
    """
    return RUNS / run


def backbone_file(run: str) -> Path:
    """The weights of a finished run's backbone, for other models to begin with.

    Parameters
    ----------
    run : str
        The run's id.
    """
    return BACKBONES_OF_RUNS / f"{run}.pth"


def metrics_file(run: str) -> Path:
    """The one file that a run leaves for the reports.

    Parameters
    ----------
    run : str
        The run's id.
    """
    return RUNS / run / "metrics.json"
