"""Tracks as a table of boxes in the layout of the MOTChallenge, which its tools and others' read."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from ..types import Result
from .coco import PLACES, pixel_box
from .writer import claim


class MotWriter:
    """A `Writer` of `frame,id,x,y,width,height,confidence,-1,-1,-1`, a visible track a line (Milan et al.,
    "MOT16: A Benchmark for Multi-Object Tracking", 2016, section 3.2): frames from 1, pixels from (1, 1).

    The first takes the place of what an earlier run wrote; each frame is handed to the system before the
    next.
    """

    writes_events = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def open(self) -> None:
        claim(self._path)

    def write(self, result: Result) -> None:
        if self._file is None:
            self._file = self._path.open("w", encoding="ascii", newline="\n")
        for track in result.tracks:
            if track.box is not None:
                x, y, width, height = pixel_box(track.box, result.frame.size)
                confidence = round(track.confidence, PLACES)
                place = f"{x + 1},{y + 1},{width},{height}"
                self._file.write(
                    f"{result.frame.index + 1},{track.object_id},{place},{confidence},-1,-1,-1\n"
                )
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
