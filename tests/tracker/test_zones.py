"""Zones, lines and motion on scenes whose truth is known: the events and their frames, exactly."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepsight.streams.messages import result_line
from keepsight.streams.types import Clock, Event, Frame, Point, Prompt, Result, State, Track
from keepsight.tracker.rules import LineRule, MotionRule, Rules, Zone
from keepsight.tracker.watching import watch_all

from .fakes import RED, ColourPredictor, a_frame, follow

RATE = 10.0
WIDTH, HEIGHT = 160, 90
DIAGONAL = math.hypot(WIDTH, HEIGHT)
NOTHING = np.zeros((HEIGHT, WIDTH), np.bool_)
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
Way = Callable[[float], Point | None]
"""Where an object's anchor is at a time in seconds; None where it is hidden."""
SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def frame(index: int, epoch: int = 0, time: float | None = None, captured: float | None = None) -> Frame:
    seconds = index / RATE if time is None else time
    return Frame(
        IMAGE, index, epoch, seconds, 1000 + seconds if captured is None else captured, "rtcp", seconds
    )


def track(number: int, at: Point | None, label: str = "car", state: State = "tracked") -> Track:
    """A track whose anchor, the middle of the lower side of its box, is `at`."""
    box = None if at is None else (at[0] - 0.02, at[1] - 0.04, at[0] + 0.02, at[1])
    return Track(number, label, NOTHING, box, state, *[0.9] * 5)


def scene(ways: Mapping[int, Way], seconds: float) -> list[Result]:
    """Results of objects that go their ways."""
    indices = range(round(seconds * RATE) + 1)
    return [
        Result(frame(index), tuple(track(number, way(index / RATE)) for number, way in ways.items()))
        for index in indices
    ]


def line_from(start: Point, speed: Point) -> Way:
    """Straight on, at a speed in fractions of width and height a second."""
    return lambda t: (start[0] + speed[0] * t, start[1] + speed[1] * t)


def events(results: Iterable[Result], rules: Rules) -> list[Event]:
    return [event for result in watch_all(results, rules) for event in result.events]


def told(results: Iterable[Result], rules: Rules) -> list[tuple[str, int, int]]:
    """(kind, object, frame)."""
    return [(event.kind, event.object_id, event.frame[1]) for event in events(results, rules)]


def zone(**fields: object) -> Rules:
    plain = {"points": SQUARE, "margin": 0, "settle_seconds": 0}
    return Rules.model_validate({"zones": {"z": plain | fields}})


def line(**fields: object) -> Rules:
    plain = {"points": [[0.5, 0.0], [0.5, 1.0]], "margin": 0}
    return Rules.model_validate({"lines": {"l": plain | fields}})


def test_an_object_enters_dwells_and_leaves_on_the_very_frames():
    way = line_from((0.102, 0.5), (0.1, 0.0))  # inside from 1.48 s to 6.48 s
    told_of = events(scene({7: way}, 8), zone(dwell_seconds=2))
    assert [(one.kind, one.frame[1]) for one in told_of] == [
        ("zone_enter", 15),
        ("zone_dwell", 35),
        ("zone_leave", 65),
    ]
    assert [one.seconds for one in told_of] == [None, pytest.approx(2.0), pytest.approx(4.9)]
    assert {(one.rule, one.object_id, one.label) for one in told_of} == {("z", 7, "car")}


def test_settling_takes_its_time_and_the_stay_is_told_from_when_it_began():
    way = line_from((0.102, 0.5), (0.1, 0.0))
    told_of = events(scene({1: way}, 8), zone(settle_seconds=0.5))
    assert [(one.kind, one.frame[1]) for one in told_of] == [("zone_enter", 20), ("zone_leave", 70)]
    assert told_of[1].seconds == pytest.approx(4.9)


def test_one_that_stands_on_the_border_does_not_come_and_go():
    rng = random.Random(5)
    shaken = [0.25 + rng.uniform(-0.01, 0.01) for _ in range(100)]

    def way(t: float) -> Point:
        return shaken[round(t * RATE)], 0.5

    assert len(told(scene({1: way}, 9.9), zone())) > 10
    assert told(scene({1: way}, 9.9), zone(margin=0.02)) == [
        ("zone_enter", 1, next(index for index, x in enumerate(shaken) if x >= 0.25))
    ]


