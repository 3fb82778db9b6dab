from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest

from keepsight.streams.base import DeniedError, SourceError
from keepsight.streams.retry import OUTPUTS, Backoff, Reconnecting, SourceStatus, Waiting, reconnecting
from keepsight.streams.sinks import services
from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sinks.mqtt_target import parse_target
from keepsight.streams.types import Frame
from tests.fakes import FakeSource, make_frames
from tests.logs import Log


class Line:
    """A camera's line: one source after the other, or why there is none, what was slept between them, and
    what was reported."""

    def __init__(self, sources: Iterable[FakeSource | Exception]) -> None:
        self.sources = list(sources)
        self.waiting = iter(self.sources)
        self.slept: list[float] = []
        self.now = 0.0
        self.statuses: list[SourceStatus] = []
        self.news = asyncio.Event()

    def open(self, stall_seconds: float = 60.0, after: float = 0.0) -> Reconnecting:
        return reconnecting(
            self.make,
            on_status=self.hear,
            backoff=Backoff(shortest=1.0, longest=5.0, jitter=0.5),
            stall_seconds=stall_seconds,
            waiting=Waiting(self.sleep, clock=lambda: self.now, chance=lambda: 0.0),
            after=after,
        )

    def make(self) -> FakeSource:
        one = next(self.waiting)
        if isinstance(one, Exception):
            raise one
        return one

    def hear(self, status: SourceStatus) -> None:
        self.statuses.append(status)
        self.news.set()

    async def told(self, state: str) -> None:
        """Until this is the state that was reported last."""
        while not self.statuses or self.statuses[-1].state != state:
            self.news.clear()
            await self.news.wait()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    @property
    def states(self) -> list[tuple[str, str, int]]:
        return [(status.state, status.reason, status.reconnects) for status in self.statuses]


def camera(arriving: float = 0.0, **ways: object) -> FakeSource:
    """A source of three frames that arrive from the given time on."""
    frames = [dataclasses.replace(f, arrived=f.arrived + arriving) for f in make_frames(3)]
    return FakeSource(frames, live=True, **ways)  # type: ignore[arg-type]


def refusing(reason: str = "Connection refused") -> FakeSource:
    return FakeSource([], live=True, refusal=SourceError(f"fake://source: {reason}"))


async def read(source: Reconnecting, count: int) -> list[Frame]:
    async with asyncio.timeout(10), source:
        return [await anext(source) for _ in range(count)]


async def test_the_first_opening_waits_for_its_turn() -> None:
    line = Line([camera(), camera(10.0)])
    await read(line.open(after=3.0), 6)
    assert line.slept == [3.0, 1.0]


async def test_the_end_of_a_live_stream_is_a_disconnect() -> None:
    line = Line([camera(), camera(10.0), camera(20.0)])
    frames = await read(line.open(), 9)
    assert [frame.epoch for frame in frames] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [frame.index for frame in frames] == list(range(9))
    assert line.states[:3] == [
        ("online", "", 0),
        ("offline", "the stream ended", 0),
        ("online", "", 1),
    ]


async def test_time_goes_on_over_a_reconnect_by_what_passed_outside() -> None:
    line = Line([camera(), camera(10.0)])
    frames = await read(line.open(), 6)
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))
    assert frames[3].time - frames[2].time == pytest.approx(frames[3].arrived - frames[2].arrived)


async def test_time_rises_even_when_the_next_frame_arrives_at_once() -> None:
    frames = await read(Line([camera(), camera(-1.0)]).open(), 6)
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))


async def test_a_camera_that_is_away_is_tried_for_ever_and_ever_less_often() -> None:
    line = Line([*(refusing() for _ in range(6)), camera()])
    await read(line.open(), 1)
    assert line.slept == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert line.states == [("offline", "Connection refused", 0), ("online", "", 0)]


async def test_who_is_denied_access_asks_less_and_less_often() -> None:
    denial = DeniedError("fake://source: 401 Unauthorized")
    line = Line([*(FakeSource([], live=True, refusal=denial) for _ in range(5)), camera()])
    await read(line.open(), 1)
    assert line.slept == [1.0, 2.0, 4.0, 8.0, 16.0]


async def test_after_a_frame_the_delays_begin_again() -> None:
    line = Line([refusing(), refusing(), camera(), refusing(), camera(9.0)])
    await read(line.open(), 4)
    assert line.slept == [1.0, 2.0, 1.0, 2.0]


async def test_a_camera_that_opens_but_gives_nothing_is_tried_less_often() -> None:
    line = Line([FakeSource([], live=True), FakeSource([], live=True), camera()])
    await read(line.open(), 1)
    assert line.slept == [1.0, 2.0]
    assert line.states[-1] == ("online", "", 0)


async def test_a_failing_read_reconnects_and_says_why() -> None:
    line = Line([camera(failure=SourceError("fake://source: no data in time")), camera(5.0)])
    await read(line.open(), 4)
    assert ("offline", "no data in time", 0) in line.states


