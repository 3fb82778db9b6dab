"""The way of a frame: source, mailbox, step, a mailbox per sink, sink.

A file waits for whoever is slow; a live source goes on, and each reader drops only its own. A failing sink is
left out and the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from keepsight.streams.base import Commander, Ending, Sink, SinkError, Source, SourceError, Switched
from keepsight.streams.mailbox import Mailbox
from keepsight.streams.privacy import Cover
from keepsight.streams.types import Command, Event, Frame, Result, Switch

from .endings import closing, ended
from .looking_ahead import Due, one_ahead
from .outlet import Outlet
from .prompts import Cue, check_masks, due
from .rules import Rulebook
from .summary import Meter, Summary
from .validation import ConfigError
from .watching import begin as begin_watch
from .watching import step as watch_step

if TYPE_CHECKING:
    from .config import MemoryPolicy

log = structlog.get_logger(__name__)

T = TypeVar("T")

READ_AHEAD = 2
"""Frames of a file that may wait for the model."""
STEP_GRACE = 0.4
"""Seconds the step in progress may still take once a stop is asked for."""
DRAIN_GRACE = 0.8
"""Seconds the sinks may take after that for what waits for them and for finishing."""


class Session(Protocol):
    """One stream's fold: its state, and the model's threads that step it."""

    def when_due(self, frame: Frame) -> Due | None:
        """Waits until the frame after `frame`, which is stepped next, should be prepared, to be ready as that
        step ends; None where there is nothing to prepare. Asked once before each step."""
        ...

    async def prepare(self, frame: Frame) -> None:
        """Do with the next frame what can be done while the step of this one runs."""
        ...

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result: ...

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        """The end events of what is tracked, `frame` being the last one."""
        ...


Start = Callable[[Frame], Awaitable[Session]]
"""Makes a session, given the first frame."""
Take = Callable[[], Sequence[Command]]
"""The commands that came while the stream runs and were not taken yet. Never waits."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What is to be run: where frames come from, what is tracked from when and how, and where results go."""

    name: str
    source: Source
    sinks: tuple[Sink, ...] = ()
    cues: tuple[Cue, ...] = ()
    rulebook: Rulebook = field(default_factory=Rulebook)
    auto: str = "off"
    privacy: tuple[Cover, ...] = ()
    record: Path | None = None
    memory: MemoryPolicy = "recent"
    noise: float = 0.0

    @property
    def commanders(self) -> tuple[Commander, ...]:
        """The sinks through which commands come."""
        return tuple(sink for sink in self.sinks if isinstance(sink, Commander))

    def take(self) -> tuple[Command, ...]:
        """What was commanded through them, since this was last asked."""
        return tuple(command for commander in self.commanders for command in commander.take_commands())

    def is_on(self, switch: Switch) -> bool:
        """Whether no sink has switched a part off."""
        return are_on(self.sinks, switch)


def are_on(sinks: Sequence[Sink], switch: Switch) -> bool:
    return all(sink.is_on(switch) for sink in sinks if isinstance(sink, Switched))


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `faults`: what went wrong, a line each; `rejected`: it could not begin as asked."""

    stream: str
    summary: Summary
    faults: tuple[str, ...] = ()
    rejected: bool = False

    @property
    def exit_code(self) -> int:
        if self.rejected:
            return 2
        return 1 if self.faults else 0


async def results(
    source: Source,
    start: Start,
    cues: Sequence[Cue] = (),
    stop: asyncio.Event | None = None,
    take: Take = tuple,
) -> AsyncGenerator[Result]:
    """One result per frame of a file; of a live source, one per frame there was time for.

    Each step carries out the cues that are due, then what `take` gives; it is asked once a step.
    The last result also has the end events of all objects, and refuses the commands for frames that never
    came. To know the last one, a file's result waits for the next frame; a live source's is told again,
    `closing`, with these alone. Raises ConfigError for a mask of the wrong size, and whatever the source or a
    step does, after the results before it. Close it (`contextlib.aclosing`) to close the source.
    """
    stop = stop or asyncio.Event()
    session: Session | None = None
    last: Result | None = None
    fault: Exception | None = None

    def when(frame: Frame) -> Due | None:
        wait = session.when_due(frame) if session else None
        return wait if source.live or wait is None else _at_once

    async def prepare(frame: Frame) -> None:
        if session is not None and not stop.is_set():
            await session.prepare(frame)

    async with AsyncExitStack() as open_now:
        inbox = await open_now.enter_async_context(frames(source, stop))
        ahead = one_ahead(inbox, when, prepare, lambda: source.live and len(inbox) > 0)
        coming = await open_now.enter_async_context(aclosing(ahead))
        try:
            while frame := await _next(coming, stop):
                session = session or await _begin(frame, start, cues, stop)
                if session is None or stop.is_set():
                    break
                commands, cues = due(cues, frame.index)
                result = await unless(stop, session.step(frame, (*commands, *take())), STEP_GRACE)
                if result is None:
                    break
                if source.live:
                    yield result
                elif last is not None:
                    yield last
                last = result
        except Exception as error:
            fault = error  # raised once what is held back has been told
        if last is not None and session is not None:
            told = closing(last) if source.live else last
            yield ended(told, session.finish(last.frame), () if stop.is_set() else cues)
    if fault is not None:
        raise fault


async def _at_once() -> None:
    pass


async def _next(coming: AsyncGenerator[Frame], stop: asyncio.Event) -> Frame | None:
    """The next frame; None where there is none, or none soon after `stop` is set."""
    asking = asyncio.ensure_future(anext(coming, None))
    try:
        return await unless(stop, asking, STEP_GRACE)
    finally:
        await asyncio.wait({asking})  # before the generator can be closed


async def _begin(frame: Frame, start: Start, cues: Sequence[Cue], stop: asyncio.Event) -> Session | None:
    check_masks(cues, frame.size)
    return await unless(stop, start(frame))


@asynccontextmanager
async def frames(source: Source, stop: asyncio.Event) -> AsyncIterator[Mailbox[Frame]]:
    """The source's frames, opened and read beside the caller; they end when `stop` is set."""
    inbox: Mailbox[Frame] = Mailbox(live=source.live, capacity=READ_AHEAD)
    reading = asyncio.create_task(_read(source, inbox))
    stopping = asyncio.create_task(_stop_reading(stop, inbox, reading))
    try:
        yield inbox
    finally:
        stopping.cancel()
        reading.cancel()
        await asyncio.wait({stopping, reading})


