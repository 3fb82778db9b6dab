"""A picture encoded once and asked many times; many pictures at once; everything without prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import keepsight.tracker as ks
from keepsight.model.image_predictor import ImagePrediction, ImagePrompts
from keepsight.model.nano import Nano
from keepsight.model.nano_config import NANO
from keepsight.model.video_predictor import ImageFeatures
from keepsight.streams import rle
from keepsight.streams.types import Image
from keepsight.tracker.bench_pictures import throughput
from keepsight.tracker.image import EncodedImage, to_image_prompts
from keepsight.tracker.image_batches import WINDOW, InputBuffer, encode_pictures

SIZE = (60, 90)
LOOSE = {"atol": 2e-5, "rtol": 1e-4}
"""The same sums in another order, which is all that batching may change in float32."""


def noise(height: int, width: int, seed: int = 0) -> Image:
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(blocks, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


@pytest.fixture(scope="module")
def tracker() -> ks.Tracker:
    torch.set_num_threads(1)
    return ks.load("test", device="cpu")


@pytest.fixture(scope="module")
def small_nano() -> ks.Tracker:
    torch.manual_seed(0)
    config = replace(NANO, image_side=96, widths=(16, 16, 32, 32), depths=(1, 1, 1, 1))
    return ks.Tracker(Nano(config).eval().requires_grad_(False))


@pytest.fixture(scope="module")
def image(tracker: ks.Tracker) -> EncodedImage:
    return tracker.image(noise(*SIZE))


def test_a_click_gives_three_masks_of_the_pictures_size_best_first(image: EncodedImage) -> None:
    masks, iou, logits = image.predict(points=[(0.4, 0.6)], labels=[1])
    assert (masks.shape, masks.dtype) == ((3, *SIZE), np.bool_)
    assert (iou.shape, iou.dtype) == ((3,), np.float32)
    assert (logits.shape, logits.dtype) == ((3, 32, 32), np.float32)
    assert iou.tolist() == sorted(iou.tolist(), reverse=True)


def test_a_prompt_that_leaves_no_doubt_gives_one_mask(image: EncodedImage) -> None:
    for clear in (
        image.predict(box=(0.1, 0.1, 0.6, 0.7)),
        image.predict(points=[(0.4, 0.6), (0.1, 0.1)], labels=[1, 0]),
    ):
        assert clear.masks.shape == (1, *SIZE)
    assert image.predict(box=(0.1, 0.1, 0.6, 0.7), multimask=True).masks.shape[0] == 3
    assert image.predict(points=[(0.4, 0.6)], multimask=False).masks.shape[0] == 1


def test_every_mask_comes_with_how_sure_the_model_is_of_it(tracker: ks.Tracker, image: EncodedImage) -> None:
    """`confidence` is `presence * sqrt(iou * stability)`; presence is the model's own word."""
    found = image.predict(points=[(0.4, 0.6)])
    assert len(found) == 3, "as before: masks, iou, low_res_logits"
    for opinion in (found.stability, found.margin, found.confidence):
        assert (opinion.shape, opinion.dtype) == ((3,), np.float32)
        assert ((opinion >= 0) & (opinion <= 1)).all()
    np.testing.assert_allclose(
        found.confidence, found.presence * np.sqrt(found.iou * found.stability), rtol=1e-5
    )
    prompts = to_image_prompts(
        [ks.Prompt(points=((0.4, 0.6),), labels=(True,))], image.mask_size, torch.device("cpu")
    )
    said = tracker.model.candidates(image.features, torch.zeros(1, dtype=torch.int64), prompts).presence
    assert found.presence == pytest.approx(float(said.sigmoid()))
    assert 0 < found.presence < 1


def test_masks_are_the_logits_at_the_pictures_size(image: EncodedImage) -> None:
    masks, _, logits = image.predict(points=[(0.4, 0.6)])
    for mask, low in zip(masks, logits, strict=True):
        whole = cv2.resize(low, SIZE[::-1], interpolation=cv2.INTER_LINEAR)
        assert np.abs(whole[mask != (whole > 0)]).max(initial=0) < 1e-4


