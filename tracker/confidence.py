"""How sure a track is: three numbers of the model, and one made of them."""

from __future__ import annotations

import math

from torch import Tensor

MARGIN = 1.0
"""How far the threshold on mask logits is moved to both sides to see whether the mask stays the same."""


def stability(logits: Tensor) -> Tensor:
    """IoU (N,) in [0, 1] of each mask at the logit thresholds +1 and -1: logits (N, h, w).

    The one mask lies inside the other, so this is a ratio of areas (Segment Anything paper, appendix B). A
    mask that is empty at both thresholds has nothing to be stable about: 0.
    """
    inner = (logits > MARGIN).sum((-2, -1))
    outer = (logits > -MARGIN).sum((-2, -1))
    return inner / outer.clamp(min=1)


def confidence(iou: float, presence: float, stability: float) -> float:
    """presence * sqrt(iou * stability), in [0, 1]: the object is there, and its mask is right.

    The two opinions on the mask are averaged (geometrically, so that one which is 0 counts); the presence is
    a probability of its own and multiplies.
    """
    return presence * math.sqrt(max(0.0, iou) * max(0.0, stability))
