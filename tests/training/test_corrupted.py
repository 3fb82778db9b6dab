"""Masks as drift would have them: what a network sees of its own past while it is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from keepsight.tracker.training.unroll import EDGE, corrupted, half_hidden

OBJECTS, SIDE = 200, 64


def squares() -> Tensor:
    """Logits (OBJECTS, SIDE, SIDE) of a square in the middle, 5 on it and -5 around it."""
    logits = torch.full((OBJECTS, SIDE, SIDE), -5.0)
    logits[:, 16:48, 16:48] = 5.0
    return logits


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_a_chance_nothing_is_changed() -> None:
    assert torch.equal(corrupted(squares(), 0.0, seeded()), squares())


def test_what_is_given_is_left_as_it_was() -> None:
    given = squares()
    corrupted(given, 1.0, seeded())
    assert torch.equal(given, squares())


def test_blobs_are_added_and_parts_are_taken_away() -> None:
    before, after = squares() > 0, corrupted(squares(), 1.0, seeded()) > 0
    added, taken = ((here & ~there).sum((1, 2)) for here, there in ((after, before), (before, after)))
    assert (added > 0).float().mean() > 0.2
    assert (taken > 0).float().mean() > 0.2
    assert not ((added > 0) & (taken > 0)).any(), "one blob is either added or taken away"
    largest = torch.pi * (0.15 * SIDE) ** 2
    assert 0.5 * largest < (added + taken).max() <= 1.1 * largest


def test_a_blob_is_sure_of_itself() -> None:
    after = corrupted(squares(), 1.0, seeded())
    blob = (after > 0) != (squares() > 0)
    assert set(after[blob].tolist()) == {6.0, -6.0}


def test_the_rest_of_a_mask_is_shifted_as_one_and_by_no_more_than_an_edge() -> None:
    shift = corrupted(squares(), 1.0, seeded()) - squares()
    common = shift.flatten(1).median(1).values
    assert common.abs().max() <= EDGE
    assert (common > 0).any()
    assert (common < 0).any()
    assert ((shift - common[:, None, None]).abs() < 1e-5).float().mean() > 0.9


def test_as_many_objects_are_hit_as_the_chance_says() -> None:
    """Of each kind: within three standard deviations of a coin thrown 200 times."""
    shift = corrupted(squares(), 0.3, seeded()) - squares()
    shifted = shift.flatten(1).median(1).values != 0
    assert abs(float(shifted.float().mean()) - 0.3) < 3 * (0.3 * 0.7 / OBJECTS) ** 0.5


def test_the_same_seed_does_the_same_and_another_one_something_else() -> None:
    one, same, other = (corrupted(squares(), 0.5, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_side_of_a_mask_is_lost_and_nothing_else() -> None:
    before, after = squares() > 0, half_hidden(squares(), 1.0, seeded()) > 0
    assert not (after & ~before).any()
    left = after.sum((1, 2)) / before.sum((1, 2))
    assert left.min() > 0.2
    assert left.max() < 1
    kept = half_hidden(squares(), 0.3, seeded())
    hit = (kept != squares()).flatten(1).any(1).float().mean()
    assert abs(float(hit) - 0.3) < 3 * (0.3 * 0.7 / OBJECTS) ** 0.5


def test_a_mask_that_is_empty_loses_nothing() -> None:
    empty = torch.full((3, 8, 8), -5.0)
    assert torch.equal(half_hidden(empty, 1.0, seeded()), empty)
