"""Small holes and islands go, everything else stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keepsight.streams.types import Mask
from keepsight.tracker.regions import without_small_regions

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def square(side: int = 40) -> Mask:
    mask = np.zeros((side, side), np.bool_)
    mask[10:30, 10:30] = True
    return mask


def test_a_small_hole_is_filled_and_a_large_one_stays() -> None:
    mask = square()
    mask[12:15, 12:15] = False  # 9 pixels
    mask[20:26, 20:26] = False  # 36 pixels
    expected = square()
    expected[20:26, 20:26] = False
    assert np.array_equal(without_small_regions(mask, 10), expected)


def test_a_small_island_goes_and_a_large_one_stays() -> None:
    mask = square()
    mask[0:3, 0:3] = True
    mask[0:6, 34:40] = True
    expected = square()
    expected[0:6, 34:40] = True
    assert np.array_equal(without_small_regions(mask, 10), expected)


def test_an_object_smaller_than_the_limit_keeps_its_largest_part() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[5:8, 5:8] = True
    mask[20, 20] = True
    expected = np.zeros((40, 40), np.bool_)
    expected[5:8, 5:8] = True
    assert np.array_equal(without_small_regions(mask, 100), expected)


def test_pixels_that_meet_at_a_corner_belong_together() -> None:
    diagonal: Mask = np.eye(20, dtype=np.bool_)
    assert np.array_equal(without_small_regions(diagonal, 15), diagonal)


@given(MASKS, st.integers(0, 30))
def test_tidying_up_twice_changes_nothing_and_no_object_vanishes(mask: Mask, smallest: int) -> None:
    once = without_small_regions(mask, smallest)
    assert np.array_equal(without_small_regions(once, smallest), once)
    assert once.any() == mask.any()


@given(MASKS)
def test_without_a_limit_a_mask_stays_as_it_is(mask: Mask) -> None:
    assert np.array_equal(without_small_regions(mask, 0), mask)
