"""A recording's frames by their index: forwards from anywhere, or backwards, read again whenever wanted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from .base import SourceError
from .sources import SyntheticSource, open_source
from .sources.reading import Mark, ThreadedSource
from .types import Frame

BUFFER_BYTES = 128 * 2**20
"""Pictures that are held at most while reading backwards; one, where a single one is larger."""
MARK_SPACING = 8
"""Frames between two marks at least, so that a recording of key frames alone has not one for each."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What is known of a recording: the places to begin reading at, and where it ends.

    marks: by rising index, the first is None at index 0; seconds: time of the last frame; picture_bytes: size
    of the largest picture.
    """

    open: Callable[[], ThreadedSource]
    frame_count: int
    seconds: float
    picture_bytes: int
    marks: tuple[Mark, ...]
    buffer_bytes: int = BUFFER_BYTES

    def forwards(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (the end if None), that one not included."""
        stop = self.frame_count if stop is None else stop
        near = bisect_right(self.marks, start, key=lambda mark: mark.index)
        mark = self.marks[near - 1] if near else None
        first = mark.index if mark else 0
        if start < stop:
            with closing(self.open().replay(mark)) as frames:
                yield from (frame for frame, _ in islice(frames, start - first, stop - first))

    def backwards(self, start: int, stop: int = 0) -> Iterator[Frame]:
        """Frames `start` - 1 down to `stop`, read forwards in pieces that fit the buffer."""
        length = max(1, self.buffer_bytes // self.picture_bytes)
        while start > stop:
            piece = max(stop, start - length)
            yield from reversed(list(self.forwards(piece, start)))
            start = piece


def open_recording(
    url: str, buffer_bytes: int = BUFFER_BYTES, each: Callable[[], None] | None = None
) -> Recording:
    """Read a file, a folder of images or a test scene once, to know its frames. `each` is called after each;
    what it raises ends the reading. Raises SourceError for what cannot be read, is live, or has no end."""

    def reopen() -> ThreadedSource:
        source = open_source(url)
        if source.live or not isinstance(source, ThreadedSource):
            raise SourceError(f"{source.url}: is live; only a recording can be read backwards")
        if isinstance(source, SyntheticSource) and not source.play.frames:
            raise SourceError(f"{source.url}: has no end; give it a number of frames")
        return source

    marks: list[Mark] = []
    frame: Frame | None = None
    largest = 0
    with closing(reopen().replay()) as frames:
        for frame, mark in frames:
            largest = max(largest, frame.image.nbytes)
            if each is not None:
                each()
            if mark and mark.index >= (marks[-1].index if marks else 0) + MARK_SPACING:
                marks.append(mark)
    if frame is None:
        raise SourceError(f"{url}: no picture in it can be decoded")
    return Recording(reopen, frame.index + 1, frame.time, largest, tuple(marks), buffer_bytes)
