"""The methods without a trained model, on pictures in which a textured square moves."""

import cv2
import numpy as np
import pytest

from keepsight.streams.types import Image
from keepsight.tracker.evaluation.baselines import (
    BASELINES,
    keep_first_mask,
    nearest_neighbours,
    optical_flow,
)
from keepsight.tracker.evaluation.metrics import region_similarity
from keepsight.tracker.evaluation.propagator import IndexMap, Propagator

SIZE, SIDE = (96, 128), 30


def moving_square(frames: int, step: int) -> tuple[list[Image], list[IndexMap]]:
    """A warm textured square that moves to the right over cold texture; it is object 3."""
    random = np.random.default_rng(0)
    texture = cv2.GaussianBlur(random.integers(0, 256, (*SIZE, 1)).astype(np.float32), (0, 0), 2)
    texture -= texture.min()
    texture = (texture * (120 / texture.max())).astype(np.uint8)[..., None]
    images, truths = [], []
    for frame in range(frames):
        rows, columns = slice(30, 30 + SIDE), slice(20 + step * frame, 20 + step * frame + SIDE)
        image = np.concatenate([texture // 4, texture, texture + 100], axis=2)
        patch = texture[:SIDE, :SIDE]
        image[rows, columns] = np.concatenate([patch + 120, patch, patch // 4], axis=2)
        truth = np.zeros(SIZE, np.uint8)
        truth[rows, columns] = 3
        images.append(image)
        truths.append(truth)
    return images, truths


def last_similarity(method: Propagator, step: int) -> float:
    images, truths = moving_square(8, step)
    *_, last = method(images, {0: truths[0]})
    return region_similarity(last == 3, truths[-1] == 3)


def test_keeping_the_first_mask_keeps_it() -> None:
    images, truths = moving_square(4, step=3)
    assert all(np.array_equal(held, truths[0]) for held in keep_first_mask(images, {0: truths[0]}))


@pytest.mark.parametrize("method", [optical_flow, nearest_neighbours])
def test_moving_methods_follow_a_square_that_leaves_its_first_mask(method: Propagator) -> None:
    assert last_similarity(keep_first_mask, step=3) < 0.2
    assert last_similarity(method, step=3) > 0.8


@pytest.mark.parametrize("method", BASELINES.values(), ids=BASELINES.keys())
def test_every_baseline_gives_one_map_of_the_frames_size_and_only_known_ids(method: Propagator) -> None:
    images, truths = moving_square(3, step=2)
    maps = list(method(iter(images), {0: truths[0]}))
    assert [index_map.shape for index_map in maps] == [SIZE] * 3
    assert all(index_map.dtype == np.uint8 and set(np.unique(index_map)) <= {0, 3} for index_map in maps)


@pytest.mark.parametrize("method", BASELINES.values(), ids=BASELINES.keys())
def test_ids_above_255_stay_what_they_are(method: Propagator) -> None:
    images, truths = moving_square(3, step=2)
    first = np.where(truths[0] > 0, np.uint16(2001), np.uint16(0))
    assert all(set(np.unique(index_map)) == {0, 2001} for index_map in method(images, {0: first}))


@pytest.mark.parametrize("method", BASELINES.values(), ids=BASELINES.keys())
def test_an_object_prompted_later_starts_there_and_leaves_the_others_alone(method: Propagator) -> None:
    images, truths = moving_square(4, step=0)
    late = np.zeros(SIZE, np.uint8)
    late[70:90, 100:120] = 8
    maps = list(method(images, {1: truths[0], 2: late}))
    assert not maps[0].any()
    assert set(np.unique(maps[1])) == {0, 3}
    assert np.array_equal(maps[2] == 8, late == 8)
    assert region_similarity(maps[3] == 3, truths[3] == 3) > 0.9
