"""Nano's reading of its memory against attention written out, one object at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keepsight.model.memory import EMPTY
from keepsight.model.nano_memory import held_frames, read

SIDE, KEY, VALUE = (3, 5), 8, 6
IMAGE_OF = torch.tensor([0, 0, 1, 0])
WRITTEN = torch.tensor([[0, EMPTY, 4, 8], [0, EMPTY, 4, EMPTY], [0, 2, 4, 8], [2, 4, 8, EMPTY]])
TRUSTED = 2


def scene(sharpness: float) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (2, K, h, w), and keys and values (4, 4, ..., h, w) in which a frame of an image has the same
    keys for all objects."""
    random = torch.Generator().manual_seed(0)
    looks = torch.nn.functional.normalize(torch.randn(2, 10, KEY, *SIDE, generator=random), dim=2)
    looks = looks * sharpness**0.5
    keys = torch.stack([looks[image, frames] for image, frames in zip(IMAGE_OF, WRITTEN, strict=True)])
    return looks[:, 9], keys, torch.randn(4, 4, VALUE, *SIDE, generator=random)


def attended(query: Tensor, keys: Tensor, values: Tensor, usable: Tensor) -> Tensor:
    """Softmax attention of one object: query (K, h, w), keys and values (M, ..., h, w), usable (M,)."""
    key, value = (x[usable].movedim(1, 0).flatten(1) for x in (keys, values))
    return (value @ (key.T @ query.flatten(1)).softmax(0)).unflatten(1, SIDE)


@pytest.mark.parametrize("sharpness", [1.0, 20.0, 70.0, 110.0])
def test_weights_shared_between_objects_read_what_each_would_alone(sharpness: float) -> None:
    query, keys, values = scene(sharpness)
    first, every = read(query, keys, values, held_frames(IMAGE_OF, WRITTEN, TRUSTED))
    early = torch.arange(WRITTEN.shape[1]) < TRUSTED
    for row, image in enumerate(IMAGE_OF):
        there = WRITTEN[row] != EMPTY
        alone = keys[row], values[row]
        torch.testing.assert_close(every[row], attended(query[image], *alone, there), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            first[row], attended(query[image], *alone, there & early), rtol=1e-4, atol=1e-4
        )


def test_a_frame_is_read_once_for_all_who_remember_it() -> None:
    held = held_frames(IMAGE_OF, WRITTEN, TRUSTED)
    assert [(frame.image, frame.rows.tolist(), frame.slots.tolist(), frame.trusted) for frame in held] == [
        (0, [0, 1], [0, 0], True),
        (0, [0, 1], [2, 2], False),
        (0, [0, 3], [3, 2], False),
        (1, [2], [0], True),
        (1, [2], [1], True),
        (1, [2], [2], False),
        (1, [2], [3], False),
        (0, [3], [0], True),
        (0, [3], [1], True),
    ]


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_loses_what_it_cannot_hold_and_no_more(autocast: bool) -> None:
    """Exponents are not rounded: only the inputs and the result are."""
    query, keys, values = (x.bfloat16() for x in scene(70.0))
    held = held_frames(IMAGE_OF, WRITTEN, TRUSTED)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = read(query, keys, values, held)
    exact = read(query.float(), keys.float(), values.float(), held)
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.float(), theirs, rtol=2**-8, atol=1e-3)
