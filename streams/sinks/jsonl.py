"""Results as lines of JSON, masks as COCO RLE. The same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ..messages import result_line
from ..types import Result
from .writer import claim


class JsonLinesWriter:
    """A `Writer` of one `messages.ResultLine` a line to `path`, each handed to the system before the next.

    The first takes the place of what an earlier run wrote.
    """

    writes_events = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def open(self) -> None:
        claim(self._path)

    def write(self, result: Result) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(result_line(result).model_dump_json().encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
