"""Where an object is looked for: a remembered frame, seen from where the object has come since.

A key says what a place looks like and, weakly, where it is. Where is worth most relative to the object: the
head is above the feet wherever they walk. So each object reads a prompted frame shifted by as far as it has
come, and with less weight (`stay`) as it was, for the sake of masks that have drifted. That takes weights of
its own for each object, so it is done near the object only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 1e-4
"""The share of the frame that a mask covers at least for its middle to mean anything."""
NEAR = 0.15
"""How far around its last mask an object reads shifted, in shares of the frame's sides."""


class Region(NamedTuple):
    """Some lines and columns of a frame."""

    lines: slice
    columns: slice


class Places(NamedTuple):
    """How N objects see the places of the frames they were prompted in. carried: (N, M, 2), see `carried`;
    near: (N, 4), see `surroundings`; stay: a scalar, the weight of places where they were, beside 1 of where
    they would be."""

    carried: Tensor
    near: Tensor
    stay: Tensor

    def of(self, rows: Tensor, slots: Tensor) -> Places:
        """Those of P of the objects, each for one slot: carried (P, 2), near (P, 4)."""
        return self._replace(carried=self.carried[rows, slots], near=self.near[rows])


@torch.no_grad()
def carried(then: Tensor, now: Tensor) -> Tensor:
    """How far N objects have come, (N, M, 2) as (x, y) in shares of the frame's sides, from masks in [0, 1]:
    (N, M, h, w) in remembered frames and (N, 1, H, W) in the last one. Nowhere, where one of them is empty:
    an object that is hidden is looked for where it was prompted."""
    middle, area = middles(now)
    before, there = middles(then)
    known = (area > SMALLEST) & (there > SMALLEST)
    return (middle - before) * known.unsqueeze(-1)


def middles(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The centres (..., 2) as (x, y), and the areas (...), of masks (..., h, w), in shares of the frame."""
    h, w = masks.shape[-2:]
    inside = (masks > 0.5).float()
    rows, columns = inside.mean(-1), inside.mean(-2)
    y, x = ((torch.arange(side, device=masks.device) + 0.5) / side for side in (h, w))
    area = rows.mean(-1)
    centre = torch.stack(((columns * x).mean(-1), (rows * y).mean(-1)), dim=-1)
    return centre / area.clamp(min=1e-12).unsqueeze(-1), area


@torch.no_grad()
def surroundings(masks: Tensor) -> Tensor:
    """The boxes of masks (N, 1, H, W) in [0, 1], NEAR wider on every side: (N, 4) as (x0, y0, x1, y1) in
    [0, 1]; x1 < x0 where a mask is empty."""
    inside = masks[:, 0] > 0.5
    low, high = [], []
    for axis in (1, 2):  # along y the columns are found, along x the rows
        there = inside.any(axis)
        place = torch.arange(there.shape[1], device=masks.device)
        low.append(torch.where(there, place, there.shape[1]).amin(1) / there.shape[1] - NEAR)
        high.append((torch.where(there, place, -1).amax(1) + 1) / there.shape[1] + NEAR)
    box = torch.stack((*low, *high), dim=1).clamp(0, 1)
    return torch.where(inside.any((1, 2)).unsqueeze(1), box, box.new_tensor((1.0, 1.0, 0.0, 0.0)))


def regions(near: Tensor, lines: slice, size: tuple[int, int]) -> list[Region]:
    """What boxes (P, 4) touch of some lines of a frame of `size` (h, w)."""
    h, w = size
    return [
        Region(part(y0 * h - lines.start, y1 * h - lines.start), part(x0 * w, x1 * w))
        for x0, y0, x1, y1 in near.tolist()
    ]


def part(low: float, high: float) -> slice:
    return slice(max(0, math.floor(low)), max(0, math.ceil(high)))


def touched(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Which places of a frame of `size` (h, w) boxes (P, 4) touch: (P, h * w) of 0 and 1. As `regions`, for a
    graph, which must not depend on where objects are."""
    h, w = size
    x0, y0, x1, y1 = boxes.unsqueeze(-1).unbind(1)
    y, x = torch.arange(h, device=boxes.device) / h, torch.arange(w, device=boxes.device) / w
    inside_y, inside_x = (y + 1 / h > y0) & (y < y1), (x + 1 / w > x0) & (x < x1)
    return (inside_y.unsqueeze(2) & inside_x.unsqueeze(1)).flatten(1).float()


def turned(query: Tensor, by: Tensor) -> Tensor:
    """A query (K + 1, q) whose positions, the four before the last, are those of places `by` (..., 2) shares
    of the frame's sides back, (..., K + 1, q): the products with keys are then of places seen from there."""
    angle = math.pi * by.float().unsqueeze(-1)
    (cos_x, cos_y), (sin_x, sin_y) = angle.cos().unbind(-2), angle.sin().unbind(-2)
    look, (xc, xs, yc, ys), rest = query[:-5], query[-5:-1].unbind(), query[-1:]
    x = xc * cos_x + xs * sin_x, xs * cos_x - xc * sin_x
    y = yc * cos_y + ys * sin_y, ys * cos_y - yc * sin_y
    same = by.shape[:-1]
    return torch.cat(
        (look.expand(*same, -1, -1), torch.stack((*x, *y), dim=-2), rest.expand(*same, -1, -1)), dim=-2
    )
