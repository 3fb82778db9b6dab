"""The fold, to the pixel, with a predictor that tracks by colour."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from keepsight.model.memory import EMPTY, NO_OBJECT_LOGIT, MemoryLayout
from keepsight.model.models import MODELS, build
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import TEST
from keepsight.streams.types import Command, Correct, Forget, Frame, Prompt, Result
from keepsight.tracker.crossing import Course
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.state import initial
from keepsight.tracker.step import step

from .fakes import (
    BLUE,
    GREEN,
    ON_RED,
    RED,
    ColourPredictor,
    a_frame,
    area,
    follow,
    frame_of,
    ids,
    paint,
    red_and_green,
)

AT_ONCE = TrackerSettings(confirm_frames=1, occlude_frames=1, recover_frames=1)


def test_a_clicked_object_is_followed_to_the_pixel():
    frames = [red_and_green(index) for index in range(10)]
    _, results = follow(ColourPredictor(), frames, {0: [ON_RED]})
    for frame, result in zip(frames, results, strict=True):
        (track,) = result.tracks
        assert np.array_equal(track.mask, area(frame.image, RED))
        left = 4 * frame.index
        assert track.box == (left / 96, 0, (left + 16) / 96, 16 / 64)


@pytest.mark.parametrize("times", [1, 2], ids=["as before", "with pictures of another size"])
def test_an_object_keeps_its_id_when_the_camera_was_away_and_is_back(times: int) -> None:
    before = [red_and_green(index) for index in range(4)]
    after = [
        replace(frame, epoch=1, time=frame.time + 60, image=frame.image.repeat(times, 0).repeat(times, 1))
        for frame in map(red_and_green, range(4, 8))
    ]
    _, results = follow(ColourPredictor(), [*before, *after], {0: [ON_RED]})
    assert [ids(result) for result in results] == [[1]] * 8
    for frame, result in zip(after, results[4:], strict=True):
        mask, red = result.tracks[0].mask, area(frame.image, RED)
        assert (mask & red).sum() >= 0.9 * (mask | red).sum()  # edges are rounded where the size is another


def test_a_box_a_mask_and_a_click_each_show_an_object():
    image = paint([(RED, 0, 0, 16), (GREEN, 32, 16, 16), (BLUE, 64, 32, 16)])
    shown = [
        ON_RED,
        Prompt(box=(32 / 96, 16 / 64, 48 / 96, 32 / 64)),
        Prompt(mask=area(image, BLUE)),
    ]
    _, result = step(ColourPredictor(), initial(3), frame_of(image), shown)
    for track, colour in zip(result.tracks, (RED, GREEN, BLUE), strict=True):
        assert np.array_equal(track.mask, area(image, colour))


def test_all_objects_share_one_call_of_each_verb():
    model = ColourPredictor()
    on_green = Prompt(points=((0.9, 0.1),), labels=(True,))
    follow(model, [red_and_green(index) for index in range(2)], {0: [ON_RED, on_green]})
    assert model.calls == [
        *[("encode", 1), ("condition", 2), ("remember", 2)],
        *[("encode", 1), ("propagate", 2), ("remember", 2)],
    ]


def test_a_stream_on_which_nothing_is_tracked_is_not_encoded():
    model = ColourPredictor()
    state, results = follow(model, [red_and_green(0), red_and_green(1)], {0: [ON_RED], 1: [Forget(1)]})
    assert model.calls[3:] == []
    assert results[1].tracks == ()
    assert state.previous is None


def test_tracks_come_in_the_order_of_their_ids_whatever_their_slots():
    commands = {0: [ON_RED, ON_RED], 1: [Forget(1), Prompt(box=(0, 0, 0.1, 0.1), object_id=9), ON_RED]}
    _, results = follow(ColourPredictor(), [red_and_green(index) for index in range(2)], commands)
    assert ids(results[1]) == [2, 9, 10]


def test_a_new_object_remembers_nothing_of_the_last_one_in_its_slot():
    on_green = Prompt(points=((0.9, 0.4),), labels=(True,))
    frames = [red_and_green(index) for index in range(6)]
    state, results = follow(ColourPredictor(), frames, {0: [ON_RED], 4: [Forget(1), on_green]}, room=1)
    assert state.memory is not None
    assert state.memory.written[0].tolist() == [4, EMPTY, 5, EMPTY, EMPTY]
    assert np.array_equal(results[5].tracks[0].mask, area(frames[5].image, GREEN))


def same(left: Result, right: Result, object_id: int) -> bool:
    """Whether two results say exactly the same of one object."""
    one, other = (next(t for t in result.tracks if t.object_id == object_id) for result in (left, right))
    numbers = [(t.box, t.state, t.confidence, t.iou, t.presence, t.stability) for t in (one, other)]
    return np.array_equal(one.mask, other.mask) and numbers[0] == numbers[1]


def test_adding_and_removing_another_object_changes_nothing_for_the_first():
    frames = [red_and_green(index) for index in range(12)]
    on_green = Prompt(box=(80 / 96, 0.3, 1, 0.5))
    alone = follow(ColourPredictor(), frames, {0: [ON_RED]})[1]
    beside = follow(ColourPredictor(), frames, {0: [ON_RED], 4: [on_green], 8: [Forget(2)]})[1]
    assert [ids(result) for result in beside] == [[1]] * 4 + [[1, 2]] * 4 + [[1]] * 4
    assert all(same(left, right, 1) for left, right in zip(alone, beside, strict=True))


def test_the_same_input_gives_the_same_output():
    frames = [red_and_green(index) for index in range(6)]
    first, second = (follow(ColourPredictor(), frames, {0: [ON_RED]})[1] for _ in range(2))
    assert all(same(left, right, 1) for left, right in zip(first, second, strict=True))
    assert [result.events for result in first] == [result.events for result in second]


def test_the_memory_holds_the_same_bytes_after_500_frames():
    model, state, held = ColourPredictor(), initial(3), {}
    for index in range(501):
        hidden = index % 50 > 40
        frame = a_frame(index, *(() if hidden else ((RED, index % 80, 0, 16),)))
        commands = [ON_RED] if index % 80 == 0 else [Forget(index // 80 + 1)] if index % 80 == 79 else []
        state, _ = step(model, state, frame, commands)
        assert state.memory is not None
        held[index] = state.memory.nbytes
    assert held[10] == held[500] == 3 * (5 * 3 * 4 * 6 + 5 * 3 + 16 * 24 + 5) * 4 + 3 * (5 + 5) * 8
    assert len(state.slots) == 3


def test_an_absent_object_has_no_mask_and_writes_no_memory():
    frames = [red_and_green(0), a_frame(1), a_frame(2), red_and_green(3)]
    state, results = follow(ColourPredictor(), frames[:3], {0: [ON_RED]}, TrackerSettings(write_presence=0.0))
    (track,) = results[2].tracks
    assert not track.mask.any()
    assert (track.box, track.confidence) == (None, 0.0)
    assert state.memory is not None
    assert state.memory.written[0].tolist() == [0, EMPTY, EMPTY, EMPTY, EMPTY]
    assert (state.memory.logits[0] == NO_OBJECT_LOGIT).all()
    _, result = step(ColourPredictor(), state, frames[3])
    assert np.array_equal(result.tracks[0].mask, area(frames[3].image, RED))


def test_a_mask_the_model_doubts_writes_no_memory_unless_told_to():
    faded = a_frame(1, ((220, 0, 0), 4, 0, 16))
    frames = [red_and_green(0), faded]
    strict, results = follow(ColourPredictor(), frames, {0: [ON_RED]}, TrackerSettings(write_iou=0.5))
    assert 0.2 < results[1].tracks[0].iou < 0.5
    lax, _ = follow(ColourPredictor(), frames, {0: [ON_RED]}, TrackerSettings(write_iou=0.0))
    assert strict.memory is not None
    assert lax.memory is not None
    assert strict.memory.written[0, 2:].tolist() == [EMPTY] * 3
    assert lax.memory.written[0, 2:].tolist() == [1, EMPTY, EMPTY]


def test_recent_frames_are_written_a_stride_apart_for_each_object():
    model = ColourPredictor(MemoryLayout(conditioning=1, recent=3, pointers=4, recent_stride=3))
    frames = [red_and_green(index) for index in range(9)]
    state, _ = follow(model, frames, {0: [ON_RED], 1: [ON_RED]})
    assert state.memory is not None
    assert state.memory.written[:2].tolist() == [[0, 3, 6, EMPTY], [1, 4, 7, EMPTY]]


def test_a_changed_frame_size_keeps_every_identity_also_of_the_hidden_and_of_what_has_moved():
    on_green = Prompt(points=((0.9, 0.1),), labels=(True,))
    model = ColourPredictor()
    frames = [
        a_frame(0, (RED, 0, 0, 16), (GREEN, 80, 0, 16)),
        a_frame(1, (RED, 4, 0, 16)),
        a_frame(2, (RED, 64, 64, 32), size=(128, 256)),
        a_frame(3, (RED, 16, 0, 32), (GREEN, 80, 64, 32), size=(128, 256)),
    ]
    state, results = follow(model, frames, {0: [ON_RED, on_green]})
    assert ids(results[2]) == ids(results[3]) == [1, 2]
    assert model.calls[6:] == [
        *[("encode", 1), ("propagate", 2), ("remember", 1)],
        *[("encode", 1), ("propagate", 2), ("remember", 2)],
    ]
    for track, colour in zip(results[3].tracks, (RED, GREEN), strict=True):
        truth = area(frames[3].image, colour).astype(np.uint8)
        cell = np.ones((2 * 8 + 1, 2 * 11 + 1), np.uint8)  # of the masks at the first size, in these pixels
        assert not (track.mask & ~cv2.dilate(truth, cell).astype(bool)).any()
        assert not (cv2.erode(truth, cell).astype(bool) & ~track.mask).any()
    assert state.memory is not None
    assert state.memory.features.shape == (4, 5, 3, 4, 6)
    assert state.memory.logits.shape == (4, 16, 24)
    assert state.memory.written[0].tolist() == [0, EMPTY, 1, 2, 3]


def test_what_is_shown_after_everything_was_forgotten_is_seen_at_the_frames_own_size():
    frames = [a_frame(0, (RED, 0, 0, 16)), *(a_frame(k, (RED, 0, 0, 32), size=(128, 192)) for k in (1, 2))]
    state, results = follow(ColourPredictor(), frames, {0: [ON_RED], 1: [Forget(1)], 2: [ON_RED]})
    assert ids(results[2]) == [2]
    assert state.input_size == (128, 192)
    assert state.memory is not None
    assert state.memory.features.shape[-2:] == (8, 12)


def test_another_frame_size_with_the_same_input_size_changes_nothing():
    model = ColourPredictor(side=64)
    frames = [a_frame(0, (RED, 0, 0, 16)), a_frame(1, (RED, 0, 0, 32), size=(128, 192))]
    _, results = follow(model, frames, {0: [ON_RED]})
    assert ("condition", 1) not in model.calls[3:]
    assert results[1].tracks[0].mask.shape == (128, 192)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (333, 7)])
def test_frames_of_odd_sizes_are_tracked_at_their_own_size(size):
    image = np.full((*size, 3), 255, np.uint8)
    _, result = step(ColourPredictor(side=64), initial(1), frame_of(image), [Prompt(box=(0, 0, 1, 1))])
    assert result.tracks[0].mask.shape == size
    assert result.tracks[0].box == (0, 0, 1, 1)


def test_a_lost_object_frees_its_slot_when_told_to():
    frames = [red_and_green(0), *(a_frame(index) for index in range(1, 31))]
    kept, _ = follow(ColourPredictor(), frames, {0: [ON_RED]}, TrackerSettings(lost_after=1.0))
    freed, results = follow(
        ColourPredictor(), frames, {0: [ON_RED]}, TrackerSettings(lost_after=1.0, forget_lost_after=1.0)
    )
    assert len(kept.records) == 1
    assert freed.records == ()
    ends = [
        (event.frame[1], event.reason) for result in results for event in result.events if event.kind == "end"
    ]
    assert ends == [(21, "not seen for 2.1 s")]
    assert [len(result.tracks) for result in results] == [1] * 21 + [0] * 10


def test_occlusion_and_return_reach_the_result_as_events():
    frames = [red_and_green(0), a_frame(1), red_and_green(2)]
    state, kinds = initial(1), []
    for frame in frames:
        commands = [ON_RED] if frame.index == 0 else []
        state, result = step(ColourPredictor(), state, frame, commands, AT_ONCE)
        kinds += [(event.kind, event.previous, event.state) for event in result.events]
    assert kinds == [
        ("new", "tentative", "tracked"),
        ("occluded", "tracked", "occluded"),
        ("recovered", "occluded", "tracked"),
    ]


def test_the_stages_of_a_step_take_no_longer_than_the_whole():
    image = paint([(RED, 0, 0, 16)])
    frame = Frame(image, 0, 0, 0, 0, "generated", 0, decode_seconds=0.25)
    _, result = step(ColourPredictor(), initial(1), frame, [ON_RED])
    times = result.timings
    assert times.decode == 0.25
    stages = times.decode, times.encode, times.attention, times.masks, times.memory
    assert min(stages) >= 0
    assert sum(stages) <= times.total


@pytest.fixture
def small_sam2() -> Sam2:
    torch.manual_seed(0)
    return Sam2(replace(TEST, image_size=64)).eval().requires_grad_(False)


def clouds(index: int) -> Frame:
    noise = np.random.default_rng(1).integers(0, 255, (64, 96, 3), np.uint8)
    return frame_of(np.roll(noise, 3 * index, axis=1), index)


def test_an_object_that_a_network_misses_is_occluded_and_comes_back_from_its_memory(small_sam2):
    """Its presence score is low in frames 3 to 5: no mask, nothing remembered, and then the same id."""
    last = small_sam2.mask_decoder.presence_head.layers[-1]
    mask = np.zeros((64, 96), np.bool_)
    mask[8:56, 8:80] = True
    lax = TrackerSettings(confirm_frames=1, occlude_frames=1, recover_frames=1, write_iou=0.0)
    state, results = initial(1), []
    for index in range(9):
        last.bias.fill_(-50.0 if 3 <= index < 6 else 50.0)
        state, result = step(small_sam2, state, clouds(index), [Prompt(mask=mask)] if index == 0 else [], lax)
        results.append(result.tracks[0])
    assert [track.state for track in results] == ["tracked"] * 3 + ["occluded"] * 3 + ["tracked"] * 3
    assert [bool(track.mask.any()) for track in results] == [True] * 3 + [False] * 3 + [True] * 3
    assert {track.object_id for track in results} == {1}
    assert state.memory is not None
    assert sorted(state.memory.written[0].tolist()) == [EMPTY, 0, 6, 7, 8]


def test_a_mask_is_remembered_as_sharp_as_it_was_given(small_sam2):
    """Which column of four it is in is lost at a quarter of the input's size, where masks are predicted."""
    masks = np.zeros((2, 64, 64), np.bool_)
    masks[0, :, 1::4] = masks[1, :, 2::4] = True
    frame = frame_of(np.full((64, 64, 3), 128, np.uint8))
    first, second = (step(small_sam2, initial(1), frame, [Prompt(mask=mask)])[0].memory for mask in masks)
    assert torch.allclose(first.logits[..., 1:-1], second.logits[..., 1:-1], atol=0.1)  # all but the border
    assert not torch.allclose(first.features[0, 0], second.features[0, 0], atol=1e-3)


