"""The identity of a dataset, in ``datasets/<scale>.json`` and in every run's metrics, and what its check has found."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from experiments.errors import UserError, first_problem
from experiments.files import write_atomically


class SplitIdentity(BaseModel):
    """A split: the SHA-256 of its annotation file, and the numbers of images and annotations in it."""

    model_config = ConfigDict(extra="forbid")

    annotations_sha256: str
    images: int
    annotations: int


class DatasetIdentity(BaseModel):
    """Both splits, and the names of the classes where they come from the annotations."""

    model_config = ConfigDict(extra="forbid")

    train: SplitIdentity
    val: SplitIdentity
    classes: list[str] | None = None

    @property
    def plain(self) -> dict[str, object]:
        """As it is written: what is not known is left out."""
        return self.model_dump(exclude_none=True)


class SplitCheck(BaseModel):
    """What the check of a split has found.

    Attributes
    ----------
    without_mask, encoded_masks : int
        Objects without a mask, and with a run-length encoded one; crowds left out.
    notices : list of str
        What a reader should know.
    """

    model_config = ConfigDict(extra="forbid")

    without_mask: int
    encoded_masks: int = 0
    notices: list[str]


class CheckedDataset(BaseModel):
    """Content of ``datasets/<scale>.json``; the results of the checks are no part of the identity.

    Attributes
    ----------
    checks : dict or None
        The checks of the splits ``train`` and ``val``; None in files of older versions.
    """

    identity: DatasetIdentity
    checks: dict[str, SplitCheck] | None = None

    @property
    def notices(self) -> list[str]:
        """What a reader should know, each with its split."""
        return [f"{name}: notice: {notice}" for name, check in (self.checks or {}).items() for notice in check.notices]

    @property
    def plain(self) -> dict[str, object]:
        """As it is written."""
        checks = {name: check.model_dump() for name, check in (self.checks or {}).items()}
        return {**self.identity.plain, CHECKS: checks}


# Key of the results of the checks, beside those of the identity.
CHECKS = "checks"


def write_checked_dataset(path: Path, dataset: CheckedDataset) -> None:
    """Write the identity of a dataset and what its check has found.

    Parameters
    ----------
    path : Path
        ``datasets/<scale>.json``.
    dataset : CheckedDataset
        Both.
    """
    write_atomically(path, dataset.plain)


def read_identity(path: Path) -> DatasetIdentity:
    """Read the identity of a dataset; see `read_checked_dataset`."""
    return read_checked_dataset(path).identity


def read_checked_dataset(path: Path) -> CheckedDataset:
    """Read the identity of a dataset and what its check has found.

    Parameters
    ----------
    path : Path
        ``datasets/<scale>.json``.

    Raises
    ------
    UserError
        If it is damaged or of an older version.
    FileNotFoundError
        If the dataset was not prepared yet.
    """
    try:
        content: Any = json.loads(path.read_bytes())
        checks = content.pop(CHECKS, None) if isinstance(content, dict) else None
        return CheckedDataset.model_validate({"identity": content, "checks": checks})
    except ValidationError as error:
        problem = first_problem(error)
    except ValueError as error:
        problem = str(error)
    raise UserError(f"{path} is damaged or of an older version ({problem}): delete it, and snakemake makes it again")