def test_a_mask_is_refined_from_its_logits_or_from_yes_and_no(image: EncodedImage) -> None:
    first = image.predict(points=[(0.4, 0.6)])
    refined = image.predict(points=[(0.4, 0.6), (0.8, 0.2)], labels=[1, 0], mask=first.low_res_logits[0])
    plain = image.predict(points=[(0.4, 0.6), (0.8, 0.2)], labels=[1, 0])
    assert np.abs(refined.low_res_logits - plain.low_res_logits).max() > 1e-3
    mask = np.zeros(SIZE, np.bool_)
    mask[10:30, 20:60] = True
    alone = image.predict(mask=mask)
    assert alone.masks.shape == (1, *SIZE)
    assert np.abs(alone.low_res_logits - image.predict(mask=~mask).low_res_logits).max() > 1e-3


def test_many_objects_are_asked_for_together(image: EncodedImage) -> None:
    prompts = [
        ks.Prompt(box=(0.1, 0.1, 0.6, 0.7), label="dog"),
        ks.ImagePrompt(points=((0.4, 0.6),), labels=(True,)),
        ks.ImagePrompt(logits=image.predict(points=[(0.5, 0.5)]).low_res_logits[1]),
    ] * 15
    together = image.predict_many(prompts)
    assert [len(masks.iou) for masks in together] == [1, 3, 1] * 15
    for row in (0, 1, 2, 44):
        (alone,) = image.predict_many([prompts[row]])
        np.testing.assert_allclose(together[row].low_res_logits, alone.low_res_logits, **LOOSE)


POINTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=5)


@given(data=st.data(), marks=POINTS)
@settings(max_examples=15, deadline=None)
def test_points_in_any_order_give_the_same_masks_to_the_bit(
    image: EncodedImage, data: st.DataObject, marks: list[tuple[float, float, bool]]
) -> None:
    def masks(order: Sequence[tuple[float, float, bool]]) -> ks.Masks:
        return image.predict([(x, y) for x, y, _ in order], [int(on) for _, _, on in order])

    first, mixed = masks(marks), masks(data.draw(st.permutations(marks)))
    assert np.array_equal(first.low_res_logits, mixed.low_res_logits)
    assert np.array_equal(first.masks, mixed.masks)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"points": [(0.5, 1.2)]}, r"point \(0.5, 1.2\) is outside the frame: coordinates go from 0 to 1"),
        ({"points": [(300, 200)]}, "coordinates go from 0 to 1"),
        ({"points": [(float("nan"), 0.5)]}, "is outside the frame"),
        ({"points": [(0.5, 0.5)], "labels": [1, 0]}, "1 points but 2 labels"),
        ({"box": (0.5, 0.5, 0.4, 0.9)}, "is empty or turned round"),
        ({}, "a prompt needs points, a box or a mask"),
        ({"mask": np.ones((4, 4), np.bool_)}, "the mask is 4×4 but the picture is 90×60"),
        ({"mask": np.zeros(SIZE, np.bool_)}, "the mask is empty"),
        ({"mask": np.ones(SIZE, np.uint8)}, "a mask of uint8: give bool"),
        ({"mask": np.zeros((3, 32, 32), np.float32)}, r"logits of shape \(3, 32, 32\)"),
        ({"mask": np.full((32, 32), np.nan, np.float32)}, "not all finite"),
    ],
)
def test_a_prompt_that_cannot_be_meant_is_refused(image: EncodedImage, asked: dict, reason: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=reason):
        image.predict(**asked)


def test_nano_has_one_mask_for_every_prompt(small_nano: ks.Tracker) -> None:
    image = small_nano.image(noise(*SIZE))
    for masks in image.predict_many(
        [ks.Prompt(points=((0.5, 0.5),), labels=(True,)), ks.Prompt(box=(0, 0, 0.5, 0.5))]
    ):
        assert masks.masks.shape == (1, *SIZE)
        assert masks.low_res_logits.shape == (1, *image.mask_size)
        again = image.predict(points=[(0.2, 0.2)], mask=masks.low_res_logits[0])
        assert again.masks.shape == (1, *SIZE)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2000, 3000)])
