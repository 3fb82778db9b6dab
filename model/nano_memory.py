"""How Nano writes masks and prompts as memory values, and reads them in a new frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .nano_config import NanoConfig
from .video_predictor import ImageFeatures, seen_by


class Residual(nn.Module):
    """Two 3x3 convolutions and a residual; no norm, since objects come in batches of any size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class ValueEncoder(nn.Module):
    """Maps at stride 4 (a mask, or drawn prompts) and the image's features to memory values.

    The first map is also kept as it is, at stride 8: in the last four channels of the values at stride 16,
    and in the last channel of the fine values at stride 8.
    """

    def __init__(self, maps: int, config: NanoConfig) -> None:
        super().__init__()
        width, fine = config.value - 4, config.fine_value - 1
        self.down = nn.Sequential(
            nn.Conv2d(maps, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, width, 3, 2, 1), nn.ReLU()
        )
        self.image = nn.Conv2d(config.coarse, width, 1)
        self.mix = nn.Sequential(Residual(width), nn.Conv2d(width, width, 1))
        self.fine_down = nn.Conv2d(maps, fine, 3, 2, 1)
        self.fine_image = nn.Conv2d(config.middle, fine, 1)
        self.fine_mix = nn.Conv2d(fine, fine, 3, padding=1)

    def forward(self, maps: Tensor, features: ImageFeatures, image_of: Tensor) -> tuple[Tensor, Tensor]:
        """maps (N, maps, H/4, W/4) to values (N, value, h, w) and fine values (N, fine_value, 2h, 2w)."""
        middle, coarse = features.levels[1:3]
        kept = F.avg_pool2d(maps[:, :1], 2)
        learned = self.mix(self.down(maps) + seen_by(self.image(coarse), image_of))
        fine = self.fine_mix(F.relu(self.fine_down(maps) + seen_by(self.fine_image(middle), image_of)))
        return torch.cat((learned, F.pixel_unshuffle(kept, 2)), dim=1), torch.cat((fine, kept), dim=1)


def read(query: Tensor, keys: Tensor, values: Tensor, usable: Tensor | None) -> Tensor:
    """Attention from every place of a frame to every remembered place.

    query (N, K, h, w); keys (N, M, K, h, w); values (N, M, V, h, w); usable (N, M) bool, None where all slots
    are: (N, V, h, w). The keys carry their own temperature. Channels are made the
    last, contiguous dimension, without which torch takes a slow path.
    """
    n, m, _, h, w = keys.shape
    q = query.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()
    k = keys.movedim(2, 4).reshape(n, 1, m * h * w, -1).contiguous()
    v = values.movedim(2, 4).reshape(n, 1, m * h * w, -1).contiguous()
    mask = None if usable is None else usable.repeat_interleave(h * w, dim=1).view(n, 1, 1, -1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return out.squeeze(1).transpose(1, 2).reshape(n, -1, h, w)


class LocalRead(nn.Module):
    """Where the mask of the previous frame has gone, by matching keys in a small neighbourhood.

    The matching weights come from the images alone, so they are computed once for all objects.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.bias = nn.Parameter(torch.zeros(window**2))
        with torch.no_grad():
            self.bias[window**2 // 2] = 2.0

    def weights(self, now: Tensor, before: Tensor) -> Tensor:
        """How much each place was each of its neighbours (B, window**2, h, w), from keys now and before
        (B, K, h, w)."""
        now = now.contiguous()
        matches = [(now * near).sum(1) for near in self.shifted(before.contiguous())]
        return (torch.stack(matches, dim=1) + self.bias.view(-1, 1, 1)).softmax(1)

    def forward(self, weights: Tensor, masks: Tensor, image_of: Tensor) -> Tensor:
        """Masks (N, 1, h, w) in [0, 1] before, to (N, 1, h, w) now; beyond the border all is zero."""
        own = seen_by(weights, image_of)
        moved = (near * own[:, i] for i, near in enumerate(self.shifted(masks.squeeze(1))))
        return torch.stack(list(moved), dim=1).sum(1, keepdim=True)

    def shifted(self, x: Tensor) -> list[Tensor]:
        """Views of x (..., h, w), one for each place of the window. Copying them into one tensor first
        (im2col) takes four times as long on a CPU."""
        h, w = x.shape[-2:]
        padded = F.pad(x, [self.window // 2] * 4)
        offsets = range(self.window)
        return [padded[..., dy : dy + h, dx : dx + w] for dy in offsets for dx in offsets]


class Motion(NamedTuple):
    """The weights of `LocalRead` between two frames, at stride 8 and at stride 4."""

    fine: Tensor
    finest: Tensor


class PointerRead(nn.Module):
    """One vector for each object out of the pointers remembered of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(width, 1)
        self.mix = nn.Linear(width, width)

    def forward(self, pointers: Tensor, usable: Tensor) -> Tensor:
        """pointers (N, P, D), usable (N, P) bool to (N, D); zeros where no pointer is usable."""
        weights = self.weigh(pointers).squeeze(-1).masked_fill(~usable, -1e4).softmax(1) * usable
        mixed: Tensor = self.mix((pointers * weights.unsqueeze(-1)).sum(1))
        return mixed
