"""Events as clips with what was before and after them, cut from the coded pictures that viewers get, too."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import ParamSpec, Self

import av
import structlog

from ..base import Recordings, SinkError
from ..encoder import CLOCK_RATE, SharedEncoder, Unit, Units
from ..threads import Worker
from ..trails import Pasts, seen
from ..types import Event, Result
from ..wording import refusal
from .clip_files import ClipFiles
from .clips_target import ClipsTarget
from .writer import time_to_close

log = structlog.get_logger(__name__)

P = ParamSpec("P")

LONGEST_CLIP_SECONDS = 120.0
"""Events that come while a clip is recorded make it longer, up to this; then another one begins."""
TIDY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Span:
    """A clip in progress, of pictures of one size (height, width); start, end: in ticks of units."""

    start: int
    end: int
    size: tuple[int, int]

    def ends_before(self, unit: Unit) -> bool:
        return unit.pts > self.end or unit.size != self.size

    def has_room(self, end: int) -> bool:
        """Whether it may go on to `end`."""
        return end - self.start <= LONGEST_CLIP_SECONDS * CLOCK_RATE


class Recent:
    """The units of the last `seconds`, from a key frame on, of one size and without long gaps."""

    def __init__(self, seconds: float) -> None:
        self._ticks = round(seconds * CLOCK_RATE)
        self._units: deque[Unit] = deque()

    @property
    def now(self) -> int:
        """When the newest is shown."""
        return self._units[-1].pts if self._units else 0

    def add(self, unit: Unit) -> None:
        last = self._units[-1] if self._units else unit
        if unit.size != last.size or unit.pts - last.pts > self._ticks + CLOCK_RATE:
            self._units.clear()
        self._units.append(unit)
        while (second := self._second_key()) and self._units[second].pts <= unit.pts - self._ticks:
            for _ in range(second):
                self._units.popleft()

    def units(self) -> tuple[Unit, ...]:
        return tuple(self._units)

    def span(self, end: int) -> Span | None:
        """From its first unit to `end`; None where there is none."""
        return Span(self._units[0].pts, end, self._units[0].size) if self._units else None

    def _second_key(self) -> int:
        """Where the second key frame is; 0 where there is none."""
        return next((at for at, unit in enumerate(self._units) if at and unit.key), 0)


class ClipsSink:
    """Records the events of `target.kinds`. The pictures before them are kept coded, in memory.

    What cannot be written is a warning, once until writing works again, and nothing else: neither the run nor
    this sink ends. Raises SinkError where the folder cannot be written at the beginning.
    """

    def __init__(self, target: ClipsTarget, encoder: SharedEncoder) -> None:
        self.url = target.url
        self._target = target
        self._encoder = encoder
        self._files = ClipFiles(target.folder / encoder.camera, encoder.camera, target.age, target.size)
        self._worker = Worker(f"sink {self.url}")
        self._units = Units()
        self._recent = Recent(target.before)
        self._clip: Span | None = None
        self._pasts: Pasts = {}
        self._failing = False
        self._exits = AsyncExitStack()

    @property
    def recordings(self) -> Recordings:
        """Where this camera's clips lie, and of what there are some."""
        return Recordings(self._target.folder / self._encoder.camera, self._target.kinds)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._encoder)
            self._units = exits.enter_context(self._encoder.read())
            await exits.enter_async_context(self._worker)
            try:
                await self._worker.run(self._files.open)
            except OSError as error:
                raise SinkError(f"{self.url}: cannot be written: {refusal(error)}") from None
            exits.callback(asyncio.create_task(self._keep_tidy(), name=f"tidy {self.url}").cancel)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._exits:
            try:
                async with time_to_close(error):
                    await self._finish()
            except TimeoutError:
                log.warning("clip not finished", sink=self.url, reason="writing hangs")

    async def write(self, result: Result) -> None:
        await self._encoder.write(result)
        self._pasts = seen(self._pasts, result)
        for unit in self._units.take():
            await self._record(unit)
        for event in result.events:
            if event.kind in self._target.kinds:
                await self._note(event, result)

    async def _record(self, unit: Unit) -> None:
        """A unit goes to the clip in progress, or ends it, and to what is kept for the next one."""
        if self._clip is not None and self._clip.ends_before(unit):
            await self._finish()
        if self._clip is not None and not await self._try(self._files.write, (unit,)):
            await self._finish()
        self._recent.add(unit)

    async def _note(self, event: Event, result: Result) -> None:
        now = self._recent.now
        end = now + round(self._target.after * CLOCK_RATE)
        if self._clip is None or not self._clip.has_room(end):
            await self._finish()
            self._clip = self._recent.span(end)
            if not await self._try(self._files.begin, event, self._recent.units()):
                self._clip = None
                await self._try(self._files.finish)
        if self._clip is not None:
            self._clip = replace(self._clip, end=end)
        await self._try(self._files.note, event, result, self._pasts, now)

    async def _finish(self) -> None:
        clip, self._clip = self._clip, None
        if clip is not None and await self._try(self._files.finish) and self._failing:
            self._failing = False
            log.info("clips are written again", sink=self.url)
        if clip is not None:
            await self._try(self._files.tidy)

    async def _keep_tidy(self) -> None:
        """What is too old is removed also while nothing happens, and while no frames come."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await self._try(self._files.tidy)

    async def _try(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether it worked."""
        try:
            await self._worker.run(function, *args, **kwargs)
        except (OSError, av.FFmpegError) as error:
            if not self._failing:
                log.warning("clip not written", sink=self.url, reason=error.strerror or str(error))
            self._failing = True
            return False
        return True