@pytest.mark.parametrize("model", ["tracker", "small_nano"])
def test_pictures_of_every_size_are_segmented(
    size: tuple[int, int], model: str, request: pytest.FixtureRequest
) -> None:
    image = request.getfixturevalue(model).image(np.full(size, 200, np.uint8))
    assert image.predict(points=[(1.0, 1.0)]).masks.shape[1:] == size


def test_a_file_is_the_same_as_its_pixels(tracker: ks.Tracker, image: EncodedImage, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), noise(*SIZE)[:, :, ::-1])
    from_file = tracker.image(path).predict(points=[(0.4, 0.6)])
    assert np.array_equal(from_file.low_res_logits, image.predict(points=[(0.4, 0.6)]).low_res_logits)
    with pytest.raises(ks.SourceError, match=r"nowhere\.jpg: no such file"):
        tracker.image("nowhere.jpg")


def mixed_pictures() -> list[Image]:
    sizes = [(60, 90), (90, 60), (60, 90), (40, 200), (60, 60), (90, 60), (61, 91), (120, 180), (200, 40)]
    return [noise(*size, seed=number) for number, size in enumerate(sizes)]


@pytest.mark.parametrize("model", ["tracker", "small_nano"])
def test_pictures_of_mixed_sizes_are_what_they_are_one_by_one(
    model: str, request: pytest.FixtureRequest
) -> None:
    tracker: ks.Tracker = request.getfixturevalue(model)
    pictures = mixed_pictures()
    for picture, together in zip(pictures, tracker.images(iter(pictures), batch=3), strict=True):
        alone = tracker.image(picture)
        assert together.size == picture.shape[:2]
        assert together.input_size == alone.input_size
        np.testing.assert_allclose(
            together.predict(box=(0.2, 0.2, 0.8, 0.8)).low_res_logits,
            alone.predict(box=(0.2, 0.2, 0.8, 0.8)).low_res_logits,
            **LOOSE,
        )


