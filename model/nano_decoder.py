"""Nano's mask decoder: what was read from memory, and the image, to a mask with its scores and pointer."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import averaged
from .nano_config import NanoConfig
from .nano_memory import Residual
from .video_predictor import ImageFeatures, seen_by

PRIORS = 6
"""Masks read from memory that are added to the logits at stride 8."""

COPIED = (0.02, 0.98)
"""How sure a mask that is taken over may be."""


class Moved(NamedTuple):
    """The previous masks of N objects as they have moved.

    fine: (N, 1, 2h, 2w) by matching at stride 8; finest: (N, 1, 8h, 8w) at stride 4; flowed: (N, 1, 8h, 8w)
    by optical flow; unlike: (N, 2, 4h, 4w) how uncertain the last two are.
    """

    fine: Tensor
    finest: Tensor
    flowed: Tensor
    unlike: Tensor


class Evidence(NamedTuple):
    """What speaks for each of N objects in a frame.

    trusted: (N, value, h, w) read from the prompted frames; recent: likewise from all remembered frames; fine
    and fine_recent: (N, fine_value, 2h, 2w) likewise at stride 8; prompt: (N, value, h, w) drawn prompts,
    zeros without; moved: the previous mask as it has moved; last: (N, 1, 8h, 8w) the previous mask itself;
    pointer: (N, D).
    """

    trusted: Tensor
    fine: Tensor
    recent: Tensor
    fine_recent: Tensor
    prompt: Tensor
    moved: Moved
    last: Tensor
    pointer: Tensor

    def of(self, rows: slice) -> Evidence:
        """That for some of the objects."""
        parts = {name: field[rows] for name, field in self._asdict().items() if name != "moved"}
        return Evidence(**parts, moved=Moved(*(field[rows] for field in self.moved)))


class Decoded(NamedTuple):
    """logits (N, H/2, W/2) of the masks; iou (N,) predicted, in [0, 1]; presence (N,) logit."""

    logits: Tensor
    iou: Tensor
    presence: Tensor


class NanoDecoder(nn.Module):
    def __init__(self, config: NanoConfig, width: int = 64) -> None:
        super().__init__()
        self.image16 = nn.Conv2d(config.coarse, width, 1)
        self.evidence16 = nn.Conv2d(3 * config.value, width, 1)
        self.near16 = nn.Conv2d(3, width, 1)
        nn.init.zeros_(self.near16.weight)
        self.pointer16 = nn.Linear(config.pointer, width)
        self.mix16 = nn.Sequential(Residual(width), Residual(width))
        self.down8 = nn.Conv2d(width, width // 2, 1)
        self.image8 = nn.Conv2d(config.middle, width // 2, 1)
        self.evidence8 = nn.Conv2d(2 + 2 * config.fine_value, width // 2, 3, padding=1)
        self.mix8 = nn.Sequential(Residual(width // 2), Residual(width // 2))
        self.down4 = nn.Conv2d(width // 2, width // 4, 1)
        self.image4 = nn.Conv2d(config.fine, width // 4, 1)
        self.last4 = nn.Conv2d(6, width // 4, 3, padding=1)
        self.finest_gain = nn.Parameter(torch.tensor(3.0))
        self.trust8 = nn.Conv2d(width // 2, PRIORS, 1)
        self.trust4 = nn.Conv2d(width // 4, 1, 1)
        self.copy4 = nn.Conv2d(width // 4 + 2, 2, 1)
        self.mix4 = Residual(width // 4)
        self.logits = nn.Conv2d(width // 4, 1, 3, padding=1)
        self.down2 = nn.Conv2d(width // 4, config.detail, 1)
        self.last2 = nn.Conv2d(3, config.detail, 3, padding=1)
        self.mix2 = nn.Conv2d(config.detail, config.detail, 3, padding=1)
        self.outline = nn.Conv2d(config.detail, 1, 3, padding=1)
        for starts_at_zero in (self.outline, self.trust8, self.trust4, self.copy4):
            nn.init.zeros_(starts_at_zero.weight)
        with torch.no_grad():
            self.copy4.weight[0, -2:] = -1.0
        self.prior = nn.Conv2d(PRIORS, 1, 1)
        nn.init.constant_(self.prior.weight, 2.0)
        nn.init.constant_(self.prior.bias, -3.0)  # type: ignore[arg-type]
        self.scores = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(inplace=True), nn.Linear(width, 2))

    def forward(self, features: ImageFeatures, image_of: Tensor, evidence: Evidence) -> Decoded:
        fine, middle, coarse = features.levels[:3]
        moved = evidence.moved
        last, finest, flowed = (averaged(x, 2) for x in (evidence.last, moved.finest, moved.flowed))
        read = torch.cat((evidence.trusted, evidence.recent, evidence.prompt), dim=1)
        near = self.near16(surroundings(last))
        x16 = self.evidence16(read) + seen_by(self.image16(coarse), image_of) + near
        x16 = self.mix16((x16 + self.pointer16(evidence.pointer)[:, :, None, None]).relu_())
        last8 = averaged(last, 2)
        places = torch.cat((moved.fine, last8, evidence.fine, evidence.fine_recent), dim=1)
        x8 = double(self.down8(x16)) + seen_by(self.image8(middle), image_of) + self.evidence8(places)
        x8 = self.mix8(x8.relu_())
        again = F.pixel_shuffle(evidence.fine[:, -4:], 2)
        places = torch.cat((last, finest, again, moved.unlike, flowed), dim=1)
        x4 = double(self.down4(x8)) + seen_by(self.image4(fine), image_of) + self.last4(places)
        x4 = self.mix4(x4.relu_())
        prior = self.prior(masks_in(evidence) * trust(self.trust8(x8)))
        detail = seen_by(features.levels[6], image_of)
        logits = self.with_outline(double(self.logits(x4) + double(prior)), x4, detail, evidence)
        return Decoded(logits, *self.score(x16, logits))

    def with_outline(self, logits: Tensor, x4: Tensor, detail: Tensor, evidence: Evidence) -> Tensor:
        """Logits (N, 1, H/2, W/2) made from coarser ones, by what only stride 2 shows: (N, H/2, W/2).

        Where the frame before is plainly the same, the mask moved from it is taken over as it is: what passes
        through coarser strides loses small things within a few frames.
        """
        _, finest, flowed, unlike = evidence.moved
        masks = torch.cat((evidence.last, finest, flowed), dim=1)
        x2 = (double(self.down2(x4)) + detail + self.last2(masks)).relu_()
        moved = self.finest_gain * (2 * finest - 1) * double(trust(self.trust4(x4)))
        outlined = logits + moved + self.outline(self.mix2(x2).relu_())
        copied, by_flow = double(self.copy4(torch.cat((x4, unlike), dim=1))).sigmoid().chunk(2, dim=1)
        sure = torch.lerp(finest, flowed, by_flow).clamp(*COPIED)
        return torch.lerp(outlined, torch.log(sure / (1 - sure)), copied).squeeze(1)

    def score(self, x16: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted IoU and presence from the features under the mask, all of them, and the strongest
        anywhere."""
        inside = pooled(x16, averaged(logits.sigmoid().unsqueeze(1), 8))
        iou, presence = self.scores(torch.cat((inside, x16.mean((2, 3)), x16.amax((2, 3))), dim=1)).unbind(1)
        return iou.sigmoid(), presence


