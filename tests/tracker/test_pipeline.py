"""The way of a frame, with a source and sinks of our own and a session that counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from keepsight.streams.base import Ending, Sink, SinkError, Source, SourceError
from keepsight.streams.types import Applied, Command, Event, Forget, Frame, Prompt, Refusal, Reset, Result
from keepsight.tracker.looking_ahead import Due
from keepsight.tracker.outlet import merge
from keepsight.tracker.pipeline import Report, Stream, results, run
from keepsight.tracker.prompts import Cue
from keepsight.tracker.summary import Meter
from tests.fakes import CollectingSink, FakeSource, make_frames

SOON = 2.0
"""Seconds in which a stopped run has to be over."""


def an_event(frame: Frame, kind: str = "update") -> Event:
    return Event(
        kind=kind,  # type: ignore[arg-type]
        object_id=1,
        label="",
        frame=frame.ref,
        time=frame.time,
        captured=frame.captured,
        clock=frame.clock,
        confidence=1.0,
        box=None,
        state="tracked",
        previous=None,
        reason="",
    )


@dataclass
class CountingSession:
    """Gives each frame one event and remembers what it was told. With a `gate` each step waits for it."""

    gate: asyncio.Event | None = None
    frames: list[int] = field(default_factory=list)
    commands: list[tuple[int, Command]] = field(default_factory=list)

    def when_due(self, frame: Frame) -> Due | None:
        return None

    async def prepare(self, frame: Frame) -> None:
        raise AssertionError("there was nothing to prepare")

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        self.frames.append(frame.index)
        self.commands += [(frame.index, command) for command in commands]
        if self.gate is not None:
            await self.gate.wait()
        return Result(frame, events=(an_event(frame),))

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return (an_event(frame, "end"),)


class Camera(FakeSource):
    """Live; gives the frames that are put into `shows`."""

    def __init__(self) -> None:
        super().__init__([], live=True)
        self.shows: asyncio.Queue[Frame] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while True:
            yield await self.shows.get()


class RefusedSink(CollectingSink):
    """Cannot be opened."""

    async def __aenter__(self) -> RefusedSink:
        raise SinkError("fake://sink: permission denied")


class SlowSink(CollectingSink):
    """Opens once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.opening, self.may_open = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> SlowSink:
        self.opening.set()
        await self.may_open.wait()
        return self


async def watch(
    source: Source,
    *sinks: Sink,
    session: CountingSession | None = None,
    cues: tuple[Cue, ...] = (),
    stop: asyncio.Event | None = None,
) -> Report:
    async def start() -> CountingSession:
        return session or CountingSession()

    stream = Stream("test", source, sinks, cues)
    return await run(stream, start, stop or asyncio.Event(), lambda stream, meter: None)