def test_while_it_is_hidden_nothing_changes_and_a_lost_object_has_left():
    def way(t: float) -> Point | None:
        return (0.5, 0.5) if t < 2 or 4 <= t < 5 else None

    results = scene({1: way}, 7)
    results[60:] = [
        Result(one.frame, tuple(replace(t, state="lost") for t in one.tracks)) for one in results[60:]
    ]
    told_of = events(results, zone())
    assert [(one.kind, one.frame[1]) for one in told_of] == [("zone_enter", 0), ("zone_leave", 60)]
    assert told_of[1].seconds == pytest.approx(4.9), "it was last seen inside on frame 49"
    assert told_of[1].reason == "lost after 4.9 s"


def test_the_end_of_an_object_ends_its_stay_first():
    results = scene({1: line_from((0.5, 0.5), (0, 0))}, 1)
    end = replace(an_end(results[-1].frame), reason="the stream ended")
    results[-1] = replace(results[-1], events=(end,))
    assert told(results, zone()) == [("zone_enter", 1, 0), ("zone_leave", 1, 10), ("end", 1, 10)]
    again = [*results[:-1], replace(results[-1], events=()), replace(results[-1], closing=True)]
    assert told(again, zone())[1:] == [("zone_leave", 1, 10), ("end", 1, 10)], "a result that is closed"


def an_end(of: Frame) -> Event:
    return Event("end", 1, "car", of.ref, of.time, of.captured, of.clock, 0.9, None, "lost", "lost", "")


def test_an_object_that_is_no_longer_tracked_has_left():
    results = scene({1: line_from((0.5, 0.5), (0, 0))}, 1)
    results[5:] = [Result(one.frame) for one in results[5:]]
    assert told(results, zone()) == [("zone_enter", 1, 0), ("zone_leave", 1, 5)]


def test_labels_and_confidence_choose_whom_a_rule_sees():
    results = scene({1: line_from((0.5, 0.5), (0, 0)), 2: line_from((0.4, 0.4), (0, 0))}, 1)
    named = [
        replace(one, tracks=(one.tracks[0], replace(one.tracks[1], label="dog", confidence=0.3)))
        for one in results
    ]
    assert told(named, zone(labels=["dog"])) == [("zone_enter", 2, 0)]
    assert told(named, zone(labels="dog", min_confidence=0.5)) == []
    assert told(named, zone(min_confidence=0.5)) == [("zone_enter", 1, 0)]


def test_after_a_stay_the_next_one_is_quiet_for_the_cooldown():
    def to_and_fro(t: float) -> Point:
        return 0.5 if int(t) % 2 else 0.1, 0.5  # inside in every second second

    assert [frame for kind, _, frame in told(scene({1: to_and_fro}, 10), zone())] == list(range(10, 101, 10))
    quiet = told(scene({1: to_and_fro}, 10), zone(cooldown_seconds=1.5))
    assert quiet == [
        ("zone_enter", 1, 10),
        ("zone_leave", 1, 20),
        ("zone_enter", 1, 50),
        ("zone_leave", 1, 60),
        ("zone_enter", 1, 90),
        ("zone_leave", 1, 100),
    ]


def test_objects_in_a_zone_are_counted_by_label():
    results = scene({n: line_from((0.1 * n, 0.5), (0.1, 0)) for n in (1, 2, 3)}, 5)
    labels = {1: "cat", 2: "dog", 3: "cat"}
    named = [
        replace(one, tracks=tuple(replace(t, label=labels[t.object_id]) for t in one.tracks))
        for one in results
    ]
    counts = [dict(result.watched[0].counts) for result in watch_all(named, zone())]
    for result, counted in zip(named, counts, strict=True):
        truth = [
            labels[t.object_id] for t in result.tracks if 0.25 <= (t.box[0] + t.box[2]) / 2 <= 0.75 if t.box
        ]
        assert counted == {label: truth.count(label) for label in set(truth)}


def test_a_line_tells_the_side_that_is_gone_to_and_counts():
    """Down the picture: who looks along the line has the picture's left to the right."""
    results = scene(
        {1: line_from((0.9, 0.5), (-0.2, 0)), 2: line_from((0.105, 0.5), (0.1, 0))}, 6
    )  # at 2 s, at 3.95 s
    told_of = events(results, line())
    assert [(one.object_id, one.frame[1], one.side) for one in told_of] == [(1, 20, "right"), (2, 40, "left")]
    assert [dict(one.watched[0].counts) for one in watch_all(results, line())][-1] == {"left": 1, "right": 1}
    assert [one.object_id for one in events(results, line(direction="left"))] == [2]


def test_a_way_round_the_end_of_a_line_is_no_crossing_but_the_way_back_over_it_is_one():
    def way(t: float) -> Point:
        angle = t * math.pi / 2  # round (0.5, 0.5), once in four seconds
        return 0.5 + 0.3 * math.cos(angle), 0.5 - 0.3 * math.sin(angle)

    half = line(points=[[0.5, 0.5], [0.5, 1.0]])
    told_of = events(scene({1: way}, 8), half)
    assert [(one.frame[1], one.side) for one in told_of] == [(31, "left"), (71, "left")]


