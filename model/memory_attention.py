"""Memory attention of SAM 2 (section 4): a frame's features read what is remembered of each object."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .attention import RopeAttention, rotations
from .layers import Linear, columns_in_use, holds_everywhere, of_objects, sine_positions
from .memory import EMPTY, Memory
from .perceiver import remembered_rotations
from .sam2_config import Sam2Config


class MemoryTokens(NamedTuple):
    """Memory of N objects as attention reads it.

    values, keys: (N, L, C), keys being the values with their place and time added; keep: (N, L) bool hides
    empty slots, None where none is; pointers: how many of the L tokens, the last, have no place in the image.
    """

    values: Tensor
    keys: Tensor
    keep: Tensor | None
    pointers: int


class MemoryAttention(nn.Module):
    """Features (B, D, h, w) of the frames to features (N, D, h, w) that know the objects."""

    positions: Tensor

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.attention_depth))
        self.norm = nn.LayerNorm(config.dim)
        self.register_buffer("positions", 0.1 * sine_positions(config.dim, config.grid), persistent=False)

    def forward(self, features: Tensor, image_of: Tensor, memory: MemoryTokens) -> Tensor:
        """image_of: (N,) int64. Until they first look at the memory, objects in one image are one row."""
        x = features.flatten(2).transpose(1, 2) + self.positions
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, None if index else image_of)
        out: Tensor = self.norm(x).transpose(1, 2).reshape(len(image_of), *features.shape[1:])
        return out


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to the memory, MLP; each normalised before and added back."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim, heads = config.dim, config.attention_heads
        here = rotations(dim // heads, config.grid)
        remembered = remembered_rotations(dim // heads, config)
        self.norm1 = nn.LayerNorm(dim)
        self.self_attn = RopeAttention(dim, heads, here, here)
        self.norm2 = nn.LayerNorm(dim)
        self.cross_attn_image = RopeAttention(dim, heads, here, remembered, config.memory_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.linear1 = Linear(dim, config.attention_mlp, "relu")
        self.linear2 = Linear(config.attention_mlp, dim)

    def forward(self, x: Tensor, memory: MemoryTokens, image_of: Tensor | None) -> Tensor:
        """x: (B, h * w, D) of the images that `image_of` (N,) names, or of objects where that is None."""
        normed = self.norm1(x)
        x = x + self.self_attn(normed, normed, normed)
        x = x if image_of is None else of_objects(x, image_of)
        x = x + self.cross_attn_image(self.norm2(x), memory.keys, memory.values, memory.keep, memory.pointers)
        out: Tensor = x + self.linear2(self.linear1(self.norm3(x)))
        return out


class Slots(NamedTuple):
    """Which slots of a memory to read: keep (N, S) bool; ages (N, S) in remembered frames, the newest 1."""

    keep: Tensor
    ages: Tensor


def recent_slots(written: Tensor, conditioning: int, frame: int | Tensor) -> Slots:
    """The slots a frame reads: what was written before it, recent frames only while they are recent.

    written: (N, S) int64, the frame each slot holds, conditioning slots first. A recent frame's age is its
    rank among all that is remembered, so that a stream which drops frames looks as in training. A frame never
    reads itself.
    """
    written = written.masked_fill(written == frame, EMPTY)
    newer = (written[:, None] > written[:, :, None]).sum(dim=2)
    keep = written != EMPTY
    keep[:, conditioning:] &= newer[:, conditioning:] < written.shape[1] - conditioning
    return Slots(keep, newer + 1)


def memory_tokens(places: Tensor, times: Tensor, slots: Slots, memory: Memory) -> MemoryTokens:
    """The feature slots of a memory as tokens. places: (h * w, C); times: (N, S, C), what says when."""
    used = columns_in_use(slots.keep.any(dim=0))
    values = memory.features[:, used].to(times.dtype).flatten(3).transpose(2, 3)
    keys = values + places + times[:, used, None]
    return MemoryTokens(values.flatten(1, 2), keys.flatten(1, 2), hidden(slots.keep[:, used], len(places)), 0)


def pointer_tokens(times: Tensor, slots: Slots, memory: Memory) -> MemoryTokens:
    """The object pointers of a memory as tokens of width C, D / C tokens for each. times: (N, P, C)."""
    used = columns_in_use(slots.keep.any(dim=0))
    pieces = memory.pointers.shape[2] // times.shape[2]
    values = memory.pointers[:, used].to(times.dtype).reshape(len(times), -1, pieces, times.shape[2])
    keys = values + times[:, used, None]
    keep = hidden(slots.keep[:, used], pieces)
    return MemoryTokens(values.flatten(1, 2), keys.flatten(1, 2), keep, pieces * values.shape[1])


def hidden(keep: Tensor, tokens: int) -> Tensor | None:
    """(N, S * tokens) bool from (N, S), or None where nothing is to be hidden."""
    return None if holds_everywhere(keep) else keep.repeat_interleave(tokens, dim=1)


def join(features: MemoryTokens, pointers: MemoryTokens) -> MemoryTokens:
    """Both kinds of tokens in one sequence, the pointers last; what hidden tokens hold is made to be zero."""
    values = torch.cat([features.values, pointers.values], dim=1)
    keys = torch.cat([features.keys, pointers.keys], dim=1)
    if features.keep is None and pointers.keep is None:
        return MemoryTokens(values, keys, None, pointers.pointers)
    keep = torch.cat([shown(features), shown(pointers)], dim=1)
    empty = ~keep[..., None]
    return MemoryTokens(values.masked_fill(empty, 0), keys.masked_fill(empty, 0), keep, pointers.pointers)


def shown(tokens: MemoryTokens) -> Tensor:
    """(N, L) bool."""
    if tokens.keep is not None:
        return tokens.keep
    return tokens.values.new_ones(tokens.values.shape[:2], dtype=torch.bool)
