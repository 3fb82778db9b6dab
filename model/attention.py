"""Attention with projections, and its variant that rotates queries and keys by their place in the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention of width `inner` between tokens of width `dim` and tokens of width `key_dim`."""

    def __init__(self, dim: int, inner: int, heads: int, key_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(key_dim or dim, inner)
        self.v_proj = nn.Linear(key_dim or dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None) -> Tensor:
        """query: (N, Lq, dim); key, value: (N, Lk, key_dim); keep: (N, Lk) bool, False hides a key."""
        q, k, v = self.project(query, key, value)
        return self.attend(q, k, v, keep)

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each (N, heads, L, inner / heads)."""
        return (
            self.split(self.q_proj(query)),
            self.split(self.k_proj(key)),
            self.split(self.v_proj(value)),
        )

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None) -> Tensor:
        mask = None if keep is None else keep[:, None, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return mixed


class RopeAttention(Attention):
    """Attention whose queries and keys are rotated by their (x, y) in a grid (RoFormer; SAM 2, section 4)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, dim: int, heads: int, grid: tuple[int, int], key_dim: int | None = None) -> None:
        super().__init__(dim, dim, heads, key_dim)
        cos, sin = rotations(dim // heads, grid)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None, unplaced: int = 0
    ) -> Tensor:
        """query: (N, h*w, dim); key, value: (N, S*h*w + unplaced, key_dim), S grids, then tokens without a
        place; keep as in `Attention`."""
        q, k, v = self.project(query, key, value)
        placed, rest = torch.split(k, [k.shape[2] - unplaced, unplaced], dim=2)
        k = torch.cat([self.rotate(placed), rest], dim=2) if unplaced else self.rotate(placed)
        return self.attend(self.rotate(q), k, v, keep)

    def rotate(self, x: Tensor) -> Tensor:
        """x: (N, heads, S*h*w, channels), each neighbouring pair of channels a point in the plane."""
        objects, heads, _, channels = x.shape
        even, odd = x.view(objects, heads, -1, len(self.cos), channels // 2, 2).unbind(-1)
        turned = torch.stack([even * self.cos - odd * self.sin, even * self.sin + odd * self.cos], dim=-1)
        return turned.flatten(-2).flatten(2, 3)


def rotations(channels: int, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cosine and sine (h * w, channels / 2) of all cells' angles: half of the pairs turn by x, half by y."""
    h, w = grid
    speed = 10_000 ** -(torch.arange(0, channels // 2, 2) / (channels // 2))
    by_x = torch.arange(w)[:, None] * speed
    by_y = torch.arange(h)[:, None] * speed
    pairs = len(speed)
    angle = torch.cat([by_x[None].expand(h, w, pairs), by_y[:, None].expand(h, w, pairs)], dim=2).flatten(
        0, 1
    )
    return angle.cos(), angle.sin()
