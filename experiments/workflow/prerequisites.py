"""What trainings wait for: the dataset and the checks of it, of GPUs and of the disk."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.data.folders import check_root
from experiments.errors import UserError
from experiments.paths import CHECKS, DATASETS, metrics_file
from experiments.spec.dataset_identity import SplitCheck, read_checked_dataset
from experiments.workflow.asked import Asked, if_few
from experiments.workflow.grid import Grid


class Prerequisites:
    """Files, input functions and parameters of the rules that trainings wait for.

    Parameters
    ----------
    grid : Grid
        The grid of the configuration.
    asked : Asked
        What the user asked for.
    is_dry_run : bool
        Whether Snakemake plans only, so that the data may still be elsewhere.
    """

    def __init__(self, grid: Grid, asked: Asked, is_dry_run: bool = False) -> None:
        self.grid = grid
        self._asked = asked
        self._is_dry_run = is_dry_run

    def data_root(self, _wildcards: object) -> str:
        """The folder of a dataset that is not drawn.

        Raises
        ------
        SystemExit
            With one sentence, if it is no folder, unless Snakemake plans only.
        """
        folder = self.grid.configuration.data_root
        if folder is None:
            return "none"
        if not self._is_dry_run and not self.grid.scale.dataset.is_drawn:
            try:
                check_root(Path(folder))
            except UserError as error:
                raise SystemExit(f"error: {error}") from None
        return folder

    @property
    def expected_splits(self) -> str:
        """What the dataset must hold to be complete, as JSON."""
        return json.dumps({name: split.model_dump(mode="json") for name, split in self.grid.scale.expected_splits.items()})

    @property
    def dataset_checked(self) -> str:
        """The file with the identity of the dataset."""
        return str(self.grid.scale.dataset_file)

    def dataset_of_classes(self, wildcards: Any) -> list[str]:
        """The identity of the dataset, if the classes are read from it."""
        scale = self.grid.scale
        is_own = getattr(wildcards, "at", scale.name) == scale.name
        return [self.dataset_checked] if is_own and scale.dataset.classes == "annotations" else []

    @cached_property
    def checks_of_splits(self) -> dict[str, SplitCheck]:
        """What the check of the dataset has found, as far as it took place."""
        try:
            return read_checked_dataset(Path(self.dataset_checked)).checks or {}
        except (FileNotFoundError, UserError):
            return {}  # it is checked again, or trainings say what is wrong with the file

    def masks_are_needed(self, _wildcards: object, input: object) -> str:
        """The option that refuses masks from which a run that is asked for cannot learn; untracked."""
        masks = self.grid.masks_of(self.grid.runs[run] for run in self._asked.runs())
        return f"--masks {masks}" if masks else ""

    @property
    def stuff_maps_checked(self) -> str:
        """The file of the check of the maps of stuff and things."""
        return str(DATASETS / f"{self.grid.scale.name}_stuff_maps.json")

    @property
    def gpus_checked(self) -> str:
        """The file of the check of GPUs."""
        return str(CHECKS / f"{self.grid.scale.name}_{self.grid.scale.resources.gpus}_gpus.json")

    @property
    def disk_checked(self) -> str:
        """The file of the check of disk space."""
        return str(CHECKS / f"{self.grid.scale.name}_disk.json")

    @property
    def checks(self) -> list[str]:
        """The files of all checks."""
        return [self.gpus_checked, self.disk_checked]

    def gpus_to_check(self, _wildcards: object, input: object) -> int:
        """Number of GPUs to check. The unused `input` argument keeps Snakemake from tracking this value (snakemake#3895)."""
        resources = self.grid.scale.resources
        return resources.gpus if resources.check_gpus else 0

    def runs_to_store(self, _wildcards: object, input: object) -> list[str]:
        """Ids of the requested missing runs; empty, meaning all, if they do not fit into a command line."""
        return if_few([run for run in self._asked.runs() if not metrics_file(run).exists()])

    def configuration_json(self, _wildcards: object, input: object) -> str:
        """The configuration as JSON; untracked, see `gpus_to_check`."""
        return self.grid.configuration.model_dump_json()