@pytest.mark.parametrize("name", ["test", "nano"])
def test_objects_do_not_disturb_each_other_in_a_real_network(name):
    torch.manual_seed(0)
    network = build(MODELS[name]).eval()
    noise = np.random.default_rng(0).integers(0, 255, (72, 128, 3), np.uint8)
    frames = [frame_of(np.roll(noise, 3 * index, axis=1), index) for index in range(6)]
    first, second = Prompt(box=(0.1, 0.1, 0.4, 0.5)), Prompt(points=((0.7, 0.7),), labels=(True,))
    always = TrackerSettings(write_presence=0.0, write_iou=0.0, visible_presence=1e-6)
    _, alone = follow(network, frames, {0: [first]}, always)
    state, beside = follow(network, frames, {0: [first], 1: [second], 4: [Forget(2)]}, always)
    for left, right in zip(alone, beside, strict=True):
        one, other = left.tracks[0], right.tracks[0]
        # Another batch size may choose another matrix kernel: the sums differ in their last bits.
        assert np.mean(one.mask != other.mask) < 1e-3
        assert abs(one.presence - other.presence) < 1e-4
        assert abs(one.iou - other.iou) < 1e-4
    assert state.memory is not None
    assert (state.memory.written[0] != EMPTY).sum() > 1


