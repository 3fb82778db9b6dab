"""The image encoder of SAM 2 (section 4): a trunk and a feature pyramid, once per frame for all objects."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .hiera import Hiera
from .repvit import RepVit
from .sam2_config import HieraConfig, Sam2Config
from .video_predictor import ImageFeatures

RGB_MEAN = (0.485, 0.456, 0.406)
RGB_STD = (0.229, 0.224, 0.225)


class ImageEncoder(nn.Module):
    """Images to features at strides 4 (D / 8 channels), 8 (D / 4) and 16 (D).

    The finest two only refine masks, so what the mask decoder makes of them is computed here, once per frame.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        finest, fine, middle, coarse = config.trunk.widths
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(RGB_STD).view(3, 1, 1), persistent=False)
        self.trunk = trunk(config)
        self.lateral_coarse = nn.Linear(coarse, config.dim)
        self.lateral_middle = nn.Linear(middle, config.dim)
        self.lateral_fine = nn.Linear(fine, config.dim)
        self.lateral_finest = nn.Linear(finest, config.dim)
        self.project_fine = nn.Linear(config.dim, config.dim // 4)
        self.project_finest = nn.Linear(config.dim, config.dim // 8)

    def forward(self, images: Tensor) -> ImageFeatures:
        """images: (B, 3, H, W) RGB in [0, 1]."""
        images = (images.to(self.mean.dtype) - self.mean) / self.std
        finest, fine, middle, coarse = self.trunk(images)
        top = channels_first(self.lateral_middle(middle))
        top = top + F.interpolate(channels_first(self.lateral_coarse(coarse)), scale_factor=2.0)
        return ImageFeatures(
            (
                channels_first(through(finest, self.lateral_finest, self.project_finest)),
                channels_first(through(fine, self.lateral_fine, self.project_fine)),
                top,
            )
        )


def trunk(config: Sam2Config) -> Hiera | RepVit:
    if isinstance(config.trunk, HieraConfig):
        return Hiera(config.trunk, config.image_size)
    return RepVit(config.trunk)


def through(x: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """`second(first(x))` as one product: nothing is between the two, and the map between them is wide."""
    return F.linear(x, second.weight @ first.weight, second(first.bias))


def channels_first(x: Tensor) -> Tensor:
    """(B, h, w, C) -> (B, C, h, w), a view."""
    return x.permute(0, 3, 1, 2)
