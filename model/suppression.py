"""Non-maximum suppression: of masks that show the same thing, the best is kept."""

from __future__ import annotations

import torch
from torch import Tensor


def distinct(overlaps: Tensor, scores: Tensor, most: float) -> Tensor:
    """Which of N to keep, best first: (K,) int64.

    overlaps: (N, N) IoU; scores: (N,). Going from the best down, what overlaps something kept by more than
    `most` is dropped. Equals keep their order.
    """
    order = scores.argsort(descending=True, stable=True)
    worse = (overlaps[order][:, order] > most).triu(diagonal=1).cpu()
    alive = torch.ones(len(order), dtype=torch.bool)
    for row in range(len(order)):
        if alive[row]:
            alive &= ~worse[row]
    return order[alive.to(order.device)]


def box_overlaps(boxes: Tensor) -> Tensor:
    """(N, N) IoU of boxes (N, 4) as (x0, y0, x1, y1); 0 where both are empty."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return shared / (area[:, None] + area - shared).clamp(min=torch.finfo(boxes.dtype).tiny)


def mask_overlaps(masks: Tensor) -> Tensor:
    """(N, N) IoU of masks (N, h, w) bool; 0 where both are empty."""
    pixels = masks.flatten(1).float()
    shared = pixels @ pixels.T
    area = pixels.sum(dim=1)
    return shared / (area[:, None] + area - shared).clamp(min=1)


def tight_boxes(masks: Tensor) -> Tensor:
    """The boxes (N, 4) float32 around masks (N, h, w) bool, in [0, 1]; zeros for an empty mask."""
    x0, x1 = span(masks.any(dim=1))
    y0, y1 = span(masks.any(dim=2))
    return torch.stack([x0, y0, x1, y1], dim=1)


def span(covered: Tensor) -> tuple[Tensor, Tensor]:
    """From where to where (N, L) bool is covered, in [0, 1]: two times (N,); zeros where it is not at all."""
    length = covered.shape[1]
    flags = covered.to(torch.uint8)
    first, last = flags.argmax(dim=1), length - flags.flip(1).argmax(dim=1)
    some = covered.any(dim=1)
    return first * some / length, last * some / length
