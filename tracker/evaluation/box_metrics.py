"""How well boxes agree: overlap, and the two numbers of single-object tracking, success and precision.

Wu, Lim and Yang, "Online Object Tracking: A Benchmark", CVPR 2013, 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, inf, nan

import numpy as np

from .mot import PixelBox, area

THRESHOLDS = np.linspace(0, 1, 21)
"""The overlaps at which the success plot is taken, as in the benchmark's toolkit."""
NEAR = 20.0
"""Pixels between centres within which a box is precise."""


def overlap(one: PixelBox, other: PixelBox) -> float:
    """Intersection over union of two boxes in pixels, in [0, 1]."""
    shared = area(
        (max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]))
    )
    return shared / (area(one) + area(other) - shared) if shared else 0.0


def centre_distance(predicted: PixelBox | None, truth: PixelBox) -> float:
    """Pixels between the centres of two boxes; infinite where nothing was predicted."""
    if predicted is None:
        return inf
    x, y = ((predicted[side] + predicted[side + 2] - truth[side] - truth[side + 2]) / 2 for side in (0, 1))
    return hypot(x, y)


def success(overlaps: Sequence[float]) -> float:
    """Area under the success plot: the share of frames whose overlap is above a threshold, the mean over
    `THRESHOLDS`. In [0, 20/21], since none is above 1; NaN without frames."""
    if not overlaps:
        return nan
    return float((np.array(overlaps)[:, None] > THRESHOLDS).mean())


def precision(distances: Sequence[float]) -> float:
    """The share of frames whose box's centre is at most `NEAR` pixels off; NaN without frames."""
    return sum(distance <= NEAR for distance in distances) / len(distances) if distances else nan