UNTANGLED = TrackerSettings(untangle=True)
ON_BLUE = Prompt(points=((0.9, 0.1),), labels=(True,))


def nearing(index: int) -> Frame:
    """A red square and a blue one, which come nearer by 8 pixels a frame and touch from frame 6 on."""
    return a_frame(index, (RED, 0, 0, 24), (BLUE, max(24, 72 - 8 * index), 0, 24))


def courses_after(frames: int, commands: dict[int, list[Command]]) -> list[Course | None]:
    state, _ = follow(ColourPredictor(), [nearing(index) for index in range(frames)], commands, UNTANGLED)
    return [record.course for record in state.records]


def test_courses_are_kept_of_who_is_by_itself_and_wait_where_two_touch() -> None:
    assert [course and course.since for course in courses_after(5, {0: [ON_RED, ON_BLUE]})] == [None, None]
    together = courses_after(9, {0: [ON_RED, ON_BLUE]})
    assert [course and sorted(course.rivals) for course in together] == [[2], [1]]


def test_who_is_shown_anew_begins_a_new_course() -> None:
    again = Correct(object_id=1, points=((0.1, 0.1),), labels=(True,))
    red, blue = courses_after(9, {0: [ON_RED, ON_BLUE], 8: [again]})
    assert red is None
    assert blue is not None


