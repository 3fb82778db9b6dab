"""The next frame is taken and encoded while this one is stepped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest
import torch

import keepsight.tracker as ks
from keepsight.streams.base import SourceError
from keepsight.streams.mailbox import Mailbox
from keepsight.streams.sources import SyntheticSource
from keepsight.streams.types import Command, Event, Forget, Frame, Image, Prompt, Result
from keepsight.tracker.api import Pictures
from keepsight.tracker.engine import cores, model_threads
from keepsight.tracker.looking_ahead import Due, one_ahead
from keepsight.tracker.pipeline import results
from keepsight.tracker.prompts import Cue
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.state import initial
from keepsight.tracker.step import encode, step
from keepsight.tracker.transforms import tight_box
from tests.fakes import FakeSource, make_frames
from tests.tracker.fakes import BLUE, GREEN, RED, Colour, ColourPredictor, area, frame_of, paint

SCENE = "test://?frames=6&size=96x64"
BOX = (0.2, 0.2, 0.7, 0.8)
SOON = 2.0
"""Seconds in which a stopped run has to be over."""


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


def never() -> bool:
    return False


async def at_once() -> None:
    pass


async def for_ever() -> None:
    await asyncio.Event().wait()


def always(wait: Due | None) -> Callable[[Frame], Due | None]:
    return lambda frame: wait


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_next_frame_is_prepared_while_this_one_is_in_hand_and_no_other() -> None:
    preparing = Preparing()
    preparing.gate.set()
    async with aclosing(
        one_ahead(given(make_frames(4)), always(at_once), preparing.prepare, never)
    ) as frames:
        seen = []
        async for frame in frames:
            await turns()
            seen.append((frame.index, list(preparing.done)))
    assert seen == [(0, [1]), (1, [1, 2]), (2, [1, 2, 3]), (3, [1, 2, 3])]


async def test_a_frame_is_given_once_it_is_prepared() -> None:
    preparing = Preparing()
    async with aclosing(
        one_ahead(given(make_frames(2)), always(at_once), preparing.prepare, never)
    ) as frames:
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
    async with aclosing(one_ahead(source(), always(None), preparing.prepare, never)) as frames:
        async for frame in frames:
            await turns()
            assert taken[-1] == frame.index
    assert preparing.begun == []


async def test_the_next_frame_is_left_where_it_is_until_it_is_asked_for_or_time_is_up() -> None:
    taken: list[int] = []

    async def source() -> AsyncIterator[Frame]:
        for frame in make_frames(3):
            taken.append(frame.index)
            yield frame

    preparing, waits = Preparing(), (for_ever, at_once, for_ever)
    preparing.gate.set()
    ahead = one_ahead(source(), lambda frame: waits[frame.index], preparing.prepare, never)
    async with aclosing(ahead) as frames:
        await anext(frames)
        await turns()
        assert taken == [0]
        assert (await anext(frames)).index == 1
        await turns()
        assert (taken, preparing.done) == ([0, 1, 2], [1, 2])


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("took", "late", "newest", "given"),
    [
        (1.0, 5.0, 9, 9),  # nobody asked for a long time
        (1.0, 0.5, 9, 1),  # preparing another would take longer than this one has waited
        (1.0, 5.0, None, 1),  # there is no newer one
    ],
)
async def test_who_asks_late_gets_the_newest_frame_and_not_the_one_that_was_prepared(
    took: float, late: float, newest: int | None, given: int
) -> None:
    clock, camera = Clock(), Mailbox[Frame](live=True)
    shots = make_frames(10)

    async def prepare(frame: Frame) -> None:
        clock.now += took

    ahead = one_ahead(camera, always(at_once), prepare, lambda: len(camera) > 0, clock)
    async with aclosing(ahead) as frames:
        for shot in shots[:2]:
            camera.offer(shot)
            await turns()
            if shot.index == 0:
                assert (await anext(frames)).index == 0
        clock.now += late
        if newest is not None:
            camera.offer(shots[newest])
        assert (await anext(frames)).index == given


async def test_a_slow_reader_of_a_camera_gets_frames_of_when_it_asks() -> None:
    """The whole way of `atrack`, with a camera of our own and no clock but the real one."""
    tracker, camera = ks.load("test", max_objects=1), Showing()
    async with aclosing(tracker.atrack(camera, [ks.Prompt(box=BOX)])) as coming:
        await camera.show(0)
        assert (await anext(coming)).frame.index == 0
        await camera.show(1)
        assert (await anext(coming)).frame.index == 1
        for index in range(2, 30):  # far longer than this model takes to encode
            await camera.show(index)
            await asyncio.sleep(0.05)
        assert (await anext(coming)).frame.index == 29


class Showing(FakeSource):
    """A camera that shows what it is told to, all of it newer than what was shown before."""

    def __init__(self) -> None:
        super().__init__([], live=True)
        self.shown: asyncio.Queue[Frame] = asyncio.Queue()

    async def show(self, index: int) -> None:
        await self.shown.put(frame_of(three(index), index))
        await turns()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while True:
            yield await self.shown.get()


async def test_the_time_to_spare_counts_from_when_the_step_begins() -> None:
    """With several streams a step waits for those of the others."""
    model, images = ColourPredictor(), [frame_of(three(4 * i), i) for i in range(2)]
    release = threading.Event()
    async with model_threads() as threads:
        session = TrackerSession(threads, model, 1, TrackerSettings())
        assert session.when_due(images[0]) is None
        await session.step(images[0], [Prompt(mask=area(images[0].image, RED))])
        wait = session.when_due(images[1])
        assert wait is not None
        other = asyncio.create_task(threads.tracker.run(release.wait))
        waiting = asyncio.ensure_future(wait())
        await turns()
        stepping = asyncio.create_task(session.step(images[1], []))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.shield(waiting)
        release.set()
        await asyncio.wait_for(asyncio.gather(waiting, stepping, other), SOON)


async def test_a_stop_does_not_wait_for_a_frame_to_be_prepared() -> None:
    stop = asyncio.Event()
    session, source = Endless(), Exhausted(make_frames(3))

    async def start(frame: Frame) -> Endless:
        await source.has_given_all.wait()  # so that the next is there to be prepared
        return session

    async def watch() -> list[int]:
        async with aclosing(results(source, start, (), stop)) as coming:
            return [result.frame.index async for result in coming]

    watching = asyncio.create_task(watch())
    await session.preparing.wait()
    stop.set()
    assert await asyncio.wait_for(watching, SOON) == [0]


class Exhausted(FakeSource):
    """Tells when it has given all that it has."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        super().__init__(frames)
        self.has_given_all = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        async for frame in super().__aiter__():
            yield frame
        self.has_given_all.set()


