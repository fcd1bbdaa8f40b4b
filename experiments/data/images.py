"""The gate for pixels: each image is there, whole, of the annotated size, and loads as a person sees it.

Images are loaded by OpenCV, which turns a photo as its EXIF orientation says and drops transparency. Whatever is unusual is
decoded by OpenCV and by Pillow, and refused by name where they see different colours.
"""

import hashlib
import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps
from tqdm import tqdm

from experiments.data.findings import FEW, Findings

# Formats and modes that OpenCV and Pillow read alike.
USUAL = {"JPEG": {"RGB", "L"}, "MPO": {"RGB", "L"}, "PNG": {"RGB", "L"}}
JPEG = ("JPEG", "MPO")
WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
ALLOWED = "JPEG or PNG, RGB or grey"
# Mean difference of pixel values up to which two decoders see the same picture; they round colours differently.
ROUNDING = 3.0
Content = TypeVar("Content")
TOLD_NAMES = 3
# Reading waits for the disk more than it computes.
THREADS = 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class Picture:
    """What a file holds.

    Attributes
    ----------
    size : (int, int) or None
        Width and height as it is loaded; None if it cannot be.
    fault : str or None
        Why it is refused.
    damage : str or None
        What libjpeg complains about in a picture that it still shows.
    digest : bytes
        Hash of the file.
    """

    size: tuple[int, int] | None = None
    fault: str | None = None
    damage: str | None = None
    digest: bytes = b""


def check_images(
    sizes: Mapping[Path, tuple[int, int]], description: str, findings: Findings, said_by: str = "width and height"
) -> dict[bytes, Path]:
    """Check the files of the images, with a progress bar.

    Parameters
    ----------
    sizes : dict
        File to the width and height that it must have.
    description : str
        Words before the progress bar.
    findings : Findings
        Receives faults and notices.
    said_by : str
        Where that width and height come from.

    Returns
    -------
    dict
        Hash of each file to a file that has it.
    """
    pictures = dict(zip(sizes, in_threads(read_picture, sizes, description, "image"), strict=True))
    faults = [(file, picture.fault) for file, picture in pictures.items() if picture.fault]
    findings.refuse(faults, lambda wrong: f"image {wrong[0]} {wrong[1]}")
    _check_sizes(sizes, pictures, findings, said_by)
    _check_damage({file: picture.damage for file, picture in pictures.items() if picture.damage}, len(sizes), findings)
    hashed = [(picture.digest, file) for file, picture in pictures.items() if picture.digest]
    files = dict(hashed)
    findings.notice(len(hashed) - len(files), "images are the same file as another of this split")
    return files


def in_threads(read: Callable[[Path], Content], files: Collection[Path], description: str, unit: str) -> Iterator[Content]:
    """What a function reads from files, in their order, with a progress bar.

    Parameters
    ----------
    read : callable
        Reads a file; what it raises is raised.
    files : collection of Path
        The files.
    description, unit : str
        Words before the progress bar, and for what it counts.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        yield from tqdm(threads.map(read, files), total=len(files), desc=description, mininterval=2, unit=unit)


def _check_sizes(
    sizes: Mapping[Path, tuple[int, int]], pictures: Mapping[Path, Picture], findings: Findings, said_by: str
) -> None:
    wrong = [(file, picture.size) for file, picture in pictures.items() if picture.size and picture.size != sizes[file]]

    def sentence(found: tuple[Path, tuple[int, int]]) -> str:
        file, (width, height) = found
        turned = ", width and height exchanged" if sizes[file] == (height, width) else ""
        return (
            f"image {file}: {said_by}: are {sizes[file][0]} × {sizes[file][1]}{turned}; allowed: the size of its pixels,"
            f" turned as its EXIF orientation says, {width} × {height}"
        )

    findings.refuse(wrong, sentence)


def _check_damage(damaged: Mapping[Path, str], count: int, findings: Findings) -> None:
    named = ", ".join(file.name for file in list(damaged)[:TOLD_NAMES])
    findings.refuse_above(
        FEW,
        count,
        list(damaged.items()),
        lambda found: f"image {found[0]} is damaged: {found[1]}; fetch it again",
        f"images are damaged, and are loaded as far as they can be: {named}",
    )


def files_in_both(train: Mapping[bytes, Path], val: Mapping[bytes, Path], findings: Findings) -> None:
    """Count images of the validation split that were trained on.

    Parameters
    ----------
    train, val : dict
        Hash to file, from `check_images`.
    findings : Findings
        About the validation split.
    """
    both = [(val[digest].name, train[digest].name) for digest in val.keys() & train.keys()]
    named = ", ".join(f"{one} = {other}" for one, other in sorted(both)[:TOLD_NAMES])
    findings.notice(len(both), f"images are the same file as an image of the training split: {named}")


def read_picture(path: Path) -> Picture:
    """Read a file as it is loaded for a training.

    Parameters
    ----------
    path : Path
        The image's file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Picture(fault=f"({path.parent.resolve()}) does not exist")
    except IsADirectoryError:
        return Picture(fault="is a folder; allowed: a file")
    digest = hashlib.blake2b(content, digest_size=16).digest()
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _check_content(image, content, digest)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Picture(fault=f"is damaged, or no image: {_without_address(error)}; fetch it again", digest=digest)


def _check_content(image: Image.Image, content: bytes, digest: bytes) -> Picture:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    is_usual = image.mode in USUAL.get(image.format or "", ()) and "transparency" not in image.info and not turned
    if not is_usual:
        return _compare_decoders(image, content, digest)
    size = image.size
    if image.format not in JPEG:
        image.load()
        return Picture(size, digest=digest)
    try:
        # The smallest picture that can be decoded: all of the file is read, little is computed.
        simplejpeg.decode_jpeg(content, colorspace="GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        image.load()  # raises if the picture is cut short
        return Picture(size, damage=str(error), digest=digest)
    return Picture(size, digest=digest)


def _compare_decoders(image: Image.Image, content: bytes, digest: bytes) -> Picture:
    """Decode a file with OpenCV and with Pillow; refuse it where a person sees another picture than the one that is loaded."""
    frames = getattr(image, "n_frames", 1)
    loaded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    seen = _as_a_person_sees_it(image)
    fault: str | None = None
    if frames > 1 and image.format not in JPEG:
        fault = f"has {frames} frames"
    elif loaded is None:
        fault = "cannot be loaded by OpenCV"
    elif seen is None:
        fault = "has transparent pixels"
    elif seen.shape != loaded.shape or np.abs(seen.astype(int) - loaded[..., ::-1]).mean() > ROUNDING:
        fault = "is loaded by OpenCV in other colours, or another size, than a person sees"
    if fault or loaded is None:
        return Picture(fault=f"({image.format}, mode {image.mode}) {fault}; allowed: {ALLOWED}", digest=digest)
    return Picture((loaded.shape[1], loaded.shape[0]), digest=digest)


def _as_a_person_sees_it(image: Image.Image) -> np.ndarray | None:
    """Pixels (H, W, 3), RGB; None if some are transparent."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint16) >> 8
        return np.repeat(grey[..., None], 3, axis=2)
    may_be_transparent = image.mode in WITH_ALPHA or "transparency" in image.info
    if may_be_transparent and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        return None
    return np.asarray(image.convert("RGB"))


def _without_address(error: Exception) -> str:
    """Pillow names a file in memory by its address, which changes with every call."""
    return str(error).split(" <_io")[0].removesuffix(" file")