class ObjectPointer(nn.Module):
    """What an object looks like, beside its surroundings: one vector."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * config.coarse, config.pointer)

    def forward(self, coarse: Tensor, image_of: Tensor, logits: Tensor) -> Tensor:
        """coarse (B, coarse, h, w), logits (N, 8h, 8w) of the masks: (N, pointer)."""
        mask, x = averaged(logits.sigmoid().unsqueeze(1), 8), seen_by(coarse, image_of)
        pointer: Tensor = self.mix(torch.cat((pooled(x, mask), pooled(x, 1 - mask)), dim=1))
        return pointer


def trust(x: Tensor) -> Tensor:
    """How much to believe a mask that was read, for each place: 0 to 2."""
    return 2 * x.sigmoid()


def masks_in(evidence: Evidence) -> Tensor:
    """The masks as they were read, untouched: (N, PRIORS, 2h, 2w).

    Added to the logits, they make an untrained decoder one that copies, from which it learns to do better.
    """
    values = (evidence.trusted, evidence.recent, evidence.prompt)
    shuffled = (F.pixel_shuffle(value[:, -4:], 2) for value in values)
    fine = (value[:, -4:].mean(1, keepdim=True) for value in (evidence.fine, evidence.fine_recent))
    return torch.cat((*shuffled, evidence.moved.fine, *fine), dim=1)


def surroundings(last: Tensor) -> Tensor:
    """The previous mask (N, 1, 4h, 4w) at stride 16, and grown by one place and by three: (N, 3, h, w).

    Things that look alike are told apart by where the object was: it cannot be far.
    """
    mask = averaged(last, 4)
    return torch.cat((mask, *(F.max_pool2d(mask, 2 * r + 1, 1, r) for r in (1, 3))), dim=1)


def pooled(x: Tensor, weight: Tensor) -> Tensor:
    """The mean of x (N, C, h, w) under a weight (N, 1, h, w): (N, C)."""
    return (x * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=0.5)


def double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