async def test_silence_is_reported_as_a_stall_and_the_connection_is_kept() -> None:
    line = Line([camera(hangs=True)])
    source = line.open(stall_seconds=0.01)
    async with source:
        frames = [await anext(source) for _ in range(3)]
        waiting = asyncio.ensure_future(anext(source))
        async with asyncio.timeout(10):
            await line.told("stalled")
        assert source.status == SourceStatus("stalled", "no frame for 0.01 s", 0)
        assert not waiting.done()
        assert line.sources[0].is_open
        waiting.cancel()
        await asyncio.wait({waiting})
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert not line.sources[0].is_open


async def test_leaving_closes_the_connection_and_earlier_ones_are_closed_already() -> None:
    line = Line([camera(), camera(5.0)])
    source = line.open()
    async with source:
        for _ in range(4):
            await anext(source)
        assert [s.is_open for s in line.sources] == [False, True]
    assert [s.is_open for s in line.sources] == [False, False]


async def test_waiting_for_a_camera_can_be_cancelled() -> None:
    source = reconnecting(lambda: refusing(), backoff=Backoff(shortest=60.0))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), source:
            pass


@pytest.mark.parametrize(
    "ways", [{"refusal": ZeroDivisionError("by 0")}, {"failure": ZeroDivisionError("by 0")}]
)
async def test_an_error_that_nobody_foresaw_is_retried_and_its_trace_logged_once(
    ways: dict[str, Exception], log: Log
) -> None:
    line = Line([camera(**ways), camera(**ways), camera(5.0)])
    await read(line.open(), 1 if "refusal" in ways else 7)
    assert ("offline", "ZeroDivisionError: by 0", 0) in line.states
    (told,) = [entry for entry in log.entries if entry["level"] == "error"]
    assert "Traceback" in told["trace"]
    assert "fakes.py" in told["trace"]


async def test_a_source_that_cannot_even_be_made_is_waited_for() -> None:
    gone, odd = SourceError("fake://source: ca=mine.pem: no such file"), ZeroDivisionError("by 0")
    line = Line([camera(), gone, odd, camera(5.0)])
    frames = await read(line.open(), 4)
    assert frames[-1].epoch == 1
    assert line.slept == [1.0, 2.0, 4.0]
    assert [reason for _, reason, _ in line.states[1:-1]] == [
        "the stream ended",
        "ca=mine.pem: no such file",
        "ZeroDivisionError: by 0",
    ]


def failing_at(places: str) -> Iterator[Exception]:
    """Errors of one kind from one of two places each, `a` or `b`, whose text is never the same."""
    for number, place in enumerate(places):
        try:
            if place == "a":
                raise ZeroDivisionError(number)
            raise ZeroDivisionError(number)
        except ZeroDivisionError as error:
            yield error


async def test_a_trace_is_logged_again_for_another_place_and_after_an_hour_but_not_for_another_text(
    log: Log,
) -> None:
    line = Line([camera(), *failing_at("aab"), camera(5.0), *failing_at("b"), camera(9.0)])
    async with asyncio.timeout(10), line.open() as source:
        for _ in range(6):
            await anext(source)
        line.now = 4000.0
        await anext(source)
    assert [entry["reason"][-1] for entry in log.entries if entry["level"] == "error"] == ["0", "2", "0"]


async def test_a_source_that_cannot_be_closed_is_left_and_opened_again() -> None:
    class Stuck(FakeSource):
        async def __aexit__(self, *_: object) -> None:
            raise OSError("fake://me:hush@source: stuck")

    frames = await read(Line([Stuck(make_frames(3), live=True), camera(5.0)]).open(), 6)
    assert frames[-1].epoch == 1


def test_jitter_takes_a_part_of_the_delay_away() -> None:
    backoff = Backoff(shortest=1.0, longest=30.0, jitter=0.3)
    assert backoff.delay(0, 0.0) == 1.0
    assert backoff.delay(0, 0.999) == pytest.approx(0.7, abs=0.01)
    assert backoff.delay(100_000, 0.0) == 30.0


def test_the_seconds_that_an_attempt_took_are_not_waited_again() -> None:
    backoff = Backoff(shortest=0.5, longest=8.0, jitter=0.0)
    assert backoff.delay(4, 0.0, spent=5.0) == 3.0
    assert backoff.delay(4, 0.0, spent=9.0) == 0.5


def test_a_camera_that_returns_is_seen_within_a_few_seconds() -> None:
    backoff = Backoff()
    assert max(backoff.delay(failures, 0.0) for failures in range(100)) < 3.0
    assert backoff.delay(100, 0.0, denied=True) == 60.0


def test_a_broker_that_stays_away_is_asked_less_and_less_often_up_to_every_half_minute() -> None:
    pauses = [OUTPUTS.delay(failures, chance=0.0) for failures in range(12)]
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == 30.0
    assert MqttSink(parse_target("mqtt://broker"))._backoff is services.OUTPUTS is OUTPUTS
