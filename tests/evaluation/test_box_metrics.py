"""Overlap, success and precision of boxes, against values counted by hand."""

from math import inf, isnan

import pytest

from keepsight.tracker.evaluation.box_metrics import centre_distance, overlap, precision, success


def test_boxes_that_share_half_of_each_have_an_overlap_of_a_third() -> None:
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)


def test_boxes_apart_do_not_overlap_though_both_differences_are_negative() -> None:
    assert overlap((0, 0, 10, 10), (20, 20, 30, 30)) == 0
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0


def test_success_is_the_mean_share_of_frames_above_21_thresholds() -> None:
    """An overlap of 0.52 is above 0, 0.05, …, 0.5: 11 of 21 thresholds; 1 is above all but the last."""
    assert success([0.52]) == pytest.approx(11 / 21)
    assert success([1.0]) == pytest.approx(20 / 21)
    assert success([0.52, 0.0]) == pytest.approx(5.5 / 21)


def test_precision_is_the_share_of_centres_at_most_20_pixels_off() -> None:
    assert precision([0.0, 20.0, 20.1, inf]) == 0.5


def test_the_distance_is_between_centres_and_infinite_without_a_box() -> None:
    assert centre_distance((0, 0, 10, 10), (3, 4, 13, 14)) == pytest.approx(5)
    assert centre_distance((0, 0, 10, 10), (0, 0, 20, 10)) == pytest.approx(5)
    assert centre_distance(None, (0, 0, 1, 1)) == inf


def test_nothing_to_score_is_no_score() -> None:
    assert isnan(success([]))
    assert isnan(precision([]))
