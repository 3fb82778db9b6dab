"""Methods that follow boxes: a tracker that is shown them, and mask propagators that take them for masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np

from keepsight.streams.types import Image, Prompt, Result

from .mot import Boxes, PixelBox, area, inside
from .propagator import IndexMap, Propagator, Track, accepted, ids_in

FirstBoxes = Mapping[int, Boxes]
"""Frame index to the boxes of the objects that begin there, inside the picture."""

BoxFollower = Callable[[Sequence[Image], FirstBoxes], Iterator[Boxes]]
"""Takes the frames (H, W, 3) uint8 RGB and the first boxes, yields the boxes of each frame, without looking
ahead. Ids are those of the first boxes; an object that is not seen is left out."""


def follow_with_tracker(track: Track, images: Sequence[Image], first_boxes: FirstBoxes) -> Iterator[Boxes]:
    """Let a tracker follow the boxes it is shown; its own are those around its masks.

    `functools.partial(follow_with_tracker, track)` is a `BoxFollower`. Raises ValueError when it refuses one.
    """
    for result in track(images, box_prompts(images, first_boxes)):
        yield boxes_of(result)


def box_prompts(images: Sequence[Image], first_boxes: FirstBoxes) -> list[Prompt]:
    """One box prompt per object, at the frame it begins, under its own id."""
    height, width = images[0].shape[:2]
    return [
        Prompt(
            object_id=object_id,
            box=(box[0] / width, box[1] / height, box[2] / width, box[3] / height),
            frame_ref=(0, frame),
        )
        for frame, boxes in sorted(first_boxes.items())
        for object_id, box in boxes.items()
    ]


def boxes_of(result: Result) -> Boxes:
    """The boxes of the tracks that are seen, in pixels. Raises ValueError where a prompt was refused."""
    accepted(result)
    height, width = result.frame.size
    return {
        track.object_id: (
            track.box[0] * width,
            track.box[1] * height,
            track.box[2] * width,
            track.box[3] * height,
        )
        for track in result.tracks
        if track.box is not None
    }


def no_boxes(image: Image) -> Boxes:
    """What is seen before the first result."""
    return {}


def by_masks(method: Propagator) -> BoxFollower:
    """A propagator of masks that takes boxes for masks, smaller ones on top; its boxes are those around."""

    def follow(images: Sequence[Image], first_boxes: FirstBoxes) -> Iterator[Boxes]:
        size = images[0].shape[:2]
        filled = {frame: filled_map(boxes, size) for frame, boxes in first_boxes.items()}
        return (boxes_around(index_map) for index_map in method(images, filled))

    return follow


def filled_map(boxes: Boxes, size: tuple[int, int]) -> IndexMap:
    """Boxes as a map (H, W) of ids, smaller ones on top."""
    drawn = np.zeros(size, np.uint16)
    for object_id, box in sorted(boxes.items(), key=lambda item: -area(item[1])):
        drawn[pixels_of(box, size)] = object_id
    return drawn


def pixels_of(box: PixelBox, size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of a box in a picture of `size` (height, width): at least one of each."""
    x0, y0, x1, y1 = inside(box, size)
    left, top = min(round(x0), size[1] - 1), min(round(y0), size[0] - 1)
    return slice(top, max(round(y1), top + 1)), slice(left, max(round(x1), left + 1))


def boxes_around(index_map: IndexMap) -> Boxes:
    """The tight box around each object of a map (H, W)."""
    return {object_id: _around((index_map == object_id).view(np.uint8)) for object_id in ids_in(index_map)}


def _around(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> PixelBox:
    x, y, width, height = cv2.boundingRect(mask)
    return float(x), float(y), float(x + width), float(y + height)
