"""What a tracked frame is worth to the memory: much where the mask is sure, in one piece, and where the
object was before. A mask that spreads to a look-alike, or jumps to one, is none of it.

Other objects are not asked, though they would know: who else is tracked must not change an object.
"""

from __future__ import annotations

import cv2
import numpy as np

from keepsight.streams.types import Box, Mask


def worth(confidence: float, mask: Mask, box: Box | None, before: Box | None) -> float:
    """confidence * wholeness * steadiness, in [0, 1]. before: the box when the object was last seen."""
    return confidence * wholeness(mask) * (overlap(box, before) if before else 1.0) if box else 0.0


def wholeness(mask: Mask) -> float:
    """The part of a mask (H, W), in [0, 1], that its largest piece has; 0 for an empty one."""
    _, _, numbers, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    areas = numbers[1:, cv2.CC_STAT_AREA]
    return float(areas.max() / areas.sum()) if len(areas) else 0.0


def overlap(one: Box, other: Box) -> float:
    """IoU of two boxes, in [0, 1]."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other))
    return shared / (areas - shared)
