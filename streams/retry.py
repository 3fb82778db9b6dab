"""Keeps a live source alive: whatever ends it, it is opened again, for ever. Nothing else retries one."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from .base import DeniedError, Source, SourceError, redact
from .types import Frame, SourceState, SourceStatus

log = structlog.get_logger(__name__)

TRACE_SECONDS = 3600.0
"""How long the trace of an error that nobody foresaw is not logged again while it is the same."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds from one attempt to open to the next: twice as many each time, from `shortest` up to `longest`,
    so that a camera that returns is seen soon; up to `denied` where it wants another password.

    A random part of up to `jitter` (0 to 1) is taken off, so that many cameras do not come back in step.
    """

    shortest: float = 0.5
    longest: float = 2.5
    denied: float = 60.0
    jitter: float = 0.3

    def delay(self, failures: int, chance: float, spent: float = 0.0, *, denied: bool = False) -> float:
        """Seconds to wait after `failures` failures in a row, of which the last took `spent` seconds: those
        count, but `shortest` stays, less its random part. `chance` is a random number in [0, 1)."""
        longest = self.denied if denied else self.longest
        wanted = min(longest, self.shortest * 2.0 ** min(failures, 32))
        return max(self.shortest, wanted - spent) * (1 - self.jitter * chance)


OUTPUTS = Backoff(shortest=0.25, longest=30.0)
"""For the servers and brokers that results go to: one that was away must not be overrun by all who waited."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How is waited, by what clock, and what decides about jitter. Tests give others."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random


def reconnecting(
    make_source: Callable[[], Source],
    *,
    on_status: Callable[[SourceStatus], None] | None = None,
    backoff: Backoff | None = None,
    stall_seconds: float = 2.0,
    waiting: Waiting = Waiting(),
    around: AbstractAsyncContextManager[object] | None = None,
    after: float = 0.0,
) -> Reconnecting:
    """A live source that never ends: whenever the source from `make_source` fails or ends, another is opened.

    `on_status` is told each change of state or reason. `around` is open from the first source to the last: a
    server that cameras come to. The first one is opened `after` so many seconds.
    """
    made = Reconnecting(make_source, on_status, backoff or Backoff(), stall_seconds, waiting)
    return made.inside(around or nullcontext()).after(after)


