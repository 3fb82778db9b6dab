"""Scores against a scene whose truth is known in every frame."""

from collections.abc import Mapping
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from keepsight.streams.types import Frame, Mask, Result, Track
from keepsight.tracker.evaluation.propagator import IndexMap
from keepsight.tracker.evaluation.truth import TruthScores, begin, truth_table, with_frame

SIZE = (10, 40)
LEFT, RIGHT = slice(0, 10), slice(20, 30)


def truth(**where: slice) -> IndexMap:
    """A map with objects named o1, o2, … as bands of columns."""
    made = np.zeros(SIZE, np.uint8)
    for name, columns in where.items():
        made[:, columns] = int(name[1:])
    return made


def result(index: int, where: Mapping[int, slice]) -> Result:
    frame = Frame(np.zeros((*SIZE, 3), np.uint8), index, 0, index / 10, 0.0, "generated", 0.0)
    return Result(frame, tuple(track(object_id, band(columns)) for object_id, columns in where.items()))


def band(columns: slice) -> Mask:
    mask = np.zeros(SIZE, np.bool_)
    mask[:, columns] = True
    return mask


def track(object_id: int, mask: Mask) -> Track:
    return Track(object_id, "", mask, None, "tracked", 1.0, 1.0, 1.0, 1.0, 1.0)


def scored(
    prompted: Mapping[int, int], *frames: tuple[IndexMap, Mapping[int, slice]]
) -> tuple[TruthScores, ...]:
    scores = begin(prompted)
    for index, (wanted, said) in enumerate(frames):
        scores = with_frame(scores, wanted, result(index, said))
    return scores


def test_an_object_that_is_followed_is_found_in_every_frame() -> None:
    (scores,) = scored({1: 0}, *[(truth(o1=LEFT), {1: LEFT})] * 3)
    assert (scores.visible, scores.found, scores.mean_j, scores.switches) == (3, 3, 1, 0)


def test_mean_j_is_over_visible_frames_and_found_needs_more_than_half() -> None:
    half, most = slice(0, 5), slice(0, 8)
    (scores,) = scored(
        {1: 0}, (truth(o1=LEFT), {1: half}), (truth(o1=LEFT), {1: most}), (truth(), {}), (truth(o1=LEFT), {})
    )
    assert scores.mean_j == pytest.approx((0.5 + 0.8 + 0) / 3)
    assert scores.found == 1
    assert scores.found_share == pytest.approx(1 / 3)


def test_a_mask_while_the_object_is_hidden_is_false_and_an_empty_one_is_not() -> None:
    nowhere = slice(0, 0)
    (scores,) = scored({1: 0}, *[(truth(), said) for said in ({1: LEFT}, {1: nowhere}, {})])
    assert (scores.visible, scores.hidden, scores.false_masks) == (0, 3, 1)


def test_two_tracks_that_change_places_count_a_switch_each_and_another_when_they_change_back() -> None:
    both = truth(o1=LEFT, o2=RIGHT)
    right, wrong = {1: LEFT, 2: RIGHT}, {1: RIGHT, 2: LEFT}
    assert [one.switches for one in scored({1: 0, 2: 0}, (both, right), (both, wrong), (both, wrong))] == [
        1,
        1,
    ]
    assert [one.switches for one in scored({1: 0, 2: 0}, (both, wrong), (both, right))] == [2, 2]


def test_a_mask_that_lies_mostly_on_another_object_has_strayed_though_it_holds_nothing() -> None:
    both, alone = truth(o1=LEFT, o2=RIGHT), truth(o2=RIGHT)
    on_the_other, beside, on_nothing = slice(22, 26), slice(16, 23), slice(12, 18)
    (own, _) = scored(
        {1: 0, 2: 0},
        (both, {1: on_the_other, 2: RIGHT}),
        (alone, {1: on_the_other, 2: RIGHT}),
        (both, {1: beside, 2: RIGHT}),
        (both, {1: on_nothing, 2: RIGHT}),
        (both, {1: LEFT, 2: RIGHT}),
    )
    assert (own.strayed, own.switches) == (2, 0)


def test_losing_an_object_and_finding_it_again_is_no_switch() -> None:
    seen = truth(o1=LEFT)
    (scores,) = scored({1: 0}, (seen, {1: LEFT}), (seen, {}), (seen, {1: RIGHT}), (seen, {1: LEFT}))
    assert (scores.switches, scores.found) == (0, 2)


def test_frames_before_the_first_prompt_do_not_count() -> None:
    (scores,) = scored({1: 2}, *[(truth(o1=LEFT), {})] * 2, (truth(o1=LEFT), {1: LEFT}))
    assert (scores.visible, scores.mean_j) == (1, 1)


def test_the_table_has_a_row_per_object_and_a_dash_for_one_never_seen() -> None:
    scores = scored({1: 0, 4: 0}, (truth(o1=LEFT), {1: LEFT}))
    console = Console(width=100, record=True, file=StringIO())
    console.print(truth_table(scores))
    rows = [line.replace("│", " ").split() for line in console.export_text().splitlines()]
    assert ["1", "1", "100.0", "100.0%", "0", "0", "0", "0"] in rows
    assert ["4", "0", "-", "-", "0", "0", "1", "0"] in rows
