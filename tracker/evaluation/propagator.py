"""What an evaluated method is: frames and first masks go in, one map of object ids per frame comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keepsight.streams.drawing import indexed_map
from keepsight.streams.types import Image, Prompt, Result

IndexMap = NDArray[np.unsignedinteger[Any]]
"""(H, W) uint8 or uint16, the object id of each pixel, 0 for background."""

FirstMasks = Mapping[int, IndexMap]
"""Frame index to the map of the objects that begin there: all a method is told about the truth."""

Propagator = Callable[[Sequence[Image], FirstMasks], Iterator[IndexMap]]
"""Takes the frames (H, W, 3) uint8 RGB and the first masks, yields one map (H, W) per frame.

A method must not look ahead: the map of a frame follows from it and the frames before it.
"""

Track = Callable[[Iterable[Image], Sequence[Prompt]], Iterable[Result]]
"""A tracker as evaluation needs it, such as the method `track` of one: one result per image, in order."""


PromptKind = Literal["mask", "box", "click", "clicks"]

Prompter = Callable[[Sequence[Image], FirstMasks], Sequence[Prompt]]
"""What a tracker is shown of the first masks, one prompt per object at the frame it begins."""


def as_prompts(first_masks: FirstMasks) -> list[Prompt]:
    """One mask prompt per object, at the frame it begins, under its own id."""
    return [
        Prompt(object_id=object_id, mask=index_map == object_id, frame_ref=(0, frame))
        for frame, index_map in sorted(first_masks.items())
        for object_id in ids_in(index_map)
    ]


def show_masks(images: Sequence[Image], first_masks: FirstMasks) -> list[Prompt]:
    """The first masks themselves: a `Prompter`."""
    return as_prompts(first_masks)


def predict_with_tracker(
    track: Track, images: Sequence[Image], first_masks: FirstMasks, prompter: Prompter = show_masks
) -> Iterator[IndexMap]:
    """Let a tracker propagate what it is shown; where tracks overlap the most confident one is seen.

    `functools.partial(predict_with_tracker, track)` is a `Propagator`. Raises ValueError when the tracker
    refuses a prompt: a score without that object would be no score.
    """
    for result in track(images, prompter(images, first_masks)):
        yield map_of(result)


def map_of(result: Result) -> IndexMap:
    """The map (H, W) of a result. Raises ValueError where a prompt was refused."""
    accepted(result)
    return indexed_map(result.tracks, result.frame.size)


def accepted(result: Result) -> None:
    """Raises ValueError where a prompt was refused."""
    if result.refusals:
        raise ValueError(f"the tracker refused a prompt: {result.refusals[0].reason}")


def ids_in(index_map: IndexMap) -> list[int]:
    """The object ids in a map, rising."""
    return [int(object_id) for object_id in np.unique(index_map[index_map > 0])]
