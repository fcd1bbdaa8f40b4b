"""The gate for panoptic annotations: what the file of segments says, and what their maps hold, agree."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.data.entries import Entry, are_numbers, is_number, short, shown
from experiments.data.findings import Findings
from experiments.data.images import in_threads
from experiments.tasks.segments import VOID, rgb_to_id

LARGEST_ID = 2**24 - 1
# Share of pixels without a segment from which a reader is told.
MUCH = 0.5
LISTS = ("images", "annotations", "categories")
TOLD_IDS = 5


@dataclass(frozen=True)
class SegmentFiles:
    """Panoptic annotations of a split, and what they must agree with.

    Attributes
    ----------
    maps : Path
        Folder of the maps.
    images : dict
        Id of each image to the name of its file, its width and its height, from the annotations of objects.
    things, stuff : list of str
        Names of the classes.
    """

    maps: Path
    images: Mapping[Any, tuple[str, int, int]]
    things: Sequence[str]
    stuff: Sequence[str]


@dataclass(frozen=True)
class _Content:
    """What a map holds: its size, pixels of each id, its hash; or why it is refused."""

    size: tuple[int, int] = (0, 0)
    pixels: Mapping[int, int] | None = None
    digest: bytes = b""
    fault: str | None = None


def check_segments(content: Any, files: SegmentFiles, findings: Findings) -> tuple[int, str]:
    """Check a file of segments and its maps.

    Parameters
    ----------
    content : object
        The parsed file.
    files : SegmentFiles
        Where its maps lie, and what it must agree with.
    findings : Findings
        Receives faults and notices.

    Returns
    -------
    (int, str)
        Number of segments, and the SHA-256 of the maps together.
    """
    if not _has_lists(content, findings):
        return 0, ""
    _check_categories(content["categories"], files, findings)
    entries = _check_entries(content["annotations"], files, findings)
    if not findings.is_right:
        return 0, ""
    labels = {category["id"]: category["name"] for category in content["categories"]}
    _check_segment_entries(entries, labels, files, findings)
    if not findings.is_right:
        return 0, ""
    paths = [files.maps / entry["file_name"] for entry in entries]
    contents = list(in_threads(_read_map, paths, f"checking {files.maps.name}/", "map"))
    _check_maps(entries, contents, files, findings)
    digest = hashlib.sha256(b"".join(content.digest for content in contents)).hexdigest()
    return sum(len(entry["segments_info"]) for entry in entries), digest


def _has_lists(content: Any, findings: Findings) -> bool:
    parts = content if isinstance(content, dict) else {}
    lacking = [name for name in LISTS if not isinstance(parts.get(name), list)]
    lacking += [name for name in LISTS if name not in lacking and not all(isinstance(entry, dict) for entry in parts[name])]
    findings.refuse(
        lacking, lambda name: f"{name}: {shown(parts, name)[:60]}; allowed: a list of objects, as in COCO's panoptic format"
    )
    return not lacking


def _check_categories(categories: Sequence[Entry], files: SegmentFiles, findings: Findings) -> None:
    found = [(category.get("name"), category.get("isthing")) for category in categories]
    wanted = [*((name, 1) for name in files.things), *((name, 0) for name in files.stuff)]
    pairs = zip_longest(found, wanted)
    findings.refuse(
        [(index, *pair) for index, pair in enumerate(pairs) if pair[0] != pair[1]],
        lambda wrong: (
            f"categories: entry {wrong[0]} is {_category(wrong[1])}; allowed: {_category(wrong[2])}: the things of the scale's"
            f" dataset in their order, {len(files.things)}, then its stuff, {len(files.stuff)}"
        ),
    )
    identifiers = [category.get("id") for category in categories]
    findings.refuse(
        [index for index, identifier in enumerate(identifiers) if not _is_id(identifier) or identifier in identifiers[:index]],
        lambda index: f"categories: entry {index}: id: {shown(categories[index], 'id')}; allowed: a number of its own",
    )


def _category(pair: tuple[Any, Any] | None) -> str:
    return "no category" if pair is None else f"{short(pair[0])} with isthing {short(pair[1])}"


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _check_entries(annotations: Sequence[Entry], files: SegmentFiles, findings: Findings) -> list[Entry]:
    """The entries of the images of the split, in the order of their ids."""
    findings.refuse(
        [entry for entry in annotations if not isinstance(entry.get("segments_info"), list)],
        lambda entry: f"image {short(entry.get('image_id'))}: segments_info: {shown(entry, 'segments_info')}; allowed: a list",
    )
    counted = Counter(str(entry.get("image_id")) for entry in annotations)
    findings.refuse(
        [image for image in files.images if counted[str(image)] != 1],
        lambda image: (
            f"image {short(image)} has {counted[str(image)]} entries in annotations; allowed: one for each image of the"
            " annotations of objects"
        ),
    )
    if not findings.is_right:
        return []
    known = [entry for entry in annotations if _is_id(entry.get("image_id")) and entry["image_id"] in files.images]
    findings.notice(len(annotations) - len(known), "images of the panoptic annotations have no entry in those of objects")

    def map_of(entry: Entry) -> str:
        return str(Path(files.images[entry["image_id"]][0]).with_suffix(".png"))

    findings.refuse(
        [entry for entry in known if entry.get("file_name") != map_of(entry)],
        lambda entry: (
            f"image {short(entry['image_id'])}: file_name: {shown(entry, 'file_name')}; allowed: {map_of(entry)!r}, the name of"
            " its image, from which mmdetection derives it"
        ),
    )
    return sorted(known, key=lambda entry: str(entry["image_id"]))


def _check_segment_entries(
    entries: Sequence[Entry], labels: Mapping[Any, str], files: SegmentFiles, findings: Findings
) -> None:
    segments = [(entry["image_id"], segment) for entry in entries for segment in entry["segments_info"]]

    def refuse(wrong: Sequence[tuple[Any, Any]], key: str, allowed: str) -> None:
        findings.refuse(
            wrong, lambda found: f"image {short(found[0])}, {_the(found[1])}: {key}: {shown(found[1], key)}; allowed: {allowed}"
        )

    findings.refuse(
        [found for found in segments if not isinstance(found[1], dict)],
        lambda found: f"image {short(found[0])}: segments_info has {short(found[1])}; allowed: objects",
    )
    if not findings.is_right:
        return
    ids = [found for found in segments if not _is_segment_id(found[1].get("id"))]
    refuse(ids, "id", f"1 to {LARGEST_ID:,}")
    unknown = [found for found in segments if _name(found[1], labels) is None]
    refuse(unknown, "category_id", f"an id of the {len(labels)} categories")
    refuse([found for found in segments if found[1].get("iscrowd", 0) not in (0, 1)], "iscrowd", "0 or 1")
    boxes = [found for found in segments if not are_numbers(found[1].get("bbox"), 4)]
    refuse(boxes, "bbox", "four numbers, x, y, width and height in pixels")
    refuse([found for found in segments if not is_number(found[1].get("area"))], "area", "the number of its pixels in the map")
    stuff = set(files.stuff)
    crowds = [found for found in segments if found[1].get("iscrowd") == 1 and _name(found[1], labels) in stuff]
    refuse(crowds, "iscrowd", "0 for stuff")
    twice = [
        (entry["image_id"], segment)
        for entry in entries
        for segment, count in Counter(str(segment.get("id")) for segment in entry["segments_info"]).items()
        if count > 1
    ]
    findings.refuse(twice, lambda found: f"image {short(found[0])}: two segments have the id {found[1]}; allowed: each id once")


def _is_segment_id(value: Any) -> bool:
    return type(value) is int and VOID < value <= LARGEST_ID


def _name(segment: Entry, labels: Mapping[Any, str]) -> str | None:
    category = segment.get("category_id")
    return labels.get(category) if _is_id(category) else None


def _the(segment: Entry) -> str:
    return f"segment {short(segment['id'])}" if "id" in segment else "segment without id"


def _read_map(path: Path) -> _Content:
    try:
        content = path.read_bytes()
        with Image.open(path) as image:
            image.load()
            if image.mode != "RGB":
                fault = f"has the mode {image.mode}; allowed: RGB, whose colours are ids, red + 256 green + 65536 blue"
                return _Content(fault=fault)
            identifiers, pixels = np.unique(rgb_to_id(np.asarray(image)), return_counts=True)
            counted = dict(zip(identifiers.tolist(), pixels.tolist(), strict=True))
            return _Content(image.size, counted, hashlib.sha256(content).digest())
    except FileNotFoundError:
        return _Content(fault=f"({path.parent.resolve()}) does not exist")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return _Content(fault=f"is damaged, or no image: {error}; fetch it again")


def _check_maps(entries: Sequence[Entry], contents: Sequence[_Content], files: SegmentFiles, findings: Findings) -> None:
    both = list(zip(entries, contents, strict=True))
    faults = [(entry, content.fault) for entry, content in both if content.fault]
    findings.refuse(faults, lambda wrong: f"map {files.maps / wrong[0]['file_name']} {wrong[1]}")
    read = [(entry, content, content.pixels) for entry, content in both if content.pixels is not None]
    findings.refuse(
        [(entry, content.size) for entry, content, _ in read if content.size != files.images[entry["image_id"]][1:]],
        lambda wrong: (
            f"map {wrong[0]['file_name']} has {wrong[1][0]} × {wrong[1][1]} pixels; allowed: the size of its image,"
            " {} × {}".format(*files.images[wrong[0]["image_id"]][1:])
        ),
    )
    named = [(entry, {segment["id"] for segment in entry["segments_info"]}, pixels) for entry, _, pixels in read]
    _refuse_ids([(entry, sorted(pixels.keys() - ids - {VOID})) for entry, ids, pixels in named], "in the map alone", findings)
    _refuse_ids([(entry, sorted(ids - pixels.keys())) for entry, ids, pixels in named], "in the file alone", findings)
    areas = [
        (entry, segment, pixels[segment["id"]])
        for entry, _, pixels in read
        for segment in entry["segments_info"]
        if pixels.get(segment["id"], segment["area"]) != segment["area"]
    ]
    findings.refuse(
        areas,
        lambda wrong: (
            f"image {short(wrong[0]['image_id'])}, segment {wrong[1]['id']}: area: is {short(wrong[1]['area'])}; allowed:"
            f" {wrong[2]}, its pixels in the map"
        ),
    )
    void, total = sum(pixels.get(VOID, 0) for *_, pixels in read), sum(sum(pixels.values()) for *_, pixels in read)
    if void > MUCH * total:
        findings.notices.append(f"{void / total:.0%} of all pixels belong to no segment and do not count")


def _refuse_ids(found: Sequence[tuple[Entry, list[int]]], where: str, findings: Findings) -> None:
    findings.refuse(
        [(entry, ids) for entry, ids in found if ids],
        lambda wrong: (
            f"image {short(wrong[0]['image_id'])}: segment{'s' if len(wrong[1]) > 1 else ''}"
            f" {', '.join(map(str, wrong[1][:TOLD_IDS]))}{', …' if len(wrong[1]) > TOLD_IDS else ''}"
            f" {'are' if len(wrong[1]) > 1 else 'is'} {where}; allowed: the same ids in both, and {VOID} in the map where there"
            " is no segment"
        ),
    )
