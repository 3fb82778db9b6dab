"""The two numbers of the DAVIS benchmark: region similarity J and contour accuracy F.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016, 4.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, hypot
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Mask

CONTOUR_TOLERANCE = 0.008
"""How far apart, as a share of the image diagonal, contours may lie and still agree: as in DAVIS."""


def region_similarity(prediction: Mask, truth: Mask) -> float:
    """J: intersection over union of two (H, W) bool masks, in [0, 1]. Two empty masks agree: 1."""
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def contour_accuracy(prediction: Mask, truth: Mask) -> float:
    """F: harmonic mean of the precision and recall of the contour of (H, W) bool masks, in [0, 1].

    A contour pixel counts as matched when the other mask has one within `tolerance_radius`. Two masks without
    contour agree: 1; one with and one without do not: 0.
    """
    radius = tolerance_radius(truth.shape[0], truth.shape[1])
    crop = common_crop(prediction, truth, margin=radius + 1)
    drawn, wanted = contour(prediction[crop]), contour(truth[crop])
    if not drawn.any() or not wanted.any():
        return float(drawn.any() == wanted.any())
    precision = matched_share(drawn, wanted, radius)
    recall = matched_share(wanted, drawn, radius)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: Mask) -> Mask:
    """The pixels of a (H, W) mask that differ from their right, lower or lower right neighbour: (H, W) bool.

    One pixel wide, and nothing where the object merely leaves the frame.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    edge = (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])
    return np.asarray(edge, np.bool_)


def tolerance_radius(height: int, width: int) -> int:
    """The matching distance in whole pixels, rounded up: 8 at 480 x 854."""
    return ceil(CONTOUR_TOLERANCE * hypot(height, width))


def matched_share(contour_pixels: Mask, other: Mask, radius: int) -> float:
    """The share of `contour_pixels` that lie within `radius` pixels (Euclidean) of a pixel of `other`."""
    near = cv2.dilate(other.view(np.uint8), disk(radius), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.count_nonzero(contour_pixels & near.view(np.bool_)) / np.count_nonzero(contour_pixels)


@lru_cache(maxsize=16)
def disk(radius: int) -> NDArray[np.uint8]:
    """A filled disk, (2 radius + 1, 2 radius + 1) uint8 of 0 and 1."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x**2 + y**2 <= radius**2, np.uint8)


def common_crop(first: Mask, second: Mask, margin: int) -> tuple[slice, slice]:
    """The part of the frame with both masks and `margin` pixels around them: outside it both are empty."""
    x, y, width, height = cast(tuple[int, int, int, int], cv2.boundingRect((first | second).view(np.uint8)))
    return slice(max(0, y - margin), y + height + margin), slice(max(0, x - margin), x + width + margin)
