"""Attention block by block is attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from keepsight.model.attention import RopeAttention, rotations
from keepsight.model.blockwise_attention import attend
from keepsight.model.layers import Linear


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1024, 1024), (1500, 2600)])
@pytest.mark.parametrize("scale", [0.1, 8.0])
def test_it_equals_pytorchs_attention_whatever_the_sizes(queries: int, keys: int, scale: float) -> None:
    """Large scores, too, whose exponentials would overflow: to what float32 holds of scores
    of 2,000."""
    random = torch.Generator().manual_seed(0)
    q, k = (scale * torch.randn(n, 32, generator=random) for n in (queries, keys))
    v = torch.randn(keys, 8, generator=random)
    wanted = F.scaled_dot_product_attention(q.double()[None], k.double()[None], v.double()[None])[0]
    torch.testing.assert_close(attend(q, k, v).double(), wanted, atol=1e-3, rtol=0)


def test_reading_narrow_values_before_projecting_them_changes_nothing() -> None:
    torch.manual_seed(0)
    here = rotations(64, (4, 4))
    attention = RopeAttention(64, 1, here, here, key_dim=16).eval()
    x, values = torch.randn(2, 16, 64), torch.randn(2, 3 * 16 + 5, 16)
    keys = values + torch.randn_like(values)
    shown = torch.ones(values.shape[:2], dtype=torch.bool)
    with torch.no_grad():
        read, projected = attention(x, keys, values, None, 5), attention(x, keys, values, shown, 5)
    torch.testing.assert_close(read, projected)


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_a_linear_layer_in_one_pass_equals_one_that_can_be_trained(activation: str) -> None:
    torch.manual_seed(0)
    layer, x = Linear(24, 40, activation), torch.randn(3, 5, 24)
    wanted = layer(x)
    assert wanted.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), wanted)
