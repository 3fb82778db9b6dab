"""What detectors give, told apart by the shapes of their outputs, as boxes of the frame.

YOLOX: one output (1, N, 5 + C): box, objectness, classes; boxes relative to the cells of three grids, as its
authors export it, or in pixels. RT-DETR: logits (1, N, C) and boxes (1, N, 4), centre and size in parts of
the picture; or labels (1, N), boxes (1, N, 4) in pixels and scores (1, N). SSD: boxes (1, N, 4), labels and
scores (1, N), from TensorFlow also their number (1), with boxes as y0, x0, y1, x1 and labels from 1, and from
torchvision all without the first axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Box

Array = NDArray[Any]
Style = Literal["yolox", "rtdetr", "lists", "tensorflow"]
STRIDES = 8, 16, 32
"""Of YOLOX' grids, in pixels of its input."""
OF_A_GRID = 10
"""No logarithm of a size, nor a distance within a grid, is as large; sizes in pixels are."""
DOUBLE = 0.5
"""Two boxes with this IoU are one thing."""


class Detection(NamedTuple):
    box: Box
    label: int
    score: float


class Found(NamedTuple):
    """boxes: (N, 4), x0, y0, x1, y1 in parts of what the model saw; labels, scores: (N)."""

    boxes: Array
    labels: Array
    scores: Array


def style_of(shapes: Sequence[Sequence[object]]) -> Style | None:
    """The style whose outputs have such shapes, where numbers may be names; None for none of them."""
    ranks = sorted(len(shape) for shape in shapes)
    boxes = [shape for shape in shapes if shape and shape[-1] == 4 and len(shape) in (2, 3)]
    match ranks:
        case [3] if not boxes:
            return "yolox"
        case [3, 3] if len(boxes) == 1:
            return "rtdetr"
        case [2, 2, 3] | [1, 1, 2] if len(boxes) == 1:
            return "lists"
        case [1, 2, 2, 3] if len(boxes) == 1:
            return "tensorflow"
    return None


def read(style: Style, outputs: Sequence[Array], size: tuple[int, int]) -> Found:
    """Everything a model said of a picture that it saw at `size` (height, width). Raises ValueError where
    that is not what the style is."""
    match style:
        case "yolox":
            return yolox(outputs[0][0], size)
        case "rtdetr":
            return rtdetr(*sorted((one[0] for one in outputs), key=lambda one: one.shape[-1] == 4))
    counted = style == "tensorflow"
    boxes, labels, scores = lists([one for one in outputs if one.ndim > 1] if counted else outputs)
    if counted:
        return Found(boxes[:, [1, 0, 3, 2]], labels - 1, scores)
    in_pixels = boxes.size > 0 and boxes.max() > 2
    return Found(boxes / ((size[1], size[0]) * 2 if in_pixels else 1), labels, scores)


def yolox(rows: Array, size: tuple[int, int]) -> Found:
    """rows (N, 5 + C): x, y, width and height, objectness, and the probability of each class."""
    centre, extent = rows[:, :2], rows[:, 2:4]
    if np.abs(rows[:, :4]).max(initial=0) < OF_A_GRID:
        cells, strides = grids(size)
        if len(cells) != len(rows):
            raise ValueError(f"{len(rows)} rows where grids of {size[1]}x{size[0]} have {len(cells)}")
        centre, extent = (centre + cells) * strides, np.exp(extent) * strides
    corners = np.concatenate((centre - extent / 2, centre + extent / 2), 1) / ((size[1], size[0]) * 2)
    scores = rows[:, 4:5] * rows[:, 5:]
    return Found(corners, scores.argmax(1), scores.max(1))


def grids(size: tuple[int, int]) -> tuple[Array, Array]:
    """The cells' corners (N, 2) and strides (N, 1) of all three grids, row by row."""
    cells, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack((x.ravel(), y.ravel()), 1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


def rtdetr(logits: Array, boxes: Array) -> Found:
    """logits (N, C), boxes (N, 4): centre, width and height."""
    scores = 1 / (1 + np.exp(-logits))
    corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1)
    return Found(corners, scores.argmax(1), scores.max(1))


def lists(outputs: Sequence[Array]) -> Found:
    """Boxes, labels and scores, in any order: labels are whole numbers, scores are not all of them."""
    most = max(one.ndim for one in outputs)
    boxes = next(one for one in outputs if one.ndim == most and one.shape[-1] == 4)
    rest = [one.reshape(-1) for one in outputs if one is not boxes]
    labels = next((one for one in rest if np.issubdtype(one.dtype, np.integer)), None)
    if labels is None:
        whole = [one for one in rest if np.array_equal(one, np.rint(one))]
        labels = max(whole or rest, key=lambda one: float(one.max(initial=0)))
    scores = next(one for one in rest if one is not labels)
    return Found(boxes.reshape(-1, 4), labels.astype(int), scores)


def chosen(found: Found, least: float) -> list[Detection]:
    """Those that are sure enough and no doubles, the surest first, their boxes cut to the picture."""
    boxes = np.clip(found.boxes.astype(float), 0, 1)
    fit = (found.scores >= least) & (boxes[:, 2:] > boxes[:, :2] + 1e-3).all(1)
    boxes, labels, scores = boxes[fit], found.labels[fit], found.scores[fit]
    corners = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1)
    kept = (
        cv2.dnn.NMSBoxes(corners.tolist(), scores.astype(float).tolist(), 0.0, DOUBLE) if len(boxes) else ()
    )
    return [
        Detection((x0, y0, x1, y1), int(labels[at]), float(scores[at]))
        for at in kept
        for x0, y0, x1, y1 in [boxes[at].tolist()]
    ]
