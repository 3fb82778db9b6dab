"""How little a mask changes with its threshold (Segment Anything, appendix B)."""

from __future__ import annotations

import torch
from torch import Tensor


def stability(logits: Tensor, margin: float, empty: float = 0.0) -> Tensor:
    """(N,) in [0, 1]: IoU of masks (N, h, w) at the thresholds +margin and -margin.

    The one mask lies inside the other, so this is a ratio of areas. `empty`: what is said of a mask that is
    empty at both thresholds, which has nothing to be stable about.
    """
    inner, outer = ((logits > threshold).sum(dim=(1, 2)) for threshold in (margin, -margin))
    return torch.where(outer > 0, inner / outer.clamp(min=1), empty)
