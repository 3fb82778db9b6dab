"""Layers with int8 weights, for CPUs that multiply bytes faster than floats.

A weight has one scale for each output. What goes into a layer becomes bytes at each call, by one scale and
zero point for all of it (dynamic quantisation; Jacob et al. 2018, "Quantization and training of neural
networks for efficient integer-arithmetic-only inference"). oneDNN multiplies, and gives float32 back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import Linear
from .nano import Nano
from .sam2 import Sam2

WEIGHT_LEVELS = 127
INPUT_LEVELS = 255 if torch.cpu._is_vnni_supported() else 127
"""Without VNNI products of two bytes are summed in 16 bits, where 8-bit inputs would overflow."""


class Bytes(NamedTuple):
    """values: uint8, of which each means (value - zero) * scale."""

    values: Tensor
    scale: float
    zero: int


class Weights(NamedTuple):
    """values: int8; scales: float32 and zeros: int64, one for each output."""

    values: Tensor
    scales: Tensor
    zeros: Tensor


class Int8Linear(nn.Module):
    """As `nn.Linear` or our `Linear`, to about two digits."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        values, self.scales, self.zeros = weights_of(layer.weight)
        self.packed = torch.ops.onednn.qlinear_prepack(values, None)
        self.bias = layer.bias
        self.activation = layer.activation if isinstance(layer, Linear) else "none"

    def forward(self, x: Tensor) -> Tensor:
        """x: (…, inputs) float32."""
        weights = self.packed, self.scales, self.zeros, self.bias
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            *to_bytes(x), *weights, 1.0, 0, torch.float32, self.activation, [], "none"
        )
        return out


class Int8Conv2d(nn.Module):
    """As `nn.Conv2d` of one group, to about two digits."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        values, self.scales, self.zeros = weights_of(layer.weight)
        self.shape = layer.stride, layer.padding, layer.dilation, layer.groups
        self.packed = torch.ops.onednn.qconv_prepack(values, self.scales, 1.0, 0, *self.shape, None)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, h, w) float32."""
        weights = self.packed, self.scales, self.zeros, self.bias
        out: Tensor = torch.ops.onednn.qconv2d_pointwise(
            *to_bytes(x), *weights, *self.shape, 1.0, 0, torch.float32, "none", [], ""
        )
        return out


def weights_of(weight: Tensor) -> Weights:
    """weight: (outputs, …) float32."""
    scales = weight.flatten(1).abs().amax(dim=1).clamp(min=1e-12) / WEIGHT_LEVELS
    values = (weight / scales.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8)
    return Weights(values, scales, torch.zeros(len(weight), dtype=torch.int64))


def to_bytes(x: Tensor) -> Bytes:
    """x (…) float32 in bytes; 0 is among what they can mean, since convolutions pad with it.

    Half a step is added and the rest cut off: one pass less over `x` than rounding.
    """
    low, high = (float(end) for end in torch.aminmax(x))
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-12) / INPUT_LEVELS
    zero = int(-low / scale)
    values = torch.add(torch.tensor(zero + 0.5), x, alpha=1 / scale).to(torch.uint8)
    return Bytes(values, scale, zero)


def quantise(network: Nano | Sam2) -> None:
    """Give the heavy parts of a network that is fused, in evaluation mode and in float32 int8 weights.

    Nano's objects are one batch, in which a common scale would let one change another: there it is the image
    encoder alone.
    """
    heavy: list[nn.Module]
    if isinstance(network, Nano):
        heavy = [network.image_encoder.stages, network.image_encoder.downs]
    else:
        heavy = [network.image_encoder.trunk, network.memory_attention, network.memory_encoder.fuser]
    for part in heavy:
        quantise_layers(part)


def quantise_layers(module: nn.Module) -> None:
    """Replace every linear layer and every convolution of one group, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        elif isinstance(child, nn.Conv2d) and child.groups == 1:
            setattr(module, name, Int8Conv2d(child))
        else:
            quantise_layers(child)