async def turns(count: int) -> None:
    """Lets everything that can go on go on, `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come about")


async def show(camera: Camera, frame: Frame, seen_by: CollectingSink) -> None:
    camera.shows.put_nowait(frame)
    await until(lambda: frame.index in indices(seen_by))


def indices(sink: CollectingSink) -> list[int]:
    return [result.frame.index for result in sink.results]


async def test_every_frame_of_a_file_reaches_every_sink_in_order() -> None:
    sinks = CollectingSink(), CollectingSink()
    report = await watch(FakeSource(make_frames(20)), *sinks)
    assert indices(sinks[0]) == indices(sinks[1]) == list(range(20))
    assert sinks[0].finished
    assert (report.exit_code, report.summary.frames, report.summary.dropped) == (0, 20, 0)


async def test_a_file_waits_for_a_slow_sink_and_loses_nothing() -> None:
    gate = asyncio.Event()
    slow, source = CollectingSink(gate=gate), FakeSource(make_frames(50))
    session = CountingSession()
    running = asyncio.create_task(watch(source, slow, session=session))
    await turns(500)
    assert len(session.frames) < 12, "a bounded number of results waits for the sink"
    gate.set()
    await running
    assert indices(slow) == list(range(50))


async def test_a_live_source_is_stepped_at_its_newest_frame() -> None:
    gate = asyncio.Event()
    session = CountingSession(gate)
    sink = CollectingSink()
    stop = asyncio.Event()
    source = FakeSource(make_frames(30), live=True, hangs=True)
    running = asyncio.create_task(watch(source, sink, session=session, stop=stop))
    await turns(500)
    gate.set()
    await until(lambda: 29 in session.frames)
    stop.set()
    report = await running
    assert session.frames == [0, 29]
    assert report.summary.dropped == 28


async def test_a_live_sink_that_falls_behind_gets_the_events_it_missed_and_holds_up_no_other() -> None:
    gate = asyncio.Event()
    slow, quick = CollectingSink(gate=gate), CollectingSink()
    stop = asyncio.Event()
    source = Camera()
    running = asyncio.create_task(watch(source, slow, quick, stop=stop))
    for frame in make_frames(8):
        await show(source, frame, quick)
    assert slow.results == []
    gate.set()
    stop.set()
    report = await running
    told = [event.frame[1] for result in slow.results for event in result.events if event.kind == "update"]
    assert sorted(set(told)) == list(range(8))
    assert len(slow.results) < len(quick.results)
    assert indices(slow)[:2] == [0, 7]
    assert report.summary.left_out == (("fake://sink", 6),)


async def test_a_failing_sink_is_closed_and_left_out_while_the_others_go_on() -> None:
    failing, sound = CollectingSink(fails_at=3), CollectingSink()
    report = await watch(FakeSource(make_frames(20)), failing, sound)
    assert failing.finished
    assert len(failing.results) == 3
    assert indices(sound) == list(range(20))
    assert report.faults == ("fake://sink: no space left on device",)
    assert report.exit_code == 1


async def test_a_run_ends_when_its_last_sink_has_failed() -> None:
    session = CountingSession()
    source = FakeSource(make_frames(500))
    report = await watch(source, CollectingSink(fails_at=3), CollectingSink(fails_at=1), session=session)
    assert len(session.frames) < 20
    assert not source.is_open
    assert report.exit_code == 1


async def test_a_sink_that_cannot_be_opened_rejects_the_run() -> None:
    source, sound = FakeSource(make_frames(20)), CollectingSink()
    report = await watch(source, sound, RefusedSink())
    assert report.exit_code == 2
    assert report.faults == ("fake://sink: permission denied",)
    assert not source.is_open
    assert sound.finished


async def test_a_file_that_cannot_be_opened_rejects_the_run_and_opens_no_sink() -> None:
    sink = CollectingSink()
    report = await watch(FakeSource([], refusal=SourceError("x.mp4: not a video")), sink)
    assert (report.exit_code, report.faults) == (2, ("x.mp4: not a video",))
    assert not sink.finished


async def test_the_sinks_of_a_camera_that_is_away_are_open() -> None:
    sink, stop = SlowSink(), asyncio.Event()
    sink.may_open.set()
    running = asyncio.create_task(watch(Camera(), sink, stop=stop))
    async with asyncio.timeout(SOON):
        await sink.opening.wait()
    stop.set()
    assert (await running).exit_code == 0
    assert sink.finished


async def test_what_was_readable_of_a_broken_file_is_written() -> None:
    sink = CollectingSink()
    report = await watch(FakeSource(make_frames(7), failure=SourceError("x.mp4: damaged")), sink)
    assert indices(sink) == list(range(7))
    assert sink.results[-1].events[-1].kind == "end"
    assert (report.exit_code, report.faults) == (1, ("x.mp4: damaged",))


async def test_the_last_result_of_a_file_ends_every_object() -> None:
    sink = CollectingSink()
    await watch(FakeSource(make_frames(5)), sink)
    assert [[event.kind for event in result.events] for result in sink.results] == [
        *[["update"]] * 4,
        ["update", "end"],
    ]


async def test_the_last_result_of_a_live_source_is_told_again_for_the_ends_alone() -> None:
    sink, stop = CollectingSink(), asyncio.Event()
    source = FakeSource(make_frames(1), live=True, hangs=True)
    running = asyncio.create_task(watch(source, sink, stop=stop))
    await until(lambda: bool(sink.results))
    stop.set()
    report = await running
    assert [[event.kind for event in result.events] for result in sink.results] == [
        ["update"],
        ["end"],
    ]
    assert [result.closing for result in sink.results] == [False, True]
    assert report.summary.frames == 1


async def test_commands_are_given_at_their_frames() -> None:
    session = CountingSession()
    first, later = Prompt(object_id=1, box=(0, 0, 1, 1)), Forget(1)
    await watch(FakeSource(make_frames(9)), session=session, cues=(Cue(0, first), Cue(4, later)))
    assert session.commands == [(0, first), (4, later)]


async def test_a_command_whose_frame_was_dropped_is_given_at_the_next() -> None:
    session = CountingSession()
    await watch(FakeSource(make_frames(9)[5:]), session=session, cues=(Cue(2, Reset()),))
    assert session.commands == [(5, Reset())]


class CommandingSink(CollectingSink):
    """Commands a reset whenever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def take_commands(self) -> tuple[Command, ...]:
        self.asked += 1
        return (Reset(str(self.asked)),)


