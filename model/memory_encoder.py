"""The memory encoder of SAM 2 (section 4): a frame's features and a mask, fused into what is remembered."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import LayerNorm2d, Linear, of_objects
from .sam2_config import Sam2Config

MASK_SCALE, MASK_BIAS = 20.0, -10.0
"""Masks in [0, 1] are stretched to [-10, 10] before they are encoded."""


class MemoryEncoder(nn.Module):
    """Features (B, D, h, w) of the frames and masks (N, 1, H, W) to memories (N, C, h, w)."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.mask_downsampler = mask_downsampler(config.dim)
        self.feature_projection = nn.Conv2d(config.dim, config.dim, kernel_size=1)
        self.fuser = nn.Sequential(*(ConvNeXtBlock(config.dim) for _ in range(config.fuser_depth)))
        self.out_proj = nn.Conv2d(config.dim, config.memory_dim, kernel_size=1)

    def forward(self, features: Tensor, image_of: Tensor, masks: Tensor) -> Tensor:
        """masks in [0, 1]; image_of: (N,) int64, the frame of each mask."""
        scene = of_objects(self.feature_projection(features), image_of)
        fused = self.fuser(scene + self.mask_downsampler(masks * MASK_SCALE + MASK_BIAS))
        memory: Tensor = self.out_proj(fused)
        return memory


def mask_downsampler(dim: int) -> nn.Sequential:
    """Four halvings, each with four times the channels: (N, 1, H, W) -> (N, dim, H / 16, W / 16)."""
    layers: list[nn.Module] = []
    for channels in (4, 16, 64, 256):
        halving = nn.Conv2d(channels // 4, channels, kernel_size=3, stride=2, padding=1)
        layers += [halving, LayerNorm2d(channels), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(256, dim, kernel_size=1))


class ConvNeXtBlock(nn.Module):
    """Wide depthwise convolution, then a pointwise MLP (Liu et al. 2022, "A ConvNet for the 2020s")."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = Linear(dim, 4 * dim, "gelu")
        self.pwconv2 = Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, D, h, w)."""
        cells = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        cells = self.gamma * self.pwconv2(self.pwconv1(cells))
        out: Tensor = x + cells.permute(0, 3, 1, 2)
        return out
