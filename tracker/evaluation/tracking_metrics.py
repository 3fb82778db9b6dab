"""HOTA, IDF1 and MOTA, computed by TrackEval.

HOTA with DetA and AssA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking",
IJCV 2020; IDF1: Ristani et al., ECCV 2016 workshops; MOTA: Bernardin and Stiefelhagen, 2008.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .box_metrics import overlap
from .mot import Boxes
from .propagator import IndexMap

QUIET = {"PRINT_CONFIG": False}
INSTALL = "pip install 'keepsight[eval]' && pip install --no-deps trackeval"
"""TrackEval asks for opencv-python, whose files would take the place of opencv-python-headless; what is used
of it needs SciPy alone."""


class FrameOverlaps(NamedTuple):
    """One frame: the ids that are there in truth (T) and in the prediction (P), and their overlap (T, P), in
    [0, 1]."""

    truth: tuple[int, ...]
    predicted: tuple[int, ...]
    similarity: NDArray[np.float64]


class TrackingScores(NamedTuple):
    """In [0, 1], MOTA in (-inf, 1]."""

    hota: float
    deta: float
    assa: float
    idf1: float
    mota: float


def box_overlaps(truth: Boxes, predicted: Boxes) -> FrameOverlaps:
    """One frame of boxes."""
    rows = [[overlap(one, other) for other in predicted.values()] for one in truth.values()]
    return FrameOverlaps(tuple(truth), tuple(predicted), np.array(rows).reshape(len(truth), len(predicted)))


def mask_overlaps(truth: IndexMap, predicted: IndexMap, ids: Sequence[int]) -> FrameOverlaps:
    """One frame of maps (H, W), of which only `ids`, rising, are looked at."""
    known = np.array([0, *ids])
    rows, columns = (_ranks(index_map, known) for index_map in (truth, predicted))
    counts = np.bincount(rows * len(known) + columns, minlength=len(known) ** 2).reshape(len(known), -1)
    areas, claims, shared = counts.sum(1)[1:], counts.sum(0)[1:], counts[1:, 1:]
    there, claimed = np.flatnonzero(areas), np.flatnonzero(claims)
    union = areas[:, None] + claims[None] - shared
    overlaps = (shared / np.maximum(union, 1))[np.ix_(there, claimed)]
    return FrameOverlaps(_named(there, ids), _named(claimed, ids), overlaps)


def tracking_scores(sequences: Sequence[Sequence[FrameOverlaps]]) -> TrackingScores:
    """The scores over all frames of all sequences. Raises ValueError where TrackEval is not installed."""
    hota, clear, identity = metrics()
    data = {str(number): _as_data(frames) for number, frames in enumerate(sequences)}
    over_all = [
        metric.combine_sequences({name: metric.eval_sequence(one) for name, one in data.items()})
        for metric in (hota, clear, identity)
    ]
    means = (float(np.mean(over_all[0][name])) for name in ("HOTA", "DetA", "AssA"))
    return TrackingScores._make((*means, float(over_all[2]["IDF1"]), float(over_all[1]["MOTA"])))


def metrics() -> tuple[Any, Any, Any]:
    """TrackEval's HOTA, CLEAR and Identity. Raises ValueError where it is not installed."""
    try:
        with redirect_stdout(
            io.StringIO()
        ):  # it prints which data sets it could not read for want of packages
            from trackeval.metrics import CLEAR, HOTA, Identity
    except ImportError as error:
        raise ValueError(f"HOTA, IDF1 and MOTA need TrackEval ({error}): {INSTALL}") from None
    return HOTA(), CLEAR(QUIET), Identity(QUIET)


def _named(places: NDArray[np.int64], ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(ids[place] for place in places.tolist())


def _ranks(index_map: IndexMap, known: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each pixel the place of its id among the known ones, 0 for any other: (H W,)."""
    place = np.zeros(max(int(known.max()), int(index_map.max(initial=0))) + 1, np.int64)
    place[known] = np.arange(len(known))
    return place[index_map.ravel()]


def _as_data(frames: Sequence[FrameOverlaps]) -> dict[str, Any]:
    """A sequence as TrackEval's metrics want it: ids counted from 0."""
    truth = {one: row for row, one in enumerate(sorted({one for frame in frames for one in frame.truth}))}
    said = {one: row for row, one in enumerate(sorted({one for frame in frames for one in frame.predicted}))}
    return {
        "num_timesteps": len(frames),
        "num_gt_ids": len(truth),
        "num_tracker_ids": len(said),
        "num_gt_dets": sum(len(frame.truth) for frame in frames),
        "num_tracker_dets": sum(len(frame.predicted) for frame in frames),
        "gt_ids": [np.array([truth[one] for one in frame.truth], np.int64) for frame in frames],
        "tracker_ids": [np.array([said[one] for one in frame.predicted], np.int64) for frame in frames],
        "similarity_scores": [frame.similarity for frame in frames],
    }
