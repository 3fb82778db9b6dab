"""The small parts that several boxes of the network share."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of a map (N, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNorm(nn.Sequential):
    """A convolution and its batch norm; `fuse` folds the second into the first for inference."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs))

    def fuse(self) -> None:
        self[0], self[1] = self.fused(), nn.Identity()

    def fused(self) -> nn.Conv2d:
        """One convolution that does the same in evaluation mode."""
        conv, norm = self[0], self[1]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return nn.utils.fuse_conv_bn_eval(conv, norm)


class Linear(nn.Linear):
    """A linear layer and the activation after it: "none", "relu" or "gelu".

    oneDNN does both, and adds the bias, in one pass over the result; PyTorch's own way takes three, which for
    the wide maps of a transformer is a third of the time.
    """

    def __init__(self, inputs: int, outputs: int, activation: str = "none") -> None:
        super().__init__(inputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x: (…, inputs) -> (…, outputs)."""
        if in_one_pass(x):
            out: Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self.weight, self.bias, self.activation, [], "none"
            )
            return out
        return ACTIVATIONS[self.activation](super().forward(x))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}


def in_one_pass(x: Tensor) -> bool:
    """Whether oneDNN's fused operations take `x`: they know no gradient and no other runtime."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()
    return plain and not torch.compiler.is_compiling() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class MLP(nn.Module):
    """Linear layers of the given widths with an activation between them, on the last axis."""

    def __init__(self, *widths: int, activation: str = "relu") -> None:
        super().__init__()
        steps = list(pairwise(widths))
        last = len(steps) - 1
        self.layers = nn.ModuleList(
            Linear(a, b, activation if index < last else "none") for index, (a, b) in enumerate(steps)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def averaged(maps: Tensor, side: int) -> Tensor:
    """The means of maps (B, C, h, w) over squares of `side`, a power of two: (B, C, h / side, w / side). For
    a map of one channel on a CPU `avg_pool2d` takes five times as long."""
    while side > 1:
        maps = F.interpolate(maps, scale_factor=0.5, mode="bilinear")
        side //= 2
    return maps


def sine_waves(channels: int) -> Tensor:
    """(channels,) wavelengths over 2π of a sine position encoding: pairs from 1 to 10,000, geometrically."""
    return 10_000 ** (2 * (torch.arange(channels) // 2) / channels)


def sine_positions(channels: int, grid: tuple[int, int]) -> Tensor:
    """(h * w, channels) position encoding of a map's cells: half of the channels say y, the others x.

    Cells are counted from 1 and scaled so that the last is 2π; sine and cosine alternate.
    """
    half = channels // 2
    y, x = (axis_waves(size, half) for size in grid)
    h, w = grid
    return torch.cat([y[:, None].expand(h, w, half), x[None].expand(h, w, half)], dim=2).flatten(0, 1)


def axis_waves(size: int, channels: int) -> Tensor:
    """(size, channels): the encoding of `sine_positions` along one axis."""
    angle = torch.arange(1, size + 1) / (size + 1e-6) * 2 * math.pi
    angle = angle[:, None] / sine_waves(channels)
    return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)


def sine_times(times: Tensor, channels: int) -> Tensor:
    """(…, channels) encoding of times (…): all sines, then all cosines."""
    angle = times[..., None] / sine_waves(channels // 2).to(times.device)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def holds_everywhere(condition: Tensor) -> bool:
    """Whether a shortcut may be taken, since all of `condition` (…) bool holds. Never while a network is
    traced, to be exported or compiled: what comes of that takes any input."""
    return not torch.compiler.is_compiling() and bool(condition.all())


def columns_in_use(used: Tensor) -> Tensor | slice:
    """An index of the columns that some row uses, `used` (T,) bool. Of all while a network is traced: what
    comes of that has fixed shapes."""
    return slice(None) if torch.compiler.is_compiling() else used


def of_objects(per_image: Tensor, image_of: Tensor) -> Tensor:
    """(N, …) the row of `per_image` (B, …) that each object is in; a view where there is only one image."""
    if len(per_image) == 1:
        return per_image.expand(len(image_of), *per_image.shape[1:])
    return per_image.index_select(0, image_of)
