"""The keys and shapes of the published checkpoints, without their numbers.

`official.json` was read off the authors' network definitions, `hugging_face.json` off transformers' classes.
A `#` in a key stands for the numbers beside its shapes: "#.bias": {"0-1": [8]} is 0.bias and 1.bias.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

LAYOUTS = ("official", "hugging_face")
FREQUENCIES = "positional_embedding"
"""Ends the keys of tensors whose numbers are looked at, which therefore must be there."""


def names() -> list[str]:
    return list(read("official")["models"])


def checkpoint(layout: str, model: str) -> dict[str, Tensor]:
    """The state dict of a published checkpoint, on the meta device."""
    content = read(layout)
    entries = (entry for part in content["models"][model] for entry in expanded(content["parts"][part]))
    return {key: tensor(key, shape) for key, shape in entries}


def read(layout: str) -> dict[str, dict[str, dict[str, object]]]:
    content: dict[str, dict[str, dict[str, object]]] = json.loads(
        (Path(__file__).parent / f"{layout}.json").read_text()
    )
    return content


def expanded(part: dict[str, object]) -> Iterator[tuple[str, list[int]]]:
    for key, shapes in part.items():
        if isinstance(shapes, list):
            yield key, shapes
            continue
        assert isinstance(shapes, dict)
        for numbers, shape in shapes.items():
            first, _, last = numbers.partition("-")
            for number in range(int(first), int(last or first) + 1):
                yield key.replace("#", str(number)), shape


def tensor(key: str, shape: list[int]) -> Tensor:
    return torch.zeros(shape, device="cpu" if key.endswith(FREQUENCIES) else "meta")
