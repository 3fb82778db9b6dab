"""Where an object is looked for: a remembered frame, seen from where the object has come since.

A key says what a place looks like and, weakly, where it is. Where is worth most relative to the object: the
head is above the feet wherever they walk. So each object reads a prompted frame shifted by as far as it has
come, and with less weight (`stay`) as it was, for the sake of masks that have drifted.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 1e-4
"""The share of the frame that a mask covers at least for its middle to mean anything."""


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


class Shift(NamedTuple):
    """By how much weights between a frame's places and a remembered frame's change for P objects: the product
    of across (P, 1, f, 1, w / f, 1, w) and down (P, f, 1, h / f, 1, h, 1), f by f places kept in one."""

    across: Tensor
    down: Tensor

    def apply(self, weights: Tensor, row: int, first: int, stay: Tensor) -> Tensor:
        """For object `row`, weights (places, q) of whole lines of the frame from line `first` on."""
        across, down = self.across[row], self.down[row]
        lines = weights.shape[1] // across.shape[-1]
        gain = torch.addcmul(stay, down[..., first : first + lines, :], across)
        return weights * gain.reshape(weights.shape)


def shifts(by: Tensor, sharpness: Tensor, size: tuple[int, int], factor: int) -> Shift:
    """by: (P, 2), see `carried`; sharpness: of positions in keys; size (h, w) of the frame, whose places are
    kept `factor` by `factor` in one."""
    across, down = (
        along(by[:, axis], sharpness, side).view(-1, side // factor, factor, side).transpose(1, 2)
        for axis, side in ((0, size[1]), (1, size[0]))
    )
    return Shift(across[:, None, :, None, :, None, :], down[:, :, None, :, None, :, None])


def along(by: Tensor, sharpness: Tensor, side: int) -> Tensor:
    """One axis of `shifts`: (P, side remembered, side now)."""
    place = torch.linspace(0, math.pi, side, device=by.device)
    apart = place - place.unsqueeze(1)
    near = (apart - math.pi * by.float().view(-1, 1, 1)).cos()
    return (sharpness.float() * (near - apart.cos())).exp()
