"""What was found in still pictures, as files: overlays, indexed PNGs, and one COCO file for all.

Each file is written beside its place and then moved there, so that half of one is never found under
its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..base import SinkError
from ..drawing import layered_map, picture_overlay
from ..segments import Layer, Segment, Segmented
from ..types import Image, Track
from .coco import PLACES, CocoDocument, beside, pixel_box
from .masks import MARK, encode_png, is_ours

OVERLAYS = frozenset({".jpg", ".jpeg", ".png", ".webp"})


class PictureWriter(Protocol):
    """Blocking output: `open`, then `write` for each picture, then `close`, also after an error.

    Each may raise OSError or SinkError.
    """

    def open(self) -> None: ...

    def write(self, found: Segmented) -> None: ...

    def close(self) -> None: ...


class OverlayFile:
    """The overlay of a single picture, at a path of the user's; further candidates beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, found: Segmented) -> None:
        for layer, name in named(found.layers, self._path.stem):
            path = self._path.with_name(f"{name}{self._path.suffix}")
            place(path, encoded(drawn(found.image, layer), path))

    def close(self) -> None:
        """Nothing is open between pictures."""


class OverlayFolder:
    """An overlay of each picture: FOLDER/NAME.jpg, and NAME.2.jpg, … of further candidates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, found: Segmented) -> None:
        for layer, name in named(found.layers, found.name):
            path = unless_foreign(self._folder / f"{name}.jpg", "overlay")
            place(path, marked(encoded(drawn(found.image, layer), path)))

    def close(self) -> None:
        """Nothing is open between pictures."""


class MaskFolder:
    """Object ids of each picture, in its own size: FOLDER/NAME.png as `masks.encode_png` writes them, and
    NAME.2.png, … of further candidates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, found: Segmented) -> None:
        size = found.image.shape[0], found.image.shape[1]
        for layer, name in named(found.layers, found.name):
            path = unless_foreign(self._folder / f"{name}.png", "masks")
            place(path, encode_png(layered_map(((one.object_id, one.mask) for one in layer), size)))

    def close(self) -> None:
        """Nothing is open between pictures."""


class CocoFile:
    """All pictures in one file of COCO's layout, masks as compressed RLE."""

    def __init__(self, path: Path) -> None:
        self._document = CocoDocument(path)

    def open(self) -> None:
        self._document.open()

    def write(self, found: Segmented) -> None:
        height, width = found.image.shape[:2]
        self._document.add_picture({"file_name": found.file, "height": height, "width": width})
        for candidate, layer in enumerate(found.layers, 1):
            for segment in layer:
                self._document.add(segment.label, annotation(segment, candidate, (height, width)))

    def close(self) -> None:
        self._document.close()


def annotation(segment: Segment, candidate: int, size: tuple[int, int]) -> dict[str, object]:
    """The fields of a COCO result that are the segment's own; `score` is the predicted IoU."""
    return {
        "segmentation": segment.rle,
        "bbox": pixel_box(segment.box or (0.0, 0.0, 0.0, 0.0), size),
        "area": segment.area,
        "iscrowd": 0,
        "score": round(segment.iou, PLACES),
        "stability": round(segment.stability, PLACES),
        "confidence": round(segment.confidence, PLACES),
        "object_id": segment.object_id,
        "candidate": candidate,
        "point": segment.point,
    }


def open_picture_writer(text: str, *, single: bool) -> PictureWriter:
    """The writer that `text` names, not yet opened. `single`: there is one picture, no folder of them.

    Raises SinkError, listing what there is, where the text names none of them.
    """
    scheme, _, rest = text.partition(":")
    path = Path(text)
    if scheme in ("masks", "overlay"):
        if not rest:
            raise SinkError(f"{text}: names no folder: write {scheme}:DIR")
        return MaskFolder(Path(rest)) if scheme == "masks" else OverlayFolder(Path(rest))
    if path.suffix.lower() == ".json":
        return CocoFile(path)
    if path.suffix.lower() in OVERLAYS:
        if single:
            return OverlayFile(path)
        raise SinkError(f"{text}: is one file, but there are several pictures: write overlay:DIR")
    raise SinkError(f"{text}: is no output: give FILE.jpg, overlay:DIR, masks:DIR or FILE.json")


def named(layers: Iterable[Layer], name: str) -> Iterator[tuple[Layer, str]]:
    """The layers with the names of their files: NAME, NAME.2, NAME.3."""
    return ((layer, f"{name}.{rank}" if rank > 1 else name) for rank, layer in enumerate(layers, 1))


def drawn(image: Image, layer: Layer) -> Image:
    return picture_overlay(image, (as_track(segment) for segment in layer))


def as_track(segment: Segment) -> Track:
    """A segment as what the overlay draws; its predicted IoU is the number in the tag."""
    return Track(
        object_id=segment.object_id,
        label=segment.label,
        mask=segment.mask,
        box=segment.box,
        state="tracked",
        confidence=segment.iou,
        iou=segment.iou,
        presence=1.0,
        stability=segment.stability,
        margin=1.0,
    )


def encoded(image: Image, path: Path) -> bytes:
    """A picture in the format that the ending of `path` names. Raises SinkError where it cannot hold it."""
    try:
        done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done, data = False, np.zeros(0, np.uint8)
    if not done:
        raise SinkError(f"{path}: {path.suffix} cannot hold a picture of {image.shape[1]}×{image.shape[0]}")
    return data.tobytes()


def marked(jpeg: bytes) -> bytes:
    """A JPEG file with our mark as a comment, right after its first marker."""
    return b"".join((jpeg[:2], b"\xff\xfe", (len(MARK) + 2).to_bytes(2, "big"), MARK, jpeg[2:]))


def unless_foreign(path: Path, scheme: str) -> Path:
    """`path`, if nobody else's file is there. Raises SinkError."""
    if path.exists() and not is_ours(path):
        raise SinkError(f"{scheme}:{path} was not written by Keepsight: name another folder")
    return path


def place(path: Path, data: bytes) -> None:
    """Write a file whole: under its name there is the old one or the new one, at any time. Where that fails
    nothing is left beside it."""
    part = beside(path)
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
