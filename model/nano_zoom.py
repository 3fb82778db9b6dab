"""Squares cut out of an image round what was pointed at: small things and large ones then look alike to a
network (the zoom-in of RITM, Sofiiuk et al. 2021).

Places in a frame of (H, W) are in pixels of the network's input, as (x, y).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .memory import NO_OBJECT_LOGIT
from .video_predictor import Prompts

SIDE = 192
"""Of a square, as the network sees it."""
MARGIN = 1.6
"""How much longer the side of a square is than that of the box in it."""
SMALLEST = 64.0
"""The side of a square at least, in pixels of the input."""
LARGEST = 1.2
"""The side of a square at most, in longer sides of the input."""
SPECK = 0.05
"""A row or column of a mask with less than this share of the fullest one's pixels does not widen its box."""
BEYOND = 1e6
"""Farther than any place in a frame."""


class Squares(NamedTuple):
    """One for each of N objects: centre (N, 2), side (N,)."""

    centre: Tensor
    side: Tensor


def squares_shown(last: Tensor, prompts: Prompts, frame: tuple[int, int]) -> Squares:
    """Round boxes, masks, logits (N, h, w), and the points that these lack, whatever there is of them."""
    low, high = extent(last, prompts, frame)
    side = (MARGIN * (high - low).amax(1)).clamp(SMALLEST, LARGEST * max(frame))
    return Squares((low + high) / 2, side)


def extent(last: Tensor, prompts: Prompts, frame: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The corners (N, 2) of what holds the masks, logits (N, h, w), the boxes, and the points on objects."""
    mask = last > 0
    scale = torch.tensor((frame[1], frame[0]), device=last.device)
    across, down = (bounds(mask.sum(axis), size) for axis, size in ((1, frame[1]), (2, frame[0])))
    low, high = (torch.stack(ends, dim=1) for ends in zip(across, down, strict=True))
    points, meant = prompts.points.float() * scale, (prompts.labels >= 1).unsqueeze(2)
    low = torch.minimum(low, points.masked_fill(~meant, BEYOND).amin(1))
    return low, torch.maximum(high, points.masked_fill(~meant, -BEYOND).amax(1))


def bounds(counts: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where the rows or columns of masks begin and end, counts (N, n) of their pixels, on a side of `size`:
    (N,) each."""
    hit = counts > SPECK * counts.amax(1, keepdim=True)
    step = size / counts.shape[1]
    start = torch.arange(counts.shape[1], device=counts.device) * step
    low = start.masked_fill(~hit, BEYOND).amin(1)
    return low, (start + step).masked_fill(~hit, -BEYOND).amax(1)


def in_squares(prompts: Prompts, squares: Squares, frame: tuple[int, int]) -> Prompts:
    """Prompts on a frame as prompts on its squares. Points that are not in them are left out."""
    scale = torch.tensor((frame[1], frame[0]), device=squares.side.device)
    points = prompts.points.float() * scale
    points = (points - squares.centre[:, None]) / squares.side[:, None, None] + 0.5
    seen = (prompts.labels >= 2) | ((points >= 0) & (points <= 1)).all(2)
    masks = cut_out(prompts.masks.unsqueeze(1), squares, frame, SIDE).squeeze(1)
    labels = torch.where(seen, prompts.labels, -1)
    return Prompts(points.clamp(0, 1).to(prompts.points.dtype), labels, masks, prompts.has_mask)


def cut_out(maps: Tensor, squares: Squares, frame: tuple[int, int], side: int) -> Tensor:
    """What squares hold of maps (N, C, h, w) of the frame: (N, C, side, side); zeros beyond the frame."""
    steps = (torch.arange(side, device=maps.device) + 0.5) / side - 0.5
    x, y = (squares.centre[:, axis, None] + squares.side[:, None] * steps for axis in (0, 1))
    return sampled(maps, 2 * x / frame[1] - 1, 2 * y / frame[0] - 1, "zeros")


def logits_cut_out(logits: Tensor, squares: Squares, frame: tuple[int, int], side: int) -> Tensor:
    """As `cut_out`, of masks (N, h, w): no object beyond the frame."""
    there = (logits - NO_OBJECT_LOGIT).unsqueeze(1)
    return cut_out(there, squares, frame, side).squeeze(1) + NO_OBJECT_LOGIT


def put_back(logits: Tensor, squares: Squares, frame: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Masks in their squares (N, s, s) as masks of the frame (N, *size): no object beyond the squares."""
    x, y = (
        (torch.arange(n, device=logits.device) + 0.5) * (length / n)
        for n, length in ((size[1], frame[1]), (size[0], frame[0]))
    )
    x, y = (
        2 * (line - squares.centre[:, axis, None]) / squares.side[:, None] for axis, line in ((0, x), (1, y))
    )
    inside = (y.abs() <= 1).unsqueeze(2) & (x.abs() <= 1).unsqueeze(1)
    return sampled(logits.unsqueeze(1), x, y, "border").squeeze(1).masked_fill(~inside, NO_OBJECT_LOGIT)


def sampled(maps: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    """maps (N, C, h, w) at columns x (N, a) and rows y (N, b) in [-1, 1]: (N, C, b, a). In float32: less does
    not tell pixels apart."""
    size = len(x), y.shape[1], x.shape[1]
    grid = torch.stack((x.unsqueeze(1).expand(size), y.unsqueeze(2).expand(size)), dim=3)
    return F.grid_sample(maps.float(), grid, padding_mode=padding, align_corners=False).to(maps.dtype)
