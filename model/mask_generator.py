"""Every object of an image without prompts: a grid of clicks, of whose masks the good and distinct stay.

The procedure is that of Segment Anything (Kirillov et al. 2023, appendix B).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .image_predictor import ImagePredictor, ImagePrompts, ranked
from .stability import stability
from .suppression import box_overlaps, distinct, mask_overlaps, tight_boxes
from .video_predictor import ImageFeatures

POSITIVE = 1
NEAR_CUT = 0.02
"""How near to a cut, as part of the crop's side, a mask counts as cut off."""
SMALLEST_CROP = 32
"""Side in pixels below which an image is not cut into crops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorSettings:
    """How an image is searched. Raises ValueError for values that make no sense.

    points_per_side: clicks along each side of the image and of each crop; points_per_batch: clicks that are
    decoded at once, which bounds the memory needed.
    least_iou, least_stability: predicted IoU and stability, in [0, 1], that a mask must reach; stability is
    the IoU of the mask at logit thresholds +stability_margin and -stability_margin.
    most_box_overlap, most_mask_overlap: IoU from which the worse of two counts as a double; 1 keeps all.
    crop_layers: layer i cuts the image into 2**i x 2**i crops and searches each, which finds smaller things;
    crop_overlap: part of the shorter side that neighbouring crops of layer 1 share, less in finer ones.
    smallest_region: holes and islands of fewer pixels, as part of the image's, are removed; 0 keeps them.
    most_masks: capacity for each crop, and for the image; beyond it the worst are dropped.
    """

    points_per_side: int = 32
    points_per_batch: int = 32
    least_iou: float = 0.8
    least_stability: float = 0.95
    stability_margin: float = 1.0
    most_box_overlap: float = 0.7
    most_mask_overlap: float = 0.7
    crop_layers: int = 0
    crop_overlap: float = 0.34
    smallest_region: float = 1e-4
    most_masks: int = 512

    def __post_init__(self) -> None:
        for name in ("points_per_side", "points_per_batch", "most_masks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it is at least 1")
        for name in ("least_iou", "least_stability", "most_box_overlap", "most_mask_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name):g}: it goes from 0 to 1")
        if not 0 <= self.crop_layers <= 4:
            raise ValueError(f"crop_layers is {self.crop_layers}: it goes from 0 to 4")
        if not (0 <= self.crop_overlap < 1 and 0 <= self.smallest_region < 1 and self.stability_margin >= 0):
            raise ValueError("crop_overlap and smallest_region go from 0 to below 1, stability_margin from 0")


class Crop(NamedTuple):
    """A part of an image, in pixels: columns x0 to x1, rows y0 to y1, the ends not included."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y1 - self.y0, self.x1 - self.x0


class Proposals(NamedTuple):
    """N masks found in one crop: logits (N, h, w) of the whole crop; iou, stability and presence (N,) in
    [0, 1]; points (N, 2) clicked and boxes (N, 4) tight, both in [0, 1] of the crop."""

    logits: Tensor
    iou: Tensor
    stability: Tensor
    presence: Tensor
    points: Tensor
    boxes: Tensor

    def rows(self, index: Tensor) -> Proposals:
        """Those at `index`: (K,) int64 or (N,) bool."""
        return Proposals(*(field[index] for field in self))


def crops_of(size: tuple[int, int], settings: GeneratorSettings) -> list[Crop]:
    """The image of (height, width) pixels itself, then the crops of each layer that are not too small."""
    height, width = size
    crops = [Crop(0, 0, width, height)]
    for layer in range(1, settings.crop_layers + 1):
        shared = int(settings.crop_overlap * min(size) * 2 / 2**layer)
        columns, rows = cuts(width, 2**layer, shared), cuts(height, 2**layer, shared)
        layer_crops = [Crop(x0, y0, x1, y1) for (y0, y1), (x0, x1) in product(rows, columns)]
        crops += [crop for crop in layer_crops if min(crop.size) >= SMALLEST_CROP]
    return crops


def cuts(length: int, parts: int, shared: int) -> list[tuple[int, int]]:
    """`parts` equal intervals that cover 0 to `length`, neighbours sharing at least `shared`."""
    part = math.ceil((length + shared * (parts - 1)) / parts)
    return [
        (min(i * (part - shared), length - part), min(i * (part - shared) + part, length))
        for i in range(parts)
    ]


def grid(side: int, like: Tensor) -> Tensor:
    """(side * side, 2) points (x, y) in [0, 1], each in the middle of its cell, row by row."""
    middles = (torch.arange(side, device=like.device, dtype=torch.float32) + 0.5) / side
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([x, y], dim=2).flatten(0, 1)


def propose(
    model: ImagePredictor, features: ImageFeatures, mask_size: tuple[int, int], settings: GeneratorSettings
) -> Proposals:
    """The good and distinct masks of one encoded image, best first; `mask_size` is (h, w) of its logits.

    At no time there are more than `most_masks` and those of one batch. Each click is answered in one look:
    there are hundreds of them.
    """
    features = features._replace(images=None)
    kept: Proposals | None = None
    clicks = grid(settings.points_per_side, features.levels[-1])
    for points in torch.split(clicks, settings.points_per_batch):
        found = good(click(model, features, mask_size, points, settings), settings)
        kept = found if kept is None else Proposals(*map(torch.cat, zip(kept, found, strict=True)))
        kept = kept.rows(distinct(box_overlaps(kept.boxes), kept.iou, settings.most_box_overlap))
        kept = kept.rows(torch.arange(min(len(kept.iou), settings.most_masks), device=points.device))
    assert kept is not None, "a grid has at least one point"
    return kept.rows(distinct(mask_overlaps(kept.logits > 0), kept.iou, settings.most_mask_overlap))