async def test_sinks_that_take_commands_are_asked_once_before_each_step() -> None:
    session, sink = CountingSession(), CommandingSink()
    cue = Cue(1, Forget(1))
    await watch(FakeSource(make_frames(3)), sink, CollectingSink(), session=session, cues=(cue,))
    assert session.commands == [(0, Reset("1")), (1, Forget(1)), (1, Reset("2")), (2, Reset("3"))]


async def test_a_command_for_a_frame_that_never_came_is_refused_and_told() -> None:
    prompt = Prompt(object_id=4, box=(0, 0, 1, 1))
    sink = CollectingSink()
    report = await watch(FakeSource(make_frames(3)), sink, cues=(Cue(90, prompt),))
    assert sink.results[-1].refusals == (Refusal(prompt, "the stream ended before frame 90"),)
    assert report.exit_code == 1
    assert report.faults == ("prompt of object 4 was refused: the stream ended before frame 90",)


async def test_a_mask_of_another_size_than_the_frames_rejects_the_run() -> None:
    prompt = Prompt(object_id=1, mask=np.ones((5, 5), np.bool_))
    report = await watch(FakeSource(make_frames(3)), CollectingSink(), cues=(Cue(2, prompt),))
    assert report.exit_code == 2
    assert "5×5 but the frames are 6×4" in report.faults[0]


async def test_a_stop_ends_a_live_run_and_finishes_its_sinks() -> None:
    sink, stop = CollectingSink(), asyncio.Event()
    source = FakeSource(make_frames(3), live=True, hangs=True)
    running = asyncio.create_task(watch(source, sink, stop=stop))
    await until(lambda: bool(sink.results))
    stop.set()
    async with asyncio.timeout(SOON):
        report = await running
    assert sink.finished
    assert not source.is_open
    assert report.exit_code == 0


class TellingSink(CollectingSink):
    """Notes how it is told that the run ended."""

    ending: Ending | None = None

    def hear_of_end(self, ending: Ending) -> None:
        assert not self.finished
        self.ending = ending


class BrokenSession(CountingSession):
    """Breaks at the third frame."""

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        if frame.index == 2:
            raise RuntimeError("out of memory")
        return await super().step(frame, commands)


async def test_a_sink_that_wants_to_know_hears_how_the_run_ended() -> None:
    sinks = [TellingSink() for _ in range(4)]
    await watch(FakeSource(make_frames(3)), sinks[0])
    await watch(FakeSource(make_frames(3), failure=SourceError("it broke off")), sinks[1])
    with pytest.raises(ExceptionGroup):
        await watch(FakeSource(make_frames(3)), sinks[2], session=BrokenSession())
    stop = asyncio.Event()
    running = asyncio.create_task(watch(FakeSource(make_frames(3), hangs=True), sinks[3], stop=stop))
    await until(lambda: bool(sinks[3].results))
    stop.set()
    await running
    assert [sink.ending for sink in sinks] == ["finished", "failed", "failed", "interrupted"]


async def test_a_stop_while_a_sink_opens_is_not_its_fault() -> None:
    sink, stop = SlowSink(), asyncio.Event()
    running = asyncio.create_task(watch(FakeSource(make_frames(3)), sink, stop=stop))
    await sink.opening.wait()
    stop.set()
    await turns(20)
    sink.may_open.set()
    report = await running
    assert report.faults == ()
    assert sink.finished


async def test_a_stop_does_not_wait_for_a_step_that_hangs() -> None:
    session, sink, stop = CountingSession(gate=asyncio.Event()), CollectingSink(), asyncio.Event()
    running = asyncio.create_task(watch(FakeSource(make_frames(3)), sink, session=session, stop=stop))
    await until(lambda: bool(session.frames))
    stop.set()
    async with asyncio.timeout(SOON):
        await running
    assert sink.finished


