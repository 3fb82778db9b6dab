"""Objects found by their motion: in drawn scenes, what moves is found once, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from keepsight.streams.types import Box, Command, Event, Forget, Frame, Image, Prompt, Result, Track
from keepsight.tracker.moving_things import Blob, MovingThings
from keepsight.tracker.seeding import Finding, MotionSession, SeedingSettings, given_up
from keepsight.tracker.transforms import tight_box

from .command_line import SCENE, Keepsight, lines
from .fakes import ColourPredictor, initial, step

RATE = 20.0
SIZE = (120, 160)
PERSON = (200, 40, 40)
Place = tuple[int, int]


def background(seed: int = 0) -> Image:
    """Soft texture, as walls and ground have."""
    noise = np.random.default_rng(seed).normal(0, 40, (*SIZE, 3)).astype(np.float32)
    soft = 110 + 3 * cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(soft, 0, 255).astype(np.uint8)


def noisy(image: Image, index: int) -> Image:
    noise = np.random.default_rng(1000 + index).normal(0, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def with_square(image: Image, at: Place | None, side: int = 14) -> Image:
    drawn = image.copy()
    if at is not None:
        x, y = at
        drawn[max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] = PERSON
    return drawn


def walking(index: int) -> Place | None:
    """Enters after 2 s and walks across the picture."""
    return (2 * (index - 40) - 14, 50) if index >= 40 else None


def frames(draw: Callable[[int], Image], count: int) -> list[Frame]:
    return [
        Frame(noisy(draw(index), index), index, 0, index / RATE, index / RATE, "generated", 0.0)
        for index in range(count)
    ]


def looked(draw: Callable[[int], Image], count: int) -> list[tuple[Blob, ...]]:
    things = MovingThings()
    return [things.look(frame.image, frame.time) for frame in frames(draw, count)]


def truth(at: Place, side: int = 14) -> Box:
    x, y = at
    height, width = SIZE
    return max(0, x) / width, y / height, min(width, x + side) / width, (y + side) / height


def test_what_walks_in_is_found_where_it_is_once_it_has_got_somewhere() -> None:
    still = background()
    found = looked(lambda index: with_square(still, walking(index)), 100)
    first = next(index for index, blobs in enumerate(found) if blobs)
    assert 48 <= first <= 56, "0.4 s after it can be seen, and not while the background is learned"
    for index in range(first, 100):
        (blob,) = found[index]
        at = walking(index)
        assert at is not None
        assert np.abs(np.array(blob.box) - truth(at)).max() < 5 / 120, index


def test_what_stands_or_waves_in_one_place_is_not_found() -> None:
    still = background()
    waving = looked(lambda index: with_square(still, (60 + index % 4, 50)), 100)
    assert not any(waving)
    assert not any(looked(lambda index: still, 100))


def test_a_change_of_light_and_the_shadow_of_a_cloud_are_nothing() -> None:
    still = background()
    edge = np.linspace(-1, 1, SIZE[1])

    def cloud(index: int) -> Image:
        shade = 1 - 0.35 / (1 + np.exp(-8 * (edge + 1 - (index - 40) / 40)))[None, :, None]
        return (still * (shade if index >= 40 else 1.0)).astype(np.uint8)

    def lamp(index: int) -> Image:
        return np.clip(still * (1.3 if index >= 50 else 1.0), 0, 255).astype(np.uint8)

    assert not any(looked(cloud, 120))
    assert not any(looked(lamp, 120))


def test_a_camera_that_shakes_finds_the_walker_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    large = cv2.copyMakeBorder(background(), 8, 8, 8, 8, cv2.BORDER_REFLECT)
    shakes = rng.integers(-3, 4, (110, 2))

    def shaken(index: int) -> Image:
        scene = large.copy()
        at = walking(index)
        if at is not None:
            scene = with_square(scene, (at[0] + 8, at[1] + 8))
        dx, dy = shakes[index]
        return scene[8 + dy : 8 + dy + SIZE[0], 8 + dx : 8 + dx + SIZE[1]]

    found = looked(shaken, 110)
    assert not any(found[:44])
    assert sum(bool(blobs) for blobs in found[58:105]) > 40
    for index in range(58, 105):
        at = walking(index)
        assert at is not None
        for blob in found[index]:
            middle = (blob.box[0] + blob.box[2]) / 2 * SIZE[1]
            assert abs(middle - at[0] - 7) < 14, "beside the walker there is nothing"


def test_a_shadow_is_not_taken_for_a_part_of_who_casts_it() -> None:
    """It lies beside the walker, as long as that is tall, at 60 % of the brightness."""
    still = background()

    def shaded(index: int) -> Image:
        scene, at = still.copy(), walking(index)
        if at is not None:
            x, y = at
            ground = scene[y + 6 : y + 14, max(0, x + 14) : max(0, x + 34)]
            ground[:] = (0.6 * ground).astype(np.uint8)
        return with_square(scene, at)

    alone, beside = (looked(draw, 100) for draw in (lambda index: with_square(still, walking(index)), shaded))
    size = np.array((*SIZE[::-1], *SIZE[::-1]))
    for index in range(60, 100):
        (one,), (other,) = alone[index], beside[index]
        assert np.abs((np.array(one.box) - other.box) * size).max() <= 4, index


def test_what_is_tiny_is_never_found() -> None:
    still = background()
    assert not any(looked(lambda index: with_square(still, walking(index), side=3), 110))


class ColourSession:
    """The fold with a predictor that tracks by colour, without threads."""

    def __init__(self, room: int) -> None:
        self.state = initial(room)
        self.commands: list[tuple[int, Command]] = []

    def when_due(self, frame: Frame) -> None:
        return None

    async def prepare(self, frame: Frame) -> None:
        """Nothing is done ahead."""

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return ()

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        self.commands += [(frame.index, command) for command in commands]
        self.state, result = step(ColourPredictor(), self.state, frame, commands)
        return result


async def at_once(function: Callable[..., tuple[Blob, ...]], *arguments: object) -> tuple[Blob, ...]:
    return function(*arguments)


async def seeded(room: int = 4, *, on: bool = True, count: int = 110) -> tuple[ColourSession, list[Result]]:
    inner = ColourSession(room)
    session = MotionSession(inner, at_once, lambda: on, room, SeedingSettings(forget_after=0.5))
    still = background()
    results = [
        await session.step(frame, ())
        for frame in frames(lambda index: with_square(still, walking(index)), count)
    ]
    return inner, results


async def test_a_walker_is_prompted_once_tracked_and_forgotten_when_it_has_gone() -> None:
    inner, results = await seeded(count=150)
    prompts = [index for index, command in inner.commands if isinstance(command, Prompt)]
    forgets = [index for index, command in inner.commands if isinstance(command, Forget)]
    assert len(prompts) == 1, "no one is tracked twice"
    gone = 40 + (SIZE[1] + 14) // 2
    assert len(forgets) == 1
    assert gone + 10 - 3 <= forgets[0] <= gone + 10 + 4
    assert [track.object_id for track in results[prompts[0] + 10].tracks] == [1]
    assert results[-1].tracks == ()


async def test_what_stops_for_long_is_given_up_and_found_again_when_it_goes_on() -> None:
    inner, still = ColourSession(4), background()
    session = MotionSession(inner, at_once, lambda: True, 4, SeedingSettings(still_after=2.0))

    def stopping(index: int) -> Place | None:
        return walking(min(index, 70) + max(0, index - 140))

    for frame in frames(lambda index: with_square(still, stopping(index)), 180):
        await session.step(frame, ())
    told = [(type(command), index) for index, command in inner.commands]
    assert [kind for kind, _ in told] == [Prompt, Forget, Prompt]
    assert 70 + 40 - 6 <= told[1][1] <= 70 + 40 + 4
    assert told[2][1] > 140


async def test_what_moves_most_of_its_width_in_a_frame_is_prompted_once() -> None:
    """The track of the frame before is then hardly on it any more."""
    inner, still = ColourSession(4), background()
    session = MotionSession(inner, at_once, lambda: True, 4)

    def running(index: int) -> Place | None:
        return (10 * (index - 40) - 14, 50) if 40 <= index < 54 else None

    for frame in frames(lambda index: with_square(still, running(index)), 54):
        await session.step(frame, ())
    assert [type(command) for _, command in inner.commands] == [Prompt]


class BlindSession(ColourSession):
    """Tracks nothing."""

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        self.commands += [(frame.index, command) for command in commands]
        return Result(frame)


async def test_what_the_model_does_not_see_is_not_prompted_over_and_over() -> None:
    blind, still = BlindSession(4), background()
    session = MotionSession(blind, at_once, lambda: True, 4)
    for frame in frames(lambda index: with_square(still, walking(index)), 75):
        await session.step(frame, ())
    assert [type(command) for _, command in blind.commands] == [Prompt]


@pytest.mark.parametrize(("room", "on"), [(1, True), (4, False)])
async def test_nothing_is_prompted_where_there_is_no_slot_to_spare_or_it_is_switched_off(
    room: int, on: bool
) -> None:
    inner, _ = await seeded(room, on=on)
    assert inner.commands == []


async def test_what_a_user_showed_is_not_found_again_and_never_forgotten() -> None:
    inner = ColourSession(4)
    session = MotionSession(inner, at_once, lambda: True, 4, SeedingSettings(forget_after=0.5))
    still = background()
    for frame in frames(lambda index: with_square(still, walking(index)), 150):
        at = walking(frame.index)
        shown = (Prompt(box=truth(at)),) if frame.index == 46 and at is not None else ()
        result = await session.step(frame, shown)
    assert [type(command) for _, command in inner.commands] == [Prompt]
    assert [track.state for track in result.tracks] != []


async def test_what_a_user_corrects_is_the_users_from_then_on() -> None:
    inner, still = ColourSession(4), background()
    session = MotionSession(inner, at_once, lambda: True, 4, SeedingSettings(still_after=2.0))

    def stopping(index: int) -> Place | None:
        return walking(min(index, 70))

    for frame in frames(lambda index: with_square(still, stopping(index)), 130):
        at = stopping(frame.index)
        shown: tuple[Command, ...] = ()
        if frame.index == 75 and at is not None:
            shown = (Prompt(box=truth(at), object_id=1, label="my parcel"),)
        result = await session.step(frame, shown)
    assert [type(command) for _, command in inner.commands] == [Prompt, Prompt]
    assert [track.label for track in result.tracks] == ["my parcel"]


async def test_a_minute_without_the_camera_does_not_count_as_standing_still() -> None:
    inner, still = ColourSession(4), background()
    session = MotionSession(inner, at_once, lambda: True, 4, SeedingSettings(still_after=2.0))
    for frame in frames(lambda index: with_square(still, walking(min(index, 70))), 90):
        if frame.index >= 80:
            frame = replace(frame, epoch=1, time=frame.time + 60)
        result = await session.step(frame, ())
    assert [type(command) for _, command in inner.commands] == [Prompt]
    assert len(result.tracks) == 1


def a_track(number: int, left: int) -> Track:
    mask = np.zeros((60, 80), np.bool_)
    mask[20:40, left : left + 20] = True
    return Track(number, "", mask, tight_box(mask), "tracked", *[0.9] * 5)


def test_of_two_tracks_of_one_thing_the_one_that_was_found_is_given_up() -> None:
    """Whichever is older; of two that were found the younger; of two that users showed none."""
    found = Finding(seen=1.0, since=1.0)
    same, beside = (a_track(1, 30), a_track(2, 31)), (a_track(1, 30), a_track(2, 50))
    for mine, gone in (((2,), (2,)), ((1,), (1,)), ((1, 2), (2,)), ((), ())):
        assert given_up(same, dict.fromkeys(mine, found), 1.0, SeedingSettings()) == gone
        assert given_up(beside, dict.fromkeys(mine, found), 1.0, SeedingSettings()) == ()


@pytest.mark.parametrize("level", [0, 8])
def test_a_walker_before_a_black_background_is_found(level: int) -> None:
    found = looked(lambda index: with_square(np.full((*SIZE, 3), level, np.uint8), walking(index)), 100)
    assert all(len(blobs) == 1 for blobs in found[56:])


def test_a_run_needs_no_prompt_where_it_finds_what_moves(keepsight: Keepsight, tmp_path: Path) -> None:
    said = keepsight("run", SCENE, "--model", "test", "--auto", "motion", "-o", "r.jsonl")
    assert (said.code, said.err) == (0, "")
    assert len(lines(tmp_path / "r.jsonl")) == 6
