"""Three methods without a trained model, to say what a model's score is worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil, hypot, sqrt
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Image

from .propagator import FirstMasks, IndexMap, Propagator

Floats = NDArray[np.float32]

# The values below gave the best J&F of some 15 tried on the development videos: they favour this baseline.
CELLS = 26_000
"""How many cells the grid for nearest neighbours has at most."""
NEIGHBOURS = 4
EXACT_TREE = 4
"""FLANN's name for one k-d tree with exact answers (KDTREE_SINGLE)."""
COLOUR_SCALE = 12.0
"""The Lab difference (channels 0 to 255) that counts as one unit of distance."""
NEAR_POSITIONS = 0.03
"""The share of the diagonal that counts as one unit of distance to the frame before: little has moved."""
FAR_POSITIONS = 0.1
"""The same to the frames of the first masks: objects may be anywhere near."""


def keep_first_mask(images: Iterable[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
    """The first masks, unchanged: what a score owes to objects that stay where they are."""
    held: IndexMap | None = None
    for frame, image in enumerate(images):
        held = with_prompts(blank(image) if held is None else held, first_masks.get(frame))
        yield held


def optical_flow(images: Iterable[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
    """The masks of the frame before, warped by dense optical flow (DIS; Kroeger et al., ECCV 2016)."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)  # full resolution: slower than the preset, and better on thin objects
    before: NDArray[np.uint8] | None = None
    held: IndexMap | None = None
    for frame, image in enumerate(images):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        if before is None or held is None:
            held = blank(image)
        else:
            held = warp(held, flow_between(flow, grey, before))
        held, before = with_prompts(held, first_masks.get(frame)), grey
        yield held


def flow_between(flow: cv2.DISOpticalFlow, image: NDArray[np.uint8], other: NDArray[np.uint8]) -> Floats:
    """How far each pixel of `image` (H, W) is from its place in `other`: (H, W, 2), x and y in pixels."""
    no_guess = cast(Any, None)
    return np.asarray(flow.calc(image, other, no_guess), np.float32)


def warp(index_map: IndexMap, flow: Floats) -> IndexMap:
    """The map whose pixel (x, y) is what `index_map` has at (x, y) + flow; flow is (H, W, 2) in pixels."""
    height, width = index_map.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + flow[..., 0], y + flow[..., 1]
    ids = ids_of(index_map)
    planes = [
        cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for plane in one_hot(index_map, ids)
    ]
    return winners(planes, ids)


def nearest_neighbours(images: Iterable[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
    """Each cell of a reduced grid takes the labels of the cells most like it in colour and position.

    It asks its nearest neighbours in the frames of the first masks and in the frame before; the answers are
    weighted by nearness, added, and enlarged to the frame.
    """
    ids = ids_of(*first_masks.values())
    anchors: list[Labelled] = []
    previous: list[Labelled] = []
    for frame, image in enumerate(images):
        size = image.shape[:2]
        colours = cell_colours(image)
        near, far = (with_positions(colours, scale) for scale in (NEAR_POSITIONS, FAR_POSITIONS))
        votes = [ask(known, far) for known in anchors] + [ask(known, near) for known in previous]
        held = enlarge(votes, ids, colours.shape[:2], size)
        held = with_prompts(held, first_masks.get(frame))
        labels = cell_labels(held, ids, colours.shape[:2])
        if frame in first_masks:
            anchors.append(labelled(far, labels))
        previous = [labelled(near, labels)]
        yield held


class Labelled(NamedTuple):
    """L cells of a frame: a search tree over their features, and the share of each id in them, (L, K)."""

    tree: Any
    labels: Floats


def labelled(features: Floats, labels: Floats) -> Labelled:
    """features: (L, 5); labels: (L, K)."""
    return Labelled(cv2.flann.Index(features, {"algorithm": EXACT_TREE}), labels)


def ask(known: Labelled, features: Floats) -> Floats:
    """The labels (L, K) that cells with `features` (L, 5) get from their neighbours, weighted by nearness."""
    neighbours, squared = known.tree.knnSearch(features, NEIGHBOURS, params={"checks": -1})
    weights = np.exp(-squared)
    return cast(Floats, np.einsum("ln,lnk->lk", weights, known.labels[neighbours]))


def cell_colours(image: Image) -> Floats:
    """The mean Lab colour of each cell, (h, w, 3) in units of `COLOUR_SCALE`; h w about `CELLS`."""
    step = ceil(sqrt(image.shape[0] * image.shape[1] / CELLS))
    size = ceil(image.shape[1] / step), ceil(image.shape[0] / step)
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    return lab.astype(np.float32) / np.float32(COLOUR_SCALE)


def with_positions(colours: Floats, scale: float) -> Floats:
    """Features (h w, 5): colour, then position in units of `scale` times the grid's diagonal."""
    height, width = colours.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(scale * hypot(height, width))
    return np.dstack([colours, x, y]).reshape(-1, 5)


def cell_labels(index_map: IndexMap, ids: IndexMap, grid: tuple[int, int]) -> Floats:
    """The share of each of K ids in each cell: (h w, K)."""
    planes = (resized(plane, grid, cv2.INTER_AREA) for plane in one_hot(index_map, ids))
    return np.stack([plane.ravel() for plane in planes], axis=1)


def enlarge(votes: list[Floats], ids: IndexMap, grid: tuple[int, int], size: tuple[int, int]) -> IndexMap:
    """The map (H, W) of the ids with the most votes, (h w, K) each; background where there are none."""
    if not votes:
        return np.zeros(size, np.uint8)
    planes = np.sum(votes, axis=0).reshape(*grid, len(ids)).transpose(2, 0, 1)
    return winners([resized(plane, size, cv2.INTER_LINEAR) for plane in planes], ids)


def resized(plane: Floats, size: tuple[int, int], interpolation: int) -> Floats:
    """A plane (h, w) at another size (height, width)."""
    return np.asarray(
        cv2.resize(np.ascontiguousarray(plane), size[::-1], interpolation=interpolation), np.float32
    )


def winners(planes: Sequence[NDArray[Any]], ids: IndexMap) -> IndexMap:
    """The id with the highest of K planes (H, W) at each pixel, the lower id where they are equal."""
    return np.asarray(ids[np.argmax(planes, axis=0)])


def blank(image: Image) -> IndexMap:
    """A map of nothing but background, of an image's size."""
    return np.zeros(image.shape[:2], np.uint8)


def with_prompts(index_map: IndexMap, prompt: IndexMap | None) -> IndexMap:
    """The map with the objects that begin here on top."""
    return index_map if prompt is None else np.where(prompt > 0, prompt, index_map)


def ids_of(*index_maps: IndexMap) -> IndexMap:
    """0 and every object id in the maps, ascending, (K,)."""
    return np.unique(np.concatenate([np.zeros(1, np.uint8), *map(np.ravel, index_maps)]))


def one_hot(index_map: IndexMap, ids: IndexMap) -> list[Floats]:
    """For each id, 1 where the map has it and 0 elsewhere: (H, W) float32."""
    return [(index_map == object_id).astype(np.float32) for object_id in ids]


BASELINES: Mapping[str, Propagator] = {
    "first mask kept": keep_first_mask,
    "optical flow": optical_flow,
    "nearest neighbours": nearest_neighbours,
}
