"""Region similarity and contour accuracy on masks small enough to count by hand."""

import numpy as np
import pytest

from keepsight.streams.types import Mask
from keepsight.tracker.evaluation.metrics import (
    contour,
    contour_accuracy,
    disk,
    region_similarity,
    tolerance_radius,
)


def rectangle(top: int, left: int, height: int, width: int, size: tuple[int, int] = (100, 100)) -> Mask:
    mask = np.zeros(size, np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


EMPTY = np.zeros((100, 100), np.bool_)


def test_the_region_similarity_of_half_overlapping_squares_is_a_third() -> None:
    assert region_similarity(rectangle(0, 0, 10, 10), rectangle(0, 5, 10, 10)) == pytest.approx(50 / 150)


def test_two_empty_masks_agree() -> None:
    assert region_similarity(EMPTY, EMPTY) == 1
    assert contour_accuracy(EMPTY, EMPTY) == 1


def test_a_mask_where_there_should_be_none_scores_nothing_and_so_does_a_missing_one() -> None:
    square = rectangle(40, 40, 20, 20)
    assert region_similarity(square, EMPTY) == region_similarity(EMPTY, square) == 0
    assert contour_accuracy(square, EMPTY) == contour_accuracy(EMPTY, square) == 0


def test_a_frame_filled_to_the_brim_has_no_contour() -> None:
    full = np.ones((100, 100), np.bool_)
    assert not contour(full).any()
    assert contour_accuracy(full, full) == 1
    assert contour_accuracy(full, rectangle(40, 40, 20, 20)) == 0


def test_the_contour_of_one_pixel_is_it_and_its_upper_left_neighbours() -> None:
    drawn = contour(rectangle(2, 2, 1, 1, size=(5, 5)))
    assert sorted(zip(*np.nonzero(drawn), strict=True)) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_an_object_cut_by_the_frame_has_no_contour_there() -> None:
    half = rectangle(0, 0, 4, 2, size=(4, 4))
    assert sorted(zip(*np.nonzero(contour(half)), strict=True)) == [(0, 1), (1, 1), (2, 1), (3, 1)]


@pytest.mark.parametrize(("size", "radius"), [((480, 854), 8), ((100, 100), 2), ((240, 432), 4), ((1, 1), 1)])
def test_the_tolerance_is_eight_thousandths_of_the_diagonal_rounded_up(
    size: tuple[int, int], radius: int
) -> None:
    assert tolerance_radius(*size) == radius


def test_the_disk_of_radius_two_has_thirteen_pixels() -> None:
    assert disk(2).sum() == 13
    assert disk(2)[0].tolist() == [0, 0, 1, 0, 0]


def test_a_contour_within_the_tolerance_is_right_and_one_beyond_it_is_not() -> None:
    line = rectangle(0, 0, 100, 40)
    assert contour_accuracy(rectangle(0, 0, 100, 42), line) == 1
    assert contour_accuracy(rectangle(0, 0, 100, 43), line) == 0


def test_precision_and_recall_are_joined_by_their_harmonic_mean() -> None:
    one = rectangle(10, 10, 10, 10)
    both = one | rectangle(60, 60, 10, 10)
    assert contour_accuracy(both, one) == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert contour_accuracy(one, both) == pytest.approx(2 / 3)


def matched_by_hand(first: Mask, second: Mask, radius: int) -> float:
    """The share of contour pixels of one mask near those of the other, from all distances between them."""
    here, there = np.argwhere(contour(first)), np.argwhere(contour(second))
    squared = ((here[:, None] - there[None]) ** 2).sum(axis=2)
    return float((squared.min(axis=1) <= radius**2).mean())


@pytest.mark.parametrize("seed", range(6))
def test_contour_accuracy_equals_what_all_pairs_of_contour_pixels_say(seed: int) -> None:
    random = np.random.default_rng(seed)
    top, left, height, width = (int(number) for number in random.integers(5, 60, 4))
    truth = rectangle(top, left, height, width, size=(90, 120))
    prediction = np.roll(truth, random.integers(-4, 5, 2), axis=(0, 1)) ^ (random.random(truth.shape) > 0.999)
    radius = tolerance_radius(*truth.shape)
    precision = matched_by_hand(prediction, truth, radius)
    recall = matched_by_hand(truth, prediction, radius)
    assert contour_accuracy(prediction, truth) == pytest.approx(2 * precision * recall / (precision + recall))
