"""A tracker that everybody has: OpenCV's multiple instance learning, made a mask by GrabCut where one is
asked.

Babenko et al., "Visual Tracking with Online Multiple Instance Learning", CVPR 2009; Rother et al., "GrabCut",
SIGGRAPH 2004. Of OpenCV's trackers only this one needs no download.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from keepsight.streams.types import Image, Mask

from .box_methods import FirstBoxes, boxes_around, pixels_of
from .mot import Boxes, PixelBox, area
from .propagator import FirstMasks, IndexMap

NAME = "OpenCV MIL"
LEAST = 8
"""The shortest side in pixels that MIL can learn; smaller boxes stay where they are."""
AROUND = 0.3
"""The part of the box's sides around it that GrabCut is shown as background."""
ROUNDS = 3
COMPONENTS = 65
"""Numbers of a colour model of GrabCut: 5 Gaussians of 13."""


def follow(images: Sequence[Image], first_boxes: FirstBoxes) -> Iterator[Boxes]:
    """Each box followed by a tracker of its own: a `BoxFollower`."""
    cv2.setRNGSeed(0)
    trackers: dict[int, cv2.TrackerMIL] = {}
    boxes: dict[int, PixelBox] = {}
    for frame, image in enumerate(images):
        picture = np.ascontiguousarray(image[..., ::-1])
        for object_id, tracker in trackers.items():
            boxes[object_id] = _updated(tracker, picture, boxes[object_id])
        for object_id, box in first_boxes.get(frame, {}).items():
            boxes[object_id] = box
            if min(box[2] - box[0], box[3] - box[1]) >= LEAST:
                trackers[object_id] = _begun(picture, box)
        yield dict(boxes)


def propagate(images: Sequence[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
    """The boxes around the first masks, followed and cut out: a `Propagator`. Smaller objects are on top."""
    first_boxes = {frame: boxes_around(index_map) for frame, index_map in first_masks.items()}
    for frame, boxes in enumerate(follow(images, first_boxes)):
        image = images[frame]
        drawn = np.zeros(image.shape[:2], np.uint16)
        for object_id, box in sorted(boxes.items(), key=lambda item: -area(item[1])):
            drawn[cut_out(image, box)] = object_id
        begins = first_masks.get(frame)
        yield drawn if begins is None else np.where(begins > 0, begins, drawn)


def cut_out(image: Image, box: PixelBox) -> Mask:
    """The mask (H, W) of what stands out in a box from what is around it; the whole box where nothing
    does."""
    size = image.shape[:2]
    rows, columns = pixels_of(box, size)
    mask = np.zeros(size, np.bool_)
    mask[rows, columns] = True
    x, y = (AROUND * (box[side + 2] - box[side]) + 1 for side in (0, 1))
    crop = pixels_of((box[0] - x, box[1] - y, box[2] + x, box[3] + y), size)
    labels = np.where(mask[crop], np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_BGD))
    if mask[crop].all():  # nothing is around it to be told from
        return mask
    picture = np.ascontiguousarray(image[crop][..., ::-1])
    ground, object_ = np.zeros((1, COMPONENTS)), np.zeros((1, COMPONENTS))
    cv2.grabCut(picture, labels, (0, 0, 0, 0), ground, object_, ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (labels == cv2.GC_PR_FGD) | (labels == cv2.GC_FGD)
    if found.any():
        mask[crop] = found
    return mask


def _begun(picture: Image, box: PixelBox) -> cv2.TrackerMIL:
    tracker = cv2.TrackerMIL.create()
    rows, columns = pixels_of(box, picture.shape[:2])
    corner = columns.start, rows.start
    tracker.init(picture, (*corner, columns.stop - columns.start, rows.stop - rows.start))
    return tracker


def _updated(tracker: cv2.TrackerMIL, picture: Image, before: PixelBox) -> PixelBox:
    """Where the tracker says the box is; where it was, if it gives up."""
    found, (x, y, width, height) = tracker.update(picture)
    return (float(x), float(y), float(x + width), float(y + height)) if found else before
