"""Objects do not touch each other, in real networks, to the bit; and a stream without end is of one size.

Nothing here depends on what a network has learned.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch._subclasses.fake_tensor import FakeTensor

from keepsight.model.models import build
from keepsight.model.nano_config import NANO
from keepsight.model.sam2_config import TEST
from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.types import Command, Correct, Forget, Frame, Prompt, Result, Track
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.state import initial
from keepsight.tracker.step import step

from .fakes import follow, frame_of
from .networks import ALWAYS, EDGETAM, NAMES, ROUNDED, network

LENGTH = 6
SIZE = (48, 80)
SELECTIVE = replace(ALWAYS, memory="selective")


@pytest.fixture(scope="module", params=[*NAMES, *ROUNDED])
def model(request: pytest.FixtureRequest) -> VideoPredictor:
    return network(request.param)


def film(length: int) -> list[Frame]:
    """Coloured clouds that move to the right."""
    noise = np.random.default_rng(0).normal(128, 400, (*SIZE, 3)).astype(np.float32)
    clouds = cv2.GaussianBlur(np.tile(noise, (1, 3, 1)), (0, 0), 4)[:, SIZE[1] : 2 * SIZE[1]]
    clouds = clouds.clip(0, 255).astype(np.uint8)
    return [frame_of(np.roll(clouds, 2 * index, axis=1), index) for index in range(length)]


def shown(object_id: int) -> Prompt:
    """Something different for each id: a box, a click, clicks of both signs, a mask."""
    x = 0.05 + 0.08 * object_id
    match object_id % 4:
        case 0:
            return Prompt(object_id=object_id, box=(x, 0.1, x + 0.2, 0.6))
        case 1:
            return Prompt(object_id=object_id, points=((x, 0.5),), labels=(True,))
        case 2:
            return Prompt(
                object_id=object_id, points=((x, 0.3), (x, 0.9), (0.9, x)), labels=(True, True, False)
            )
    mask = np.zeros(SIZE, np.bool_)
    mask[10:30, int(80 * x) : int(80 * x) + 15] = True
    return Prompt(object_id=object_id, mask=mask)


def told(results: Sequence[Result], object_id: int) -> list[tuple[object, ...]]:
    """All that is said of one object, to the bit."""
    return [said(track) for result in results for track in result.tracks if track.object_id == object_id]


def said(track: Track) -> tuple[object, ...]:
    scores = track.confidence, track.iou, track.presence, track.stability, track.margin
    return track.mask.tobytes(), track.box, track.state, scores


def tracked(
    model: VideoPredictor, commands: Mapping[int, Sequence[Command]], settings: TrackerSettings = ALWAYS
) -> list[Result]:
    return follow(model, film(LENGTH), commands, settings, room=9)[1]


@pytest.mark.parametrize("policy", [ALWAYS, SELECTIVE], ids=["recent", "selective"])
def test_one_object_alone_equals_the_same_object_among_eight(
    model: VideoPredictor, policy: TrackerSettings
) -> None:
    ids = range(1, 9)
    together = tracked(model, {0: [shown(one) for one in ids]}, policy)
    for one in (1, 2, 3, 4, 7):
        alone = tracked(model, {0: [shown(one)]}, policy)
        assert told(alone, one) == told(together, one)
        assert len(told(alone, one)) == LENGTH


Traffic = dict[int, list[Command]]


@some.composite
def traffic(draw: Callable[..., int]) -> Traffic:
    """Other objects, 4 to 7, that come, are corrected and go."""
    commands: Traffic = {}
    for one in range(4, 4 + draw(some.integers(1, 4))):
        begins = draw(some.integers(0, LENGTH - 1))
        commands.setdefault(begins, []).append(shown(one))
        corrected, ends = draw(some.integers(begins, LENGTH)), draw(some.integers(begins + 1, LENGTH + 1))
        if corrected < ends:
            click = Correct(object_id=one, points=((0.5, 0.5),), labels=(False,))
            commands.setdefault(corrected, []).append(click)
        commands.setdefault(ends, []).append(Forget(one))
    return commands


@settings(max_examples=5, deadline=None)
@given(others=traffic())
@pytest.mark.parametrize("name", NAMES)
def test_who_else_comes_and_goes_never_changes_an_object(name: str, others: Traffic) -> None:
    model = network(name)
    mine: Traffic = {0: [shown(3)], 3: [Correct(object_id=3, points=((0.2, 0.4),), labels=(True,))]}
    both = {frame: [*others.get(frame, []), *mine.get(frame, [])] for frame in {*mine, *others}}
    assert told(tracked(model, both), 3) == told(tracked(model, mine), 3)


@settings(max_examples=5, deadline=None)
@given(order=some.permutations(range(6)))
@pytest.mark.parametrize("name", NAMES)
def test_prompts_in_any_order_give_the_same_masks(name: str, order: list[int]) -> None:
    """Prompts of four objects, one of them shown by three commands; its clicks come in any order, too."""
    model = network(name)
    clicks = (((0.2, 0.4), True), ((0.7, 0.8), False), ((0.3, 0.5), True))
    commands: list[Command] = [shown(one) for one in (2, 3, 4)]
    commands += [Prompt(object_id=1, points=(point,), labels=(label,)) for point, label in clicks]
    wanted = tracked(model, {0: commands, 2: commands})
    positive_first = sorted((commands[index] for index in order), key=says_no)
    found = tracked(model, {0: positive_first, 2: [commands[index] for index in order]})
    for one in (1, 2, 3, 4):
        assert told(found, one) == told(wanted, one)


@settings(max_examples=3, deadline=None)
@given(others=traffic(), order=some.permutations(range(4)))
def test_nano_keeps_objects_apart_up_to_the_order_of_sums(others: Traffic, order: list[int]) -> None:
    """Whoever comes and goes, and in whatever order they are shown: scores to a thousandth, masks but for a
    pixel or two on their outline."""
    model = network("nano")
    mine: list[Command] = [shown(one) for one in (8, 1, 2, 3)]
    both = {**others, 0: [*others.get(0, []), *(mine[index] for index in order)]}
    found = tracked(model, both)
    for command in mine:
        assert isinstance(command, Prompt)
        one = command.object_id
        for track, alone in zip(
            tracks_of(found, one), tracks_of(tracked(model, {0: [command]}), one), strict=True
        ):
            assert np.count_nonzero(track.mask ^ alone.mask) <= 2
            assert scores(track) == pytest.approx(scores(alone), abs=1e-3)


def tracks_of(results: Sequence[Result], object_id: int | None) -> list[Track]:
    return [track for result in results for track in result.tracks if track.object_id == object_id]


def scores(track: Track) -> tuple[float, ...]:
    return track.iou, track.presence, track.margin


def says_no(command: Command) -> bool:
    """An object cannot begin with where it is not."""
    return isinstance(command, Prompt) and command.labels == (False,)


def test_a_correction_sees_the_mask_before_it() -> None:
    model = network("sam2")
    click = Correct(object_id=1, points=((0.2, 0.4),), labels=(True,))
    one, other = (
        tracked(model, {0: [replace(shown(first), object_id=1)], 1: [click], 2: [click]}) for first in (3, 7)
    )
    fresh = tracked(model, {1: [Prompt(object_id=1, points=click.points, labels=click.labels)]})
    assert len({said(results[1].tracks[0]) for results in (one, other, fresh)}) == 3
    once = tracked(model, {0: [replace(shown(3), object_id=1)], 2: [click]})
    assert said(one[2].tracks[0]) != said(once[2].tracks[0])


TINY = {
    "sam2": replace(TEST, image_size=32, attention_depth=1, decoder_depth=1),
    "edgetam": EDGETAM,
    "nano": replace(NANO, image_side=32),
}
VISIT = 100
"""Frames from one visit of object 2 to the next."""


@pytest.mark.parametrize(
    ("name", "policy", "last"),
    [("sam2", ALWAYS, 2000), ("sam2", SELECTIVE, 200), ("edgetam", ALWAYS, 200), ("nano", ALWAYS, 200)],
    ids=["sam2", "selective", "edgetam", "nano"],
)
def test_a_stream_holds_the_same_bytes_at_frames_20_and_2000(
    name: str, policy: TrackerSettings, last: int
) -> None:
    torch.manual_seed(0)
    held = bytes_held(build(TINY[name]).eval().requires_grad_(False), policy, (20, 20 + VISIT, last))
    assert held[20] == held[20 + VISIT] == held[last]


def bytes_held(model: VideoPredictor, policy: TrackerSettings, at: Sequence[int]) -> dict[int, int]:
    """After some frames. All tensors of the process are counted, so nothing can hide. Objects come, are
    corrected, and go."""
    frames, state = film(20), initial(3)
    held: dict[int, int] = {}
    for index in range(at[-1] + 1):
        state, _ = step(model, state, replace(frames[index % 20], index=index), visits(index), policy)
        if index in at:
            held[index] = tensor_bytes()
    assert state.memory is not None
    assert state.memory.written[0, 0] == 0  # the first prompt is never forgotten
    assert state.pending == ()
    return held


def visits(index: int) -> list[Command]:
    """Object 1 stays; of every VISIT frames object 2 sees five."""
    click = Correct(object_id=1, points=((0.5, 0.5),), labels=(True,))
    return {0: [shown(1)] if index == 0 else [], 10: [shown(2), click], 15: [Forget(2)]}.get(
        index % VISIT, []
    )


def tensor_bytes() -> int:
    """The bytes of every tensor that is alive; views of one storage count once, and the shapes that an
    export has traced with hold none."""
    gc.collect()
    kinds = [(one, type(one)) for one in gc.get_objects()]
    tensors = [
        one for one, kind in kinds if issubclass(kind, torch.Tensor) and not issubclass(kind, FakeTensor)
    ]
    return sum(dict(storage(one) for one in tensors).values())


def storage(tensor: torch.Tensor) -> tuple[int, int]:
    """What tells a tensor's memory from others', and its bytes; those of int8 layers are oneDNN's."""
    if tensor.layout != torch.strided:
        return id(tensor), tensor.numel() * tensor.element_size()
    return tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
