"""HOTA, IDF1 and MOTA as TrackEval computes them from our frames, on cases worked out by hand."""

import sys
from math import sqrt

import numpy as np
import pytest

from keepsight.tracker.evaluation.tracking_metrics import (
    FrameOverlaps,
    box_overlaps,
    mask_overlaps,
    tracking_scores,
)

pytest.importorskip("trackeval", reason="installed by make dev")


def alone(overlap: float, truth: int = 1, said: int = 1) -> FrameOverlaps:
    """A frame with one object and one track."""
    return FrameOverlaps((truth,), (said,), np.array([[overlap]]))


MISSED = FrameOverlaps((1,), (), np.zeros((1, 0)))
CLAIMED = FrameOverlaps((), (1,), np.zeros((0, 1)))


def test_the_truth_scores_1_everywhere() -> None:
    assert tracking_scores([[alone(1.0)] * 5]) == pytest.approx((1, 1, 1, 1, 1))


def test_an_overlap_of_0_62_is_a_match_at_12_of_the_19_thresholds_of_hota() -> None:
    """They are 0.05, 0.1, …, 0.95; at the twelve up to 0.6 all is right, above it nothing is."""
    hota, deta, assa, idf1, mota = tracking_scores([[alone(0.62)] * 5])
    assert (hota, deta, assa) == pytest.approx((12 / 19,) * 3)
    assert (idf1, mota) == (1, 1)


def test_a_change_of_identity_halfway_costs_association_and_not_detection() -> None:
    """Each match has 5 of its object's 10 frames, and its track has no other: A = 5 / (5 + 5 + 0). Only one
    of the tracks can be the object: IDTP = IDFN = IDFP = 5. One switch in 10 frames."""
    frames = [alone(1.0, said=1)] * 5 + [alone(1.0, said=2)] * 5
    hota, deta, assa, idf1, mota = tracking_scores([frames])
    assert (deta, assa, hota) == pytest.approx((1, 0.5, sqrt(0.5)))
    assert (idf1, mota) == pytest.approx((0.5, 0.9))


def test_what_is_missed_and_what_is_claimed_falsely_count() -> None:
    """6 matches, 2 misses, 2 false claims: DetA = 6 / 10; A = 6 / (6 + 2 + 2); IDF1 = 6 / (6 + 1 + 1);
    MOTA = 1 - (2 + 2) / 8."""
    scores = tracking_scores([[alone(1.0)] * 6 + [MISSED] * 2 + [CLAIMED] * 2])
    assert scores == pytest.approx((0.6, 0.6, 0.6, 0.75, 0.5))


def test_a_track_that_is_on_nothing_makes_mota_negative() -> None:
    assert tracking_scores([[alone(0.0)] * 4]) == pytest.approx((0, 0, 0, 0, -1))


def test_sequences_are_joined_by_their_detections_and_identities_do_not_cross_them() -> None:
    """The same id in two sequences is two objects: 3 right frames and 1 missed one make 3 / 4."""
    scores = tracking_scores([[alone(1.0)] * 3, [MISSED]])
    assert scores.deta == pytest.approx(0.75)
    assert scores.mota == pytest.approx(0.75)
    assert scores.assa == pytest.approx(1)


def test_without_trackeval_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    with pytest.raises(ValueError, match=r"need TrackEval .* pip install --no-deps trackeval"):
        tracking_scores([[alone(1.0)]])


def test_boxes_make_a_matrix_of_overlaps() -> None:
    found = box_overlaps({7: (0, 0, 10, 10), 9: (50, 0, 60, 10)}, {9: (5, 0, 15, 10)})
    assert (found.truth, found.predicted) == ((7, 9), (9,))
    assert found.similarity.tolist() == [[pytest.approx(1 / 3)], [0]]
    assert box_overlaps({}, {9: (5, 0, 15, 10)}).similarity.shape == (0, 1)


def test_maps_make_the_same_of_known_ids_and_leave_out_others() -> None:
    truth, said = np.zeros((2, 10), np.uint16), np.zeros((2, 10), np.uint16)
    truth[:, 0:4], truth[:, 6:8], said[:, 2:6], said[:, 9] = 2001, 5, 2001, 77
    found = mask_overlaps(truth, said, [5, 2001])
    assert (found.truth, found.predicted) == ((5, 2001), (2001,))
    assert found.similarity.tolist() == [[0], [pytest.approx(4 / 12)]]
