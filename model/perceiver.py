"""EdgeTAM's 2D spatial perceiver: a remembered frame in fewer tokens, without losing where things are.

Zhou et al. 2025, "EdgeTAM: on-device track anything model", section 3.2. Half of the tokens are learned
questions about the whole frame and have no place; each of the others reads one window and stands for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Rotations, rotations
from .hiera import to_windows
from .layers import sine_positions
from .sam2_config import PerceiverConfig, Sam2Config


class Perceiver(nn.Module):
    """Remembered features (N, C, h, w) to (N, C, 2 * side, side), the tokens without a place first."""

    places: Tensor

    def __init__(self, config: PerceiverConfig, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.side = config.side
        self.whole = nn.Parameter(torch.randn(config.side**2, dim))
        self.windows = nn.Parameter(torch.randn(config.side**2, dim))
        self.layers = nn.ModuleList(PerceiverLayer(dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("places", sine_positions(dim, grid), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        n, c, h, _ = features.shape
        cells = features.permute(0, 2, 3, 1)
        whole = self.read(self.whole.expand(n, -1, -1), cells.flatten(1, 2), self.places)
        windows = to_windows(cells, h // self.side).flatten(1, 2)
        each = self.read(self.windows.repeat(n, 1)[:, None], windows, None)
        tokens: Tensor = self.norm(torch.cat([whole, each.view(n, -1, c)], dim=1))
        return tokens.transpose(1, 2).reshape(n, c, -1, self.side)

    def read(self, latents: Tensor, cells: Tensor, places: Tensor | None) -> Tensor:
        """latents: (B, L, C) after they have read cells (B, l, C), each of which says its place (l, C)."""
        for layer in self.layers:
            latents = layer(latents, cells, places)
        return latents


class PerceiverLayer(nn.Module):
    """Latents read the cells, think, read each other, and think again; normalised before, added back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm_latents = nn.LayerNorm(dim)
        self.norm_cells = nn.LayerNorm(dim)
        self.cross_attn = PlainAttention(dim)
        self.mlp = plain_mlp(dim)
        self.norm_self = nn.LayerNorm(dim)
        self.self_attn = PlainAttention(dim)
        self.self_mlp = plain_mlp(dim)

    def forward(self, latents: Tensor, cells: Tensor, places: Tensor | None) -> Tensor:
        read = self.cross_attn(self.norm_latents(latents), self.norm_cells(cells), places)
        latents = latents + read
        latents = latents + self.mlp(latents)
        normed = self.norm_self(latents)
        latents = latents + self.self_attn(normed, normed)
        out: Tensor = latents + self.self_mlp(latents)
        return out


class PlainAttention(nn.Module):
    """Attention of one head without biases; what says where a cell is goes into its key and its value."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.kv_proj = nn.Linear(dim, 2 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, latents: Tensor, cells: Tensor, places: Tensor | None = None) -> Tensor:
        """latents: (B, L, C); cells: (B, l, C); places: (l, C)."""
        k, v = self.kv_proj(cells).chunk(2, dim=-1)
        if places is not None:
            k, v = k + places, v + places
        q, k, v = (x.unsqueeze(1) for x in (self.q_proj(latents), k, v))  # the head: exporters expect one
        mixed: Tensor = self.out_proj(F.scaled_dot_product_attention(q, k, v).squeeze(1))
        return mixed


def plain_mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, 4 * dim, bias=False), nn.GELU(), nn.Linear(4 * dim, dim, bias=False)
    )


def remembered_places(config: Sam2Config) -> Tensor:
    """(h * w, C): the position encoding of remembered features, zero for those without a place."""
    return F.pad(sine_positions(config.memory_dim, config.placed_grid), (0, 0, config.placeless, 0))


def remembered_rotations(channels: int, config: Sam2Config) -> Rotations:
    """The rotations of remembered features; those without a place are not turned."""
    cos, sin = rotations(channels, config.placed_grid)
    before = (0, 0, config.placeless, 0)
    return Rotations(F.pad(cos, before, value=1.0), F.pad(sin, before))
