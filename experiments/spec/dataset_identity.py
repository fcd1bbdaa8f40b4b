"""The identity of a dataset, kept in ``datasets/<scale>.json`` and in the metrics of every run."""

from pathlib import Path

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


def write_identity(path: Path, identity: DatasetIdentity) -> None:
    """Write the identity of a dataset.

    Parameters
    ----------
    path : Path
        ``datasets/<scale>.json``.
    identity : DatasetIdentity
        The identity of the dataset.
    """
    write_atomically(path, identity.plain)


def read_identity(path: Path) -> DatasetIdentity:
    """Read the identity of a dataset.

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
        return DatasetIdentity.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{path} is damaged or of an older version ({first_problem(error)}): delete it, and snakemake makes it again"
        ) from None
