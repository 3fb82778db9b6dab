"""Attention to values much narrower than the keys, block by block, for CPUs.

PyTorch's own kernel wants values as wide as keys. SAM 2's memory has 64 channels and its keys 256, so that
reading the memory as it is, and projecting what was read, is five eighths of the arithmetic. Blocks of the
scores stay in the cache, as in Dao et al. 2022, "FlashAttention"; the running maximum of a row is Milakov and
Gimelshein 2018, "Online normalizer calculation for softmax".
"""

from __future__ import annotations

import torch
from torch import Tensor

from .object_by_object import Each

QUERIES, KEYS = 1024, 1024
"""Sides of a block: its scores, 4 MiB, are read again before they leave the cache."""


def attend(queries: Tensor, keys: Tensor, values: Tensor, each: Each = map) -> Tensor:
    """softmax(q kᵀ / sqrt(D)) v of one head: queries (Lq, D), keys (Lk, D), values (Lk, C) -> (Lq, C).

    each: the map that goes through the blocks of queries.
    """
    blocks = torch.split(queries * queries.shape[1] ** -0.5, QUERIES)
    return torch.cat(list(each(lambda block: attend_once(block, keys, values), blocks)))


def attend_once(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """As `attend`, for one block of queries that are scaled."""
    read = values.new_zeros(len(queries), values.shape[1])
    total = values.new_zeros(len(queries), 1)
    highest = values.new_full((len(queries), 1), -torch.inf)
    for some, their_values in zip(torch.split(keys, KEYS), torch.split(values, KEYS), strict=True):
        scores = queries @ some.T
        higher = torch.maximum(highest, scores.amax(dim=1, keepdim=True))
        weights = scores.sub_(higher).exp_()
        faded = (highest - higher).exp_()
        total.mul_(faded).add_(weights.sum(dim=1, keepdim=True))
        read.mul_(faded).addmm_(weights, their_values)
        highest = higher
    return read.div_(total)
