"""Everything without prompts: what a grid of clicks finds, what is dropped, and how much is held at once.

The model is a fake that knows painted shapes, so that what should be found is known to the pixel.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from keepsight.model.image_predictor import ImagePrediction, ImagePrompts
from keepsight.model.mask_generator import (
    Crop,
    GeneratorSettings,
    Proposals,
    crops_of,
    distinct_over_crops,
    grid,
    in_image,
    placed,
    propose,
    whole,
)
from keepsight.model.suppression import box_overlaps, distinct, mask_overlaps, tight_boxes
from keepsight.model.video_predictor import ImageFeatures

SIDE = 128
MASK = (SIDE // 4, SIDE // 4)


class ShapePredictor:
    """Of an image whose pixel values are shape numbers / 10: a click gives its shape with predicted IoU 0.9,
    then all shapes together with 0.6; a click on 0 gives an empty mask. `asked` counts clicks per call."""

    def __init__(self, blurred: int = 0) -> None:
        self.asked: list[int] = []
        self.blurred = blurred
        """The number of a shape whose outline is unsure."""

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        return SIDE, SIDE

    def encode_image(self, images: Tensor) -> ImageFeatures:
        return ImageFeatures((images[:, :1, 2::4, 2::4],))

    def candidates(self, features: ImageFeatures, image_of: Tensor, prompts: ImagePrompts) -> ImagePrediction:
        self.asked.append(len(image_of))
        shapes = (features.levels[0][image_of, 0] * 10).round()
        h, w = shapes.shape[1:]
        x, y = (prompts.points[:, 0] * torch.tensor((w, h))).long().unbind(1)
        clicked = shapes[torch.arange(len(x)), y, x].view(-1, 1, 1)
        shape = torch.where((shapes == clicked) & (clicked > 0), 8.0, -8.0)
        soft = F.avg_pool2d(shape[:, None], 7, 1, 3)[:, 0] * 0.2
        shape = torch.where(clicked == self.blurred, soft, shape)
        both = torch.where((shapes > 0) & (clicked > 0), 8.0, -8.0)
        logits = torch.stack([shape, shape, both], dim=1)
        iou = torch.tensor([0.5, 0.9, 0.6]).expand(len(x), 3)
        return ImagePrediction(logits, iou, torch.zeros(len(x)))


def shapes(*boxes: tuple[int, int, int, int]) -> ImageFeatures:
    """An encoded image of rectangles (x0, y0, x1, y1) in pixels, numbered from 1."""
    image = torch.zeros(1, 3, SIDE, SIDE)
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        image[:, :, y0:y1, x0:x1] = number / 10
    return ShapePredictor().encode_image(image)


LEFT, RIGHT, LOW = (8, 8, 56, 56), (72, 16, 120, 48), (16, 80, 112, 120)
PLAIN = GeneratorSettings(points_per_side=8, points_per_batch=10)


def fractions(*boxes: tuple[int, int, int, int]) -> list[list[float]]:
    return sorted([side / SIDE for side in box] for box in boxes)


def test_every_shape_is_found_once() -> None:
    found = propose(ShapePredictor(), shapes(LEFT, RIGHT, LOW), MASK, PLAIN)
    assert sorted(found.boxes.tolist()) == fractions(LEFT, RIGHT, LOW)
    assert found.iou.tolist() == pytest.approx([0.9] * 3)
    assert found.stability.tolist() == [1, 1, 1]


def test_the_click_that_found_a_mask_lies_on_it() -> None:
    found = propose(ShapePredictor(), shapes(LEFT, RIGHT, LOW), MASK, PLAIN)
    for (x, y), (x0, y0, x1, y1) in zip(found.points.tolist(), found.boxes.tolist(), strict=True):
        assert x0 <= x <= x1
        assert y0 <= y <= y1


def test_masks_the_model_doubts_are_dropped() -> None:
    lenient = GeneratorSettings(points_per_side=8, least_iou=0.55)
    assert len(propose(ShapePredictor(), shapes(LEFT, RIGHT), MASK, lenient).iou) == 3
    assert len(propose(ShapePredictor(), shapes(LEFT, RIGHT), MASK, PLAIN).iou) == 2


def test_masks_with_an_unsure_outline_are_dropped() -> None:
    found = propose(ShapePredictor(blurred=2), shapes(LEFT, RIGHT), MASK, PLAIN)
    assert found.boxes.tolist() == fractions(LEFT)


def test_an_image_of_nothing_has_no_masks() -> None:
    found = propose(ShapePredictor(), shapes(), MASK, PLAIN)
    assert found.logits.shape == (0, *MASK)
    assert found.points.shape == (0, 2)


def test_clicks_come_in_batches_of_bounded_size() -> None:
    model = ShapePredictor()
    propose(model, shapes(LEFT), MASK, PLAIN)
    assert max(model.asked) == 10
    assert sum(model.asked) == 64


def test_no_more_masks_are_kept_than_there_is_room_for() -> None:
    small = GeneratorSettings(points_per_side=8, most_masks=2)
    assert len(propose(ShapePredictor(), shapes(LEFT, RIGHT, LOW), MASK, small).iou) == 2


def test_masks_with_one_box_are_doubles_only_if_boxes_alone_decide() -> None:
    """A frame and what it frames have nearly the same box and not one pixel in common."""
    features = shapes((8, 8, 120, 120), (16, 16, 112, 112))
    by_box = propose(ShapePredictor(), features, MASK, PLAIN)
    by_mask = propose(
        ShapePredictor(), features, MASK, GeneratorSettings(points_per_side=16, most_box_overlap=1)
    )
    assert len(by_box.iou) == 1
    assert len(by_mask.iou) == 2


def test_a_grid_is_in_the_middle_of_its_cells() -> None:
    assert grid(2, torch.zeros(())).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 3), st.floats(0, 0.9))
def test_crops_of_a_layer_cover_the_image_and_are_alike(
    height: int, width: int, layers: int, overlap: float
) -> None:
    crops = crops_of((height, width), GeneratorSettings(crop_layers=layers, crop_overlap=overlap))
    assert crops[0] == Crop(0, 0, width, height)
    for crop in crops:
        assert 0 <= crop.x0 < crop.x1 <= width
        assert 0 <= crop.y0 < crop.y1 <= height
    rest = crops[1:]
    for layer in range(1, layers + 1):
        mine, rest = rest[: 4**layer], rest[4**layer :]
        if mine:
            assert len({crop.size for crop in mine}) == 1
            for low, high, length in ((0, 2, width), (1, 3, height)):
                spans = sorted({(crop[low], crop[high]) for crop in mine})
                assert (spans[0][0], spans[-1][1]) == (0, length)
                assert all(later[0] <= earlier[1] for earlier, later in pairwise(spans))


def test_an_image_is_not_cut_into_crumbs() -> None:
    assert len(crops_of((40, 40), GeneratorSettings(crop_layers=3))) == 1
    assert len(crops_of((400, 400), GeneratorSettings(crop_layers=2))) == 1 + 4 + 16


def proposal(boxes: list[tuple[float, float, float, float]], iou: list[float]) -> Proposals:
    """Filled rectangles, boxes in [0, 1] of the crop."""
    cells = (torch.arange(MASK[0]) + 0.5) / MASK[0]
    corners = torch.tensor(boxes).view(-1, 4, 1)
    columns = (cells > corners[:, 0]) & (cells < corners[:, 2])
    lines = (cells > corners[:, 1]) & (cells < corners[:, 3])
    masks = lines[:, :, None] & columns[:, None]
    scores, points = torch.tensor(iou), corners[:, :2, 0]
    return Proposals(torch.where(masks, 8.0, -8.0), scores, scores, scores, points, tight_boxes(masks))


ALL, CORNER = Crop(0, 0, 200, 100), Crop(100, 0, 200, 50)


def test_a_thing_that_an_image_and_a_crop_show_is_kept_from_the_crop() -> None:
    image = proposal([(0.55, 0.1, 0.8, 0.4), (0.1, 0.5, 0.4, 0.9)], [0.95, 0.9])
    crop = proposal([(0.1, 0.2, 0.6, 0.8)], [0.85])
    from_image, from_crop = distinct_over_crops([image, crop], [ALL, CORNER], GeneratorSettings())
    assert from_image.iou.tolist() == pytest.approx([0.9])
    assert from_crop.iou.tolist() == pytest.approx([0.85])


def test_over_all_crops_the_best_masks_stay_where_there_is_no_room_for_all() -> None:
    image = proposal([(0.1, 0.5, 0.4, 0.9)], [0.95])
    crop = proposal([(0.1, 0.2, 0.6, 0.8), (0.7, 0.1, 0.9, 0.9)], [0.85, 0.99])
    kept = distinct_over_crops([image, crop], [ALL, CORNER], GeneratorSettings(most_masks=2))
    assert [one.iou.tolist() for one in kept] == [pytest.approx([0.95]), pytest.approx([0.99])]


def test_what_a_crop_cuts_off_is_dropped_but_not_what_the_image_ends() -> None:
    reaches_left, reaches_right = (0.0, 0.2, 0.5, 0.6), (0.5, 0.2, 1.0, 0.6)
    found = whole(proposal([reaches_left, reaches_right], [0.9, 0.8]), CORNER, ALL.size)
    assert found.iou.tolist() == pytest.approx([0.8])


def test_places_in_a_crop_are_places_in_the_image() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0]])
    assert in_image(boxes, CORNER, ALL.size).tolist() == [[0.5, 0.0, 0.75, 0.5]]
    assert in_image(boxes[:, 2:], CORNER, ALL.size).tolist() == [[0.75, 0.5]]
    mask = placed(proposal([(0, 0, 0.5, 1)], [1.0]).logits, CORNER, ALL.size, MASK)
    assert tight_boxes(mask).tolist() == [[0.5, 0.0, 0.75, 0.5]]


BOXES = st.lists(
    st.tuples(*[st.integers(0, 12)] * 4).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
    ),
    max_size=12,
)


@given(BOXES, st.floats(0, 1), st.randoms(use_true_random=False))
def test_of_doubles_the_best_is_kept_and_nothing_else_is_lost(
    boxes: list[tuple[int, ...]], most: float, random: object
) -> None:
    overlaps = box_overlaps(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
    scores = torch.tensor([random.random() for _ in boxes])  # type: ignore[attr-defined]
    kept = distinct(overlaps, scores, most).tolist()
    assert all(overlaps[a, b] <= most for a in kept for b in kept if a != b)
    for lost in set(range(len(boxes))) - set(kept):
        assert any(overlaps[lost, one] > most and scores[one] >= scores[lost] for one in kept)


def test_overlaps_are_those_of_areas() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [2, 2, 4, 4], [5, 5, 5, 5]])
    masks = torch.zeros(3, 6, 6, dtype=torch.bool)
    masks[0, :4, :4], masks[1, 2:4, 2:4] = True, True
    for overlaps in (box_overlaps(boxes), mask_overlaps(masks)):
        assert overlaps.tolist() == [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "wrong", [{"points_per_side": 0}, {"least_iou": 1.5}, {"crop_layers": 9}, {"smallest_region": 1.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GeneratorSettings(**wrong)  # type: ignore[arg-type]
