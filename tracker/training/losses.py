"""What a prediction is judged by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from keepsight.model.nano_decoder import Decoded, Evidence, Moved

VISIBLE = 0.001
"""The share of the frame from which on an object counts as visible."""


def loss_of(found: Decoded, truth: Tensor) -> Tensor:
    """The loss of N masks in one frame against truth (N, H/2, W/2) in [0, 1]: cross-entropy of the hardest
    quarter of pixels, area overlap, presence, and the predicted IoU against the one reached. Hidden objects
    are judged by presence and, lightly, by an empty mask."""
    logits = found.logits
    visible = (truth.mean((1, 2)) > VISIBLE).to(logits.dtype)
    pixels = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").flatten(1)
    hardest = pixels.topk(pixels.shape[1] // 4, dim=1).values.mean(1)
    mask = hardest * (0.3 + 0.7 * visible) + tversky(logits.sigmoid(), truth) * visible
    presence = F.binary_cross_entropy_with_logits(found.presence, visible, reduction="none")
    iou = (found.iou - reached_iou(logits, truth)).square() * visible
    return (mask + 0.5 * presence + 0.5 * iou).mean()


def loss_of_reads(evidence: Evidence, moved: Moved, truth: Tensor) -> Tensor:
    """What was read must itself be a good mask: the first frame's, and the true masks of the frame before as
    they have moved, at every stride. Without it keys learn only what the decoder lets through."""
    at8, at4 = F.pixel_shuffle(evidence.trusted[:, -4:], 2), F.pixel_shuffle(evidence.fine[:, -4:], 2)
    visible = (truth.mean((1, 2)) > VISIBLE).to(truth.dtype)
    lost = torch.zeros_like(visible)
    for read in (at8, at4, moved.fine, moved.finest):
        small = F.adaptive_avg_pool2d(truth, (read.shape[-2], read.shape[-1]))
        lost = lost + tversky(read.squeeze(1), small, missed=0.5)
    return (lost * visible).mean()


def tversky(mask: Tensor, truth: Tensor, missed: float = 0.55) -> Tensor:
    """Dice with the price of missed pixels raised from a half to `missed`, and of extra ones lowered alike:
    what a mask loses in one frame it seldom gets back in the next (Salehi et al. 2017)."""
    overlap = (mask * truth).sum((1, 2))
    lost, extra = truth.sum((1, 2)) - overlap, mask.sum((1, 2)) - overlap
    return 1 - (overlap + 0.5) / (overlap + missed * lost + (1 - missed) * extra + 0.5)


def reached_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """(N,) IoU of the masks at logit 0; no gradient."""
    with torch.no_grad():
        found, true = logits > 0, truth > 0.5
        union = (found | true).sum((1, 2)).clamp(min=1)
        return (found & true).sum((1, 2)) / union
