"""What all sources that read in a thread have in common; each only says how it opens and makes its frames."""

from __future__ import annotations

import dataclasses
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ..base import redact
from ..threads import ThreadedReader
from ..types import Frame

NOMINAL_RATE = 25.0
"""Frames/s where nothing says how fast pictures follow one another."""

LEAP_SECONDS = 10.0
"""By so much may a live picture be ahead of the time in which it came."""
LONGEST_STEP_SECONDS = 120.0
"""By so much where pictures are as far apart: a camera that sends one a minute, in segments of several."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is known once a source is open: frames/s and the number of frames, None where unknown."""

    rate: float | None = None
    frame_count: int | None = None


@dataclass(slots=True)
class Timeline:
    """Presentation times from 0, always rising, `step` apart where the stream does not say.

    Where it says something impossible, its clock was set: it was set back, or, if live, it is ahead of the
    time in which the pictures came. The picture then follows the one before it as it came.
    """

    step: float
    last: float = -1.0
    start: float | None = None
    arrived: float | None = None
    usual: float = 0.0

    def place(self, told: float | None, arrived: float | None = None) -> float:
        """The time of the next picture, which the stream says is at `told` seconds; of a live one that came
        at `arrived`, in seconds of a clock that nobody sets."""
        passed = 0.0 if self.arrived is None or arrived is None else arrived - self.arrived
        self.arrived = arrived
        expected = 0.0 if self.last < 0 else self.last + self.step
        if told is None:
            self.last = expected
            return expected
        if self.start is None or self._was_set(told - self.start - self.last, passed):
            self.start = told - max(expected, self.last + passed)
        self.last = max(told - self.start, self.last + 1e-6)
        return self.last

    def _was_set(self, step: float, passed: float) -> bool:
        """Whether the stream's clock was, so many seconds after the picture before. Segments bring several
        pictures at once: steps as long as the one before are believed."""
        believed = min(max(LEAP_SECONDS, 2 * self.usual), LONGEST_STEP_SECONDS)
        self.usual = step
        return step < -1.0 or (self.arrived is not None and step - passed > believed)


@dataclass(slots=True)
class Blindness:
    """For how long packets have come of which nothing was seen. The silence between two does not count: after
    a gap much is sent that only the next key frame explains."""

    patience: float
    since: float | None = None
    heard: float = 0.0

    def lasts(self, now: float) -> bool:
        """A packet came at `now` (seconds), and no picture: whether that lasts longer than `patience`."""
        if self.since is None or now - self.heard > self.patience:
            self.since = now
        self.heard = now
        return now - self.since > self.patience

    def ends(self, patience: float) -> None:
        """There are pictures; the next time so much is waited for them."""
        self.since, self.patience = None, patience


@dataclass(frozen=True, slots=True)
class Mark:
    """A frame that reading can begin at: its index, its place in the file (which only the source
    understands), and the timeline before it."""

    index: int
    place: int
    timeline: Timeline


class ThreadedSource(ABC):
    """A `Source` whose frames are made in a thread of its own, from opening to closing."""

    def __init__(self, url: str, *, live: bool) -> None:
        self.live = live
        self.info = StreamInfo()
        self._url = redact(url)
        self._reader: ThreadedReader[StreamInfo, Frame] = ThreadedReader(
            self._open, name=f"source {self._url}", live=live
        )

    @abstractmethod
    def _open(self, stopping: threading.Event) -> AbstractContextManager[tuple[StreamInfo, Iterator[Frame]]]:
        """Opens, in the reading thread. Raises `SourceError`, also while the frames are read."""

    def replay(self, mark: Mark | None = None) -> Generator[tuple[Frame, Mark | None]]:
        """The frames of a recording, read in the caller's thread, from the first or from `mark` on; each with
        its own mark, None where reading cannot begin at it. Closing the iterator closes what it opened."""
        with self._open(threading.Event()) as (_, frames):
            first = 0 if mark is None else mark.index
            for frame in frames:
                if frame.index >= first:
                    yield frame, None

    @property
    def url(self) -> str:
        return self._url

    @property
    def frame_count(self) -> int | None:
        return self.info.frame_count

    @property
    def rate(self) -> float | None:
        return self.info.rate

    @property
    def dropped(self) -> int:
        return self._reader.dropped

    async def __aenter__(self) -> Self:
        self.info = await self._reader.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reader.close()

    def __aiter__(self) -> ThreadedReader[StreamInfo, Frame]:
        return self._reader


def paced(frames: Iterator[Frame], stopping: threading.Event) -> Iterator[Frame]:
    """The frames at their times from the first, stamped then. Lateness of more than a second is forgiven."""
    start = None
    for frame in frames:
        now = time.monotonic()
        if start is None or now - start - frame.time > 1.0:
            start = now - frame.time
        if stopping.wait(max(0.0, start + frame.time - now)):
            return
        yield dataclasses.replace(frame, captured=time.time(), arrived=time.monotonic())
