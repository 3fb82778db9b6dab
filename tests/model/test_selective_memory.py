"""Which frames a selective memory keeps."""

from __future__ import annotations

import pytest
import torch

from keepsight.model.memory import (
    EMPTY,
    Entry,
    Memory,
    MemoryLayout,
    MemoryShape,
    empty,
    write_conditioning,
)
from keepsight.model.selective_memory import write_selected

LAYOUT = MemoryLayout(conditioning=1, recent=4, pointers=3)
SHAPE = MemoryShape(channels=6, grid=(1, 1), pointer_dim=1, mask=(2, 2))


def seen(look: int) -> Entry:
    """An entry that looks like no other number's."""
    features = torch.zeros(1, 6, 1, 1)
    features[0, look] = 1
    return Entry(features, torch.full((1, 1), float(look)))


def remembered(looks: list[tuple[int, float]]) -> Memory:
    """Look 0 prompted in frame 0; then, frame after frame, looks and what they are worth."""
    memory, row = empty(1, LAYOUT, SHAPE, torch.zeros(())), torch.tensor([0])
    write_conditioning(memory, LAYOUT, row, 0, seen(0))
    for frame, (look, worth) in enumerate(looks, 1):
        write_selected(memory, LAYOUT, row, frame, seen(look), torch.tensor([worth]))
    return memory


def selection(memory: Memory) -> list[int]:
    return memory.written[0, 1:3].tolist()


def newest(memory: Memory) -> list[int]:
    return sorted(memory.written[0, 3:].tolist())


def test_the_newest_frames_are_always_there() -> None:
    memory = remembered([(1, 0.9)] * 7)
    assert newest(memory) == [6, 7]
    assert memory.written[0, 0] == 0


def test_a_frame_is_selected_when_it_has_to_leave_the_newest() -> None:
    memory = remembered([(1, 0.9), (2, 0.9), (3, 0.9)])
    assert selection(memory) == [1, EMPTY]
    assert torch.equal(memory.features[0, 1], seen(1).features[0])


def test_frames_worth_nothing_are_not_selected() -> None:
    assert selection(remembered([(1, 0.0), (2, 0.5), (3, 0.0), (4, 0.9)])) == [2, EMPTY]


def test_a_frame_like_another_gives_way_to_one_unlike_all() -> None:
    """Of two that look alike the one that is worth less goes when another wants in."""
    memory = remembered([(1, 0.8), (1, 0.9), (2, 0.9), (3, 0.9), (3, 0.9)])
    assert selection(memory) == [3, 2]
    memory = remembered([(1, 0.9), (1, 0.9), (2, 0.9), (3, 0.9), (3, 0.9)])
    assert selection(memory) == [3, 2]
    assert selection(remembered([(1, 0.8), (2, 0.9), (1, 0.1), (3, 0.9), (3, 0.9)])) == [1, 2]


def test_a_frame_like_the_prompted_one_has_the_least_merit() -> None:
    assert selection(remembered([(0, 0.9), (1, 0.5), (2, 0.5), (3, 0.9), (3, 0.9)])) == [3, 2]


def test_the_pointers_of_a_selective_memory_are_the_newest() -> None:
    memory = remembered([(look % 6, 0.9) for look in range(1, 6)])
    assert memory.pointed[0].tolist() == [0, 5, 4]


@pytest.mark.parametrize("row", [0, 1])
def test_rows_are_selected_one_by_one(row: int) -> None:
    memory, rows = empty(2, LAYOUT, SHAPE, torch.zeros(())), torch.tensor([0, 1])
    for frame, (first, second) in enumerate([(1, 4), (1, 5), (2, 4), (3, 4), (3, 4)]):
        looks = Entry(*(torch.cat(pair) for pair in zip(seen(first), seen(second), strict=True)))
        write_selected(memory, LAYOUT, rows, frame, looks, torch.tensor([0.8, 0.9]))
    alone, own = empty(1, LAYOUT, SHAPE, torch.zeros(())), torch.tensor([0])
    for frame, look in enumerate(((1, 1, 2, 3, 3), (4, 5, 4, 4, 4))[row]):
        write_selected(alone, LAYOUT, own, frame, seen(look), torch.tensor([(0.8, 0.9)[row]]))
    assert torch.equal(memory.written[row], alone.written[0])
    assert torch.equal(memory.features[row], alone.features[0])


def test_a_ring_too_short_for_a_selection_keeps_the_newest() -> None:
    layout = MemoryLayout(conditioning=1, recent=1, pointers=1)
    memory, row = empty(1, layout, SHAPE, torch.zeros(())), torch.tensor([0])
    for frame in range(3):
        write_selected(memory, layout, row, frame, seen(frame), torch.tensor([1.0]))
    assert memory.written.tolist() == [[EMPTY, 2]]
