"""Prompts as users give them, drawn from true masks: clicks, boxes, rough masks, corrections where it is
wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from keepsight.model.video_predictor import Prompts

from .recipe import PromptMix

CLICKS = 3
"""Points a prompt can hold; a box takes two of them."""


def draw(random: torch.Generator, like: Tensor, *shape: int) -> Tensor:
    """Numbers in [0, 1) where `like` is; drawn on the CPU, so that a seed says the same on every device."""
    return torch.rand(*shape, generator=random).to(like.device)


def draw_prompts(truth: Tensor, mix: PromptMix, random: torch.Generator) -> Prompts:
    """A prompt for each true mask (N, h, w) in [0, 1], each of its own kind; masks come at twice the size."""
    n = len(truth)
    kind = draw(random, truth, n)
    as_mask, as_box = kind < mix.mask, (kind >= mix.mask) & (kind < mix.mask + mix.box)
    points, labels = clicks(truth > 0.5, random)
    corners = boxes(truth > 0.5, random)
    points = torch.where(as_box[:, None, None], F.pad(corners, (0, 0, 0, CLICKS - 2)), points)
    box_labels = torch.tensor([2, 3] + [-1] * (CLICKS - 2), device=truth.device).expand(n, -1)
    labels = torch.where(as_box[:, None], box_labels, labels)
    labels = torch.where(as_mask[:, None], -1, labels)
    masks = F.interpolate(truth.unsqueeze(1), scale_factor=2.0, mode="bilinear").squeeze(1)
    return Prompts(points, labels, masks * as_mask[:, None, None], as_mask)


def clicks(masks: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """One click well inside each mask (N, h, w), and with falling chance more inside: points and labels."""
    n = len(masks)
    weight = depth(masks).flatten(1)
    points = places(weight.pow(2), masks.shape[-2:], CLICKS, random)
    count = 1 + (draw(random, masks, n) < 0.4).long() + (draw(random, masks, n) < 0.2).long()
    labels = torch.where(torch.arange(CLICKS, device=masks.device) < count[:, None], 1, -1)
    return points, labels


def corrections(truth: Tensor, logits: Tensor, random: torch.Generator) -> Prompts:
    """One click for each object in the larger error between truth (N, h, w) in [0, 1] and the logits of a
    mask."""
    true, found = truth > 0.5, logits > 0
    missed, extra = depth(true & ~found), depth(found & ~true)
    is_missed = missed.flatten(1).sum(1) >= extra.flatten(1).sum(1)
    weight = torch.where(is_missed[:, None, None], missed, extra).flatten(1)
    points = places(weight.pow(2), truth.shape[-2:], CLICKS, random)
    labels = torch.full((len(truth), CLICKS), -1, device=truth.device)
    labels[:, 0] = torch.where(weight.sum(1) > 0, is_missed.long(), -1)
    none = torch.zeros(len(truth), dtype=torch.bool, device=truth.device)
    blank = truth.new_zeros((len(truth), truth.shape[-2] * 2, truth.shape[-1] * 2))
    return Prompts(points, labels, blank, none)


def depth(masks: Tensor, rounds: int = 4) -> Tensor:
    """How deep inside its mask (N, h, w) each pixel lies, by wearing the mask away in growing steps: 0
    outside."""
    level = masks.float().unsqueeze(1)
    total = level
    for i in range(1, rounds):
        level = -F.max_pool2d(-level, 2 * i + 1, 1, i)
        total = total + level
    return total.squeeze(1)


def places(weight: Tensor, size: tuple[int, int] | torch.Size, count: int, random: torch.Generator) -> Tensor:
    """`count` places (x, y) in [0, 1] for each row, drawn by weight (N, h*w)."""
    h, w = size
    drawn = torch.multinomial(weight.cpu() + 1e-6, count, replacement=True, generator=random)
    index = drawn.to(weight.device)
    return torch.stack((((index % w) + 0.5) / w, ((index // w) + 0.5) / h), dim=-1)


def boxes(masks: Tensor, random: torch.Generator) -> Tensor:
    """Boxes round masks (N, h, w), each side off by up to a tenth of the box: corners (N, 2, 2)."""
    h, w = masks.shape[-2:]
    columns, lines = masks.any(1).float(), masks.any(2).float()
    x0, x1 = columns.argmax(1) / w, 1 - columns.flip(1).argmax(1) / w
    y0, y1 = lines.argmax(1) / h, 1 - lines.flip(1).argmax(1) / h
    box = torch.stack((x0, y0, x1, y1), dim=1)
    side = torch.stack((x1 - x0, y1 - y0) * 2, dim=1)
    return (box + side * (draw(random, box, len(box), 4) - 0.5) * 0.2).clamp(0, 1).view(-1, 2, 2)
