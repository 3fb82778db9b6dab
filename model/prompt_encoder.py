"""The prompt encoder of Segment Anything (Kirillov et al. 2023, section 3): points, boxes and masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from .layers import LayerNorm2d, columns_in_use, holds_everywhere
from .sam2_config import Sam2Config

PADDING = -1
"""Label of a point that says nothing. 0 and 1: off and on the object; 2 and 3: corners of a box."""
MASK_CHANNELS = 16


class PromptTokens(NamedTuple):
    """tokens: (N, T, D); keep: (N, T) bool, False hides a token, or None where all count."""

    tokens: Tensor
    keep: Tensor | None


class PromptEncoder(nn.Module):
    """Points become tokens, masks a map, and both say where they are by random Fourier features.

    Their frequencies stay in float32 whatever the network is converted to: rounded to bfloat16 they would
    place points by other features than the cells of the grid, by 0.03 near a corner.
    """

    frequencies: Tensor
    positions: Tensor

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.dim
        self.grid = config.grid
        self.half_pixel = 0.5 / config.image_size
        self.register_buffer("frequencies", torch.randn(2, dim // 2))
        self.register_buffer("positions", torch.zeros(1, dim, *config.grid), persistent=False)
        self.point_embed = nn.Parameter(torch.randn(4, dim))
        self.not_a_point = nn.Parameter(torch.randn(1, dim))
        self.no_mask = nn.Parameter(torch.randn(1, dim))
        self.mask_embed = nn.Sequential(
            nn.Conv2d(1, MASK_CHANNELS // 4, kernel_size=2, stride=2),
            LayerNorm2d(MASK_CHANNELS // 4),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS // 4, MASK_CHANNELS, kernel_size=2, stride=2),
            LayerNorm2d(MASK_CHANNELS),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS, dim, kernel_size=1),
        )
        self.place_the_grid()

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        frequencies = self.frequencies
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]
        if self.frequencies.dtype != frequencies.dtype:
            self.frequencies = frequencies.to(self.frequencies.device)
        return self

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self.place_the_grid()

    def place_the_grid(self) -> None:
        """Compute `positions` (1, D, h, w), which the frequencies decide, once per set of weights."""
        h, w = self.grid
        device = self.frequencies.device
        y, x = (torch.arange(h, device=device) + 0.5) / h, (torch.arange(w, device=device) + 0.5) / w
        cells = torch.stack([x.expand(h, w), y[:, None].expand(h, w)], dim=2)
        self.positions = self.fourier(cells).permute(2, 0, 1)[None]

    def fourier(self, places: Tensor) -> Tensor:
        """places: (…, 2) as (x, y) in [0, 1] -> (…, D), computed in float32."""
        angle = 2 * math.pi * ((2 * places.float() - 1) @ self.frequencies)
        return torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.point_embed.dtype)

    def points(self, points: Tensor, labels: Tensor) -> PromptTokens:
        """points: (N, T, 2) in [0, 1]; labels: (N, T) int64, as `Prompts` tells them.

        The network was trained with one token of padding after the points, and with one more where there are
        no points. Padding beyond that, which rows with fewer points than others have, is hidden.
        """
        points, labels = pad_points(points, labels)
        keep = labels != PADDING
        keep[:, 0] |= ~keep.any(dim=1)
        keep[:, -1] = True
        tokens = torch.where((labels == PADDING)[..., None], self.not_a_point, self.placed(points, labels))
        return PromptTokens(tokens, None if holds_everywhere(keep) else keep)

    def placed(self, points: Tensor, labels: Tensor) -> Tensor:
        """(N, T, D): where each point is and what it means."""
        return self.fourier(points + self.half_pixel) + self.point_embed[labels.clamp(min=0)]

    def masks(self, logits: Tensor, has_mask: Tensor) -> Tensor:
        """(N or 1, D, h, w) of mask prompts: logits (N, 1, H/4, W/4), heard where `has_mask` (N,) bool."""
        nothing = self.no_mask[..., None, None]
        if holds_everywhere(~has_mask):
            return nothing.expand(1, -1, *self.grid)
        return torch.where(has_mask[:, None, None, None], self.mask_embed(logits), nothing)


def pad_points(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Drop the columns nobody uses, but leave one; then add a column of padding."""
    used = columns_in_use((labels != PADDING).any(dim=0))
    points, labels = points[:, used], labels[:, used]
    columns = 1 if labels.shape[1] else 2
    points = torch.cat([points, points.new_zeros(len(points), columns, 2)], dim=1)
    labels = torch.cat([labels, labels.new_full((len(labels), columns), PADDING)], dim=1)
    return points, labels
