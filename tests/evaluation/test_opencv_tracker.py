"""OpenCV's tracker as a baseline, on a textured square that moves."""

import numpy as np

from keepsight.tracker.evaluation.metrics import region_similarity
from keepsight.tracker.evaluation.mot import PixelBox
from keepsight.tracker.evaluation.opencv_tracker import cut_out, follow, propagate

from .test_baselines import SIDE, SIZE, moving_square


def test_it_follows_a_square_that_leaves_its_first_box() -> None:
    images, _ = moving_square(8, step=4)
    boxes = list(follow(images, {0: {3: (20.0, 30.0, 50.0, 60.0)}}))
    assert boxes[0] == {3: (20, 30, 50, 60)}
    assert abs(boxes[-1][3][0] - (20 + 4 * 7)) < 8
    assert abs(boxes[-1][3][1] - 30) < 8


def test_it_draws_masks_that_are_more_than_the_box() -> None:
    images, truths = moving_square(6, step=4)
    maps = list(propagate(images, {0: truths[0]}))
    assert np.array_equal(maps[0], truths[0])
    assert region_similarity(maps[-1] == 3, truths[-1] == 3) > 0.6


def test_an_object_shown_later_begins_there() -> None:
    images, truths = moving_square(3, step=0)
    maps = list(propagate(images, {1: truths[1]}))
    assert not maps[0].any()
    assert np.array_equal(maps[1], truths[1])


def test_the_cut_out_of_a_loose_box_is_what_stands_out_in_it() -> None:
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[30 : 30 + SIDE, 40 : 40 + SIDE] = (220, 180, 40)
    found = cut_out(image, (30.0, 20.0, 80.0, 70.0))
    wanted = image[..., 0] > 200
    assert region_similarity(found, wanted) > 0.95


def test_a_box_that_fills_the_picture_or_shows_nothing_is_its_own_mask() -> None:
    plain = np.full((*SIZE, 3), 90, np.uint8)
    assert cut_out(plain, (0.0, 0.0, float(SIZE[1]), float(SIZE[0]))).all()
    tiny: PixelBox = (10.0, 10.0, 12.0, 12.0)
    assert cut_out(plain, tiny).any()


def test_a_box_too_small_to_learn_stays_where_it_is() -> None:
    images, _ = moving_square(3, step=4)
    tiny = {1: (5.0, 5.0, 9.0, 9.0)}
    assert list(follow(images, {0: tiny})) == [tiny] * 3
