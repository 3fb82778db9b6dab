"""Hiera, the image trunk: a vision transformer in four stages, most of whose attention stays in windows.

Ryali et al. 2023, "Hiera: a hierarchical vision transformer without the bells-and-whistles"; for the position
embedding Bolya et al. 2023, "Window attention is bugged". Maps are (B, h, w, C) throughout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import MLP, Linear
from .sam2_config import PATCH_STRIDE, HieraConfig


class Hiera(nn.Module):
    """Images (B, 3, H, W) to one map per stage, (B, H / 4, W / 4, C) to (B, H / 32, W / 32, 8 C)."""

    spread: Tensor

    def __init__(self, config: HieraConfig, image_size: int) -> None:
        super().__init__()
        side, window = config.background, config.windows[0]
        self.patch_embed = nn.Conv2d(3, config.width, kernel_size=7, stride=PATCH_STRIDE, padding=3)
        self.pos_embed = nn.Parameter(torch.randn(1, config.width, side, side) * 0.02)
        self.pos_embed_window = nn.Parameter(torch.randn(1, config.width, window, window) * 0.02)
        self.register_buffer("spread", stretching(side, image_size // PATCH_STRIDE), persistent=False)
        self.blocks = nn.ModuleList(blocks(config))
        self.last_of_stage = [sum(config.depths[: stage + 1]) - 1 for stage in range(len(config.depths))]

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.patch_embed(images).permute(0, 2, 3, 1) + self.positions()
        stages = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.last_of_stage:
                stages.append(x)
        return stages

    def positions(self) -> Tensor:
        """(h, w, C): one embedding stretched over the image plus one repeated in every window."""
        image = torch.einsum("yi,cij,xj->yxc", self.spread, self.pos_embed[0], self.spread)
        window = self.pos_embed_window[0].permute(1, 2, 0)
        repeats = image.shape[0] // window.shape[0]
        return image + window.tile(repeats, repeats, 1)


def stretching(small: int, large: int) -> Tensor:
    """(large, small): the matrix that stretches `small` samples to `large` by bicubic interpolation."""
    return F.interpolate(torch.eye(small)[None, :, :, None], size=(large, 1), mode="bicubic")[0, :, :, 0].T


def blocks(config: HieraConfig) -> list[Block]:
    """All blocks in order. The first of a later stage halves the map, in the windows of the stage before."""
    made: list[Block] = []
    width = config.width
    for stage, depth in enumerate(config.depths):
        for index in range(depth):
            halves = stage > 0 and index == 0
            window = 0 if len(made) in config.global_blocks else config.windows[stage - halves]
            made.append(Block(width, config.widths[stage], config.heads << stage, window, halves=halves))
            width = config.widths[stage]
    return made


class Block(nn.Module):
    """Attention and MLP. `window` is the side of its attention windows, 0 for the whole map."""

    def __init__(self, width: int, width_out: int, heads: int, window: int, *, halves: bool) -> None:
        super().__init__()
        self.window = window
        self.halves = halves
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = PoolingAttention(width, width_out, heads, halves=halves)
        self.norm2 = nn.LayerNorm(width_out, eps=1e-6)
        self.mlp = MLP(width_out, 4 * width_out, width_out, activation="gelu")
        self.proj = Linear(width, width_out) if width != width_out else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, h, w, width) -> (B, h, w, width_out), or half of h and w."""
        normed = self.norm1(x)
        if self.proj is not None:
            x = self.proj(normed)
        x = (halve(x) if self.halves else x) + self.attend(normed)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def attend(self, x: Tensor) -> Tensor:
        if self.window == 0:
            whole: Tensor = self.attn(x)
            return whole
        h, w = x.shape[1:3]
        windows = self.attn(to_windows(x, self.window))
        shrink = 2 if self.halves else 1
        return from_windows(windows, len(x), h // shrink, w // shrink)


class PoolingAttention(nn.Module):
    """Self-attention over a map; where it halves, each query is the maximum of four."""

    def __init__(self, width: int, width_out: int, heads: int, *, halves: bool) -> None:
        super().__init__()
        self.heads = heads
        self.halves = halves
        self.qkv = Linear(width, 3 * width_out)
        self.proj = Linear(width_out, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, h, w, width) -> (B, h, w, width_out), or half of h and w."""
        q, k, v = self.qkv(x).chunk(3, dim=3)
        q = halve(q) if self.halves else q
        out = F.scaled_dot_product_attention(self.split(q), self.split(k), self.split(v))
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(q.shape))
        return mixed

    def split(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, heads, h * w, C / heads)."""
        return x.reshape(len(x), -1, self.heads, x.shape[3] // self.heads).transpose(1, 2)


def halve(x: Tensor) -> Tensor:
    """The maximum of every 2 x 2 cells: (B, h, w, C) -> (B, h / 2, w / 2, C)."""
    x = torch.maximum(x[:, 0::2], x[:, 1::2])
    return torch.maximum(x[:, :, 0::2], x[:, :, 1::2])


def to_windows(x: Tensor, side: int) -> Tensor:
    """(B, h, w, C) -> (B * windows, side, side, C), zeros added below and to the right as needed."""
    b, h, w, c = x.shape
    rows, columns = -(-h // side), -(-w // side)
    if (rows * side, columns * side) != (h, w):
        x = F.pad(x, (0, 0, 0, columns * side - w, 0, rows * side - h))
    return x.view(b, rows, side, columns, side, c).transpose(2, 3).flatten(0, 2)


def from_windows(windows: Tensor, batch: int, h: int, w: int) -> Tensor:
    """The inverse of `to_windows`, for windows of any side: (batch, h, w, C)."""
    side = windows.shape[1]
    rows, columns = -(-h // side), -(-w // side)
    x = windows.view(batch, rows, columns, side, side, -1).transpose(2, 3)
    return x.reshape(batch, rows * side, columns * side, -1)[:, :h, :w]