def test_one_that_wavers_on_a_line_crosses_it_once():
    rng = random.Random(1)
    noise = [rng.uniform(-0.012, 0.012) for _ in range(101)]

    def way(t: float) -> Point:
        return 0.3 + 0.04 * t + noise[round(t * RATE)], 0.5

    assert len(told(scene({1: way}, 10), line())) > 1
    margin = 0.03
    once = told(scene({1: way}, 10), line(margin=margin))
    beyond = (index for index in range(101) if way(index / RATE)[0] - 0.5 >= margin * DIAGONAL / WIDTH)
    assert once == [("line_cross", 1, next(beyond))]


def test_speed_and_heading_are_the_truth_in_diagonals_and_degrees():
    for speed, heading in (
        ((0.1, 0.0), 90),
        ((-0.1, 0.0), 270),
        ((0.0, 0.1), 180),
        ((0.0, -0.1), 0),
        ((0.09, -0.16), 45),
    ):
        last = list(watch_all(scene({1: line_from((0.5, 0.5), speed)}, 2), Rules()))[-1].tracks[0]
        true = math.hypot(speed[0] * WIDTH, speed[1] * HEIGHT) / DIAGONAL
        assert last.speed == pytest.approx(true, rel=1e-6)
        assert last.heading == pytest.approx(heading, abs=1e-6)
    first = next(iter(watch_all(scene({1: line_from((0.5, 0.5), (0.1, 0))}, 2), Rules()))).tracks[0]
    assert (first.speed, first.heading, first.moving) == (None, None, None)


def test_moving_and_stationary_are_told_with_hysteresis():
    """It goes for 3 s, stands for 5 s, creeps at a speed between the two, and goes again."""
    speeds = [0.1] * 30 + [0.0] * 50 + [0.02] * 30 + [0.1] * 20
    xs = 0.1 + np.concatenate(([0.0], np.cumsum(speeds))) / RATE

    def way(t: float) -> Point:
        return float(xs[round(t * RATE)]), 0.5

    scale = DIAGONAL / WIDTH
    rules = Rules(
        motion=MotionRule(
            moving_speed=0.06 / scale,
            still_speed=0.01 / scale,
            moving_seconds=0.5,
            still_seconds=1.0,
            window_seconds=0.2,
        )
    )
    # a speed is known from frame 2 on; three positions fit a line, its slope is the mean of both steps
    assert told(scene({1: way}, 13), rules) == [
        ("moving", 1, 7),
        ("stationary", 1, 32 + 10),
        ("moving", 1, 111 + 5),
    ]
    assert told(scene({1: way}, 13), Rules()) == []


@pytest.mark.parametrize("clock", ["rtcp", "arrival"])
@pytest.mark.parametrize("set_by", [0.0, 3600.0])
def test_over_a_reconnect_the_frames_times_count_and_not_the_time_of_day(clock: Clock, set_by: float):
    inside = (track(1, (0.5, 0.5)),)
    results = [Result(frame(0), inside), Result(frame(1), inside)]
    for index, seconds, tracks in ((2, 10.1, inside), (3, 10.2, (track(1, (0.9, 0.9)),))):
        back = frame(index, epoch=1, time=seconds, captured=1000 + seconds + set_by)
        results.append(Result(replace(back, clock=clock), tracks))
    told_of = events(results, zone())
    assert [one.kind for one in told_of] == ["zone_enter", "zone_leave"]
    assert told_of[1].seconds == pytest.approx(10.1)


@given(st.floats(0.02, 0.98))
def test_who_is_cut_off_by_the_lower_edge_is_in_a_zone_that_reaches_down_to_it(x: float) -> None:
    whole = zone(points=[[0.0, 0.3], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]])
    assert [one.kind for one in events(scene({1: line_from((x, 1.0), (0.0, 0.0))}, 1), whole)][:1] == [
        "zone_enter"
    ]


def test_the_same_results_give_the_same_bytes() -> None:
    rules = Rules(
        zones={"z": Zone(points=((0.2, 0.0), (0.6, 0.0), (0.6, 1.0), (0.2, 1.0)))},
        lines={"l": LineRule(points=((0.4, 0.0), (0.4, 1.0)))},
        motion=MotionRule(),
    )
    on_red = Prompt(points=((0.05, 0.2),), labels=(True,))
    frames = [a_frame(index, (RED, 2 * index, 8, 16)) for index in range(40)]
    _, bare = follow(ColourPredictor(), frames, {0: [on_red]})
    said = list(watch_all(bare, rules))
    lines_written = [result_line(one).model_dump_json() for one in said]
    kinds = [event.kind for one in said for event in one.events]
    assert kinds == ["new", "moving", "zone_enter", "line_cross", "zone_leave"]
    again = [result_line(one).model_dump_json() for one in watch_all(bare, rules)]
    assert again == lines_written


