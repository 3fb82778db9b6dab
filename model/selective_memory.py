"""A memory that keeps, beside the newest frames, a selection of earlier ones.

The newest frames alone forget what an object looked like from the other side, and learn a look-alike within
seconds. Ding et al. 2024 (SAM2Long), Yang et al. 2024 (SAMURAI) and Videnovic et al. 2024 (DAM4SAM) each keep
better frames in memory; here half of the recent slots hold frames that were sure and are unlike each other.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .memory import EMPTY, Entry, Memory, MemoryLayout, write_pointer


def write_selected(
    memory: Memory, layout: MemoryLayout, index: Tensor, frame: int, entry: Entry, worth: Tensor
) -> Memory:
    """Write a tracked frame to rows `index` (K,) int64, in place. worth: (K,) in [0, 1], how much each is to
    be trusted.

    The second half of the recent slots holds the newest frames. The frame that has to leave it moves to the
    first half, the selection, if it is worth it.
    """
    newest = layout.conditioning + layout.recent // 2
    for row, source in zip(index.tolist(), range(len(index)), strict=True):
        slot = newest + int(memory.written[row, newest:].argmin())
        if memory.written[row, slot] != EMPTY:
            select(memory, layout, row, slot)
        memory.features[row, slot] = entry.features[source].to(memory.features.dtype)
        memory.written[row, slot] = frame
        memory.worth[row, slot] = worth[source]
    return write_pointer(memory, layout, index, frame, entry)


def select(memory: Memory, layout: MemoryLayout, row: int, leaving: int) -> None:
    """Copy the slot `leaving` of a row to its selection, in place, unless all there have more merit."""
    selection = range(layout.conditioning, layout.conditioning + layout.recent // 2)
    if not selection or not memory.worth[row, leaving]:
        return
    empty = [slot for slot in selection if memory.written[row, slot] == EMPTY]
    slot = empty[0] if empty else least(memory, layout, row, [*selection, leaving])
    if slot != leaving:
        memory.features[row, slot] = memory.features[row, leaving]
        memory.written[row, slot] = memory.written[row, leaving]
        memory.worth[row, slot] = memory.worth[row, leaving]


def least(memory: Memory, layout: MemoryLayout, row: int, slots: list[int]) -> int:
    """The slot of least merit: its worth, times how unlike it is (one minus the cosine) to the most similar
    of those that are worth more, or as much and newer, and of the prompted frames."""
    prompted = [slot for slot in range(layout.conditioning) if memory.written[row, slot] != EMPTY]
    looks = F.normalize(memory.features[row, [*slots, *prompted]].flatten(1).float(), dim=1)
    worth, written = memory.worth[row, slots], memory.written[row, slots]
    newer = (worth[None] == worth[:, None]) & (written[None] > written[:, None])
    better = F.pad((worth[None] > worth[:, None]) | newer, (0, len(prompted)), value=True)
    alike = (looks[: len(slots)] @ looks.T).masked_fill(~better, 0)
    return slots[int((worth * (1 - alike.amax(dim=1))).argmin())]
