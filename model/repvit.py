"""RepViT, EdgeTAM's image trunk: a convolutional network in the manner of a vision transformer.

Wang et al. 2024, "RepViT: revisiting mobile CNN from ViT perspective". Mixing places (depthwise convolutions)
and mixing channels (pointwise ones) are apart. Maps are (B, C, h, w) inside.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import ConvNorm
from .sam2_config import RepVitConfig


class RepVit(nn.Module):
    """Images (B, 3, H, W) to one map per stage, (B, H / 4, W / 4, C) to (B, H / 32, W / 32, 8 C)."""

    def __init__(self, config: RepVitConfig) -> None:
        super().__init__()
        first = config.widths[0]
        self.stem = nn.Sequential(ConvNorm(3, first // 2, 3, 2), nn.GELU(), ConvNorm(first // 2, first, 3, 2))
        self.stages = nn.ModuleList(stages(config))
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.permute(0, 2, 3, 1))
        return maps

    def fuse(self) -> None:
        """Make one convolution of every branching one, and fold every batch norm into its convolution."""
        for module in list(self.modules()):
            if isinstance(module, Reparameterised):
                module.fuse()
        for module in list(self.modules()):
            if isinstance(module, ConvNorm):
                module.fuse()


def stages(config: RepVitConfig) -> list[Stage]:
    before = (config.widths[0], *config.widths[:-1])
    return [
        Stage(*sizes, halves=index > 0)
        for index, sizes in enumerate(zip(before, config.widths, config.depths, strict=True))
    ]


class Stage(nn.Module):
    """Blocks on maps of one size, half of that of the stage before. Every other block weighs its channels."""

    def __init__(self, width: int, width_out: int, depth: int, *, halves: bool) -> None:
        super().__init__()
        self.halving = Halving(width, width_out) if halves else nn.Identity()
        self.blocks = nn.Sequential(*(Block(width_out, weighs=index % 2 == 0) for index in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.halving(x))
        return out


class Block(nn.Module):
    """Mix places, weigh channels by what the whole map says of them, mix channels."""

    def __init__(self, width: int, *, weighs: bool) -> None:
        super().__init__()
        self.places = Reparameterised(width)
        self.weights = ChannelWeights(width) if weighs else nn.Identity()
        self.channels = channel_mixer(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.weights(self.places(x))
        out: Tensor = x + self.channels(x)
        return out


class Halving(nn.Module):
    """A block, then half the height and width and another number of channels."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.block = Block(width, weighs=False)
        self.shrink = ConvNorm(width, width, 3, 2, groups=width)
        self.widen = ConvNorm(width, width_out, 1)
        self.channels = channel_mixer(width_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.widen(self.shrink(self.block(x)))
        out: Tensor = x + self.channels(x)
        return out


class Reparameterised(nn.Sequential):
    """A depthwise convolution that was trained as three branches; `fuse` makes it one for inference."""

    def __init__(self, width: int) -> None:
        super().__init__(Branches(width))

    def fuse(self) -> None:
        branches = self[0]
        assert isinstance(branches, Branches)
        self[0] = branches.joined()


class Branches(nn.Module):
    """The sum of a 3 x 3 and a 1 x 1 depthwise convolution and the input itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = ConvNorm(width, width, 3, groups=width)
        self.point = ConvNorm(width, width, 1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.wide(x) + self.point(x) + x
        return out

    def joined(self) -> nn.Conv2d:
        """One 3 x 3 convolution that does the same in evaluation mode."""
        wide, point = self.wide.fused(), self.point.fused()
        assert wide.bias is not None
        assert point.bias is not None
        centre = F.pad(point.weight + 1, (1, 1, 1, 1))
        wide.weight = nn.Parameter(wide.weight + centre, requires_grad=wide.weight.requires_grad)
        wide.bias = nn.Parameter(wide.bias + point.bias, requires_grad=wide.bias.requires_grad)
        return wide


class ChannelWeights(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): each channel times a weight between 0 and 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = max(8, (width // 4 + 4) // 8 * 8)
        self.squeeze = nn.Conv2d(width, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        weights: Tensor = self.excite(F.relu(self.squeeze(mean))).sigmoid()
        return x * weights


def channel_mixer(width: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm(width, 2 * width, 1), nn.GELU(), ConvNorm(2 * width, width, 1))