class Counting:
    """A predictor that notes the shapes it is given and whether its input lay where the last one did."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.places: list[int] = []

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        return (32, 64) if frame_size[1] > frame_size[0] else (64, 32)

    def encode_image(self, images: Tensor) -> ImageFeatures:
        self.shapes.append(tuple(images.shape))
        self.places.append(images.data_ptr())
        return ImageFeatures((images.mean((2, 3)),))

    def candidates(self, features: ImageFeatures, image_of: Tensor, prompts: ImagePrompts) -> ImagePrediction:
        raise AssertionError("encoding pictures asks for no masks")


def test_pictures_of_one_input_size_are_encoded_together_in_one_place() -> None:
    model = Counting()
    pictures = [np.full((20, 30 if number % 2 else 10, 3), number, np.uint8) for number in range(12)]
    encoded = list(encode_pictures(model, pictures, batch=3))
    assert sorted(model.shapes) == [(3, 3, 32, 64)] * 2 + [(3, 3, 64, 32)] * 2
    assert len(set(model.places)) == 1
    for number, image in enumerate(encoded):
        assert image.picture is pictures[number]
        assert image.features.levels[0].tolist() == [pytest.approx([number / 255] * 3)]


def test_no_more_pictures_are_read_ahead_than_there_is_room_for() -> None:
    read: list[int] = []

    def pictures() -> object:
        for number in range(100):
            read.append(number)
            yield np.zeros((20, 30, 3), np.uint8)

    model = Counting()
    next(encode_pictures(model, pictures(), batch=2))  # type: ignore[arg-type]
    assert len(read) == WINDOW
    assert model.shapes == [(2, 3, 32, 64)], "the first picture does not wait for more than its own batch"


def test_an_input_buffer_grows_once_and_holds_what_it_is_filled_with() -> None:
    buffer = InputBuffer(torch.zeros((), dtype=torch.bfloat16))
    large = buffer.fill([np.full((10, 10, 3), 255, np.uint8)] * 2, (32, 32))
    assert (large.shape, large.dtype) == ((2, 3, 32, 32), torch.bfloat16)
    assert large.eq(1).all()
    assert (buffer.suits((1024, 1024)), buffer.suits((4096, 4096)), buffer.suits((256, 512))) == (1, 1, 8)
    small = buffer.fill([np.zeros((10, 10, 3), np.uint8)], (32, 16))
    assert small.data_ptr() == large.data_ptr()
    assert small.eq(0).all()


def test_throughput_is_told_of_both_ways(tracker: ks.Tracker) -> None:
    found = throughput(tracker, 3)
    assert found.one_by_one > 0
    assert found.ratio == pytest.approx(found.in_batches / found.one_by_one)
    with pytest.raises(ValueError, match="a batch of 0 pictures: give at least 1"):
        next(tracker.images([noise(*SIZE)], batch=0))


def test_everything_is_found_as_rle_or_masks_largest_first(tracker: ks.Tracker) -> None:
    lenient = ks.GeneratorSettings(
        points_per_side=4, least_iou=0, least_stability=0, most_box_overlap=1, crop_layers=1
    )
    image = tracker.image(noise(120, 180))
    found = ks.everything(image, lenient)
    assert [segment.object_id for segment in found] == list(range(1, len(found) + 1))
    assert len(found) > 1
    areas = [segment.area for segment in found]
    assert areas == sorted(areas, reverse=True)
    for segment in found:
        assert segment.mask.shape == (120, 180)
        assert segment.mask.sum() == segment.area
        assert 0 <= segment.confidence <= 1
        assert np.array_equal(rle.decode(segment.rle), segment.mask)
        assert segment.point is not None
        assert all(0 <= place <= 1 for place in segment.point)


def test_everything_is_nothing_where_the_model_is_sure_of_nothing(tracker: ks.Tracker) -> None:
    assert (
        ks.everything(tracker.image(noise(40, 40)), ks.GeneratorSettings(points_per_side=2, least_iou=1))
        == ()
    )


def test_everything_tidies_masks_up(tracker: ks.Tracker) -> None:
    image = tracker.image(noise(120, 180))
    rough = ks.GeneratorSettings(
        points_per_side=4, least_iou=0, least_stability=0, most_box_overlap=1, smallest_region=0
    )
    tidy = replace(rough, smallest_region=0.01)

    def specks(found: Sequence[ks.Segment]) -> int:
        parts = [
            cv2.connectedComponentsWithStats(one.mask.view(np.uint8))[2][1:, cv2.CC_STAT_AREA]
            for one in found
        ]
        return sum(int((sizes < 0.01 * 120 * 180).sum()) for sizes in parts if len(sizes) > 1)

    assert specks(ks.everything(image, rough)) > 0
    assert specks(ks.everything(image, tidy)) == 0


def test_the_bundled_model_finds_a_thing_that_stands_out() -> None:
    """An orange disc on a dull ground, by a box, by a click and by itself; the bounds are well below what the
    model reached when this was written: 0.96, 0.80 and 0.82."""
    ground = cv2.resize(noise(24, 32) // 4 + np.uint8(60), (320, 240))
    y, x = np.mgrid[:240, :320]
    disc = ((x - 150) / 60) ** 2 + ((y - 120) / 45) ** 2 < 1
    picture = np.where(disc[:, :, None], np.uint8([220, 90, 30]), ground)

    def overlap(mask: ks.Masks | ks.Segment) -> float:
        found = mask.mask if isinstance(mask, ks.Segment) else mask.masks[0]
        return float((found & disc).sum() / (found | disc).sum())

    image = ks.load("nano", device="cpu").image(picture)
    assert overlap(image.predict(box=(0.28, 0.31, 0.66, 0.69))) > 0.8
    assert overlap(image.predict(points=[(150 / 320, 0.5)])) > 0.5
    assert max(map(overlap, ks.everything(image))) > 0.5
