"""Optical flow: a picture that was shifted is found to have been."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from keepsight.model.flow import detail, doubled, refined, warped
from keepsight.model.nano_memory import optical_flow


def blurred_noise(h: int, w: int) -> Tensor:
    noise = torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(3))
    return F.avg_pool2d(F.avg_pool2d(noise, 5, 1, 2), 5, 1, 2) * 4


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.6, 0.0), (0.0, -0.8), (1.5, 1.0)])
def test_a_shift_is_found_to_a_fraction_of_a_pixel(shift: tuple[float, float]) -> None:
    before = blurred_noise(48, 64)
    true = torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, 48, 64)
    now = warped(before, true)
    found = refined(now, before, torch.zeros(1, 2, 48, 64), rounds=8)
    inner = (found - true)[..., 8:-8, 8:-8].abs()
    assert float(inner.mean()) < 0.1


def test_what_shows_nothing_does_not_move() -> None:
    flat = torch.full((1, 1, 16, 16), 0.5)
    assert float(refined(flat, flat, torch.zeros(1, 2, 16, 16), rounds=3).abs().max()) == 0


def test_masks_are_moved_from_where_they_were() -> None:
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, 0, 3, 3], masks[1, 0, 5, 6] = 1, 1
    flow = torch.tensor([-2.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)  # it was two to the left, one below
    moved = warped(masks, flow)
    assert moved[0, 0, 2, 5] == pytest.approx(1)
    assert moved.shape == masks.shape
    assert float(moved[1].sum()) == pytest.approx(0)  # it has left to the right


def test_light_that_comes_and_goes_is_no_detail() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(detail(image + 0.2), detail(image), atol=1e-5, rtol=0)


def test_a_finer_stride_has_longer_ways() -> None:
    flow = torch.full((1, 2, 3, 4), 1.5)
    assert doubled(flow).shape == (1, 2, 6, 8)
    assert float(doubled(flow).mean()) == 3.0


def test_bfloat16_moves_masks_as_far_on_the_right_as_on_the_left() -> None:
    """bfloat16 has no odd number above 256: places must be counted in float32."""
    offset = torch.zeros(1, 2, 16, 96, dtype=torch.bfloat16)
    before = blurred_noise(64, 384)
    now = warped(before, torch.full((1, 2, 64, 384), 1.0))
    flow, _ = optical_flow(offset, now.bfloat16(), before.bfloat16())
    masks = (before > before.mean()).float()[..., ::2, ::2]
    apart = warped(masks.bfloat16(), flow).float() - warped(masks, flow)
    assert warped(masks.bfloat16(), flow).dtype == torch.bfloat16
    assert float(apart.abs().max()) < 0.01
    assert float((flow[..., 4:-4, 150:-8] - 0.5).abs().mean()) < 0.1
