"""The memory of the tracked objects: one value whose number of bytes never changes.

Rows are objects. Each row has M feature slots: first the conditioning slots (frames the user prompted), then
a ring of recent frames; and P pointer slots laid out alike. Emptiness is data (`written` is -1), not shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

EMPTY = -1


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """How many slots a memory has.

    `recent_stride`: every how many frames a recent frame is written. 1 is the SAM 2 paper's choice (section
    4).
    """

    conditioning: int
    recent: int
    pointers: int
    recent_stride: int = 1

    @property
    def slots(self) -> int:
        return self.conditioning + self.recent


class Memory(NamedTuple):
    """What is remembered of N objects.

    features: (N, M, C, h, w) encoded frames; written: (N, M) int64, the frame index each slot holds, -1
    empty; pointers: (N, P, D) object pointers; pointed: (N, P) int64, likewise; logits: (N, *mask) the
    mask logits of the last frame; worth: (N, M) in [0, 1], how much a slot's frame is to be trusted, where a
    selection is kept.
    """

    features: Tensor
    written: Tensor
    pointers: Tensor
    pointed: Tensor
    logits: Tensor
    worth: Tensor

    @property
    def nbytes(self) -> int:
        return sum(field.numel() * field.element_size() for field in self)


class MemoryShape(NamedTuple):
    """The sizes of one object's row: channels C, grid (h, w), pointer width D, and those of mask logits."""

    channels: int
    grid: tuple[int, int]
    pointer_dim: int
    mask: tuple[int, int]


class Entry(NamedTuple):
    """One frame as it is remembered: features (N, C, h, w) and object pointer (N, D)."""

    features: Tensor
    pointer: Tensor


NO_OBJECT_LOGIT = -10.0
"""Mask logit of a pixel of an object that is not there (sigmoid about 5e-5)."""


def empty(objects: int, layout: MemoryLayout, shape: MemoryShape, like: Tensor) -> Memory:
    """A memory of `objects` rows with nothing in it, of `like`'s dtype and device."""
    slots, device = layout.slots, like.device
    return Memory(
        features=like.new_zeros((objects, slots, shape.channels, *shape.grid)),
        written=torch.full((objects, slots), EMPTY, device=device),
        pointers=like.new_zeros((objects, layout.pointers, shape.pointer_dim)),
        pointed=torch.full((objects, layout.pointers), EMPTY, device=device),
        logits=like.new_full((objects, *shape.mask), NO_OBJECT_LOGIT),
        worth=torch.zeros((objects, slots), device=device),
    )


def rows(memory: Memory, index: Tensor) -> Memory:
    """The rows `index` (K,) int64 of a memory. The first K rows are a view; any others a copy."""
    if torch.equal(index, torch.arange(len(index), device=index.device)):
        return Memory(*(field[: len(index)] for field in memory))
    return Memory(*(field.index_select(0, index) for field in memory))


def forget(memory: Memory, index: Tensor) -> Memory:
    """Empty the rows `index`, in place: the caller gives the old value up."""
    memory.features[index] = 0
    memory.written[index] = EMPTY
    memory.pointers[index] = 0
    memory.pointed[index] = EMPTY
    memory.logits[index] = NO_OBJECT_LOGIT
    memory.worth[index] = 0
    return memory


def write_conditioning(
    memory: Memory, layout: MemoryLayout, index: Tensor, frame: int, entry: Entry
) -> Memory:
    """Write a prompted frame, in place.

    The first prompt's slot is never evicted; later prompts fill, then rotate through, the others (oldest
    first). A frame prompted again replaces itself.
    """
    taken = memory.written[index, : layout.conditioning]
    slot = conditioning_slot(taken, frame)
    memory.features[index, slot] = entry.features.to(memory.features.dtype)
    memory.written[index, slot] = frame
    memory.pointers[index, slot] = entry.pointer.to(memory.pointers.dtype)
    memory.pointed[index, slot] = frame
    return memory


def write_recent(memory: Memory, layout: MemoryLayout, index: Tensor, frame: int, entry: Entry) -> Memory:
    """Write a tracked frame over the oldest of the ring of recent frames, in place; its pointer likewise."""
    slot = layout.conditioning + memory.written[index, layout.conditioning :].argmin(dim=1)
    memory.features[index, slot] = entry.features.to(memory.features.dtype)
    memory.written[index, slot] = frame
    return write_pointer(memory, layout, index, frame, entry)


def write_pointer(memory: Memory, layout: MemoryLayout, index: Tensor, frame: int, entry: Entry) -> Memory:
    """Write a tracked frame's pointer over the oldest of the recent ones, in place."""
    if layout.pointers > layout.conditioning:
        slot = layout.conditioning + memory.pointed[index, layout.conditioning :].argmin(dim=1)
        memory.pointers[index, slot] = entry.pointer.to(memory.pointers.dtype)
        memory.pointed[index, slot] = frame
    return memory


def conditioning_slot(taken: Tensor, frame: int) -> Tensor:
    """The conditioning slot (N,) for `frame`, given what the slots hold: (N, conditioning) int64.

    The same frame's slot, else the first empty one, else the oldest but the first ever written (slot 0).
    """
    order = taken.clone()
    if order.shape[1] > 1:
        keep_first = order[:, 0] != EMPTY
        order[keep_first, 0] = torch.iinfo(order.dtype).max
    same = taken == frame
    order[same] = EMPTY - 1
    return order.argmin(dim=1)
