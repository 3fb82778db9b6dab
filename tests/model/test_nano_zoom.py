"""Squares round what was pointed at: where they lie, what is cut out of them, and what is put back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keepsight.model.memory import NO_OBJECT_LOGIT
from keepsight.model.nano_zoom import (
    MARGIN,
    Squares,
    cut_out,
    in_squares,
    logits_cut_out,
    put_back,
    squares_shown,
)
from keepsight.model.video_predictor import Prompts

FRAME = (160, 240)
MASK = (80, 120)


def shown(points: list[tuple[float, float]], labels: list[int]) -> Prompts:
    """A prompt for one object; points in pixels of the input."""
    scale = torch.tensor((FRAME[1], FRAME[0]))
    return Prompts(
        points=(torch.tensor(points) / scale).unsqueeze(0),
        labels=torch.tensor([labels]),
        masks=torch.zeros(1, *FRAME),
        has_mask=torch.zeros(1, dtype=torch.bool),
    )


def block(x0: int, y0: int, x1: int, y1: int) -> Tensor:
    """Logits of a mask of this rectangle, in pixels of the input."""
    last = torch.full((1, *MASK), NO_OBJECT_LOGIT)
    last[:, y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] = 10
    return last


def square(x: float, y: float, side: float) -> Squares:
    return Squares(torch.tensor([[x, y]]), torch.tensor([side]))


def squares_of(mask: Tensor, prompts: Prompts) -> tuple[list[float], float]:
    """Centre and side of the one square."""
    found = squares_shown(mask, prompts, FRAME)
    return found.centre[0].tolist(), found.side.item()


NOTHING = block(0, 0, 0, 0)


def test_a_box_is_in_the_middle_of_its_square() -> None:
    centre, side = squares_of(NOTHING, shown([(40, 20), (120, 80)], [2, 3]))

    assert centre == pytest.approx([80, 50])
    assert side == pytest.approx(80 * MARGIN)


def test_a_correction_is_looked_at_round_the_mask_and_what_it_lacks() -> None:
    mask = block(100, 60, 160, 100)

    assert squares_of(mask, shown([(120, 80)], [0])) == ([130, 80], pytest.approx(60 * MARGIN))
    assert squares_of(mask, shown([(180, 80)], [1])) == ([140, 80], pytest.approx(80 * MARGIN))
    assert squares_of(mask, shown([(180, 80)], [0]))[0] == [130, 80], "what is not of it need not be seen"


def test_a_speck_far_from_the_mask_does_not_widen_the_square() -> None:
    mask = block(100, 40, 180, 120)
    mask[:, 78, 2] = 10

    assert squares_of(mask, shown([(120, 80)], [1])) == ([140, 80], pytest.approx(80 * MARGIN))


def test_squares_are_neither_tiny_nor_much_larger_than_the_frame() -> None:
    assert squares_of(NOTHING, shown([(40, 20), (42, 21)], [2, 3]))[1] == 64
    assert squares_of(NOTHING, shown([(0, 0), (240, 160)], [2, 3]))[1] == pytest.approx(1.2 * 240)


@pytest.mark.parametrize(
    ("part", "mask"),
    [(square(130, 80, 90), block(110, 60, 150, 100)), (square(20, 150, 100), block(0, 120, 40, 160))],
    ids=["inside", "at the edge"],
)
def test_what_is_cut_out_and_put_back_is_where_it_was(part: Squares, mask: Tensor) -> None:
    seen = logits_cut_out(mask, part, FRAME, 96)

    assert 0 < (seen > 0).float().mean() < 0.5
    assert (put_back(seen, part, FRAME, MASK) > 0).equal(mask > 0)


def test_beyond_its_square_and_the_frame_there_is_nothing() -> None:
    corner = square(0, 0, 80)

    image = cut_out(torch.ones(1, 3, *FRAME), corner, FRAME, 64)
    mask = put_back(torch.full((1, 64, 64), 1.5), corner, FRAME, MASK)

    assert image[:, :, :31].eq(0).all()
    assert image[:, :, 33:, 33:].eq(1).all()
    assert mask[:, 20:].eq(NO_OBJECT_LOGIT).all()
    torch.testing.assert_close(mask[:, :20, :20], torch.full((1, 20, 20), 1.5))


def test_a_mask_reaches_the_edge_of_the_frame_as_surely_as_its_middle() -> None:
    mask = put_back(torch.full((1, 64, 64), 1.5), square(120, 80, 240), FRAME, MASK)

    torch.testing.assert_close(mask, torch.full((1, *MASK), 1.5))


def test_prompts_are_where_they_were_and_what_is_not_in_the_square_is_not_asked() -> None:
    part = square(120, 80, 80)  # from (80, 40) to (160, 120)
    prompts = shown([(100, 60), (20, 60), (90, 50), (200, 110)], [1, 0, 2, 3])

    points, labels, _, _ = in_squares(prompts, part, FRAME)

    assert labels.tolist() == [[1, -1, 2, 3]]
    assert points[0, [0, 2, 3]].tolist() == [
        pytest.approx([0.25, 0.25]),
        pytest.approx([0.125, 0.125]),
        pytest.approx([1, 0.875]),
    ]


def test_bfloat16_tells_pixels_apart() -> None:
    exact = squares_of(block(202, 60, 224, 100), shown([(212, 80)], [1]))
    mask, prompts = block(202, 60, 224, 100).bfloat16(), shown([(212, 80)], [1])

    assert squares_of(mask, prompts) == exact
    part = Squares(torch.tensor([exact[0]]), torch.tensor([exact[1]]))
    back = put_back(logits_cut_out(mask, part, FRAME, 96), part, FRAME, MASK)
    assert back.dtype == torch.bfloat16
    assert (back > 0).equal(mask > 0)
