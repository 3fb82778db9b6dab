"""Small holes and islands of masks, removed on the CPU with OpenCV, wherever the model runs."""

from __future__ import annotations

import cv2
import numpy as np

from keepsight.streams.types import Mask

TOUCHING = 8
"""Pixels that meet at a corner belong together."""


def without_small_regions(mask: Mask, smallest: int) -> Mask:
    """The mask (H, W) with holes of fewer than `smallest` pixels filled, and islands likewise removed.

    The largest island stays however small it is: an object does not vanish by being tidied up.
    """
    if smallest <= 1 or not mask.any():
        return mask
    filled = mask | _small_parts(~mask, smallest, keep_largest=False)
    return filled & ~_small_parts(filled, smallest, keep_largest=True)


def _small_parts(mask: Mask, smallest: int, *, keep_largest: bool) -> Mask:
    """The connected parts of a mask that have fewer than `smallest` pixels: (H, W) bool."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=TOUCHING)
    areas = stats[:, cv2.CC_STAT_AREA]
    small = areas < smallest
    small[0] = False  # what is not in the mask
    if keep_largest and len(areas) > 1:
        small[1 + areas[1:].argmax()] = False
    found: Mask = small[parts]
    return found
