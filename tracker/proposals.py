"""Every object of a picture without prompts: the model's proposals, at the picture's size and tidied up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from keepsight.model.image_predictor import ImagePredictor
from keepsight.model.mask_generator import (
    Crop,
    GeneratorSettings,
    Proposals,
    crops_of,
    distinct_over_crops,
    in_image,
    propose,
    whole,
)
from keepsight.model.nano import Nano
from keepsight.model.suppression import box_overlaps, distinct
from keepsight.model.video_predictor import ImageFeatures
from keepsight.streams import rle
from keepsight.streams.segments import Segment
from keepsight.streams.types import Mask

from .confidence import Opinions, confidence, margin
from .image import EncodedImage
from .regions import without_small_regions
from .transforms import sample_of, tight_box, to_image, to_masks

FOR_NANO = GeneratorSettings(points_per_side=16, least_iou=0.3, least_stability=0.2, most_mask_overlap=0.5)
"""Nano is less sure of what a single click means, and softer at the edges, than SAM 2, whose settings the
defaults are; they would keep nothing of it."""


def usual_settings(model: ImagePredictor) -> GeneratorSettings:
    return FOR_NANO if isinstance(model, Nano) else GeneratorSettings()


@torch.inference_mode()
def everything(image: EncodedImage, settings: GeneratorSettings | None = None) -> tuple[Segment, ...]:
    """Every object the model finds in a picture, by falling area; ids count from 1.

    settings: None for those that suit the model. They bound the memory needed: one crop is searched at a
    time, and what was found in all of them is thinned out after each.
    """
    settings = settings or usual_settings(image.model)
    crops: list[Crop] = []
    found: list[Proposals] = []
    for crop in crops_of(image.size, settings):
        crops.append(crop)
        found.append(search(image, crop, settings))
        if len(crops) > 1:
            found = distinct_over_crops(found, crops, settings)
    return numbered(distinct_segments(list(segments(image.size, crops, found, settings)), settings))


def search(image: EncodedImage, crop: Crop, settings: GeneratorSettings) -> Proposals:
    """What one crop of a picture shows whole, on the CPU."""
    features, size = encoded_crop(image, crop)
    found = propose(image.model, features, image.model.memory_shape(size).mask, settings)
    return Proposals(*(field.cpu() for field in whole(found, crop, image.size)))


def encoded_crop(image: EncodedImage, crop: Crop) -> tuple[ImageFeatures, tuple[int, int]]:
    """The features of a crop and the input size they were made at; those of the picture for all of it."""
    if crop.size == image.size:
        return image.features, image.input_size
    size = image.model.input_size(crop.size)
    part = image.picture[crop.y0 : crop.y1, crop.x0 : crop.x1]
    return image.model.encode_image(to_image(part, size, sample_of(image.model))), size


def segments(
    size: tuple[int, int], crops: Sequence[Crop], found: Sequence[Proposals], settings: GeneratorSettings
) -> Iterator[Segment]:
    """The proposals of all crops at the picture's size (height, width), one mask in memory at a time."""
    smallest = round(settings.smallest_region * size[0] * size[1])
    for crop, proposals in zip(crops, found, strict=True):
        points = in_image(proposals.points, crop, size).tolist()
        for row, logits in enumerate(proposals.logits):
            mask = without_small_regions(full_size(logits.numpy(), crop, size), smallest)
            if mask.any():
                x, y = points[row]
                opinions = opinions_on(proposals, row)
                yield Segment(
                    object_id=0,
                    rle=rle.encode(mask),
                    box=tight_box(mask),
                    area=int(mask.sum()),
                    iou=opinions.iou,
                    stability=opinions.stability,
                    confidence=confidence(opinions),
                    point=(x, y),
                )


def opinions_on(found: Proposals, row: int) -> Opinions:
    iou, presence, steady = (float(field[row]) for field in (found.iou, found.presence, found.stability))
    return Opinions(iou, presence, steady, margin(found.logits[row].numpy()))


def full_size(logits: NDArray[np.float32], crop: Crop, size: tuple[int, int]) -> Mask:
    """logits (h, w) of a crop as a mask (height, width) of the whole picture."""
    parts, _ = to_masks(logits[None], crop.size)
    part: Mask = parts[0]
    if crop.size == size:
        return part
    mask: Mask = np.zeros(size, np.bool_)
    mask[crop.y0 : crop.y1, crop.x0 : crop.x1] = part
    return mask


def distinct_segments(found: Sequence[Segment], settings: GeneratorSettings) -> list[Segment]:
    """Without doubles: masks that were told apart by a small island may be the same when it is gone."""
    if not found:
        return []
    boxes = torch.tensor([segment.box for segment in found])
    scores = torch.tensor([segment.iou for segment in found])
    return [found[row] for row in distinct(box_overlaps(boxes), scores, settings.most_box_overlap).tolist()]


def numbered(found: Iterable[Segment]) -> tuple[Segment, ...]:
    """By falling area, with ids from 1."""
    ordered = sorted(found, key=lambda segment: (-segment.area, segment.point))
    return tuple(replace(segment, object_id=number) for number, segment in enumerate(ordered, 1))
