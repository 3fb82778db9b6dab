"""Whom lines and motion are told of, when they are quiet, and which point stands for an object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from keepsight.streams.types import Point, Result
from keepsight.tracker.rules import MotionRule, Rules
from keepsight.tracker.watching import watch_all

from .test_zones import line, line_from, scene, told, zone


def to_and_fro_over_it(t: float) -> Point:
    """On the other side of a line through the middle in every second second."""
    return 0.6 if int(t) % 2 else 0.4, 0.5


def changed(results: Iterable[Result], **fields: object) -> list[Result]:
    """The results with other fields of all tracks."""
    return [
        replace(one, tracks=tuple(replace(track, **fields) for track in one.tracks))  # type: ignore[arg-type]
        for one in results
    ]


def test_who_has_crossed_a_line_is_quiet_for_the_cooldown():
    results = scene({1: to_and_fro_over_it}, 9)
    assert told(results, line()) == [("line_cross", 1, at) for at in range(10, 91, 10)]
    quiet = [("line_cross", 1, at) for at in (10, 40, 70)]
    assert told(results, line(cooldown_seconds=2.5)) == quiet
    assert told(results, line(cooldown_seconds=3)) == quiet, "three seconds later they are over"


def test_labels_and_confidence_choose_whom_a_line_sees():
    cars = scene({1: to_and_fro_over_it}, 1.5)
    crossed = [("line_cross", 1, 10)]
    assert told(cars, line(labels=["car"], min_confidence=0.9)) == crossed
    assert told(cars, line(labels=["dog"])) == []
    assert told(changed(cars, confidence=0.5), line(min_confidence=0.6)) == []
    unsure = [*cars[:9], *changed(cars[9:12], confidence=0.5), *cars[12:]]
    assert told(unsure, line(min_confidence=0.6)) == [("line_cross", 1, 12)], "once it is surely over it"


def test_the_centre_may_stand_for_an_object_before_a_line_and_in_a_zone():
    """Its centre follows the middle of its lower side at a distance of 0.02, that is 0.2 s."""
    falls = scene({1: line_from((0.5, 0.401), (0.0, 0.1))}, 3)
    across = [[0.0, 0.5], [1.0, 0.5]]
    assert told(falls, line(points=across)) == [("line_cross", 1, 10)]
    assert told(falls, line(points=across, anchor="centre")) == [("line_cross", 1, 12)]
    lower = [[0.0, 0.5], [1.0, 0.5], [1.0, 0.6], [0.0, 0.6]]
    assert told(falls, zone(points=lower)) == [("zone_enter", 1, 10), ("zone_leave", 1, 20)]
    assert told(falls, zone(points=lower, anchor="centre")) == [("zone_enter", 1, 12), ("zone_leave", 1, 22)]


def goes_and_stops(t: float) -> Point:
    """Goes for two seconds and stands for two, again and again."""
    return 0.1 + 0.1 * (2 * (t // 4) + min(t % 4, 2)), 0.5


def in_motion(**fields: object) -> Rules:
    quick = {"moving_seconds": 0.2, "still_seconds": 0.2, "window_seconds": 0.2}
    return Rules(motion=MotionRule.model_validate(quick | fields))


def test_what_an_object_was_told_to_be_it_stays_for_the_cooldown():
    results = scene({1: goes_and_stops}, 12)
    every = told(results, in_motion())
    assert [kind for kind, *_ in every] == ["moving", "stationary"] * 3
    frames = [at for _, _, at in every]
    assert frames[1] - frames[0] < 30
    calm = told(results, in_motion(cooldown_seconds=3))
    assert calm[0] == every[0]
    assert all(later[2] - before[2] >= 30 for before, later in pairwise(calm))
    assert [kind for kind, *_ in calm[:2]] == ["moving", "stationary"], (
        "told when it is over, if it still holds"
    )
    assert calm[1][2] == frames[0] + 30


def test_labels_and_confidence_choose_whom_motion_is_told_of():
    cars = scene({1: goes_and_stops}, 4)
    assert told(cars, in_motion(labels=["car"], min_confidence=0.9)) == told(cars, in_motion()) != []
    assert told(cars, in_motion(labels=["dog"])) == []
    last = list(watch_all(cars[:15], in_motion(labels=["dog"])))[-1].tracks[0]
    assert last.speed is not None, "it is measured all the same"
    assert told(cars, in_motion(min_confidence=0.95)) == []
    last = list(watch_all(cars[:15], in_motion(min_confidence=0.95)))[-1].tracks[0]
    assert last.speed is None, "from boxes that are not sure no speed is taken"
