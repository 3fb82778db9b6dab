"""Layers with int8 weights do nearly what the float ones did. Tolerances are steps of 8 bits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from keepsight.model.int8 import Int8Conv2d, Int8Linear, quantise, to_bytes, weights_of
from tests.tracker.networks import network

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="int8 needs oneDNN")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("shape", [(5, 32), (2, 3, 7, 32), (1, 32)], ids=str)
def test_a_linear_layer_is_kept_to_two_digits(shape: tuple[int, ...]) -> None:
    layer, x = nn.Linear(32, 20), torch.randn(*shape)
    assert_near(Int8Linear(layer)(x), layer(x))


@pytest.mark.parametrize(("size", "stride", "bias"), [(1, 1, True), (3, 1, False), (3, 2, True)])
def test_a_convolution_is_kept_to_two_digits(size: int, stride: int, bias: bool) -> None:
    layer, x = nn.Conv2d(16, 24, size, stride, size // 2, bias=bias), torch.randn(2, 16, 12, 20) + 1
    assert_near(Int8Conv2d(layer)(x), layer(x))


def assert_near(x: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(x, expected, rtol=0, atol=0.02 * float(expected.abs().max()))


@pytest.mark.parametrize(("low", "high"), [(-1, 3), (0.5, 2), (-4, -1), (0, 0), (-1e-3, 1e4)])
def test_bytes_mean_what_they_were_made_of_to_a_step(low: float, high: float) -> None:
    x = torch.linspace(low, high, 1001)
    values, scale, zero = to_bytes(x)
    assert 0 <= zero <= 255
    meant = (values.double() - zero) * scale
    assert float((meant - x).abs().max()) <= 1.01 * scale


def test_every_output_has_a_scale_of_its_own() -> None:
    weight = torch.tensor([[1.0, -0.5], [100.0, 20.0], [0.0, 0.0]])
    values, scales, _ = weights_of(weight)
    assert values.tolist() == [[127, -64], [127, 25], [0, 0]]
    torch.testing.assert_close(scales[:2], torch.tensor([1 / 127, 100 / 127]))


@pytest.mark.parametrize("name", ["sam2", "nano"])
def test_a_network_keeps_its_features_nearly(name: str) -> None:
    model, image = network(name), torch.rand(1, 3, 64, 64)
    before = model.encode_image(image).levels
    quantise(model)
    assert any(isinstance(module, Int8Linear | Int8Conv2d) for module in model.modules())
    for old, new in zip(before, model.encode_image(image).levels, strict=True):
        assert float((new - old).square().mean()) < 0.01 * float(old.square().mean())
