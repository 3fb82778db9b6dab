"""How objects are shown: boxes, the deepest point, and clicks that go where the error is largest."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest

from keepsight.streams.types import Frame, Image, Mask, Prompt, Refusal, Result, Track
from keepsight.tracker.evaluation.prompting import (
    deepest_point,
    largest_error,
    prompter,
    tight_box,
)
from keepsight.tracker.evaluation.propagator import FirstMasks

SIZE = (20, 40)
IMAGES = [np.full((*SIZE, 3), shade, np.uint8) for shade in (10, 20, 30)]


def rectangle(top: int, left: int, height: int, width: int) -> Mask:
    made = np.zeros(SIZE, np.bool_)
    made[top : top + height, left : left + width] = True
    return made


def pixel(x: int, y: int) -> tuple[float, float]:
    """The middle of a pixel as a fraction of the frame."""
    return (x + 0.5) / SIZE[1], (y + 0.5) / SIZE[0]


def unused(images: Iterable[Image], prompts: Sequence[Prompt]) -> Iterator[Result]:
    raise AssertionError("only clicks ask the tracker")


def track(object_id: int, mask: Mask) -> Track:
    return Track(object_id, "", mask, None, "tracked", 1.0, 1.0, 1.0, 1.0, 1.0)


def shown(kind: str, first_masks: FirstMasks) -> list[Prompt]:
    return list(prompter(kind, unused)(IMAGES, first_masks))


def test_the_deepest_point_of_a_square_is_its_middle() -> None:
    assert deepest_point(rectangle(3, 10, 5, 5)) == pixel(12, 5)


def test_the_deepest_point_lies_in_the_wide_part_though_the_centre_of_mass_does_not() -> None:
    """A long thin handle pulls the centre of mass out of the blade."""
    assert deepest_point(rectangle(5, 0, 9, 9) | rectangle(9, 9, 1, 31)) == pixel(4, 9)


def test_the_edge_of_the_frame_is_outside() -> None:
    """7 rows from the upper edge: the middle is row 3, not row 0."""
    assert deepest_point(rectangle(0, 0, 7, 7)) == pixel(3, 3)


def test_a_box_is_tight_and_in_fractions_of_the_frame() -> None:
    assert tight_box(rectangle(5, 10, 10, 20)) == (0.25, 0.25, 0.75, 0.75)


@pytest.mark.parametrize("kind", ["mask", "box", "click"])
def test_each_object_is_shown_once_under_its_id_where_it_begins(kind: str) -> None:
    first = {0: rectangle(0, 0, 5, 5) * np.uint8(4), 2: rectangle(8, 20, 5, 5) * np.uint8(9)}
    prompts = shown(kind, first)
    assert [(one.object_id, one.frame_ref) for one in prompts] == [(4, (0, 0)), (9, (0, 2))]
    said = {"mask": prompts[1].mask, "box": prompts[1].box, "click": prompts[1].points or None}
    assert [name for name, value in said.items() if value is not None] == [kind]
    if kind == "click":
        assert (prompts[1].points, prompts[1].labels) == ((pixel(22, 10),), (True,))
    if kind == "box":
        assert prompts[1].box == (20 / 40, 8 / 20, 25 / 40, 13 / 20)


def test_the_largest_error_may_be_missing_or_too_much() -> None:
    wanted = rectangle(0, 0, 10, 10)
    missing = largest_error(rectangle(0, 0, 10, 4) | rectangle(15, 30, 5, 5), wanted)
    assert missing is not None
    assert np.array_equal(missing[0], rectangle(0, 4, 10, 6))
    assert missing[1]
    too_much = largest_error(rectangle(0, 0, 10, 9) | rectangle(12, 20, 5, 5), wanted)
    assert too_much is not None
    assert np.array_equal(too_much[0], rectangle(12, 20, 5, 5))
    assert not too_much[1]
    assert largest_error(wanted, wanted) is None


def test_regions_count_one_by_one_not_their_sum() -> None:
    """Two missing pieces of 12 pixels are each smaller than one of 20 that is too much."""
    wanted = rectangle(0, 0, 6, 2) | rectangle(10, 0, 6, 2)
    error = largest_error(rectangle(0, 20, 4, 5), wanted)
    assert error is not None
    assert not error[1]


def test_three_clicks_go_where_the_tracker_is_wrong() -> None:
    """It draws too little after one click, too much after two; the last click is no longer looked at."""
    wanted = rectangle(2, 2, 9, 9)
    answers = {1: rectangle(2, 2, 9, 4), 2: wanted | rectangle(5, 30, 7, 7)}
    asked: list[tuple[int, int]] = []

    def answering(images: Iterable[Image], prompts: Sequence[Prompt]) -> Iterator[Result]:
        (image,) = images
        asked.append((int(image[0, 0, 0]), len(prompts[0].points)))
        yield Result(
            Frame(image, 0, 0, 0.0, 0.0, "generated", 0.0), (track(3, answers[len(prompts[0].points)]),)
        )

    (prompt,) = prompter("clicks", answering)(IMAGES, {1: wanted * np.uint8(3)})
    assert asked == [(20, 1), (20, 2)]
    assert prompt.frame_ref == (0, 1)
    assert prompt.labels == (True, True, False)
    assert prompt.points == (pixel(6, 6), pixel(8, 4), pixel(33, 8))


def test_a_right_mask_needs_no_further_click() -> None:
    wanted = rectangle(2, 2, 9, 9)

    def right(images: Iterable[Image], prompts: Sequence[Prompt]) -> Iterator[Result]:
        (image,) = images
        yield Result(Frame(image, 0, 0, 0.0, 0.0, "generated", 0.0), (track(3, wanted),))

    (prompt,) = prompter("clicks", right)(IMAGES, {0: wanted * np.uint8(3)})
    assert prompt.labels == (True,)


def test_a_click_that_is_refused_stops_the_evaluation() -> None:
    def full(images: Iterable[Image], prompts: Sequence[Prompt]) -> Iterator[Result]:
        (image,) = images
        frame = Frame(image, 0, 0, 0.0, 0.0, "generated", 0.0)
        yield Result(frame, refusals=(Refusal(prompts[0], "no free slot"),))

    with pytest.raises(ValueError, match="no free slot"):
        prompter("clicks", full)(IMAGES, {0: rectangle(0, 0, 5, 5) * np.uint8(1)})


def test_a_prompt_that_is_not_known_is_named() -> None:
    with pytest.raises(
        ValueError, match="prompt 'scribble' is not known; there are mask, box, click, clicks"
    ):
        prompter("scribble", unused)
