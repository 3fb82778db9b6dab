"""COCO annotations of pictures or of a video's frames, in one file that is written as they come."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import orjson

from .. import rle
from ..types import Box, Result, Track

PLACES = 4
"""Decimals of scores."""


class CocoDocument:
    """A file of COCO's layout (cocodataset.org, "Data format"), ids from 1.

    Annotations and pictures go to the disk as they come, so that memory does not grow. The file is written
    beside its place and moved there at the end: half of one is never found under its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._exits = ExitStack()
        self._annotations: BinaryIO | None = None
        self._pictures: BinaryIO | None = None
        self._categories: dict[str, int] = {}
        self._count = 0
        self._picture = 0

    def open(self) -> None:
        """Raises OSError where the file cannot be written, and leaves nothing behind then."""
        if self._path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._path))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = beside(self._path)
        with ExitStack() as failing, ExitStack() as exits:
            self._annotations = exits.enter_context(part.open("wb"))
            failing.callback(part.unlink, missing_ok=True)
            self._pictures = exits.enter_context(TemporaryFile(dir=self._path.parent))
            self._annotations.write(b'{"annotations":[')
            self._exits = exits.pop_all()
            failing.pop_all()

    def add_picture(self, fields: Mapping[str, object]) -> None:
        """The picture that the annotations after it are of."""
        assert self._pictures is not None
        self._picture += 1
        self._pictures.write(row({"id": self._picture, **fields}, self._picture))

    def add(self, label: str, fields: Mapping[str, object]) -> None:
        """An annotation of the last picture; its category is the label, "object" without one."""
        assert self._annotations is not None
        self._count += 1
        category = self._categories.setdefault(label or "object", len(self._categories) + 1)
        own = {"id": self._count, "image_id": self._picture, "category_id": category}
        self._annotations.write(row({**fields, **own}, self._count))

    def close(self) -> None:
        if self._annotations is None or self._pictures is None:
            return
        try:
            with self._exits:
                self._finish(self._annotations, self._pictures)
            beside(self._path).replace(self._path)
        except OSError:
            beside(self._path).unlink(missing_ok=True)
            raise

    def _finish(self, annotations: BinaryIO, pictures: BinaryIO) -> None:
        categories = [{"id": number, "name": name} for name, number in self._categories.items()]
        annotations.write(b'\n],\n"images":[')
        pictures.seek(0)
        shutil.copyfileobj(pictures, annotations)
        annotations.write(b'\n],\n"categories":' + orjson.dumps(categories) + b"}\n")

    def abandon(self) -> None:
        """Leave what was at the place before."""
        self._exits.close()
        beside(self._path).unlink(missing_ok=True)


class CocoWriter:
    """A `Writer` of a video's frames as pictures and of its tracks as annotations.

    An annotation names its track in `track_id`; `score` is the confidence. A file is there at the end, and
    takes the place of what an earlier run wrote if there was a result.
    """

    writes_events = False

    def __init__(self, path: Path) -> None:
        self._document = CocoDocument(path)
        self._has_result = False

    def open(self) -> None:
        self._document.open()

    def write(self, result: Result) -> None:
        self._has_result = True
        frame = result.frame
        height, width = frame.size
        self._document.add_picture(
            {
                "file_name": f"{frame.index:05}.jpg",
                "height": height,
                "width": width,
                "frame_index": frame.index,
                "epoch": frame.epoch,
                "time": round(frame.time, 6),
            }
        )
        for track in result.tracks:
            if track.box is not None:
                self._document.add(track.label, annotation(track, track.box))

    def close(self) -> None:
        if self._has_result:
            self._document.close()
        else:
            self._document.abandon()


def annotation(track: Track, box: Box) -> dict[str, object]:
    """The fields of a COCO annotation that are a visible track's own."""
    height, width = track.mask.shape
    return {
        "track_id": track.object_id,
        "segmentation": rle.encode(track.mask),
        "bbox": pixel_box(box, (height, width)),
        "area": int(track.mask.sum()),
        "iscrowd": 0,
        "score": round(track.confidence, PLACES),
        "state": track.state,
    }


def pixel_box(box: Box, size: tuple[int, int]) -> list[int]:
    """A box in [0, 1] as [x, y, width, height] in whole pixels of a picture of `size` (height, width)."""
    height, width = size
    x0, y0, x1, y1 = box
    left, top = round(x0 * width), round(y0 * height)
    return [left, top, round(x1 * width) - left, round(y1 * height) - top]


def row(fields: Mapping[str, object], number: int) -> bytes:
    """The `number`th row of a list in JSON."""
    return (b",\n" if number > 1 else b"\n") + orjson.dumps(fields)


def beside(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(f".{path.name}.part")