COORDINATE = st.floats(0.02, 0.98)
STEP = st.one_of(st.none(), st.tuples(COORDINATE, COORDINATE))
WAYS = st.dictionaries(st.integers(1, 5), st.lists(STEP, min_size=12, max_size=12), max_size=4)


def of_ways(ways: Mapping[int, Sequence[Point | None]]) -> list[Result]:
    return [
        Result(frame(index), tuple(track(n, way[index]) for n, way in ways.items())) for index in range(12)
    ]


RULES = st.builds(
    lambda margin, settle, cooldown, dwell: Rules(
        zones={
            name: Zone(
                points=points,
                margin=margin,
                settle_seconds=settle,
                cooldown_seconds=cooldown,
                dwell_seconds=dwell,
            )
            for name, points in (("a", SQUARE), ("b", ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))))
        },
        lines={"l": LineRule(points=((0.5, 0.0), (0.5, 1.0)), margin=margin, cooldown_seconds=cooldown)},
        motion=MotionRule(moving_seconds=settle, still_seconds=settle, cooldown_seconds=cooldown),
    ),
    st.sampled_from((0, 0.01, 0.2)),
    st.sampled_from((0, 0.1, 0.3)),
    st.sampled_from((0, 0.25)),
    st.sampled_from((None, 0.1, 0.5)),
)


@settings(deadline=None)
@given(WAYS, RULES)
def test_enters_and_leaves_alternate_and_no_stay_is_longer_than_the_time_inside(
    ways: dict[int, list[Point | None]], rules: Rules
) -> None:
    told_of = events(of_ways(ways), rules)
    for number in ways:
        for name, zone in rules.zones.items():
            mine = [one for one in told_of if (one.object_id, one.rule) == (number, name)]
            kinds = [one.kind for one in mine if one.kind != "zone_dwell"]
            assert kinds == [("zone_enter", "zone_leave")[at % 2] for at in range(len(kinds))]
            for one in mine:
                if one.seconds is not None:
                    assert one.seconds <= longest_inside(ways[number], zone) + 1e-9
                if one.kind == "zone_dwell":
                    assert zone.dwell_seconds is not None
                    assert one.seconds is not None
                    assert one.seconds >= zone.dwell_seconds - 1e-6
        changes = [one.kind for one in told_of if one.object_id == number and one.rule is None]
        assert all(a != b for a, b in pairwise(changes))


def longest_inside(way: Sequence[Point | None], zone: Zone) -> float:
    """From the first to the last time it was seen inside: no stay can be longer. The polygons are convex."""
    seen = [index for index, at in enumerate(way) if at is not None and all_on_one_side(zone.points, at)]
    return (seen[-1] - seen[0]) / RATE if seen else 0.0


def all_on_one_side(polygon: Sequence[Point], at: Point) -> bool:
    corners = np.array(polygon)
    edges = np.roll(corners, -1, axis=0) - corners
    away = np.array((at[0], (at[1] - 0.04 + at[1] + 0.04) / 2)) - corners
    return bool((edges[:, 0] * away[:, 1] - edges[:, 1] * away[:, 0] >= -1e-9).all())


@settings(deadline=None)
@given(WAYS, RULES, st.randoms())
def test_the_order_and_the_company_of_objects_change_nothing(
    ways: dict[int, list[Point | None]], rules: Rules, rng: random.Random
) -> None:
    def of_one(results: list[Result], number: int) -> list[Event]:
        return [one for one in events(results, rules) if one.object_id == number]

    numbers = list(ways)
    rng.shuffle(numbers)
    shuffled = of_ways({number: ways[number] for number in numbers})
    for number in ways:
        alone = events(of_ways({number: ways[number]}), rules)
        assert of_one(of_ways(ways), number) == of_one(shuffled, number) == alone


@settings(deadline=None)
@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=12, max_size=12))
def test_crossings_to_either_side_alternate_over_a_line_through_the_whole_frame(way: list[Point]) -> None:
    sides = [one.side for one in events(of_ways({1: way}), line())]
    assert all(a != b for a, b in pairwise(sides))
    right = [x < 0.5 or math.isclose(x, 0.5) for x, _ in way]
    if not any(math.isclose(x, 0.5) for x, _ in way):
        assert len(sides) == sum(a != b for a, b in pairwise(right))
