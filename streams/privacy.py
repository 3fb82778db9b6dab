"""Privacy: objects, or everything but the objects, made unrecognisable in every picture that leaves.

A fold over results: `seen, result = covered(seen, covers, result)`. What comes after it, whatever it draws,
sends or keeps, has only the covered picture.

It errs on the side of covering. Around a mask a margin is covered, too, and so is the object's mask of the
frame before; an object that is hidden or lost is covered where it was last, with a wider margin, until it
returns or is forgotten. Nothing is known of what is not tracked: "rest" covers that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from .types import Box, Image, Mask, Result, Track
from .wording import unknown

Style = Literal["blur", "pixelate", "solid", "remove"]
STYLES: tuple[Style, ...] = get_args(Style)
REST = "rest"


class Place(NamedTuple):
    """Where an object was seen: its mask, and the box around that."""

    mask: Mask
    box: Box


Seen = Mapping[int, Place]
"""By object id, where each object was seen last. As many as there are tracks."""
Patch = NDArray[np.uint8]
"""(H, W) uint8, 1 where a picture is to be covered."""

MARGIN = 0.012
"""What is covered around a mask, in parts of the frame's shorter side."""
HIDDEN_MARGIN = 0.06
"""The same of an object that is hidden: it moves on unseen."""
CELLS = 7
"""So many cells along the longer side of what is covered are all that is left of it, blurred or pixelated."""
SMALLEST_CELL = 0.02
"""In parts of the frame's shorter side."""
REST_CELL = 0.05
_INPAINTED = 64
"""Pixels along the longer side at which a removed object's place is filled: it has no detail anyway."""
_REACH = 2
"""So far around a missing pixel, in such pixels, is looked for what it may be."""
_CONTEXT = 0.3
"""How much around it tells what belongs there, in parts of its size."""
_SOLID = (72, 72, 72)


@dataclass(frozen=True, slots=True)
class Cover:
    """One thing to be covered and how: the objects with one of `labels` or `ids`, all where there are
    neither; with `rest`, everything but those."""

    style: Style
    rest: bool = False
    labels: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()

    def is_for(self, track: Track) -> bool:
        is_named = track.label in self.labels or track.object_id in self.ids
        return is_named or not (self.labels or self.ids)


def parse_cover(text: str) -> Cover:
    """`STYLE [rest] [label=NAME]… [id=N]…`. Raises ValueError, in one line, for anything else."""
    style, *words = text.split() or [""]
    if style not in STYLES:
        raise ValueError(unknown(style, "privacy style", STYLES))
    labels, ids = _values(words, "label="), _values(words, "id=")
    others = [word for word in words if not word.startswith(("label=", "id="))]
    if (
        others not in ([], [REST])
        or "" in labels
        or not all(re.fullmatch(r"[1-9][0-9]{0,15}", one) for one in ids)
    ):
        raise ValueError(f"{text!r} is not STYLE, STYLE rest, or either with label=NAME or id=NUMBER")
    if style == "remove" and others:
        raise ValueError(f"{text!r}: a removed rest would be made of the objects: take solid, or blur")
    return Cover(style, bool(others), labels, tuple(map(int, ids)))


def _values(words: Iterable[str], key: str) -> tuple[str, ...]:
    return tuple(word.removeprefix(key) for word in words if word.startswith(key))


def covered(seen: Seen, covers: Sequence[Cover], result: Result) -> tuple[Seen, Result]:
    """The result with a new picture in its frame, and what is to be remembered for the next one."""
    if not covers:
        return {}, result
    image = result.frame.image.copy()
    removed: set[int] = set()
    for cover in covers:
        chosen = [track for track in result.tracks if cover.is_for(track)]
        if cover.rest:
            _cover_rest(image, chosen, cover.style)
        else:
            _cover_objects(image, chosen, seen, cover.style)
        removed |= {track.object_id for track in chosen if cover.style == "remove"}
    frame = replace(result.frame, image=image)
    return _seen(seen, result.tracks), replace(result, frame=frame, removed=frozenset(removed))


def _seen(before: Seen, tracks: Iterable[Track]) -> Seen:
    places = ((track.object_id, _place(track) or before.get(track.object_id)) for track in tracks)
    return {object_id: place for object_id, place in places if place is not None}


def _place(track: Track) -> Place | None:
    return Place(track.mask, track.box) if _is_seen(track) and track.box is not None else None


def _is_seen(track: Track) -> bool:
    return track.box is not None and track.state in ("tentative", "tracked")


