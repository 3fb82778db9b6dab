"""The next frame is taken and encoded while this one is stepped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import numpy as np
import pytest

import keepsight.tracker as ks
from keepsight.streams.base import SourceError
from keepsight.streams.sources import SyntheticSource
from keepsight.streams.types import Frame
from keepsight.tracker.engine import model_threads
from keepsight.tracker.pipeline import one_ahead, results
from keepsight.tracker.prompts import Cue
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.state import initial
from keepsight.tracker.step import step
from tests.fakes import FakeSource, make_frames

SCENE = "test://?frames=6&size=96x64"
BOX = (0.2, 0.2, 0.7, 0.8)


async def given(frames: Sequence[Frame], error: Exception | None = None) -> AsyncIterator[Frame]:
    for frame in frames:
        yield frame
    if error is not None:
        raise error


class Preparing:
    """Notes what is prepared, and takes its time for it: `gate` is open where it is set."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.done: list[int] = []
        self.gate = asyncio.Event()

    async def prepare(self, frame: Frame) -> None:
        self.begun.append(frame.index)
        await self.gate.wait()
        self.done.append(frame.index)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_next_frame_is_prepared_while_this_one_is_in_hand_and_no_other() -> None:
    preparing = Preparing()
    preparing.gate.set()
    async with aclosing(one_ahead(given(make_frames(4)), lambda: 0.0, preparing.prepare)) as frames:
        seen = []
        async for frame in frames:
            await turns()
            seen.append((frame.index, list(preparing.done)))
    assert seen == [(0, [1]), (1, [1, 2]), (2, [1, 2, 3]), (3, [1, 2, 3])]


async def test_a_frame_is_given_once_it_is_prepared() -> None:
    preparing = Preparing()
    async with aclosing(one_ahead(given(make_frames(2)), lambda: 0.0, preparing.prepare)) as frames:
        await anext(frames)
        second = asyncio.ensure_future(anext(frames))
        await turns()
        assert (preparing.begun, second.done()) == ([1], False)
        preparing.gate.set()
        assert (await second).index == 1


async def test_without_time_to_spare_a_frame_is_taken_when_it_is_asked_for() -> None:
    """A live source's newest frame, then."""
    taken: list[int] = []

    async def source() -> AsyncIterator[Frame]:
        for frame in make_frames(3):
            taken.append(frame.index)
            yield frame

    preparing = Preparing()
    async with aclosing(one_ahead(source(), lambda: None, preparing.prepare)) as frames:
        async for frame in frames:
            await turns()
            assert taken[-1] == frame.index
    assert preparing.begun == []


async def test_the_next_frame_is_left_where_it_is_for_as_long_as_there_is_time() -> None:
    taken: list[int] = []

    async def source() -> AsyncIterator[Frame]:
        for frame in make_frames(2):
            taken.append(frame.index)
            yield frame

    preparing = Preparing()
    preparing.gate.set()
    async with aclosing(one_ahead(source(), lambda: 0.05, preparing.prepare)) as frames:
        await anext(frames)
        await turns()
        assert taken == [0]
        await asyncio.sleep(0.2)
        assert (taken, preparing.done) == ([0, 1], [1])


async def test_an_error_comes_after_the_frames_before_it() -> None:
    preparing = Preparing()
    preparing.gate.set()
    seen = []

    async def watch() -> None:
        broken = given(make_frames(3), SourceError("broken"))
        async with aclosing(one_ahead(broken, lambda: 0.0, preparing.prepare)) as frames:
            async for frame in frames:
                await turns()
                seen.append(frame.index)

    with pytest.raises(SourceError, match="broken"):
        await watch()
    assert seen == [0, 1, 2]


async def test_leaving_in_the_middle_leaves_nothing_running() -> None:
    before = asyncio.all_tasks()
    async with aclosing(one_ahead(given(make_frames(3)), lambda: 0.0, Preparing().prepare)) as frames:
        await anext(frames)
        await turns()
    assert asyncio.all_tasks() == before


async def test_what_is_encoded_ahead_gives_the_same_results() -> None:
    tracker = ks.load("test", max_objects=2)
    async with SyntheticSource(SCENE) as source:
        frames = [frame async for frame in source]
    prompt = ks.Prompt(box=BOX)
    state, expected = initial(2), []
    for frame in frames:
        state, result = step(tracker.model, state, frame, [prompt] if frame.index == 0 else [])
        expected.append(result)
    async with aclosing(tracker.atrack(frames, [prompt])) as coming:
        found = [result async for result in coming]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.tracks[0].mask, other.tracks[0].mask)
        assert one.tracks[0].confidence == pytest.approx(other.tracks[0].confidence, abs=1e-4)


async def test_frames_are_encoded_ahead_once_something_is_tracked() -> None:
    model = ks.load("test").model
    ahead: list[int] = []

    class Noting(TrackerSession):
        async def prepare(self, frame: Frame) -> None:
            ahead.append(frame.index)
            await super().prepare(frame)

    async with model_threads() as threads:
        await threads.share_cores()

        async def start(frame: Frame) -> TrackerSession:
            return Noting(threads, model, 2, TrackerSettings())

        cue = ks.Prompt(box=BOX)
        source = FakeSource(make_frames(6, (64, 96)))
        async with aclosing(results(source, start, [Cue(2, cue)])) as coming:
            found = [result async for result in coming]
    assert [len(result.tracks) for result in found] == [0, 0, 1, 1, 1, 1]
    assert ahead == [4, 5]