def test_while_two_touch_who_will_be_told_apart_nothing_is_remembered_of_them() -> None:
    frames = [nearing(index) for index in range(10)]
    for settings, last in ((UNTANGLED, 5), (TrackerSettings(), 9)):
        state, _ = follow(ColourPredictor(), frames, {0: [ON_RED, ON_BLUE]}, settings)
        assert [record.remembered for record in state.records] == [last, last]


class Remembering(ColourPredictor):
    """Keeps the last masks that each look at a frame has begun with."""

    def __init__(self) -> None:
        super().__init__()
        self.begun_with: list[torch.Tensor] = []

    def propagate(self, features, image_of, frame, memory, previous):
        self.begun_with.append(memory.logits.clone())
        return super().propagate(features, image_of, frame, memory, previous)


def test_the_look_under_noise_begins_with_what_was_before_the_frame_as_the_other_does():
    model, frames = Remembering(), [red_and_green(index) for index in range(3)]
    follow(model, frames, {0: [ON_RED]}, replace(UNTANGLED, noise=0.02))
    first, second = model.begun_with[:2], model.begun_with[2:]
    for one, other in (first, second):
        assert torch.equal(one, other)
    assert not torch.equal(first[0], second[0])


def test_who_is_left_alone_after_a_touch_is_remembered_again():
    frames = [nearing(index) for index in range(20)]
    state, _ = follow(ColourPredictor(), frames, {0: [ON_RED, ON_BLUE], 9: [Forget(2)]}, UNTANGLED)
    (record,) = state.records
    assert record.course is None
    assert record.remembered == 19