async def test_a_stop_does_not_wait_for_a_sink_that_hangs() -> None:
    hanging, stop = CollectingSink(gate=asyncio.Event()), asyncio.Event()
    sound, session = CollectingSink(), CountingSession()
    source = FakeSource(make_frames(99))
    running = asyncio.create_task(watch(source, hanging, sound, session=session, stop=stop))
    await until(lambda: len(session.frames) >= 3)
    stop.set()
    async with asyncio.timeout(SOON):
        await running
    assert sound.finished
    assert hanging.finished


async def test_leaving_the_results_early_closes_the_source() -> None:
    source = FakeSource(make_frames(9))

    async def start(frame: Frame) -> CountingSession:
        return CountingSession()

    async with aclosing(results(source, start)) as coming:
        async for _ in coming:
            break
    assert not source.is_open


async def test_what_breaks_the_footage_is_raised_after_the_results_before_it() -> None:
    source = FakeSource(make_frames(3), failure=ZeroDivisionError("a generator's own"))
    seen: list[Result] = []

    async def start(frame: Frame) -> CountingSession:
        return CountingSession()

    async def read() -> None:
        async for result in results(source, start):
            seen.append(result)

    with pytest.raises(ZeroDivisionError):
        await read()
    assert [result.frame.index for result in seen] == [0, 1, 2]
    assert [event.kind for event in seen[-1].events] == ["update", "end"]


def test_merged_results_keep_a_bounded_number_of_events() -> None:
    frame = make_frames(1)[0]
    result = Result(frame, events=(an_event(frame),) * 600)
    newer = replace(result, events=(an_event(frame, "lost"),) * 600)
    merged = merge(result, newer)
    assert len(merged.events) == 1000
    assert merged.events[-600:] == newer.events


def test_a_result_that_waits_is_not_hidden_by_its_closing_and_no_event_is_told_twice() -> None:
    frame = make_frames(1)[0]
    unread = Result(frame, events=(an_event(frame),))
    merged = merge(unread, Result(frame, events=(an_event(frame, "end"),), closing=True))
    assert ([event.kind for event in merged.events], merged.closing) == (["update", "end"], False)


def test_merged_results_keep_the_answers_to_commands() -> None:
    first, second = make_frames(2)
    unread = Result(first, applied=(Applied(Forget(1), (0, 0), 1),), refusals=(Refusal(Reset(), "no"),))
    merged = merge(unread, Result(second))
    assert (merged.applied, merged.refusals) == (unread.applied, unread.refusals)


def test_frames_that_were_let_go_by_are_not_dropped() -> None:
    meter = Meter()
    for frame in (make_frames(1)[0], replace(make_frames(30)[29], passed=25)):
        meter.record(Result(frame), 0.0)
    assert meter.dropped == 3


def test_what_was_answered_to_its_asker_is_no_fault_of_the_run() -> None:
    meter, (frame,) = Meter(), make_frames(1)
    meter.record(Result(frame, refusals=(Refusal(Forget(1, "a"), "no"), Refusal(Forget(2), "no"))), 0.0)
    assert meter.refused == ["forget of object 2 was refused: no"]


async def test_the_speed_of_a_run_is_counted_from_when_the_model_is_ready() -> None:
    frames = [replace(frame, arrived=0.0) for frame in make_frames(5)]  # when the machine was started
    began = time.monotonic()
    report = await watch(FakeSource(frames), CollectingSink())
    assert 0 < report.summary.seconds <= time.monotonic() - began


def test_the_summary_tells_latencies_to_three_percent() -> None:
    meter = Meter()
    for milliseconds in range(1, 101):
        meter.record_sink(milliseconds / 1000)
    sinks = meter.summary().stages[-1]
    assert abs(sinks.median - 0.050) < 0.0015
    assert abs(sinks.p95 - 0.095) < 0.003


def test_the_summary_has_the_same_size_however_long_the_run() -> None:
    meter, frame = Meter(), make_frames(1)[0]
    buckets = meter.step.counts.nbytes
    for index in range(5000):
        meter.record(Result(replace(frame, index=index)), time.monotonic())
    assert meter.step.counts.nbytes == buckets
    assert meter.frames == 5000