class Endless:
    """A session whose preparing never ends."""

    def __init__(self) -> None:
        self.preparing = asyncio.Event()

    def when_due(self, frame: Frame) -> Due | None:
        return at_once

    async def prepare(self, frame: Frame) -> None:
        self.preparing.set()
        await asyncio.Event().wait()

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        return Result(frame)

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return ()


async def test_each_thread_keeps_to_half_of_the_cores() -> None:
    def used() -> int:
        torch.ones(300, 300).mm(torch.ones(300, 300))  # a thread's first operation may set its number anew
        return torch.get_num_threads()

    async with model_threads() as threads:
        for _ in range(2):
            await threads.share_cores()
        found = [await worker.run(used) for worker in (threads.encoder, threads.tracker)]
    assert found == [max(1, cores() // 2)] * 2


async def test_a_model_that_relates_nothing_tracks_many_objects() -> None:
    tracker = ks.load("test", max_objects=3)
    shown = [ks.Prompt(box=(x, 0.1, x + 0.2, 0.6)) for x in (0.1, 0.4, 0.7)]
    async with aclosing(tracker.atrack([three(4 * i) for i in range(5)], shown)) as coming:
        assert [len(result.tracks) async for result in coming] == [3] * 5


async def test_an_error_comes_after_the_frames_before_it() -> None:
    preparing = Preparing()
    preparing.gate.set()
    seen = []

    async def watch() -> None:
        broken = given(make_frames(3), SourceError("broken"))
        async with aclosing(one_ahead(broken, always(at_once), preparing.prepare, never)) as frames:
            async for frame in frames:
                await turns()
                seen.append(frame.index)

    with pytest.raises(SourceError, match="broken"):
        await watch()
    assert seen == [0, 1, 2]


async def test_leaving_in_the_middle_leaves_nothing_running() -> None:
    before = asyncio.all_tasks()
    async with aclosing(
        one_ahead(given(make_frames(3)), always(at_once), Preparing().prepare, never)
    ) as frames:
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


class Late(TrackerSession):
    """Prepares nothing."""

    def when_due(self, frame: Frame) -> Due | None:
        super().when_due(frame)
        return None


async def tracked(
    session: type[TrackerSession], tracker: ks.Tracker, frames: Sequence[Frame], cues: Sequence[Cue]
) -> list[Result]:
    """The results of a session of this kind, in threads that each keep to their cores."""
    async with model_threads() as threads:
        await threads.share_cores()

        async def start(frame: Frame) -> TrackerSession:
            return session(threads, tracker.model, tracker.max_objects, tracker.settings)

        async with aclosing(results(Pictures(frames), start, cues)) as coming:
            return [result async for result in coming]


async def test_nano_tracks_three_objects_to_the_byte_alike_with_and_without_looking_ahead() -> None:
    """So many that frames are related ahead, too. One more comes on the way, and goes again."""
    tracker, source = ks.load("nano", size=160, max_objects=4), SyntheticSource("test://?frames=9&size=96x64")
    async with source:
        frames = [frame async for frame in source]
    boxes = [tight_box(source.truth(0) == number) for number in (1, 2, 3)]
    cues = [
        *(Cue(0, ks.Prompt(box=box)) for box in boxes),
        Cue(4, ks.Prompt(object_id=9, points=((0.5, 0.5),), labels=(True,))),
        Cue(6, Forget(9)),
    ]
    ahead, late = [await tracked(kind, tracker, frames, cues) for kind in (TrackerSession, Late)]
    assert len(ahead) == len(late) == 9
    for one, other in zip(ahead, late, strict=True):
        assert len(one.tracks) == len(other.tracks) >= 3
        for mine, theirs in zip(one.tracks, other.tracks, strict=True):
            assert mine.mask.tobytes() == theirs.mask.tobytes()
            assert replace(mine, mask=theirs.mask) == theirs
    assert any(track.mask.any() for track in ahead[-1].tracks)


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


def test_a_frame_known_to_follow_another_follows_copies_of_its_features_too() -> None:
    """Else one frame whose motion was not used would cost all later ones theirs."""
    model, images = ColourPredictor(), [frame_of(three(4 * i), i) for i in range(3)]
    first, stranger = encode(model, images[0]), encode(model, images[0])
    second = encode(model, images[1], before=stranger)
    third = encode(model, images[2], before=second)
    passed_on = second.after(first.features)
    assert passed_on.motion is None
    assert third.after(passed_on).motion is not None


def test_what_moved_is_not_used_where_there_is_no_frame_before() -> None:
    model, images = ColourPredictor(), [frame_of(three(4 * i), i) for i in range(2)]
    related = encode(model, images[1], before=encode(model, images[0]))
    assert related.after(None).motion is None
    assert replace(related, since=None).after(None).motion is None
