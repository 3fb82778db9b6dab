"""The one translator between the streams' numpy and the model's tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from keepsight.model.video_predictor import Prompts
from keepsight.streams.types import Box, Geometry, Image, Mask

Number = TypeVar("Number", np.uint8, np.float32)
PADDING, BOX_CORNERS = -1, (2, 3)


def sample_of(model: object) -> Tensor:
    """A tensor where the model is, of its dtype; float32 on the CPU if it has no parameters."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.empty(0) if first is None else first


def to_image(image: Image, size: tuple[int, int], like: Tensor) -> Tensor:
    """image (h, w, 3) uint8 as (1, 3, H, W) in [0, 1] at `size` (H, W), of `like`'s dtype and device."""
    pixels = torch.from_numpy(shrunk(image, size)).to(like.device)
    return pixels.permute(2, 0, 1).unsqueeze(0).to(like.dtype).div_(255)


def shrunk(image: Image, size: tuple[int, int]) -> Image:
    """image (h, w, 3) at `size` (H, W).

    Halved by averaging while it is twice as large or more, then interpolated: nearly an area filter's picture
    at an eighth of its price.
    """
    height, width = size
    image = np.ascontiguousarray(image)
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        image = _resize(image, (image.shape[0] // 2, image.shape[1] // 2), cv2.INTER_AREA)
    return _resize(image, size, cv2.INTER_LINEAR)


def _resize(picture: NDArray[Number], size: tuple[int, int], way: int) -> NDArray[Number]:
    """cv2.resize to (H, W), which keeps the dtype."""
    return cast(NDArray[Number], cv2.resize(picture, size[::-1], interpolation=way))


def to_prompts(geometries: Sequence[Geometry], size: tuple[int, int], device: torch.device) -> Prompts:
    """What users showed of N objects as one batch, at the model's input size (H, W).

    points (N, T, 2) float32, T the largest number of points and box corners but at least 1; labels (N, T);
    masks (N, H, W) float32. Box corners come before points, and these are sorted, since whoever clicked
    them in another order meant the same.
    """
    shown = [_points(geometry) for geometry in geometries]
    length = max(1, *(len(labels) for _, labels in shown)) if shown else 1
    points = np.zeros((len(shown), length, 2), np.float32)
    labels = np.full((len(shown), length), PADDING, np.int64)
    masks = np.zeros((len(shown), *size), np.float32)
    for row, (geometry, (place, label)) in enumerate(zip(geometries, shown, strict=True)):
        points[row, : len(label)] = np.reshape(place, (-1, 2))
        labels[row, : len(label)] = label
        if geometry.mask is not None:
            masks[row] = mask_at(geometry.mask, size)
    has_mask = [geometry.mask is not None for geometry in geometries]
    arrays = points, labels, masks, np.array(has_mask, np.bool_)
    return Prompts(*(torch.from_numpy(array).to(device) for array in arrays))


def _points(geometry: Geometry) -> tuple[list[tuple[float, float]], list[int]]:
    """The points of a prompt with its box as two corners, and their codes."""
    clicks = sorted(zip(geometry.points, geometry.labels, strict=True))
    points, labels = [point for point, _ in clicks], [int(label) for _, label in clicks]
    if geometry.box is None:
        return points, labels
    x0, y0, x1, y1 = geometry.box
    return [(x0, y0), (x1, y1), *points], [*BOX_CORNERS, *labels]


def mask_at(mask: Mask, size: tuple[int, int]) -> NDArray[np.float32]:
    """mask (h, w) bool, not empty, as (H, W) float32 in [0, 1]: how much of each pixel it covers.

    An object thinner than one pixel of the new size keeps its best covered pixels: the maximum is always 1.
    """
    (h, w), (height, width) = mask.shape, size
    cover = np.ascontiguousarray(mask, np.float32)
    for target, shrinks in (((h, width), width <= w), ((height, width), height <= h)):
        cover = _resize(cover, target, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    cover /= cover.max()
    return cover


def to_masks(
    logits: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.bool_], tuple[Box | None, ...]]:
    """logits (N, h, w) as masks (N, H, W) at the frame's size (H, W), and their N tight boxes in [0, 1].

    Bilinear interpolation, then > 0. An empty mask has no box.
    """
    masks = np.zeros((len(logits), *size), np.bool_)
    return masks, tuple(_draw(one, mask) for one, mask in zip(logits, masks, strict=True))


def _draw(logits: NDArray[np.float32], mask: Mask) -> Box | None:
    """Set the pixels of `mask` (H, W) where `logits` (h, w) are above 0; the tight box of what is set.

    Interpolation never rises above its neighbours, so only the part around positive logits is computed.
    """
    positive = logits > 0
    if not positive.any():
        return None
    rows, tall = _reach(positive, 0, mask.shape[0])
    columns, wide = _reach(positive, 1, mask.shape[1])
    near = _resize(logits[rows, columns], (tall.stop - tall.start, wide.stop - wide.start), cv2.INTER_LINEAR)
    np.greater(near, 0, out=mask[tall, wide])
    return _box_within(mask, tall, wide)


def _reach(positive: NDArray[np.bool_], axis: int, length: int) -> tuple[slice, slice]:
    """The part of an axis that positive cells (h, w) reach, in cells and in the `length` pixels they become.

    One cell more on each side, then out to where cells and pixels meet: every `cells / gcd` cells.
    """
    size, cells = positive.shape[axis], np.flatnonzero(positive.any(axis=1 - axis))
    meet = size // math.gcd(size, length)
    first = max(0, int(cells[0]) - 1) // meet
    last = -(-min(size, int(cells[-1]) + 2) // meet)
    pixels = length * meet // size
    return slice(first * meet, last * meet), slice(first * pixels, last * pixels)


def tight_box(mask: Mask) -> Box | None:
    """The smallest box around the True pixels of `mask` (H, W), in [0, 1]; None if there are none."""
    return _box_within(mask, slice(0, mask.shape[0]), slice(0, mask.shape[1]))


def _box_within(mask: Mask, rows: slice, columns: slice) -> Box | None:
    """The tight box of a mask, in [0, 1] of it, if all its True pixels are in these rows and columns."""
    height, width = mask.shape
    x, y, wide, tall = cv2.boundingRect(mask[rows, columns].view(np.uint8))
    if wide == 0:
        return None
    left, top = columns.start + x, rows.start + y
    return left / width, top / height, (left + wide) / width, (top + tall) / height
