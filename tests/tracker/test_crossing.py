"""Who is who after objects have crossed: pieces go to whose course leads there, and who looked like it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from keepsight.streams.sources.hard_scenes import FOLLOWED, make_hard_scene
from keepsight.streams.types import Image, Prompt
from keepsight.tracker import load
from keepsight.tracker.crossing import LONGEST_SECONDS, MOST, Course, Untangled, untangle
from keepsight.tracker.iou import mask_iou

Places = dict[int, tuple[float, float]]
SIZE, RADIUS, RATE = (60, 120), 8, 25.0
RED, BLUE = (200, 30, 30), (30, 30, 200)
ALIKE = {1: RED, 2: RED, 3: RED, 4: RED, 5: RED}


def disc(place: tuple[float, float]) -> NDArray[np.bool_]:
    centre = round(place[0]), round(place[1])
    return cv2.circle(np.zeros(SIZE, np.uint8), centre, RADIUS, 1, cv2.FILLED).view(np.bool_)


def scene(places: Places, colours: dict[int, tuple[int, int, int]]) -> Image:
    image = np.full((*SIZE, 3), 90, np.uint8)
    for one, place in places.items():
        image[disc(place)] = colours[one]
    return image


def logits_of(places: Places) -> NDArray[np.float32]:
    """As of a network that lets the masks of who touch flow into one another, and never parts them again."""
    masks = {one: disc(place) for one, place in places.items()}
    return np.stack([np.where(mask, 5.0, -5.0) for mask in masks.values()]).astype(np.float32)


def played(
    where: Callable[[int], Places],
    frames: int,
    colours: dict[int, tuple[int, int, int]] = ALIKE,
    flowed_from: int = 10**9,
) -> list[Untangled]:
    """The frames of objects whose masks are right until `flowed_from`, and from then on all the same: what
    any of them covers."""
    courses: dict[int, Course] = {}
    done: list[Untangled] = []
    for index in range(frames):
        places = where(index)
        logits = logits_of(places)
        if index >= flowed_from:
            logits[:] = logits.max(axis=0)
        ids = tuple(places)
        done.append(untangle(ids, logits, scene(places, colours), index / RATE, courses))
        courses = done[-1].courses
    return done


def crossing(index: int) -> Places:
    """The first goes to the right, the second to the left; in frame 15 they are at one place."""
    return {1: (15 + 3 * index, 28), 2: (105 - 3 * index, 32)}


def bouncing(index: int) -> Places:
    """Both turn round where they meet."""
    gone = 3 * (index if index <= 13 else 26 - index)
    return {1: (15 + gone, 30), 2: (105 - gone, 30)}


def is_on(untangled: Untangled, row: int, place: tuple[float, float]) -> bool:
    return bool(np.array_equal(untangled.logits[row] > 0, disc(place)))


def test_look_alikes_that_crossed_keep_their_ids() -> None:
    done = played(crossing, 26, flowed_from=12)
    assert is_on(done[-1], 0, crossing(25)[1])
    assert is_on(done[-1], 1, crossing(25)[2])
    assert done[-1].changed == (0, 1)


def test_while_they_cover_one_another_nothing_is_changed() -> None:
    done = played(crossing, 16, flowed_from=12)
    assert done[15].changed == ()
    assert all(course.since is not None for course in done[15].courses.values())


def test_who_comes_out_from_behind_another_is_found_though_the_network_sees_one_of_them_alone() -> None:
    courses: dict[int, Course] = {}
    for index in range(26):
        places = crossing(index)
        logits = logits_of(places)
        if index >= 14:
            logits[1], logits[0] = logits.max(axis=0), -5.0
        done = untangle((1, 2), logits, scene(places, ALIKE), index / RATE, courses)
        courses = done.courses
        if done.changed:
            break
    assert is_on(done, 0, places[1])
    assert is_on(done, 1, places[2])


def test_who_looks_different_keeps_its_id_also_where_both_turned_round() -> None:
    done = played(bouncing, 24, {1: RED, 2: BLUE}, flowed_from=11)
    assert is_on(done[-1], 0, bouncing(23)[1])
    assert is_on(done[-1], 1, bouncing(23)[2])


def test_masks_that_are_right_stay_as_they_are() -> None:
    for one in played(crossing, 10):
        assert one.changed == ()
    assert {number: course.velocity[0] > 0 for number, course in one.courses.items()} == {1: True, 2: False}
    assert one.courses[1].velocity == pytest.approx((3 * RATE, 0), abs=2)


def test_nothing_is_known_of_those_who_touched_from_the_beginning() -> None:
    done = played(lambda index: crossing(index + 13), 12, flowed_from=0)
    assert all(one.changed == () for one in done)


def test_who_touched_for_long_may_have_done_anything() -> None:
    def waiting(index: int) -> Places:
        return crossing(min(index, 14) if index < 14 + LONGEST_SECONDS * RATE + 2 else index - 50)

    done = played(waiting, 80, flowed_from=12)
    assert all(one.changed == () for one in done)


def test_a_crowd_is_left_as_it_is() -> None:
    def heap(index: int) -> Places:
        far = max(0, 10 - index) + max(0, index - 14)
        return {number: (60 + (number - 3) * (1 + 2.0 * far), 30) for number in range(1, MOST + 2)}

    assert all(one.changed == () for one in played(heap, 26, flowed_from=9))


def test_a_speck_that_falls_off_is_not_taken_for_an_object() -> None:
    courses: dict[int, Course] = {}
    for index in range(15):
        places = crossing(index)
        logits = logits_of(places)
        courses = untangle((1, 2), logits, scene(places, ALIKE), index / RATE, courses).courses
    places = crossing(15)
    logits = logits_of(places)
    logits[:, 2:5, 2:6] = 5.0
    done = untangle((1, 2), logits, scene(places, ALIKE), 15 / RATE, courses)
    assert done.changed == ()


def cut(logits: NDArray[np.float32], column: int) -> NDArray[np.float32]:
    """The logits with a gap, as of a lamp post before all."""
    logits[:, :, column : column + 5] = -5.0
    return logits


def test_half_an_object_that_a_lamp_post_cuts_off_is_not_another() -> None:
    courses: dict[int, Course] = {}
    for index in range(20):
        places = {1: (30.0, 30.0), 2: (60.0 - min(index, 14), 30.0)}
        logits = cut(logits_of(places), 31) if index >= 15 else logits_of(places)
        done = untangle((1, 2), logits, scene(places, {1: RED, 2: BLUE}), index / RATE, courses)
        courses = done.courses
        assert done.changed == ()


def test_who_is_hidden_behind_another_does_not_come_out_as_a_part_of_it() -> None:
    courses: dict[int, Course] = {}
    for index in range(30):
        places = {1: (30.0 + min(2 * index, 30), 30.0), 2: (60.0, 30.0)}
        logits = logits_of(places)
        if index >= 14:
            logits[1] = -5.0
        if index >= 18:
            cut(logits, 58)
        shown = scene({2: places[2], 1: places[1]}, {1: RED, 2: BLUE})
        done = untangle((1, 2), logits, shown, index / RATE, courses)
        courses = done.courses
        assert done.changed == ()


def test_a_sliver_of_who_was_hidden_for_long_begins_nothing() -> None:
    courses: dict[int, Course] = {}
    for index in range(200):
        places = {1: (30.0, 30.0), 2: (60.0, 30.0)}
        logits = logits_of(places)
        if index >= 8:
            logits[1] = -5.0
        if index >= 100:
            logits[1, 24:36, 37:41] = 5.0
        courses = untangle((1, 2), logits, scene(places, ALIKE), index / RATE, courses).courses
        assert all(course.since is None for course in courses.values())


def test_two_frames_of_one_time_change_no_course() -> None:
    done = played(crossing, 6)[-1]
    places = crossing(6)
    after = untangle((1, 2), logits_of(places), scene(places, ALIKE), 5 / RATE, done.courses)
    assert after.courses == done.courses


def test_a_course_begins_anew_where_time_jumps() -> None:
    done = played(crossing, 12)
    later = crossing(3)
    for time in (100.0, 0.0):
        after = untangle((1, 2), logits_of(later), scene(later, ALIKE), time, done[-1].courses)
        assert [course.clean for course in after.courses.values()] == [1, 1]


def test_who_is_gone_is_forgotten() -> None:
    done = played(crossing, 16, flowed_from=12)
    places = {2: crossing(16)[2]}
    after = untangle((2,), logits_of(places), scene(places, ALIKE), 16 / RATE, done[-1].courses)
    assert list(after.courses) == [2]
    assert after.changed == ()


def test_the_bundled_model_keeps_ids_where_look_alikes_cross() -> None:
    hard, frames = make_hard_scene("crossing", seed=0), range(36, 66)
    truth = [hard.truth(index) for index in (frames[0], frames[-1])]
    prompts = [Prompt(object_id=one, mask=truth[0] == one) for one in FOLLOWED]
    results = list(load("nano").track([hard.image(index) for index in frames], prompts=prompts))
    assert [mask_iou(track.mask, truth[-1] == track.object_id) > 0.7 for track in results[-1].tracks] == [
        True
    ] * 2
