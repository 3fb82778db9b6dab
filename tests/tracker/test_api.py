"""The tracker as a Python object."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import numpy as np
import pytest

import keepsight.tracker as ks
from keepsight.streams.types import Image
from tests.fakes import FakeSource, make_frames

SCENE = "test://?frames=5&size=96x64"
THREAD_SECONDS = 5.0
"""For a thread that was told to end."""
BOX = (0.2, 0.2, 0.7, 0.8)


@pytest.fixture(scope="module")
def tracker() -> ks.Tracker:
    return ks.load("test", max_objects=3)


def test_a_plain_loop_gets_one_result_per_frame(tracker: ks.Tracker) -> None:
    results = list(tracker.track(SCENE, [ks.Prompt(box=BOX)]))
    assert [result.frame.index for result in results] == list(range(5))
    assert [track.object_id for track in results[2].tracks] == [1]
    assert results[2].tracks[0].mask.shape == (64, 96)
    assert [event.kind for event in results[-1].events] == ["end"]


async def test_an_async_loop_gets_the_same_results(tracker: ks.Tracker) -> None:
    async with aclosing(tracker.atrack(SCENE, [ks.Prompt(box=BOX)])) as results:
        masks = [result.tracks[0].mask async for result in results]
    plain = [result.tracks[0].mask for result in tracker.track(SCENE, [ks.Prompt(box=BOX)])]
    assert all(np.array_equal(one, other) for one, other in zip(masks, plain, strict=True))


async def test_a_plain_loop_works_inside_a_running_event_loop(tracker: ks.Tracker) -> None:
    assert asyncio.get_running_loop().is_running()
    assert len(list(tracker.track(SCENE, [ks.Prompt(box=BOX)]))) == 5


def test_leaving_the_loop_closes_the_source_and_its_threads(tracker: ks.Tracker) -> None:
    before = set(threading.enumerate())
    source = FakeSource(make_frames(9, (64, 96)))
    results = tracker.track(source, [ks.Prompt(box=BOX)])
    next(results)
    assert source.is_open
    results.close()  # type: ignore[attr-defined]
    assert not source.is_open
    for thread in set(threading.enumerate()) - before:
        thread.join(THREAD_SECONDS)
        assert not thread.is_alive()


def test_a_prompt_with_a_frame_is_carried_out_there(tracker: ks.Tracker) -> None:
    prompts = [ks.Prompt(box=BOX), ks.Prompt(box=(0, 0, 0.3, 0.3), frame_ref=(0, 3))]
    counts = [len(result.tracks) for result in tracker.track(SCENE, prompts)]
    assert counts == [1, 1, 1, 2, 2]


def test_clicks_may_come_as_lists(tracker: ks.Tracker) -> None:
    clicks = ks.Prompt(points=[(0.4, 0.5), (0.1, 0.1)], labels=[True, False])  # type: ignore[arg-type]
    assert clicks == ks.Prompt(points=((0.4, 0.5), (0.1, 0.1)), labels=(True, False))
    assert [len(result.tracks) for result in tracker.track(SCENE, [clicks])] == [1] * 5


def test_pictures_of_the_users_own_are_tracked(tracker: ks.Tracker) -> None:
    pictures = [np.full((40, 60, 3), 20 * index, np.uint8) for index in range(4)]
    mask = np.zeros((40, 60), np.bool_)
    mask[10:20, 10:30] = True
    results = list(tracker.track(pictures, [ks.Prompt(mask=mask)]))
    assert [result.frame.index for result in results] == [0, 1, 2, 3]
    assert np.array_equal(results[0].frame.image, pictures[0])


async def test_pictures_are_waited_for_beside_the_event_loop(tracker: ks.Tracker) -> None:
    comes = threading.Event()

    def camera() -> Iterator[Image]:
        yield np.zeros((40, 60, 3), np.uint8)
        assert comes.wait(THREAD_SECONDS), "the event loop was blocked"
        yield np.zeros((40, 60, 3), np.uint8)

    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, comes.set)
    async with aclosing(tracker.atrack(camera(), [ks.Prompt(box=BOX)])) as results:
        assert [result.frame.index async for result in results] == [0, 1]


def test_frames_of_another_tracker_are_tracked_as_they_are(tracker: ks.Tracker) -> None:
    frames = make_frames(6, (40, 60))[2:]
    assert [result.frame for result in tracker.track(frames, [ks.Prompt(box=BOX)])] == frames


def test_a_picture_that_is_none_is_refused(tracker: ks.Tracker) -> None:
    with pytest.raises(ValueError, match=r"picture 0 is float64 \(4, 4\): give \(H, W, 3\) uint8 RGB"):
        list(tracker.track([np.zeros((4, 4))], [ks.Prompt(box=BOX)]))  # type: ignore[list-item]


def test_footage_that_is_not_there_is_said(tracker: ks.Tracker) -> None:
    with pytest.raises(ks.SourceError, match=r"nowhere\.mp4: no such file"):
        next(tracker.track("nowhere.mp4"))


def test_a_model_that_is_not_there_is_said() -> None:
    with pytest.raises(ks.ConfigError, match="unknown model 'nanno', did you mean 'nano'"):
        ks.load("nanno")
    with pytest.raises(ks.ConfigError, match="--device: 'gpu' is not auto, cpu"):
        ks.load("test", device="gpu")
    with pytest.raises(ks.ConfigError, match="--backend: 'onnx' is not one of auto, torch, openvino"):
        ks.load("test", backend="onnx")


def test_everything_that_is_offered_is_there() -> None:
    assert all(getattr(ks, name) is not None for name in ks.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trakc'"):
        _ = ks.trakc  # type: ignore[attr-defined]
