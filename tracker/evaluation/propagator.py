"""What an evaluated method is: frames and first masks go in, one map of object ids per frame comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from keepsight.streams.drawing import indexed_map
from keepsight.streams.types import Image, Prompt, Result

IndexMap = NDArray[np.uint8]
"""(H, W) uint8, the object id of each pixel, 0 for background."""

FirstMasks = Mapping[int, IndexMap]
"""Frame index to the map of the objects that begin there: all a method is told about the truth."""

Propagator = Callable[[Iterable[Image], FirstMasks], Iterator[IndexMap]]
"""Takes the frames (H, W, 3) uint8 RGB in order and the first masks, yields one map (H, W) per frame.

A method must not look ahead: the map of a frame follows from it and the frames before it.
"""

Track = Callable[[Iterable[Image], Sequence[Prompt]], Iterable[Result]]
"""A tracker as evaluation needs it, such as the method `track` of one: one result per image, in order."""


def predict_with_tracker(
    track: Track, images: Iterable[Image], first_masks: FirstMasks
) -> Iterator[IndexMap]:
    """Let a tracker propagate masks; where tracks overlap the most confident one is seen.

    `functools.partial(predict_with_tracker, track)` is a `Propagator`. Raises ValueError when the tracker
    refuses a prompt: a score without that object would be no score.
    """
    for result in track(images, as_prompts(first_masks)):
        if result.refusals:
            raise ValueError(f"the tracker refused a first mask: {result.refusals[0].reason}")
        yield np.asarray(indexed_map(result.tracks, result.frame.size), np.uint8)


def as_prompts(first_masks: FirstMasks) -> list[Prompt]:
    """One mask prompt per object, at the frame it begins, under its own id."""
    return [
        Prompt(object_id=int(object_id), mask=index_map == object_id, frame_ref=(0, frame))
        for frame, index_map in sorted(first_masks.items())
        for object_id in np.unique(index_map[index_map > 0])
    ]
