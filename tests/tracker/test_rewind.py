"""Who points at a frame that is past means what was there then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from keepsight.streams.sources import SyntheticSource
from keepsight.streams.types import Applied, Command, Correct, Forget, Frame, Prompt, Result
from keepsight.tracker import rewind
from keepsight.tracker.api import load
from keepsight.tracker.engine import model_threads
from keepsight.tracker.iou import mask_iou
from keepsight.tracker.rewind import BETWEEN, Recent
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.state import initial
from keepsight.tracker.transforms import tight_box

from .fakes import GREEN, RED, ColourPredictor, a_frame, ids

HERE = (0.05, 0.1)
"""Where the red square is at first, and the green one from frame 5 on."""


def swap(index: int) -> Frame:
    """Red has the upper left corner, and moves away to the right; from frame 5 on green has it."""
    if index < 5:
        return a_frame(index, (RED, 4 * index, 0, 16))
    return a_frame(index, (GREEN, 0, 0, 16), (RED, 4 * index, 0, 16))


def click(frame: int | None, **more: object) -> Prompt:
    return Prompt(points=(HERE,), labels=(True,), frame_ref=None if frame is None else (0, frame), **more)  # type: ignore[arg-type]


@asynccontextmanager
async def session(model: ColourPredictor, *, room: int = 4) -> AsyncIterator[TrackerSession]:
    async with model_threads() as threads:
        yield TrackerSession(threads, model, room, TrackerSettings(), rewinds=True)


async def play(
    model: ColourPredictor, count: int, commands: dict[int, Sequence[Command]], *, room: int = 4
) -> list[Result]:
    """The results of the frames of `swap`, each stepped with its commands."""
    async with session(model, room=room) as fold:
        return [await fold.step(swap(index), commands.get(index, ())) for index in range(count)]


def left_edges(result: Result) -> list[float]:
    return [round(track.box[0] * 96) for track in result.tracks if track.box]


async def test_a_click_on_a_past_frame_tracks_what_was_there_then_to_where_it_is_now() -> None:
    then, now = click(0), click(None)
    results = await play(ColourPredictor(), 12, {10: [then, now]})
    assert left_edges(results[10]) == [40, 0], "the red one that was there, and the green one that is"
    assert left_edges(results[11]) == [44, 0]
    assert results[10].applied == (Applied(then, (0, 10), 1), Applied(now, (0, 10), 2))
    assert [event.kind for event in results[10].events] == ["new"], "it was seen in several frames by now"


async def test_the_way_to_the_present_is_bounded() -> None:
    model = ColourPredictor()
    async with session(model) as fold:
        for index in range(40):
            await fold.step(swap(index), ())
        assert not model.calls, "a stream on which nothing is tracked costs nothing"
        await fold.step(swap(40), [click(0)])
    assert [name for name, _ in model.calls].count("encode") == BETWEEN + 3


async def test_a_correction_of_a_past_frame_moves_the_object_and_leaves_the_others() -> None:
    red, green = click(0), Prompt(box=(0.84, 0.02, 0.98, 0.23))

    def scene(index: int) -> Frame:
        return a_frame(index, (RED, 4 * min(index, 3), 0, 16), (GREEN, 80, 4 * index, 16))

    mended = Correct(object_id=1, points=((0.9, 0.5),), labels=(True,), frame_ref=(0, 6))
    async with session(ColourPredictor()) as fold:
        results = [
            await fold.step(scene(index), {0: [red, green], 9: [mended]}.get(index, []))
            for index in range(12)
        ]
    assert left_edges(results[8]) == [12, 80]
    assert left_edges(results[9]) == [80, 80], "green was clicked where it was three frames ago"
    assert results[9].applied == (Applied(mended, (0, 9), 1),)
    boxes = [[track.box for track in result.tracks] for result in results[9:]]
    assert all(one == other for one, other in boxes)


async def test_a_second_click_on_the_same_past_frame_corrects_what_the_first_one_found() -> None:
    """As on a page where frames come slowly: a box, then a click beside it, on the one picture there is."""
    source = SyntheticSource("test://?objects=1&frames=12&size=320x180")
    truth = [source.truth(index) == 1 for index in range(12)]
    shown = Prompt(object_id=1, box=tight_box(truth[2]), frame_ref=(0, 2))
    beside = Correct(object_id=1, points=((0.02, 0.98),), labels=(False,), frame_ref=(0, 2))
    async with model_threads() as threads, source:
        fold = TrackerSession(threads, load("nano").model, 4, TrackerSettings(), rewinds=True)
        commands = {6: [shown], 8: [beside]}
        results = [await fold.step(frame, commands.get(frame.index, [])) async for frame in source]
    for result in results[6:]:
        (track,) = result.tracks
        assert track.state in {"tentative", "tracked"}
        assert mask_iou(track.mask, truth[result.frame.index]) > 0.4, (
            "a bound on nano, not on what is gone back to"
        )


async def test_corrections_of_several_objects_each_go_back_to_their_own_frame() -> None:
    """Object 2 was shown after the frame that object 1 is corrected on, and keeps what it was shown by."""
    blue = Prompt(object_id=2, box=(0.84, 0.02, 0.98, 0.23))

    def scene(index: int) -> Frame:
        return a_frame(index, (RED, 4 * index, 20, 16), (GREEN, 80, 0, 16))

    shown = Prompt(object_id=1, points=((0.05, 0.5),), labels=(True,))
    first = Correct(object_id=1, points=((0.25, 0.5),), labels=(True,), frame_ref=(0, 4))
    second = Correct(object_id=2, points=((0.05, 0.9),), labels=(False,), frame_ref=(0, 9))
    async with session(ColourPredictor()) as fold:
        commands = {0: [shown], 6: [blue], 11: [first, second]}
        results = [await fold.step(scene(index), commands.get(index, [])) for index in range(14)]
    assert [left_edges(result) for result in results[11:]] == [[44, 80], [48, 80], [52, 80]]
    assert [one.object_id for one in results[11].applied] == [1, 2]


async def test_a_frame_that_was_dropped_is_the_next_one_and_one_that_is_too_old_is_the_present_one() -> None:
    async with session(ColourPredictor()) as fold:
        for index in (3, 4, 8, 9):
            await fold.step(swap(index), ())
        result = await fold.step(swap(10), [click(5), click(1)])
    assert left_edges(result) == [0, 0]
    async with session(ColourPredictor()) as fold:
        for index in (0, 3, 8, 9):
            await fold.step(swap(index), ())
        result = await fold.step(swap(10), [click(0)])
    assert left_edges(result) == [40]


async def test_commands_are_carried_out_in_their_order() -> None:
    forget = Forget(1)
    results = await play(ColourPredictor(), 12, {0: [click(None)], 10: [forget, click(0, object_id=1)]})
    assert ids(results[10]) == [1]
    assert left_edges(results[10]) == [0], "what comes after a forget is for the present frame"


async def test_what_comes_before_a_forget_is_for_the_frame_it_names() -> None:
    results = await play(ColourPredictor(), 12, {10: [click(0), Forget(7)]})
    assert left_edges(results[10]) == [40], "whoever forgot something in the same step"
    assert [refusal.command for refusal in results[10].refusals] == [Forget(7)]


async def test_a_prompt_for_a_known_object_names_it_on_a_past_frame_too() -> None:
    there = ((4 * 8 + 8) / 96, 8 / 64)
    named = Prompt(object_id=1, label="dog", points=(there,), labels=(True,), frame_ref=(0, 8))
    results = await play(ColourPredictor(), 12, {0: [click(None)], 10: [named]})
    assert [track.label for track in results[11].tracks] == ["dog"]


async def test_a_refused_correction_of_a_past_frame_changes_nothing() -> None:
    wrong = Correct(object_id=1, mask=np.ones((10, 10), np.bool_), frame_ref=(0, 6))
    remembered = []
    for bad in ([], [wrong]):
        async with session(ColourPredictor()) as fold:
            for index in range(12):
                commands = [click(None)] if index == 0 else bad if index == 11 else []
                result = await fold.step(swap(index), commands)
            assert len(result.refusals) == len(bad)
            assert fold._state.memory is not None
            remembered.append(fold._state.memory)
    for untouched, after in zip(*remembered, strict=True):
        assert untouched.equal(after)


async def test_without_room_a_click_on_the_past_is_refused_as_any_other() -> None:
    results = await play(ColourPredictor(), 12, {0: [click(None)], 10: [click(0)]}, room=1)
    assert [refusal.reason for refusal in results[10].refusals] == [
        "all 1 object slots are in use: forget an object or raise --max-objects"
    ]
    assert left_edges(results[10]) == [40]


async def test_what_cannot_be_meant_is_refused_there_too() -> None:
    nothing = Prompt(points=(HERE,), labels=(False,), frame_ref=(0, 2))
    results = await play(ColourPredictor(), 6, {4: [nothing]})
    assert [refusal.command for refusal in results[4].refusals] == [nothing]
    assert results[4].tracks == ()


async def test_an_object_is_not_corrected_before_it_was_shown() -> None:
    late = Correct(object_id=1, points=(HERE,), labels=(True,), frame_ref=(0, 1))
    results = await play(ColourPredictor(), 12, {8: [Prompt(box=(0.34, 0.02, 0.48, 0.23))], 10: [late]})
    assert left_edges(results[8]) == [32]
    assert left_edges(results[10]) == [0], "the present frame is what it can be said of"


def test_what_is_kept_is_bounded_in_frames_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    recent, model = Recent(), ColourPredictor()
    for index in range(200):
        recent.keep(model, swap(index), initial(1))
    assert len(recent.frames) == rewind.FRAMES
    one = recent.frames[0].pixels.nbytes
    assert recent.nbytes == rewind.FRAMES * one
    monkeypatch.setattr(rewind, "BYTES", 10 * one)
    recent.keep(model, swap(200), initial(1))
    assert [past.frame.index for past in recent.frames] == list(range(191, 201))
    assert not np.any(recent.frames[0].frame.image.strides), "the picture itself is not held"