def _cover_rest(image: Image, shown: Iterable[Track], style: Style) -> None:
    patch = np.ones(image.shape[:2], np.uint8)
    for track in shown:
        if _is_seen(track):
            patch[track.mask] = 0
    _fill(image, patch, style, max(2, round(REST_CELL * min(image.shape[:2]))))


def _cover_objects(image: Image, tracks: Iterable[Track], seen: Seen, style: Style) -> None:
    """Each in its surroundings, where others that are covered are no longer to be seen either."""
    patch = np.zeros(image.shape[:2], np.uint8)
    places = [place for track in tracks if (place := _mark(patch, track, seen.get(track.object_id)))]
    short = min(image.shape[:2])
    for top, bottom, left, right in places:
        cell = max(2, round(max((bottom - top) / CELLS, (right - left) / CELLS, SMALLEST_CELL * short)))
        height, width = (bottom - top, right - left) if style == "remove" else (0, 0)
        rows = slice(max(0, top - round(_CONTEXT * height) - 1), bottom + round(_CONTEXT * height) + 1)
        columns = slice(max(0, left - round(_CONTEXT * width) - 1), right + round(_CONTEXT * width) + 1)
        _fill(image[rows, columns], patch[rows, columns], style, cell)


def _mark(patch: Patch, track: Track, last: Place | None) -> tuple[int, int, int, int] | None:
    """Mark in the patch where an object is and was; the rows and columns where that is: (top, bottom, left,
    right). None where nothing is known of it."""
    boxes = [box for box in (track.box, last.box if last else None) if box is not None]
    if not boxes:
        return None
    height, width = patch.shape
    margin = max(2, round((MARGIN if _is_seen(track) else HIDDEN_MARGIN) * min(height, width)))
    top = max(0, math.floor(min(box[1] for box in boxes) * height) - margin)
    left = max(0, math.floor(min(box[0] for box in boxes) * width) - margin)
    bottom = min(height, math.ceil(max(box[3] for box in boxes) * height) + margin)
    right = min(width, math.ceil(max(box[2] for box in boxes) * width) + margin)
    mask = track.mask.view(np.uint8)[top:bottom, left:right]
    if last is not None:
        mask = mask | _at_size(last.mask, patch.shape)[top:bottom, left:right]
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    patch[top:bottom, left:right] |= np.asarray(cv2.dilate(mask, kernel), np.uint8)
    return top, bottom, left, right


def _at_size(mask: Mask, size: tuple[int, ...]) -> Patch:
    """A mask of a frame that had another size, if it had."""
    patch = mask.view(np.uint8)
    if patch.shape == size:
        return patch
    return np.asarray(cv2.resize(patch, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), np.uint8)


def _fill(crop: Image, patch: Patch, style: Style, cell: int) -> None:
    """Cover a part of a picture, in place, where the patch says so."""
    cv2.copyTo(_FILLS[style](crop, patch, cell), patch, crop)


def _cells(crop: Image, cell: int) -> Image:
    """What is left of a crop when a cell of so many pixels becomes one pixel of its mean colour."""
    height, width = crop.shape[:2]
    size = max(1, round(width / cell)), max(1, round(height / cell))
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)


def _blurred(crop: Image, patch: Patch, cell: int) -> Image:
    """As pixelated, with a quarter of a cell cubic and linear between them: cubic throughout costs twice as
    much, and linear throughout shows the cells."""
    height, width = crop.shape[:2]
    part = max(1, cell // 4)
    quarters = max(1, width // part), max(1, height // part)
    smooth = cv2.resize(_cells(crop, cell), quarters, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _pixelated(crop: Image, patch: Patch, cell: int) -> Image:
    height, width = crop.shape[:2]
    small = _cells(crop, cell)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _filled(crop: Image, patch: Patch, cell: int) -> Image:
    solid = np.empty_like(crop)
    solid[:] = np.tile(np.array(_SOLID, np.uint8), (crop.shape[1], 1))
    return solid


def _inpainted(crop: Image, patch: Patch, cell: int) -> Image:
    """What is around the patch grown into it (Telea 2004); a crop that is all patch has nothing to tell."""
    height, width = crop.shape[:2]
    scale = min(1.0, _INPAINTED / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    share = cv2.resize(patch * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    missing = np.asarray(share > 0).astype(np.uint8)
    if missing.all():
        return _filled(crop, patch, cell)
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    whole = cv2.inpaint(small, missing, _REACH, cv2.INPAINT_TELEA)
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


_FILLS: dict[Style, Callable[[Image, Patch, int], Image]] = {
    "blur": _blurred,
    "pixelate": _pixelated,
    "solid": _filled,
    "remove": _inpainted,
}
