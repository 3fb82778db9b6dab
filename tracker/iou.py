"""Intersection over union of boxes, and of masks."""

from __future__ import annotations

from keepsight.streams.types import Box, Mask


def box_iou(one: Box, other: Box) -> float:
    """Of two boxes that are not empty, in [0, 1]."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other))
    return shared / (areas - shared)


def mask_iou(one: Mask, other: Mask) -> float:
    """Of two masks (H, W), in [0, 1]; 0 where both are empty."""
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 0.0
