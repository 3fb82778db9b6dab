"""Rules as they are written: what is taken, and what is refused in one line that says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.tracker.config import read_deployment, run_config
from keepsight.tracker.plane import contains, edges, meet, self_crossing
from keepsight.tracker.validation import ConfigError

FINE = """
source: test://
output: out.jsonl
rules:
  zones:
    door:
      points: [[0.1, 0.2], [0.6, 0.2], [0.6, 0.8]]
      labels: person
      dwell_seconds: 10
  lines:
    gate: {points: [[0.5, 0.0], [0.5, 1.0]], direction: left}
  motion: {still_seconds: 3}
"""


def refusal(tmp_path: Path, text: str) -> str:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_deployment(file)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{file}: ")


def test_rules_are_read_from_a_deployment_and_from_a_file_of_their_own(tmp_path: Path) -> None:
    whole = tmp_path / "whole.yaml"
    whole.write_text(FINE)
    rules = read_deployment(whole).streams["main"].rules
    assert rules.zones["door"].labels == ("person",)
    assert rules.lines["gate"].direction == "left"
    assert rules.motion is not None
    apart = tmp_path / "rules.yaml"
    apart.write_text(FINE.partition("rules:")[2].replace("\n  ", "\n"))
    assert run_config({"source": "test://", "rules": apart}).rules == rules
    assert run_config({"source": "test://"}).rules.zones == {}


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ("[[0.1, 0.2], [0.6, 0.2]]", "2 points are no polygon: give at least 3"),
        ("[[0, 0], [1, 1], [1, 0], [0, 1]]", "the polygon crosses itself: sides 1 and 3 meet"),
        ("[[0, 0], [0.5, 0], [1, 0]]", "the polygon has no area"),
        ("[[0, 0], [1, 0], [0.5, 0], [0.5, 1]]", "the polygon crosses itself: sides 1 and 2 meet"),
        ("[[0, 0], [1, 0], [1, 1], [1, 0]]", "point 4 is there already"),
        ("[[0, 0], [1.2, 0], [1, 1]]", "point 2, (1.2, 0), is outside the frame: coordinates go from 0 to 1"),
        ("[[0, 0], [640, 0], [1, 1]]", "outside the frame: coordinates are fractions of the frame"),
        ("[[0, 0], [.nan, 0], [1, 1]]", "must be a finite number, not nan"),
        ("[[0, 0], [one, 0], [1, 1]]", "must be a valid number"),
    ],
)
def test_a_polygon_that_is_none_is_refused(tmp_path: Path, points: str, reason: str) -> None:
    said = refusal(tmp_path, FINE.replace("[[0.1, 0.2], [0.6, 0.2], [0.6, 0.8]]", points))
    assert said.startswith("rules.zones.door.points")
    assert reason in said


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("dwell_seconds", "dwel_seconds", "unknown key 'dwel_seconds', did you mean 'dwell_seconds'?"),
        ("direction", "side", "unknown key 'side'. Known: anchor, cooldown_seconds, direction, labels"),
        ("still_seconds", "still", "unknown key 'still', did you mean 'still_speed'?"),
        ("  lines:", "  linse:", "unknown key 'linse', did you mean 'lines'?"),
        ("[0.5, 1.0]]", "[0.5, 0.0]]", "the two points of the line are the same"),
        ("[0.5, 1.0]]", "[0.5, 1.0], [0, 0]]", "a line has 2 points, not 3"),
        ("direction: left", "direction: up", "'up' is not one of 'both', 'left' or 'right'"),
        ("still_seconds: 3", "still_speed: 0.5", "still_speed 0.5 must be below moving_speed 0.03"),
        ("dwell_seconds: 10", "dwell_seconds: 0", "must be greater than 0, not 0"),
        ("gate:", "a/b:", "'a/b' is not a name of 1 to 64 characters without / + #"),
        ("motion: {still_seconds: 3}", "motion: 3", "rules.motion"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert reason in refusal(tmp_path, FINE.replace(old, new))


def test_a_file_of_rules_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        run_config({"source": "test://", "rules": missing})
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("zonse: {}")
    with pytest.raises(ConfigError, match=r"--rules.*unknown key 'zonse', did you mean 'zones'"):
        run_config({"source": "test://", "rules": wrong})


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=6, unique=True))
def test_a_polygon_is_refused_exactly_where_two_of_its_sides_have_more_than_a_corner_in_common(
    points: list[tuple[int, int]],
) -> None:
    """The oracle walks each side in small exact steps; corners have whole coordinates, so 60 fit them all."""
    polygon = [(float(x), float(y)) for x, y in points]
    sides = edges(polygon)
    crossed = False
    for one in range(len(sides)):
        for other in range(one + 1, len(sides)):
            shared = set(sides[one]) & set(sides[other])
            if not shared:
                crossed |= exact_meet(sides[one], sides[other])
            else:
                crossed |= overlap(sides[one], sides[other], shared)
    assert (self_crossing(polygon) is not None) == crossed


def exact_meet(one, other) -> bool:  # type: ignore[no-untyped-def]
    """By solving for the meeting point, with whole numbers."""
    (ax, ay), (bx, by) = one
    (cx, cy), (dx, dy) = other
    r, s, q = (bx - ax, by - ay), (dx - cx, dy - cy), (cx - ax, cy - ay)
    cross = r[0] * s[1] - r[1] * s[0]
    if cross == 0:
        if q[0] * r[1] - q[1] * r[0] != 0:
            return False
        length = r[0] ** 2 + r[1] ** 2
        t0 = (q[0] * r[0] + q[1] * r[1]) / length
        t1 = t0 + (s[0] * r[0] + s[1] * r[1]) / length
        return max(min(t0, t1), 0) <= min(max(t0, t1), 1)
    t, u = (q[0] * s[1] - q[1] * s[0]) / cross, (q[0] * r[1] - q[1] * r[0]) / cross
    return 0 <= t <= 1 and 0 <= u <= 1


def overlap(one, other, shared) -> bool:  # type: ignore[no-untyped-def]
    (corner,) = shared
    a = next(point for point in one if point != corner)
    b = next(point for point in other if point != corner)
    u, v = (a[0] - corner[0], a[1] - corner[1]), (b[0] - corner[0], b[1] - corner[1])
    return u[0] * v[1] == u[1] * v[0] and u[0] * v[0] + u[1] * v[1] > 0


def test_a_point_on_the_outline_is_inside() -> None:
    triangle = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    assert all(contains(triangle, point) for point in ((0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.2, 0.2)))
    assert not contains(triangle, (0.6, 0.6))
    assert meet(((0, 0), (2, 0)), ((1, -1), (1, 1)))
    assert not meet(((0, 0), (2, 0)), ((3, 0), (4, 0)))
