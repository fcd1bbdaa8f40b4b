"""The folder in which runs look for a dataset: drawn, or a link to where the dataset lies."""

import shutil
from pathlib import Path

from experiments.errors import UserError

# Of a sentence on a split that is not complete.
UNPACK_AGAIN = "unpack its archive again, or correct data_root or the scale's expected_splits"


def check_root(data_root: Path | None) -> Path:
    """Refuse a data root that is no folder.

    Parameters
    ----------
    data_root : Path or None
        The key ``data_root`` of the configuration.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If it is missing or no folder.
    """
    if data_root is None or not data_root.is_dir():
        raise UserError(f"experiments/config.yaml: data_root: {data_root} is not a folder")
    return data_root


def remove_folder(folder: Path) -> None:
    """Remove the drawn folder or the link of an earlier call, never the target of a link.

    Parameters
    ----------
    folder : Path
        The folder in which runs look for the dataset.
    """
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def link_folder(folder: Path, data_root: Path | None) -> None:
    """Let a folder be a link to the data root.

    Parameters
    ----------
    folder : Path
        The folder in which runs look for the dataset.
    data_root : Path or None
        The key ``data_root`` of the configuration.

    Raises
    ------
    UserError
        If the data root is no folder, or a real folder stands where the link is wanted.
    """
    target = check_root(data_root).resolve()
    if target == folder.resolve():
        return
    if folder.exists() and not folder.is_symlink():
        raise UserError(f"{folder} is a folder where a link to {target} is wanted; move it, or give it as data_root")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_folder(folder)
    folder.symlink_to(target, target_is_directory=True)


def make_folder(folder: Path) -> None:
    """Make the folder in which runs look for a dataset, in the place of a link of an earlier call.

    Parameters
    ----------
    folder : Path
        The folder; what is in it stays.
    """
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def link_file(file: Path, target: Path) -> None:
    """Let a file be a link to another.

    Parameters
    ----------
    file : Path
        Where the link is wanted; a link there is replaced.
    target : Path
        What it leads to.

    Raises
    ------
    UserError
        If a file that is no link stands there.
    """
    if file.is_symlink():
        file.unlink()
    elif file.exists():
        raise UserError(f"{file} is a file where a link to {target} is wanted; move it")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target.resolve())
