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
from keepsight.streams.types import Frame, Image, Prompt
from keepsight.tracker.api import Pictures
from keepsight.tracker.engine import model_threads
from keepsight.tracker.pipeline import one_ahead, results
from keepsight.tracker.prompts import Cue
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.state import initial
from keepsight.tracker.step import encode, step
from tests.fakes import make_frames
from tests.tracker.fakes import BLUE, GREEN, RED, Colour, ColourPredictor, area, frame_of, paint

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


class Noting(TrackerSession):
    """Notes the frames that are prepared."""

    prepared: tuple[int, ...] = ()

    async def prepare(self, frame: Frame) -> None:
        self.prepared += (frame.index,)
        await super().prepare(frame)


async def watched(model: ColourPredictor, images: Sequence[Image], cues: Sequence[Cue]) -> tuple[int, ...]:
    """The frames that were prepared; every object of the last result is where its colour is."""
    async with model_threads() as threads:
        await threads.share_cores()
        session = Noting(threads, model, len(cues), TrackerSettings())

        async def start(frame: Frame) -> TrackerSession:
            return session

        async with aclosing(results(Pictures(images), start, cues)) as coming:
            found = [result async for result in coming]
    assert len(found) == len(images)
    for track, colour in zip(found[-1].tracks, (RED, GREEN, BLUE), strict=False):
        assert np.array_equal(track.mask, area(images[-1], colour))
    return session.prepared


def three(shift: int) -> Image:
    return paint([(RED, shift, 0, 16), (GREEN, 32, 16, 16), (BLUE, 64, 32 - shift, 16)])


def cue_of(image: Image, colour: Colour, frame: int) -> Cue:
    return Cue(frame, ks.Prompt(mask=area(image, colour)))


async def test_frames_are_encoded_ahead_once_something_is_tracked() -> None:
    model, images = ColourPredictor(), [three(4 * i) for i in range(6)]
    assert await watched(model, images, [cue_of(images[2], RED, 2)]) == (4, 5)
    verbs = [verb for verb, _ in model.calls]
    assert (verbs.count("encode"), verbs.count("relate")) == (4, 0)


async def test_with_many_objects_frames_are_related_ahead_too() -> None:
    model, images = ColourPredictor(), [three(4 * i) for i in range(6)]
    cues = [cue_of(images[0], colour, 0) for colour in (RED, GREEN, BLUE)]
    assert await watched(model, images, cues) == (2, 3, 4, 5)
    assert [verb for verb, _ in model.calls].count("relate") == 3  # frame 1 was not encoded ahead


async def test_how_a_frame_moved_is_not_used_after_another_frame_than_that_was_found_out_for() -> None:
    model, images = ColourPredictor(), [frame_of(three(4 * i), i) for i in range(4)]
    shown = [Prompt(mask=area(images[0].image, RED))]
    state, _ = step(model, initial(1), images[0], shown)
    skipped = encode(model, images[1])
    ahead = encode(model, images[2], before=skipped)
    assert ahead.features.motion is not None
    _, result = step(model, state, images[2], encoded=ahead)
    assert np.array_equal(result.tracks[0].mask, area(images[2].image, RED))
