"""The gate for pixels: an image loads as a person sees it, or is refused by name."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image, ImageOps

from experiments.data.findings import Findings
from experiments.data.images import check_images, files_in_both

WIDTH, HEIGHT = 80, 64
LABELS = Path("train.json")


def scene() -> Image.Image:
    """A smooth picture with a different colour in each corner."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] / [[[HEIGHT]], [[WIDTH]]]
    return Image.fromarray((np.stack([rows, columns, 1 - rows], 2) * 200 + 20).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    image = scene()
    exif = image.getexif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", exif=exif, quality=95)


def with_alpha(least: int) -> Image.Image:
    image = scene().convert("RGBA")
    image.putalpha(Image.fromarray(np.linspace(least, 255, WIDTH * HEIGHT).astype(np.uint8).reshape(HEIGHT, WIDTH)))
    return image


def palette_with_transparency() -> bytes:
    return encoded(scene().convert("P", palette=Image.Palette.ADAPTIVE), "PNG", transparency=0)


def sixteen_bits() -> bytes:
    return encoded(Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257), "PNG")


def frames(kind: str) -> bytes:
    return encoded(scene(), kind, save_all=True, append_images=[ImageOps.mirror(scene())])


# Content -> the width and height that it is loaded with.
LOADED = {
    "photo": (encoded(scene(), "JPEG"), (WIDTH, HEIGHT)),
    "grey photo": (encoded(scene().convert("L"), "JPEG"), (WIDTH, HEIGHT)),
    "progressive photo": (encoded(scene(), "JPEG", progressive=True), (WIDTH, HEIGHT)),
    "drawing": (encoded(scene(), "PNG"), (WIDTH, HEIGHT)),
    "grey drawing": (encoded(scene().convert("L"), "PNG"), (WIDTH, HEIGHT)),
    "palette": (encoded(scene().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), (WIDTH, HEIGHT)),
    "black and white": (encoded(scene().convert("1"), "PNG"), (WIDTH, HEIGHT)),
    "16 bits": (sixteen_bits(), (WIDTH, HEIGHT)),
    "opaque": (encoded(with_alpha(255), "PNG"), (WIDTH, HEIGHT)),
    "BMP": (encoded(scene(), "BMP"), (WIDTH, HEIGHT)),
    "TIFF": (encoded(scene(), "TIFF"), (WIDTH, HEIGHT)),
    "WebP": (encoded(scene(), "WEBP", lossless=True), (WIDTH, HEIGHT)),
    "turned by 180": (turned(3), (WIDTH, HEIGHT)),
    "turned by 90": (turned(6), (HEIGHT, WIDTH)),
    "mirrored and turned": (turned(5), (HEIGHT, WIDTH)),
    "CMYK": (encoded(scene().convert("CMYK"), "JPEG", quality=95), (WIDTH, HEIGHT)),
}
PHOTO = encoded(scene().resize((400, 320)), "JPEG", quality=95)
REFUSED = {
    "transparent": (
        encoded(with_alpha(0), "PNG"),
        "(PNG, mode RGBA) has transparent pixels; allowed: JPEG or PNG, RGB or grey",
    ),
    "transparent palette": (palette_with_transparency(), "(PNG, mode P) has transparent pixels"),
    "animation": (frames("GIF"), "has 2 frames; allowed"),
    "animated WebP": (frames("WEBP"), "has 2 frames"),
    "floats": (encoded(scene().convert("F"), "TIFF"), "(TIFF, mode F) "),
    "cut": (PHOTO[: len(PHOTO) // 2], "is damaged"),
    "cut, with its end mark": (PHOTO[: len(PHOTO) // 2] + b"\xff\xd9", "is damaged"),
    "a hole": (PHOTO[: len(PHOTO) // 2] + PHOTO[len(PHOTO) // 2 + 500 :], "is damaged"),
    "a drawing that is cut": (encoded(scene(), "PNG")[:-200], "is damaged"),
    "a drawing that is cut, with its end mark": (
        encoded(scene(), "PNG")[:-200] + encoded(scene(), "PNG")[-12:],
        "is damaged",
    ),
    "text": (b"<html>404</html>", "is damaged, or no image"),
    "empty": (b"", "is damaged, or no image"),
}


def check(folder: Path, content: bytes, size=(WIDTH, HEIGHT), name="a.jpg"):
    (folder / name).write_bytes(content)
    findings = Findings(LABELS)
    files = check_images({folder / name: size}, "checking", findings)
    return findings, files


def as_shown(content: bytes) -> np.ndarray:
    """RGB, turned as a viewer turns it."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", LOADED)
def test_what_passes_is_loaded_as_it_is_shown(tmp_path, kind):
    content, size = LOADED[kind]
    findings, _ = check(tmp_path, content, size)
    assert findings.is_right, findings.first
    assert findings.notices == []
    loaded = LoadImageFromFile()({"img_path": str(tmp_path / "a.jpg")})["img"][..., ::-1].astype(int)
    shown = as_shown(content)
    assert loaded.shape == shown.shape == (size[1], size[0], 3)
    assert np.abs(loaded - shown).mean() < 3


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_loaded_otherwise_is_refused_by_name(tmp_path, kind):
    content, words = REFUSED[kind]
    size = (400, 320) if content.startswith(PHOTO[:100]) else (WIDTH, HEIGHT)
    findings, _ = check(tmp_path, content, size)
    assert not findings.is_right
    assert f"train.json: image {tmp_path / 'a.jpg'} " in findings.first
    assert words in findings.first
    assert "0x" not in findings.first
    assert "\n" not in findings.first


def test_formats_are_told_by_content_not_by_ending(tmp_path):
    assert check(tmp_path, encoded(scene(), "PNG"), name="a.jpeg")[0].is_right
    assert check(tmp_path, encoded(scene(), "JPEG"), name="a.png")[0].is_right
    assert check(tmp_path, encoded(scene(), "JPEG"), name="photo")[0].is_right


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (encoded(scene(), "JPEG"), "are 64 × 80, width and height exchanged; allowed: the size of its pixels"),
        (turned(8), None),
        (encoded(scene().resize((30, 40)), "PNG"), "are 64 × 80; allowed: the size of its pixels, turned as its EXIF"),
    ],
)
def test_sizes_are_those_of_the_pixels_as_they_are_loaded(tmp_path, content, words):
    findings, _ = check(tmp_path, content, (HEIGHT, WIDTH))
    assert findings.is_right == (words is None)
    assert words is None or words in findings.first


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "b.jpg").mkdir()
    findings = Findings(LABELS)
    check_images({tmp_path / "a.jpg": (1, 1), tmp_path / "b.jpg": (1, 1)}, "checking", findings)
    first, second = findings.lines()
    assert f"image {tmp_path / 'a.jpg'} ({tmp_path}) does not exist" in first
    assert "b.jpg is a folder" in second


def test_damaged_photos_are_a_notice_where_they_are_rare(tmp_path):
    damaged = REFUSED["a hole"][0]
    sizes = {}
    for number in range(1001):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(damaged if number == 5 else LOADED["photo"][0] + bytes([number % 256, number // 256]))
        sizes[path] = (400, 320) if number == 5 else (WIDTH, HEIGHT)
    findings = Findings(LABELS)
    check_images(sizes, "checking", findings)
    assert findings.is_right
    assert findings.notices == ["1 images are damaged, and are loaded as far as they can be: 5.jpg"]


def test_the_same_file_in_both_splits_and_twice_in_one_is_counted(tmp_path):
    def files(folder, *contents):
        (tmp_path / folder).mkdir()
        sizes = {}
        for number, content in enumerate(contents):
            path = tmp_path / folder / f"{number}.jpg"
            path.write_bytes(content)
            sizes[path] = (WIDTH, HEIGHT)
        findings = Findings(LABELS)
        return check_images(sizes, "checking", findings), findings

    photo, grey, drawing = (LOADED[kind][0] for kind in ("photo", "grey photo", "drawing"))
    train, of_train = files("train", photo, grey)
    val, of_val = files("val", drawing, photo, drawing)
    files_in_both(train, val, of_val)
    assert of_train.notices == []
    assert of_val.notices == [
        "1 images are the same file as another of this split",
        "1 images are the same file as an image of the training split: 1.jpg = 0.jpg",
    ]


def test_opencv_turns_photos_as_this_gate_expects():
    assert cv2.imdecode(np.frombuffer(turned(6), np.uint8), cv2.IMREAD_COLOR).shape == (WIDTH, HEIGHT, 3)
