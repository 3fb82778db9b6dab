"""COCO run-length encoding of masks: runs of a mask read column by column, in the compressed string form.

The string is the one pycocotools writes: from the fourth run on, each is stored as its difference from the
run two before it, in groups of 5 bits, lowest first, one printable character a group.
"""

from __future__ import annotations

from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from .types import Mask

MAX_PIXELS = 2**28
"""The largest mask `decode` agrees to make: a message of a few bytes can ask for any size."""

_GROUP_BITS = 5
_GROUP_MASK = 0x1F
_SIGN_BIT = 0x10
_MORE_BIT = 0x20
_FIRST_CHARACTER = 48


class Rle(TypedDict):
    """A mask in COCO's compressed form. `size` is [height, width] in pixels."""

    size: list[int]
    counts: str


def encode(mask: Mask) -> Rle:
    """The COCO RLE of a mask (H, W) bool."""
    height, width = mask.shape
    return {"size": [height, width], "counts": _to_string(_runs(mask))}


def decode(rle: Rle) -> Mask:
    """The mask (H, W) bool of a COCO RLE.

    Raises ValueError where the size is not two positive numbers of at most MAX_PIXELS pixels together, or the
    counts are not a COCO string whose runs fill that size exactly.
    """
    height, width = _checked_size(rle["size"])
    runs = _from_string(rle["counts"])
    if runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:  # sums may overflow
        raise ValueError(f"RLE counts do not fill a mask of {height} x {width}")
    columns = np.repeat(np.arange(len(runs), dtype=np.uint8) & 1, runs).reshape(width, height)
    return cv2.transpose(columns).view(np.bool_)


def _checked_size(size: list[int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"RLE size {size} is not [height, width] of at most {MAX_PIXELS} pixels")
    return size[0], size[1]


def _runs(mask: Mask) -> NDArray[np.int64]:
    """Lengths of the runs of a mask read column by column: off, on, off, ... The first may be 0."""
    height = mask.shape[0]
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(columns):
        return np.array([mask.size])
    first, last = int(columns[0]), int(columns[-1]) + 1
    flat = cv2.transpose(
        mask[:, first:last].view(np.uint8)
    ).ravel()  # only the object's columns: the rest is off
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        edges = np.concatenate(([0], edges))
    if flat[-1]:
        edges = np.append(edges, len(flat))
    runs = np.diff(edges + first * height, prepend=0)
    rest = mask.size - int(runs.sum())
    return np.append(runs, rest) if rest else runs


def _to_string(runs: NDArray[np.int64]) -> str:
    values = runs.copy()
    values[3:] -= runs[1:-2]
    groups = np.zeros((len(values), 13), np.uint8)  # 13 groups of 5 bits hold an int64
    used = np.zeros(groups.shape, np.bool_)
    unfinished = np.ones(len(values), np.bool_)
    for position in range(groups.shape[1]):
        group = values & _GROUP_MASK
        used[:, position] = unfinished
        values >>= _GROUP_BITS
        unfinished &= np.where(group & _SIGN_BIT, values != -1, values != 0)
        groups[:, position] = group + np.where(unfinished, _MORE_BIT, 0) + _FIRST_CHARACTER
        if not unfinished.any():
            break
    return groups[used].tobytes().decode("ascii")


def _from_string(counts: str) -> NDArray[np.int64]:
    """The runs a string stands for; a ValueError where it is no COCO string."""
    characters = (
        np.frombuffer(counts.encode("ascii", "replace"), np.uint8).astype(np.int64) - _FIRST_CHARACTER
    )
    if not len(characters) or characters.min() < 0 or characters.max() >= 2 * _MORE_BIT:
        raise ValueError("RLE counts hold characters that COCO strings do not use")
    ends = np.flatnonzero(~characters & _MORE_BIT)
    if not len(ends) or ends[-1] != len(characters) - 1:
        raise ValueError("RLE counts end in the middle of a number")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() * _GROUP_BITS > 60:
        raise ValueError("RLE counts hold a number that is too large")
    shifts = _GROUP_BITS * (np.arange(len(characters)) - np.repeat(starts, lengths))
    values = np.add.reduceat((characters & _GROUP_MASK) << shifts, starts)
    negative = (characters[ends] & _SIGN_BIT) != 0
    values[negative] -= 1 << (_GROUP_BITS * lengths[negative])
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
