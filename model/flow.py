"""Dense optical flow between two frames, refined from a coarse guess.

The method is that of Lucas and Kanade (1981), iterated from coarse to fine: in a small window around each
pixel, the shift that explains the difference in brightness best, by least squares. It says nothing of
objects: computed once, it moves the masks of all of them, by less than a pixel where need be.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import averaged

WINDOW = 5
"""Side of the window in pixels."""
DAMPING = 1e-4
"""Squared gradient (of brightness in [0, 1]) that counts as none: where nothing is seen, nothing moves."""
FARTHEST = 1.0
"""How many pixels a round moves a guess at most."""


def refined(now: Tensor, before: Tensor, flow: Tensor, rounds: int) -> Tensor:
    """now and before: (B, 1, h, w) brightness; flow: (B, 2, h, w), a guess of where (x, y) each pixel of
    `now` was in `before`, less its own place, in pixels. Returns a better one."""
    for _ in range(rounds):
        was = warped(before, flow)
        along_x, along_y = slopes((was + now) / 2)
        change = now - was
        xx, yy = (window_mean(along.square()) + DAMPING for along in (along_x, along_y))
        xy = window_mean(along_x * along_y)
        xt, yt = (window_mean(along * change) for along in (along_x, along_y))
        step = torch.cat((yy * xt - xy * yt, xx * yt - xy * xt), dim=1) / (xx * yy - xy * xy)
        flow = smooth(flow + step.clamp(-FARTHEST, FARTHEST))
    return flow


def warped(maps: Tensor, flow: Tensor) -> Tensor:
    """maps (N, C, h, w) as they look after a flow (1 or N, 2, h, w) float32: each pixel from where it was."""
    h, w = flow.shape[-2:]
    y = torch.arange(h, device=flow.device, dtype=flow.dtype).view(h, 1) + 0.5
    x = torch.arange(w, device=flow.device, dtype=flow.dtype) + 0.5
    places = torch.stack(((flow[:, 0] + x) * (2 / w) - 1, (flow[:, 1] + y) * (2 / h) - 1), dim=-1)
    places = places.expand(len(maps), -1, -1, -1)
    found = F.grid_sample(maps.to(flow.dtype), places, padding_mode="border", align_corners=False)
    return found.to(maps.dtype)


def slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness per pixel along x and along y, of an image (B, 1, h, w)."""
    x, y = F.pad(image, (1, 1, 0, 0), mode="replicate"), F.pad(image, (0, 0, 1, 1), mode="replicate")
    return (x[..., 2:] - x[..., :-2]) / 2, (y[..., 2:, :] - y[..., :-2, :]) / 2


def window_mean(x: Tensor) -> Tensor:
    """The mean of x (B, C, h, w) in a WINDOW around each pixel; beyond the border all is zero.

    The sums below are for a window of 5: those of two are shared. One map at a time stays in a core's cache;
    on a CPU `avg_pool2d` takes several times as long.
    """
    h, w = x.shape[-2:]
    padded = F.pad(x, [WINDOW // 2] * 4)
    pairs = padded[..., :-1, :] + padded[..., 1:, :]
    rows = pairs[..., :h, :] + pairs[..., 2 : h + 2, :] + padded[..., 4:, :]
    pairs = rows[..., :-1] + rows[..., 1:]
    return (pairs[..., :w] + pairs[..., 2 : w + 2] + rows[..., 4:]) / WINDOW**2


def smooth(flow: Tensor) -> Tensor:
    h, w = flow.shape[-2:]
    padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    rows = sum_of([padded[..., i : i + h, :] for i in range(3)])
    return sum_of([rows[..., i : i + w] for i in range(3)]) / 9


def sum_of(parts: list[Tensor]) -> Tensor:
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total += part
    return total


def detail(images: Tensor, side: int = 8) -> Tensor:
    """Brightness (B, 1, H, W) of images (B, 3, H, W) without what changes slowly: light may come and go."""
    brightness = images.mean(1, keepdim=True)
    slow = F.interpolate(averaged(brightness, side), scale_factor=float(side), mode="bilinear")
    return brightness - slow


def doubled(flow: Tensor, times: int = 2) -> Tensor:
    """A flow at a finer stride: `times` as many pixels, and each as many times as far."""
    return F.interpolate(flow, scale_factor=float(times), mode="bilinear") * times
