"""How an object is shown to a tracker: by its mask, a box around it, one click, or clicks that correct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast, get_args

import cv2
import numpy as np

from keepsight.streams.types import Box, Image, Mask, Point, Prompt

from .propagator import (
    FirstMasks,
    IndexMap,
    Prompter,
    PromptKind,
    Track,
    accepted,
    as_prompts,
    show_masks,
)

CLICKS = 3
"""The clicks of one object with its corrections, as in the SAM 2 paper (Ravi et al. 2024, 6.1)."""
EIGHT = 8
"""Pixels that touch at a corner belong together."""


def prompter(kind: str, track: Track) -> Prompter:
    """What makes the prompts of a sequence. `track` is what clicks are to correct. ValueError for a kind that
    is not known."""
    match kind:
        case "mask":
            return show_masks
        case "box":
            return lambda images, first_masks: [boxed(one) for one in as_prompts(first_masks)]
        case "click":
            return lambda images, first_masks: [clicked(one) for one in as_prompts(first_masks)]
        case "clicks":
            return lambda images, first_masks: list(corrected(track, images, first_masks))
        case _:
            raise ValueError(f"prompt {kind!r} is not known; there are {', '.join(get_args(PromptKind))}")


def boxed(shown: Prompt) -> Prompt:
    """A box instead of a mask: the tight one around it."""
    assert shown.mask is not None
    return Prompt(object_id=shown.object_id, box=tight_box(shown.mask), frame_ref=shown.frame_ref)


def clicked(shown: Prompt) -> Prompt:
    """A click instead of a mask: on the point deepest inside it."""
    assert shown.mask is not None
    return with_click(Prompt(object_id=shown.object_id, frame_ref=shown.frame_ref), shown.mask, True)


def with_click(prompt: Prompt, region: Mask, label: bool) -> Prompt:
    """A prompt with one more click, deepest inside a region (H, W)."""
    return Prompt(
        object_id=prompt.object_id,
        points=(*prompt.points, deepest_point(region)),
        labels=(*prompt.labels, label),
        frame_ref=prompt.frame_ref,
    )


def corrected(track: Track, images: Sequence[Image], first_masks: FirstMasks) -> Iterator[Prompt]:
    """Each object by `CLICKS` clicks: the first inside it, each further one where the tracker, shown those
    before on this very frame, is wrong. It ends earlier where the mask is right to the pixel."""
    for frame, index_map in sorted(first_masks.items()):
        prompts = [clicked(one) for one in as_prompts({frame: index_map})]
        for _ in range(CLICKS - 1):
            drawn = look(track, images[frame], prompts)
            prompts = [mended(one, drawn[one.object_id or 0], index_map) for one in prompts]
        yield from prompts


def mended(prompt: Prompt, drawn: Mask, index_map: IndexMap) -> Prompt:
    """A prompt with a click on the largest error of the mask that it gave; as it is where there is none."""
    error = largest_error(drawn, index_map == prompt.object_id)
    return prompt if error is None else with_click(prompt, *error)


def look(track: Track, image: Image, prompts: Sequence[Prompt]) -> dict[int, Mask]:
    """The mask (H, W) of each prompted object as the tracker draws it on this picture; empty where it sees
    none.

    Raises ValueError where it refuses a prompt.
    """
    here = [Prompt(object_id=one.object_id, points=one.points, labels=one.labels) for one in prompts]
    (result,) = track([image], here)
    accepted(result)
    nothing = np.zeros(image.shape[:2], np.bool_)
    drawn = {track.object_id: track.mask for track in result.tracks}
    return {one.object_id or 0: drawn.get(one.object_id or 0, nothing) for one in prompts}


def largest_error(drawn: Mask, wanted: Mask) -> tuple[Mask, bool] | None:
    """The largest connected region (H, W) where two masks differ, and whether it is missing (else too
    much)."""
    errors = (region for missing in (True, False) for region in _regions(drawn, wanted, missing))
    largest = max(errors, key=lambda error: error[0], default=None)
    return None if largest is None else (largest[1], largest[2])


def _regions(drawn: Mask, wanted: Mask, missing: bool) -> Iterator[tuple[int, Mask, bool]]:
    """Area in pixels, region, and `missing`, of the largest region of one kind of error; nothing without
    one."""
    wrong = wanted & ~drawn if missing else drawn & ~wanted
    _, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.view(np.uint8), connectivity=EIGHT)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if len(areas):
        largest = int(areas.argmax())
        yield int(areas[largest]), np.asarray(labels == largest + 1, np.bool_), missing


def deepest_point(region: Mask) -> Point:
    """The middle of the pixel of a region (H, W) that is farthest from all outside it, the frame's edge
    included; the uppermost, then leftmost of several. (x, y) in [0, 1]."""
    padded = np.pad(region.view(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return (float(x) + 0.5) / region.shape[1], (float(y) + 0.5) / region.shape[0]


def tight_box(mask: Mask) -> Box:
    """The box around the pixels of a mask (H, W) that has some, (x0, y0, x1, y1) in [0, 1]."""
    x, y, width, height = cast(tuple[int, int, int, int], cv2.boundingRect(mask.view(np.uint8)))
    rows, columns = mask.shape
    return x / columns, y / rows, (x + width) / columns, (y + height) / rows
