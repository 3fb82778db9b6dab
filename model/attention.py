"""Attention with projections, and its variant that rotates queries and keys by their place in the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import blockwise_attention as blockwise
from .layers import Linear, in_one_pass
from .object_by_object import Each


class Attention(nn.Module):
    """Multi-head attention of width `inner` between tokens of width `dim` and tokens of width `key_dim`."""

    def __init__(self, dim: int, inner: int, heads: int, key_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(dim, inner)
        self.k_proj = Linear(key_dim or dim, inner)
        self.v_proj = Linear(key_dim or dim, inner)
        self.out_proj = Linear(inner, dim)

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


class Rotations(NamedTuple):
    """cos, sin: (L, channels / 2) of the angles by which the channels of L tokens are turned."""

    cos: Tensor
    sin: Tensor


class RopeAttention(Attention):
    """Attention whose queries and keys are rotated by their place (RoFormer; SAM 2, section 4)."""

    cos: Tensor
    sin: Tensor
    key_cos: Tensor
    key_sin: Tensor
    each: Each = map

    def __init__(
        self, dim: int, heads: int, queries: Rotations, keys: Rotations, key_dim: int | None = None
    ) -> None:
        super().__init__(dim, dim, heads, key_dim)
        self.register_buffer("cos", queries.cos, persistent=False)
        self.register_buffer("sin", queries.sin, persistent=False)
        self.register_buffer("key_cos", keys.cos, persistent=False)
        self.register_buffer("key_sin", keys.sin, persistent=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None, unplaced: int = 0
    ) -> Tensor:
        """query: (N, Lq, dim); key, value: (N, S*Lk + unplaced, key_dim), Lq and Lk as rotations were given,
        the last `unplaced` tokens not rotated; keep as in `Attention`."""
        q = rotate(self.split(self.q_proj(query)), self.cos, self.sin)
        k = self.placed(self.split(self.k_proj(key)), unplaced)
        if keep is None and self.is_narrow(value):
            return self.read(q, k, value)
        return self.attend(q, k, self.split(self.v_proj(value)), keep)

    def placed(self, k: Tensor, unplaced: int) -> Tensor:
        """Keys (N, heads, S*Lk + unplaced, channels), all but the last `unplaced` rotated by their place."""
        if not unplaced:
            return rotate(k, self.key_cos, self.key_sin)
        placed, rest = torch.split(k, [k.shape[2] - unplaced, unplaced], dim=2)
        return torch.cat([rotate(placed, self.key_cos, self.key_sin), rest], dim=2)

    def is_narrow(self, value: Tensor) -> bool:
        """Whether reading before projecting saves enough to do without PyTorch's kernel."""
        return self.heads == 1 and in_one_pass(value) and 2 * value.shape[2] <= self.v_proj.out_features

    def read(self, q: Tensor, k: Tensor, value: Tensor) -> Tensor:
        """q, k: of one head; value: (N, L, key_dim) before projection, which the mean commutes with."""
        rows = zip(q[:, 0], k[:, 0], value, strict=True)
        out = torch.stack([blockwise.attend(*row, self.each) for row in rows])
        mixed: Tensor = self.out_proj(self.v_proj(out))
        return mixed


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: (N, heads, S*L, channels), each neighbouring pair of channels a point in the plane; cos, sin: (L,
    channels / 2)."""
    objects, heads, _, channels = x.shape
    even, odd = x.view(objects, heads, -1, len(cos), channels // 2, 2).unbind(-1)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).flatten(2, 3)


def rotations(channels: int, grid: tuple[int, int]) -> Rotations:
    """The rotations of all h * w cells of a grid: half of the pairs turn by x, half by y."""
    h, w = grid
    speed = 10_000 ** -(torch.arange(0, channels // 2, 2) / (channels // 2))
    by_x = torch.arange(w)[:, None] * speed
    by_y = torch.arange(h)[:, None] * speed
    pairs = len(speed)
    angle = torch.cat([by_x[None].expand(h, w, pairs), by_y[:, None].expand(h, w, pairs)], dim=2).flatten(
        0, 1
    )
    return Rotations(angle.cos(), angle.sin())
