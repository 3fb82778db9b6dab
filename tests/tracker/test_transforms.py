"""Between numpy and tensors, at every size."""

import cv2
import numpy as np
import pytest
import torch

from keepsight.streams.types import Geometry
from keepsight.tracker.transforms import mask_at, shrunk, tight_box, to_image, to_masks, to_prompts

LIKE = torch.zeros(())
CPU = torch.device("cpu")


def gradient(height: int, width: int) -> np.ndarray:
    """A picture whose red rises to the right and green to the bottom; blue is 255."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    return image


def test_an_image_becomes_channels_first_in_zero_to_one():
    tensor = to_image(gradient(40, 60), (32, 64), LIKE)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 32, 64), torch.float32)
    assert tensor[0, 2].eq(1).all()
    assert (tensor[0, 0, :, 1:] >= tensor[0, 0, :, :-1]).all()
    assert (tensor[0, 1, 1:] >= tensor[0, 1, :-1]).all()


def test_an_image_takes_the_models_dtype():
    assert to_image(gradient(4, 4), (8, 8), LIKE.to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("size", [(480, 854), (720, 1280), (1080, 1920)])
def test_a_shrunk_image_is_close_to_an_area_average(size):
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 3)
    average = cv2.resize(image, (416, 256), interpolation=cv2.INTER_AREA)
    # 2 of 255: interpolating the last factor below 2 instead of averaging it, on texture of 3 pixels.
    assert np.abs(average.astype(int) - shrunk(image, (256, 416))).mean() < 2


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (6000, 8000), (31, 33)])
def test_frames_of_every_size_reach_the_model_and_masks_come_back_at_their_size(size):
    assert to_image(np.full((*size, 3), 255, np.uint8), (64, 96), LIKE).eq(1).all()
    (mask,), (box,) = to_masks(np.full((1, 16, 24), 5.0, np.float32), size)
    assert mask.shape == size
    assert mask.all()
    assert box == (0, 0, 1, 1)


def test_a_picture_that_is_not_contiguous_is_taken_as_it_looks():
    image = gradient(40, 60)
    assert torch.equal(
        to_image(image[:, ::-1], (32, 64), LIKE), to_image(image[:, ::-1].copy(), (32, 64), LIKE)
    )


def test_prompts_of_several_objects_are_one_padded_batch():
    mask = np.zeros((10, 20), bool)
    mask[:5] = True
    prompts = to_prompts(
        [
            Geometry(points=((0.1, 0.2), (0.3, 0.4)), labels=(True, False)),
            Geometry(box=(0.5, 0.5, 0.75, 1.0), points=((0.6, 0.6),), labels=(True,)),
            Geometry(mask=mask),
        ],
        (20, 40),
        CPU,
    )
    assert prompts.labels.tolist() == [[1, 0, -1], [2, 3, 1], [-1, -1, -1]]
    assert prompts.points[0].tolist() == pytest.approx(np.array([[0.1, 0.2], [0.3, 0.4], [0, 0]]))
    assert prompts.points[1].tolist() == pytest.approx(np.array([[0.5, 0.5], [0.75, 1.0], [0.6, 0.6]]))
    assert prompts.has_mask.tolist() == [False, False, True]
    assert prompts.masks.shape == (3, 20, 40)
    assert not prompts.masks[:2].any()
    assert prompts.masks[2, :9].eq(1).all()
    assert prompts.masks[2, 11:].eq(0).all()


def test_a_mask_alone_still_has_one_padding_point():
    prompts = to_prompts([Geometry(mask=np.ones((4, 4), bool))], (8, 8), CPU)
    assert prompts.labels.tolist() == [[-1]]


@pytest.mark.parametrize("size", [(6000, 8000), (6000, 20), (20, 8000)])
def test_an_object_of_one_pixel_does_not_vanish_at_the_models_size(size):
    mask = np.zeros(size, bool)
    mask[size[0] // 3, size[1] // 3] = True
    cover = mask_at(mask, (64, 96))
    assert cover.max() == 1
    row, column = np.unravel_index(cover.argmax(), cover.shape)
    assert abs(row - 64 / 3) <= 2
    assert abs(column - 96 / 3) <= 3


def random_logits(height: int, width: int, seed: int) -> np.ndarray:
    """Blobs: smooth noise, mostly negative."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2) * 10 - 1.5


@pytest.mark.parametrize("size", [(720, 1280), (480, 854), (77, 50), (16, 16), (3, 2), (719, 1277)])
def test_masks_are_those_of_interpolating_the_whole_map(size):
    for seed in range(5):
        logits = random_logits(64, 48, seed)
        logits[:, : 10 * seed] = -5
        whole = cv2.resize(logits, size[::-1], interpolation=cv2.INTER_LINEAR)
        (mask,), (box,) = to_masks(logits[None], size)
        # Pixels within float32 rounding of the threshold may fall to either side.
        assert np.abs(whole[mask != (whole > 0)]).max(initial=0) < 1e-4
        assert box == tight_box(mask)


def test_an_object_below_zero_everywhere_has_no_pixel_and_no_box():
    (mask,), (box,) = to_masks(np.full((1, 8, 8), -3.0, np.float32), (20, 30))
    assert not mask.any()
    assert box is None
    assert tight_box(mask) is None


def test_a_box_is_tight():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 4:9] = True
    assert tight_box(mask) == (4 / 20, 2 / 10, 9 / 20, 5 / 10)
    assert tight_box(mask[:, ::-1]) == (11 / 20, 2 / 10, 16 / 20, 5 / 10)
