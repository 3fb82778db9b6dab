"""Clips from labelled videos: some frames in a row, cropped, mirrored and coloured alike."""

from __future__ import annotations

import cv2
import numpy as np

from ..evaluation.labelled import VOID, LabelledSequence, read_image, read_index_map
from .clips import Clip, ClipSettings, degrade, jitter, make_clip, resized, visible_targets
from .library import Array, Library

TRIES = 100
"""Draws until a clip shows something, before it is said that there is nothing."""
LONGEST_STRIDE = 4
"""Labelled frames from one frame of a clip to the next, at most."""
SMALLEST_CROP = 0.6
"""The side of a crop in parts of the largest of its shape."""


def draw_clip(library: Library, settings: ClipSettings, random: np.random.Generator) -> Clip:
    """A clip from a labelled video, or one made from pictures, as often as their sets' weights say."""
    if library.real and (library.real == 1 or random.random() < library.real):
        return real_clip(library, settings, random)
    return make_clip(library, settings, random)


def real_clip(library: Library, settings: ClipSettings, random: np.random.Generator) -> Clip:
    """Raises ValueError where no object can be found in the first frame of any clip."""
    for _ in range(TRIES):
        sequence = library.video(random)
        frames = draw_frames(len(sequence), settings.frames, random)
        shown = read_frames(sequence, frames)
        images, ids = alike(*shown, settings.size, random)
        targets = visible_targets(ids[0], settings.objects, random)
        if targets:
            return Clip(np.stack(degrade(list(images), random)), ids, targets)
    raise ValueError(f"{sequence.images[0].parent}: {TRIES} draws from the labelled videos showed no object")


def draw_frames(length: int, count: int, random: np.random.Generator) -> list[int]:
    """`count` frames of a video of `length`, evenly apart, forwards or backwards; there and back again where
    it is too short."""
    longest = min(LONGEST_STRIDE, (length - 1) // (count - 1))
    stride = int(random.integers(1, longest + 1)) if longest else 1
    span = min(length - 1, stride * (count - 1))
    start = int(random.integers(0, length - span))
    turned = [abs((i * stride + span) % (2 * span) - span) if span else 0 for i in range(count)]
    frames = [start + i for i in turned]
    return frames if random.random() < 0.5 else [2 * start + span - i for i in frames]


def read_frames(sequence: LabelledSequence, frames: list[int]) -> tuple[list[Array], list[Array]]:
    """Pictures (H, W, 3) RGB and ids (H, W), where only 255 is shown its one object. Raises ValueError for
    pictures and masks of unlike size."""
    images = [read_image(sequence.images[i]) for i in frames]
    paths = [sequence.masks[i] for i in frames]
    maps = [read_index_map(path) for path in paths if path is not None]
    black_and_white = all(set(np.unique(ids)) <= {0, VOID} for ids in maps)
    for image, ids, path in zip(images, maps, paths, strict=True):
        if image.shape[:2] != ids.shape:
            raise ValueError(f"{path}: the mask is {ids.shape[::-1]}, its picture {image.shape[1::-1]}")
    return images, [np.where(ids == VOID, np.uint8(black_and_white), ids) for ids in maps]


def alike(
    images: list[Array], ids: list[Array], size: tuple[int, int], random: np.random.Generator
) -> tuple[Array, Array]:
    """The same crop, mirroring and colours for all frames: (T, H, W, 3) and (T, H, W) at `size`."""
    height, width = ids[0].shape
    fit = min(height / size[0], width / size[1]) * random.uniform(SMALLEST_CROP, 1)
    h, w = max(1, int(size[0] * fit)), max(1, int(size[1] * fit))
    y, x = int(random.integers(0, height - h + 1)), int(random.integers(0, width - w + 1))
    part, shape = np.s_[y : y + h, x : x + w], (size[1], size[0])
    shrinks = cv2.INTER_AREA if fit > 1 else cv2.INTER_LINEAR
    pictures = np.stack([resized(image[part], shape, shrinks) for image in images])
    maps = np.stack([resized(one[part], shape, cv2.INTER_NEAREST) for one in ids])
    if random.random() < 0.5:
        pictures, maps = pictures[:, :, ::-1], maps[:, :, ::-1]
    coloured = jitter(np.ascontiguousarray(pictures).reshape(-1, size[1], 3), random)
    return coloured.reshape(pictures.shape), np.ascontiguousarray(maps)