def click(
    model: ImagePredictor,
    features: ImageFeatures,
    mask_size: tuple[int, int],
    points: Tensor,
    settings: GeneratorSettings,
) -> Proposals:
    """Every mask that the model offers for single clicks at points (N, 2) of one image."""
    count, device = len(points), points.device
    prompts = ImagePrompts(
        points=points[:, None],
        labels=torch.full((count, 1), POSITIVE, device=device),
        prior=points.new_zeros(count, *mask_size),
        has_prior=torch.zeros(count, dtype=torch.bool, device=device),
    )
    image_of = torch.zeros(count, dtype=torch.int64, device=device)
    found = ranked(model.candidates(features, image_of, prompts))
    logits = found.logits.flatten(0, 1).float()
    return Proposals(
        logits=logits,
        iou=found.iou.flatten().float(),
        stability=stability(logits, settings.stability_margin),
        presence=found.presence.float().sigmoid().repeat_interleave(found.iou.shape[1], dim=0),
        points=points.repeat_interleave(found.iou.shape[1], dim=0),
        boxes=tight_boxes(logits > 0),
    )


def good(found: Proposals, settings: GeneratorSettings) -> Proposals:
    """Those that are sure enough, and not empty."""
    sure = (found.iou >= settings.least_iou) & (found.stability >= settings.least_stability)
    return found.rows(sure & (found.boxes[:, 2] > 0))


def whole(found: Proposals, crop: Crop, size: tuple[int, int]) -> Proposals:
    """Without the masks that reach an edge of the crop which is not an edge of the image of this size: they
    are cut off, and another crop shows them whole."""
    height, width = size
    x0, y0, x1, y1 = found.boxes.unbind(dim=1)
    cut = ((x0 < NEAR_CUT) & (crop.x0 > 0)) | ((x1 > 1 - NEAR_CUT) & (crop.x1 < width))
    cut |= ((y0 < NEAR_CUT) & (crop.y0 > 0)) | ((y1 > 1 - NEAR_CUT) & (crop.y1 < height))
    return found.rows(~cut)


def distinct_over_crops(
    found: Sequence[Proposals], crops: Sequence[Crop], settings: GeneratorSettings
) -> list[Proposals]:
    """What was found in each crop, without doubles of what another one shows; at most `most_masks` in all.

    `crops[0]` is the whole image. A smaller crop shows things better and wins; among crops of one size the
    higher predicted IoU. Called after every crop it keeps the number of masks bounded.
    """
    boxes = torch.cat(
        [in_image(one.boxes, crop, crops[0].size) for one, crop in zip(found, crops, strict=True)]
    )
    kept = distinct(box_overlaps(boxes), preferences(found, crops), settings.most_box_overlap)
    best = torch.cat([one.iou for one in found])[kept].argsort(descending=True, stable=True)
    found = only(found, kept[best[: settings.most_masks]])
    masks = torch.cat(
        [
            placed(one.logits, crop, crops[0].size, found[0].logits.shape[-2:])
            for one, crop in zip(found, crops, strict=True)
        ]
    )
    return only(found, distinct(mask_overlaps(masks), preferences(found, crops), settings.most_mask_overlap))


def preferences(found: Sequence[Proposals], crops: Sequence[Crop]) -> Tensor:
    """A score for each mask of each crop, one after the other: the crop's smallness, then predicted IoU."""
    sizes = sorted({math.prod(crop.size) for crop in crops})
    ranks = [sizes.index(math.prod(crop.size)) for crop in crops]
    return torch.cat([one.iou - 2 * rank for one, rank in zip(found, ranks, strict=True)])


def only(found: Sequence[Proposals], kept: Tensor) -> list[Proposals]:
    """The masks at `kept` (K,) int64, counted over all crops, by crop."""
    counts = [len(one.iou) for one in found]
    chosen = torch.zeros(sum(counts), dtype=torch.bool, device=kept.device)
    chosen[kept] = True
    return [one.rows(part) for one, part in zip(found, torch.split(chosen, counts), strict=True)]


def in_image(boxes: Tensor, crop: Crop, size: tuple[int, int]) -> Tensor:
    """Boxes (N, 4), or points (N, 2), in [0, 1] of a crop, in [0, 1] of the image of (height, width)."""
    (tall, wide), (height, width) = crop.size, size
    corners = boxes.view(len(boxes), boxes.shape[1] // 2, 2)
    pixels = corners * boxes.new_tensor((wide, tall)) + boxes.new_tensor((crop.x0, crop.y0))
    return (pixels / boxes.new_tensor((width, height))).flatten(1)


def placed(logits: Tensor, crop: Crop, size: tuple[int, int], raster: Sequence[int]) -> Tensor:
    """Logits (N, h, w) of a crop as masks (N, *raster) bool of the whole image of (height, width)."""
    (height, width), (h, w) = size, raster
    x0, y0 = min(round(crop.x0 * w / width), w - 1), min(round(crop.y0 * h / height), h - 1)
    x1, y1 = max(round(crop.x1 * w / width), x0 + 1), max(round(crop.y1 * h / height), y0 + 1)
    masks = torch.zeros(len(logits), h, w, dtype=torch.bool, device=logits.device)
    if len(logits):
        shown = F.interpolate(logits[:, None], (y1 - y0, x1 - x0), mode="bilinear", antialias=True)[:, 0]
        masks[:, y0:y1, x0:x1] = shown > 0
    return masks
