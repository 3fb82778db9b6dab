"""Everything in a picture: where masks lie that a crop showed, and what becomes of doubles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import keepsight.tracker as ks
from keepsight.model.image_predictor import ImagePrediction, ImagePrompts
from keepsight.model.memory import MemoryShape
from keepsight.model.video_predictor import ImageFeatures
from keepsight.streams.types import Image, Mask
from keepsight.tracker.image_batches import encode_pictures
from keepsight.tracker.transforms import tight_box

SIZE = (240, 320)
INPUT, MASK = 64, 32


class Bright:
    """What is clicked on is all that is bright, where the click is on it; nothing anywhere else.

    `speck`: a click adds one cell of the mask to it: the upper right one if it is left of the middle, else
    the lower left one.
    """

    def __init__(self, speck: bool = False) -> None:
        self.speck = speck

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        return INPUT, INPUT

    def memory_shape(self, input_size: tuple[int, int]) -> MemoryShape:
        return MemoryShape(1, (4, 4), 1, (MASK, MASK))

    def encode_image(self, images: Tensor) -> ImageFeatures:
        return ImageFeatures((F.avg_pool2d(images.mean(1, keepdim=True), INPUT // MASK),))

    def candidates(self, features: ImageFeatures, image_of: Tensor, prompts: ImagePrompts) -> ImagePrediction:
        logits = 20 * (features.levels[0][image_of] - 0.5)
        for row, (x, y) in enumerate(prompts.points[:, 0].tolist()):
            if logits[row, 0, int(y * MASK), int(x * MASK)] < 0:
                logits[row] = -8.0
            elif self.speck:
                logits[row, 0, *((0, -1) if x < 0.5 else (-1, 0))] = 8.0
        return ImagePrediction(logits, torch.full((len(logits), 1), 0.9), torch.full((len(logits),), 2.0))


def disc(x: float, y: float, radius: float) -> Mask:
    """In pixels of a picture of `SIZE`."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    found: Mask = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return found


def painted(mask: Mask) -> Image:
    return np.where(mask[:, :, None], np.uint8(255), np.zeros((*SIZE, 3), np.uint8))


def everything(model: Bright, mask: Mask, settings: ks.GeneratorSettings) -> tuple[ks.Segment, ...]:
    (image,) = encode_pictures(model, [painted(mask)])
    return ks.everything(image, settings)


@pytest.mark.parametrize("place", [(30, 28), (290, 28), (30, 212), (290, 212)], ids=str)
def test_a_mask_found_in_a_crop_lies_at_its_place_in_the_picture(place: tuple[int, int]) -> None:
    """A crop of a quarter sees it twice as large: of the whole picture alone the IoU is at most 0.85."""
    truth = disc(*place, radius=18)
    settings = ks.GeneratorSettings(points_per_side=16, crop_layers=1, least_stability=0)
    (found,) = everything(Bright(), truth, settings)
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.9
    assert found.box == pytest.approx(tight_box(truth), abs=0.01)
    assert found.point is not None
    x, y = found.point
    assert math.dist((x * SIZE[1], y * SIZE[0]), place) < 18 + 5, "to a cell of the mask"


def test_what_is_a_double_once_it_is_tidied_is_left_out() -> None:
    truth = disc(160, 120, radius=40)
    rough = ks.GeneratorSettings(points_per_side=8, least_stability=0, most_mask_overlap=1, smallest_region=0)
    tidy = ks.GeneratorSettings(
        points_per_side=8, least_stability=0, most_mask_overlap=1, smallest_region=0.01
    )
    assert len(everything(Bright(speck=True), truth, rough)) == 2
    assert len(everything(Bright(speck=True), truth, tidy)) == 1
