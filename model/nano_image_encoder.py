"""Nano's image encoder: a convolutional pyramid with keys for matching frames, in one pass per image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow import detail
from .layers import ConvNorm, averaged
from .nano_config import NanoConfig

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Depthwise 7x7, then a pointwise bottleneck turned outwards (three times as wide inside), with a
    residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = ConvNorm(width, width, 7, groups=width)
        self.widen = ConvNorm(width, 3 * width, 1)
        self.narrow = ConvNorm(3 * width, width, 1)
        norm = self.narrow[1]
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.constant_(norm.weight, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor = self.narrow(self.widen(self.depthwise(x)).relu_())
        return x + inside


class NanoImageEncoder(nn.Module):
    """Images to features and keys."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        w4, w8, w16, w32 = config.widths
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)
        self.stem = nn.Sequential(
            ConvNorm(3, w4 // 2, 3, 2),
            nn.ReLU(inplace=True),
            ConvNorm(w4 // 2, w4, 3, 2),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for width, depth in zip(config.widths, config.depths, strict=True)
        )
        self.downs = nn.ModuleList(
            (ConvNorm(w4, w8, 3, 2), ConvNorm(w8, w16, 3, 2), ConvNorm(w16, w32, 3, 2))
        )
        self.lateral32 = ConvNorm(w32, config.coarse, 1)
        self.lateral16 = ConvNorm(w16, config.coarse, 1)
        self.merge16 = ConvNorm(config.coarse, config.coarse, 3)
        self.lateral8 = ConvNorm(w8, config.middle, 1)
        self.from16 = ConvNorm(config.coarse, config.middle, 1)
        self.merge8 = ConvNorm(config.middle, config.middle, 3)
        self.lateral4 = ConvNorm(w4, config.fine, 1)
        self.from8 = ConvNorm(config.middle, config.fine, 1)
        self.detail = nn.Conv2d(w4 // 2, config.detail, 1)
        self.key = nn.Conv2d(config.coarse, config.key - 4, 1)
        self.fine_key = nn.Conv2d(config.middle + 3, config.fine_key - 4, 1)
        self.finest_key = nn.Conv2d(config.fine + 3, config.finest_key, 1)
        self.key_sharpness = nn.Parameter(torch.tensor(math.log(20.0)))
        self.position_sharpness = nn.Parameter(torch.tensor(math.log(6.0)))
        self.fine_sharpness = nn.Parameter(torch.tensor(math.log(32.0)))
        self.finest_sharpness = nn.Parameter(torch.tensor(math.log(25.0)))
        self.fine_position_sharpness = nn.Parameter(torch.tensor(math.log(16.0)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, H, W) RGB in [0, 1] to features at strides 4, 8 and 16, keys at strides 8 (fine_key
        channels), 16 (key) and 4 (finest_key), features at stride 2, and the brightness that optical flow
        needs, at stride 1. The product of two keys is their matching logit."""
        brightness = detail(images)
        images = torch.addcmul(-self.mean / self.std, images, 1 / self.std)
        colours = averaged(images, 4)
        x2 = self.stem[:2](images)
        x4, x8, x16, x32 = self.backbone(self.stem[2:](x2))
        coarse = self.lateral16(x16) + F.interpolate(self.lateral32(x32), size=x16.shape[-2:], mode="nearest")
        coarse = self.merge16(coarse.relu_()).relu_()
        middle = self.lateral8(x8) + F.interpolate(self.from16(coarse), size=x8.shape[-2:], mode="nearest")
        middle = self.merge8(middle.relu_()).relu_()
        fine = self.lateral4(x4) + F.interpolate(self.from8(middle), size=x4.shape[-2:], mode="nearest")
        fine = fine.relu_()
        keys = (
            self.fine_keys(middle, averaged(colours, 2)),
            self.keys(coarse),
            self.finest_keys(fine, colours),
        )
        return fine, middle, coarse, *keys, self.detail(x2), brightness

    def backbone(self, x: Tensor) -> list[Tensor]:
        """The stem's output to features at strides 4, 8, 16 and 32."""
        outputs = [self.stages[0](x)]
        for down, stage in zip(self.downs, self.stages[1:], strict=True):
            outputs.append(stage(down(outputs[-1]).relu_()))
        return outputs

    def keys(self, coarse: Tensor) -> Tensor:
        """What each place looks like (unit length, times a learned sharpness) and, weakly, where it is: from
        coarse (B, coarse, H/16, W/16) to (B, key, H/16, W/16)."""
        return self.placed(self.key(coarse), self.key_sharpness, self.position_sharpness)

    def finest_keys(self, fine: Tensor, colours: Tensor) -> Tensor:
        """From fine (B, fine, H/4, W/4) and the image's normalised colours there (B, 3, H/4, W/4) to
        (B, finest_key, H/4, W/4), all of one length."""
        look = self.finest_key(torch.cat((fine, colours), dim=1))
        return F.normalize(look, dim=1) * (0.5 * self.finest_sharpness).exp()

    def fine_keys(self, middle: Tensor, colours: Tensor) -> Tensor:
        """From middle (B, middle, H/8, W/8) and the image's normalised colours there (B, 3, H/8, W/8) to
        (B, fine_key, H/8, W/8), the last four of which tell the position."""
        look = self.fine_key(torch.cat((middle, colours), dim=1))
        return self.placed(look, self.fine_sharpness, self.fine_position_sharpness)

    def placed(self, look: Tensor, sharpness: Tensor, position_sharpness: Tensor) -> Tensor:
        place = positions(look) * (0.5 * position_sharpness).exp()
        look = F.normalize(look, dim=1) * (0.5 * sharpness).exp()
        return torch.cat((look, place.expand(look.shape[0], -1, -1, -1)), dim=1)


def positions(like: Tensor) -> Tensor:
    """(1, 4, h, w): the products of two places fall with the cosine of half a turn across the frame, in x and
    in y."""
    h, w = like.shape[-2:]
    y = torch.linspace(0, math.pi, h, device=like.device, dtype=like.dtype).view(h, 1).expand(h, w)
    x = torch.linspace(0, math.pi, w, device=like.device, dtype=like.dtype).view(1, w).expand(h, w)
    return torch.stack((x.cos(), x.sin(), y.cos(), y.sin())).unsqueeze(0)
