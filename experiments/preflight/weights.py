"""Pretrained weights: fetched once, on the machine that submits, and checked; trainings read the files."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from experiments.configs.build import load_config
from experiments.configs.weights import address_of, weights_named
from experiments.errors import UserError, each_result, report_user_errors
from experiments.files import write_atomically
from experiments.paths import FETCHED_WEIGHTS, backbone_file
from experiments.preflight.arguments import read_arguments
from experiments.records.locks import one_at_a_time
from experiments.spec.run import Run

ATTEMPTS = 4
SECONDS_BETWEEN_ATTEMPTS = 3
TIMEOUT = 30
BLOCK = 2**20
# torch.hub's convention: the first digits of the file's SHA-256 stand in its name.
CHECKSUM = re.compile(r"-([0-9a-f]{8,64})\.")
# HTTP's answers to a request for the rest of a file.
PARTIAL = 206
NOT_SATISFIABLE = 416


def fetch_weights(runs: Iterable[Run]) -> dict[str, str]:
    """Make every file of weights that runs start from present, and check it where its name has a checksum.

    Parameters
    ----------
    runs : iterable of Run
        Runs to be trained.

    Returns
    -------
    dict
        Name as the configs have it to the file.

    Raises
    ------
    UserError
        If weights are missing and cannot be fetched, or are not those of the checksum.
    """
    by_parts = {
        (run.setting.detector, run.setting.backbone, run.setting.schedule, run.load_from): run
        for run in runs
        if run.may_name_weights
    }
    names = dict.fromkeys(name for run in by_parts.values() for name in weights_named(load_config(run)))
    # What another run's training leaves comes later, and its own rule checks it.
    of_runs = {str(backbone_file(run.load_from)) for run in by_parts.values() if run.load_from}
    addresses = {name: address_of(name) for name in names if name not in of_runs}
    _check_file_names(address for address in addresses.values() if address)
    # All that are missing are told, as whoever fetches them elsewhere wants to do it once.
    files = each_result(lambda name: str(_present(name, addresses[name])), addresses)
    return dict(zip(addresses, files, strict=True))


def _check_file_names(addresses: Iterable[str]) -> None:
    by_file: dict[str, str] = {}
    for address in addresses:
        other = by_file.setdefault(_file_name(address), address)
        if other != address:
            raise UserError(f"weights {address} and {other} have the same file name; rename one of them")


def _present(name: str, address: str | None) -> Path:
    """The file of some weights, fetched where they have an address."""
    if address is None:
        if not Path(name).is_file():
            raise UserError(f"weights {name}: the file does not exist")
        return Path(name)
    file = FETCHED_WEIGHTS / _file_name(address)
    fetch(address, file)
    return file


def _file_name(address: str) -> str:
    """The name under which torch.hub looks for an address."""
    name = os.path.basename(urllib.parse.urlparse(address).path)
    if name in ("", ".", ".."):
        raise UserError(f"weights {address}: the address names no file")
    return name


def fetch(address: str, file: Path) -> None:
    """Fetch a file, unless it is there or torch has fetched it before; an interrupted transfer goes on where it stopped.

    Parameters
    ----------
    address : str
        URL.
    file : Path
        Where it is kept.

    Raises
    ------
    UserError
        If it cannot be fetched, or is not that of the checksum in its name.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(file.parent):
        if file.exists():
            _check(file, address)
            return
        draft = file.with_name(f"{file.name}.part")
        cached = Path(torch.hub.get_dir()) / "checkpoints" / file.name
        if cached.is_file() and CHECKSUM.search(file.name) and not _fault_of(cached):
            file.symlink_to(cached.resolve())
            return
        _transfer(address, draft, file)
        with draft.open("rb") as content:
            os.fsync(content.fileno())
        if fault := _fault_of(draft, file.name):
            draft.unlink()
            raise UserError(f"{address}: {fault}; it was removed, the same command fetches it again")
        draft.replace(file)


def _check(file: Path, address: str) -> None:
    if fault := _fault_of(file):
        raise UserError(f"{file}: {fault}; remove it to fetch {address} again")


def _fault_of(path: Path, name: str | None = None) -> str | None:
    """What is wrong with a file of weights by the checksum in its name, if it has one."""
    expected = CHECKSUM.search(name or path.name)
    if not expected:
        return None if path.stat().st_size else "the file is empty"
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found.startswith(expected[1]):
        return None
    return f"its SHA-256 begins with {found[: len(expected[1])]}, its name says {expected[1]}"


def _transfer(address: str, draft: Path, file: Path) -> None:
    """Write an address's content to a draft, with a few attempts."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _transfer_rest(address, draft)
            return
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            is_final = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
            if attempt == ATTEMPTS or is_final:
                raise UserError(
                    f"weights {address} cannot be fetched: {reason}; fetch the file where there is internet and put it here:"
                    f" {file}"
                ) from error
            print(f"{address}: {reason}; attempt {attempt + 1} of {ATTEMPTS} follows", flush=True)
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)


def _transfer_rest(address: str, draft: Path) -> None:
    start = draft.stat().st_size if draft.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != NOT_SATISFIABLE:
            raise
        # The whole file was there, or it is another one by now; the checksum tells.
        return
    with response, draft.open("ab" if response.status == PARTIAL else "wb") as output:
        _copy(response, output, start if response.status == PARTIAL else 0, draft.name.removesuffix(".part"))


def _copy(response: Any, output: Any, start: int, name: str) -> None:
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    with tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024, mininterval=1) as progress:
        while block := response.read(BLOCK):
            output.write(block)
            progress.update(len(block))
    if total is not None and output.tell() < total:
        raise ConnectionError(f"the transfer ended after {output.tell():,} of {total:,} bytes")


def main() -> None:
    """Fetch the pretrained weights of the runs to train."""
    runs, output = read_arguments(main.__doc__)
    write_atomically(output, {"files_of_weights": fetch_weights(runs)})


if __name__ == "__main__":
    report_user_errors(main)