class Reconnecting:
    """See `reconnecting`. Opening waits, for ever, until the source is there for the first time.

    Over a reconnect `epoch` rises by one, `index` goes on, and `time` goes on by what passed between the
    arrivals of the two frames.
    """

    def __init__(
        self,
        make_source: Callable[[], Source],
        on_status: Callable[[SourceStatus], None] | None,
        backoff: Backoff,
        stall_seconds: float,
        waiting: Waiting,
    ) -> None:
        self.live = True
        self.status = SourceStatus("offline", "connecting", 0)
        self._make_source = make_source
        self._on_status = on_status
        self._backoff = backoff
        self._stall_seconds = stall_seconds
        self._waiting = waiting
        self._source = make_source()
        self._frames: AsyncIterator[Frame]
        self._connection = AsyncExitStack()
        self._around: AbstractAsyncContextManager[object] = nullcontext()
        self._first_wait = 0.0
        self._failures = 0
        self._dropped = 0
        self._is_spent = False
        self._traced: tuple[object, ...] = ()
        self._traced_at = 0.0
        self._join = _Join()

    def inside(self, around: AbstractAsyncContextManager[object]) -> Self:
        """Opens `around` before the first source, and closes it after the last."""
        self._around = around
        return self

    def after(self, seconds: float) -> Self:
        """Opens the first source so many seconds later."""
        self._first_wait = seconds
        return self

    @property
    def url(self) -> str:
        return self._source.url

    @property
    def frame_count(self) -> int | None:
        return None

    @property
    def rate(self) -> float | None:
        return self._source.rate

    @property
    def dropped(self) -> int:
        return self._dropped + self._source.dropped

    async def __aenter__(self) -> Self:
        await self._around.__aenter__()
        try:
            if self._first_wait:
                await self._waiting.sleep(self._first_wait)
            await self._connect()
        except BaseException:
            await self._around.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._connection.aclose()
        finally:
            await self._around.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        while True:
            try:
                frame = await self._next_frame()
            except StopAsyncIteration:
                await self._reconnect(SourceError("the stream ended"))
            except Exception as error:
                await self._reconnect(error)
            else:
                return self._take(frame)

    async def _connect(self) -> None:
        while True:
            began = self._waiting.clock()
            try:
                if self._is_spent:
                    self._renew()
                await self._connection.enter_async_context(self._source)
            except Exception as error:
                await self._wait(self._expected(error), self._waiting.clock() - began)
            else:
                self._frames = aiter(self._source)
                return

    async def _reconnect(self, error: Exception) -> None:
        cause = self._expected(error)
        try:
            await self._connection.aclose()
        except Exception as other:
            self._expected(other)
        self._join = self._join.interrupted()
        await self._wait(cause)
        await self._connect()

    async def _wait(self, error: SourceError, spent: float = 0.0) -> None:
        self._report("offline", self._cause(error))
        denied = isinstance(error, DeniedError)
        delay = self._backoff.delay(self._failures, self._waiting.chance(), spent, denied=denied)
        await self._waiting.sleep(delay)
        self._failures += 1
        self._is_spent = True

    def _renew(self) -> None:
        """Another source in place of one that failed. This can fail, too: a file that it needs is away."""
        source = self._make_source()
        self._dropped += self._source.dropped
        self._source, self._is_spent = source, False

    async def _next_frame(self) -> Frame:
        coming = asyncio.ensure_future(anext(self._frames))
        try:
            await asyncio.wait({coming}, timeout=self._stall_seconds)
            if not coming.done():
                self._report("stalled", f"no frame for {self._stall_seconds:g} s")
            return await coming
        finally:
            coming.cancel()

    def _take(self, frame: Frame) -> Frame:
        self._failures = 0
        self._join, frame = self._join.carry_on(frame)
        self._report("online", "")
        return frame

    def _expected(self, error: Exception) -> SourceError:
        """The error, where it is one of a source. What nobody foresaw is no reason to end the other streams
        either: it becomes one, and its trace is logged once an hour for the same kind from the same place."""
        if isinstance(error, SourceError):
            return error
        said = " ".join(redact(f"{type(error).__name__}: {error}").split())
        now, place = self._waiting.clock(), _place(error)
        if place != self._traced or now - self._traced_at > TRACE_SECONDS:
            trace = redact("".join(traceback.format_exception(error)))
            log.error("unforeseen error of a source", url=self.url, reason=said, trace=trace)
            self._traced, self._traced_at = place, now
        return SourceError(said)

    def _cause(self, error: SourceError) -> str:
        return str(error).removeprefix(f"{self.url}: ")

    def _report(self, state: SourceState, reason: str) -> None:
        status = SourceStatus(state, reason, self._join.epoch)
        if status == self.status:
            return
        self.status = status
        if state == "online":
            log.info("source online", url=self.url, reconnects=status.reconnects)
        else:
            log.warning(f"source {state}", url=self.url, reason=reason)
        if self._on_status is not None:
            self._on_status(status)


def _place(error: Exception) -> tuple[object, ...]:
    """What kind of error it is, and the line it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    return (type(error), *((frame.filename, frame.lineno) for frame in frames[-1:]))


@dataclass(frozen=True, slots=True)
class _Join:
    """How the frames of the present connection go on from those of the connections before it."""

    epoch: int = 0
    index_shift: int = 0
    time_shift: float = 0.0
    last: Frame | None = None
    broken: bool = False

    def interrupted(self) -> _Join:
        return dataclasses.replace(self, broken=self.last is not None)

    def carry_on(self, frame: Frame) -> tuple[_Join, Frame]:
        join = self._after_gap(frame) if self.broken else self
        joined = dataclasses.replace(
            frame,
            epoch=join.epoch,
            index=frame.index + join.index_shift,
            time=frame.time + join.time_shift,
        )
        return dataclasses.replace(join, last=joined), joined

    def _after_gap(self, frame: Frame) -> _Join:
        assert self.last is not None
        gap = max(frame.arrived - self.last.arrived, 0.001)
        return _Join(self.epoch + 1, self.last.index + 1, self.last.time + gap - frame.time)
