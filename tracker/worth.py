"""What a tracked frame is worth to the memory: much where the mask is sure, in one piece, and where the
object was before. A mask that spreads to a look-alike, or jumps to one, is none of it.

Other objects are not asked, though they would know: who else is tracked must not change an object.
"""

from __future__ import annotations

import cv2
import numpy as np

from keepsight.streams.types import Box, Mask

from .iou import box_iou


def worth(confidence: float, mask: Mask, box: Box | None, before: Box | None) -> float:
    """confidence * wholeness * steadiness, in [0, 1]. before: the box when the object was last seen."""
    return confidence * wholeness(mask) * (box_iou(box, before) if before else 1.0) if box else 0.0


def wholeness(mask: Mask) -> float:
    """The part of a mask (H, W), in [0, 1], that its largest piece has; 0 for an empty one."""
    _, _, numbers, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    areas = numbers[1:, cv2.CC_STAT_AREA]
    return float(areas.max() / areas.sum()) if len(areas) else 0.0