async def _read(source: Source, inbox: Mailbox[Frame]) -> None:
    try:
        async with source:
            async for frame in source:
                await inbox.put(frame)
    except Exception as error:
        inbox.close(error)  # raised at its reader
    finally:
        inbox.close()


async def _stop_reading(stop: asyncio.Event, inbox: Mailbox[Frame], reading: asyncio.Task[None]) -> None:
    await stop.wait()
    inbox.close()
    reading.cancel()


async def unless(stop: asyncio.Event, work: Awaitable[T], grace: float = 0.0) -> T | None:
    """What `work` gives; None where `stop` is set and it has not ended `grace` seconds later."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=grace)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        working.cancel()


async def run(
    stream: Stream,
    start: Callable[[], Awaitable[Session]],
    stop: asyncio.Event,
    observe: Callable[[Stream, Meter], None],
) -> Report:
    """Run one stream to its end or until `stop` is set.

    `start` gives the session; it is called once a first frame has come and all sinks are open. `observe` is
    called after each result. When the last sink has failed the run ends. What fails is in the report.
    """
    meter, error = Meter(), None

    async def begin() -> Session:
        session = await start()
        meter.started = time.monotonic()
        return session

    def note(result: Result) -> None:
        meter.record(result, time.monotonic())
        observe(stream, meter)

    outlets = [Outlet(sink, stream.source.live, meter) for sink in stream.sinks]
    try:
        async with _patience(stop), asyncio.TaskGroup() as tasks:
            error = await _deliver(_opening(stream, outlets, begin, stop, tasks), outlets, note, stop)
    except TimeoutError:
        log.warning("stopped before every output was finished", stream=stream.name)
    unread = isinstance(error, SourceError) and meter.frames == 0 and not stream.source.live
    rejected = isinstance(error, ConfigError | SinkError) or unread
    faults = [str(error)] if error else []
    faults += [outlet.fault for outlet in outlets if outlet.fault]
    left_out = tuple((one.url, one.left_out) for one in outlets if one.left_out and not one.fault)
    summary = replace(meter.summary(), left_out=left_out)
    return Report(stream.name, summary, (*faults, *meter.refused), rejected)


async def _opening(
    stream: Stream,
    outlets: Sequence[Outlet],
    start: Callable[[], Awaitable[Session]],
    stop: asyncio.Event,
    tasks: asyncio.TaskGroup,
) -> AsyncGenerator[Result]:
    """The stream's results. A file's sinks are opened when it has given its first frame, a live source's at
    once: it may be away for hours, and whoever listens hears that we wait."""

    async def begin(frame: Frame) -> Session:
        if not stream.source.live:
            await _open(outlets, tasks)
        return await start()

    if stream.source.live:
        await unless(stop, _open(outlets, tasks))
    watch = begin_watch(stream.rulebook.rules)
    async with aclosing(results(stream.source, begin, stream.cues, stop, stream.take)) as coming:
        async for result in coming:
            watch, watched = watch_step(watch, stream.rulebook.rules, result)
            yield watched if stream.is_on("overlay") else replace(watched, drawn=False)


async def _deliver(
    coming: AsyncGenerator[Result],
    outlets: Sequence[Outlet],
    note: Callable[[Result], None],
    stop: asyncio.Event,
) -> Exception | None:
    """Note every result and hand it on, as long as there is an outlet; what ended them too early."""
    ending: Ending = "failed"
    try:
        async with aclosing(coming):
            async for result in coming:
                note(result)
                if not await _put(outlets, result):
                    break
        ending = "interrupted" if stop.is_set() else "finished"
    except asyncio.CancelledError:
        ending = "interrupted"
        raise
    except (ConfigError, SinkError, SourceError) as error:
        return error
    finally:
        for outlet in outlets:
            outlet.close(ending)
    return None


async def _open(outlets: Sequence[Outlet], tasks: asyncio.TaskGroup) -> None:
    for outlet in outlets:
        await outlet.open(tasks)


async def _put(outlets: Sequence[Outlet], result: Result) -> bool:
    """Hand the result to every outlet; False where all of them have failed."""
    for outlet in outlets:
        await outlet.put(result)
    return not outlets or not all(outlet.fault for outlet in outlets)


@asynccontextmanager
async def _patience(stop: asyncio.Event) -> AsyncIterator[None]:
    """Ends what is inside, with TimeoutError, where it has not ended by itself soon after `stop` is set."""
    async with asyncio.timeout(None) as limit:
        watching = asyncio.create_task(_limit(stop, limit))
        try:
            yield
        finally:
            watching.cancel()


async def _limit(stop: asyncio.Event, limit: asyncio.Timeout) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time() + STEP_GRACE + DRAIN_GRACE)
