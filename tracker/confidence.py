"""How sure a track is: four opinions of the model, and one number made of them."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STABILITY_MARGIN = 1.0
"""How far the threshold on mask logits is moved to both sides to see whether the mask stays the same."""
SUREST = 0.999
"""Opinions count as no surer than this, so that none outweighs all others."""


@dataclass(frozen=True, slots=True)
class Opinions:
    """What the model thinks of its own mask, each in [0, 1].

    iou: predicted IoU with the object; presence: probability that the object is visible; stability: how
    little the mask changes with its threshold (and, where asked, with noise on the image); margin: how
    clearly its pixels are told from the others.
    """

    iou: float
    presence: float
    stability: float
    margin: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic regression on the opinions' logits: the probability that the object is visible and its mask
    has an IoU above a half with it. No weight is negative: a better opinion never lowers it."""

    bias: float
    iou: float
    presence: float
    stability: float
    margin: float

    def __call__(self, opinions: Opinions) -> float:
        weights = (self.iou, self.presence, self.stability, self.margin)
        told = zip(weights, astuple(opinions), strict=True)
        return probability(self.bias + sum(weight * log_odds(opinion) for weight, opinion in told))


def confidence(opinions: Opinions) -> float:
    """presence * sqrt(iou * stability), in [0, 1]: the object is there, and its mask is right.

    What is said where no calibration belongs to the weights. The two opinions on the mask are averaged
    (geometrically, so that one which is 0 counts); the presence is a probability of its own and multiplies.
    """
    return opinions.presence * math.sqrt(max(0.0, opinions.iou) * max(0.0, opinions.stability))


def log_odds(opinion: float) -> float:
    """The logit of an opinion in [0, 1], bounded by `SUREST`."""
    opinion = min(max(opinion, 1 - SUREST), SUREST)
    return math.log(opinion / (1 - opinion))


def probability(logit: float) -> float:
    """The sigmoid, for any float."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def agreement(logits: Tensor, others: Tensor) -> Tensor:
    """IoU (N,) in [0, 1] of masks given as logits (N, h, w) each; 1 where both are empty."""
    one, other = logits > 0, others > 0
    union = (one | other).sum((-2, -1))
    return torch.where(union > 0, (one & other).sum((-2, -1)) / union.clamp(min=1), 1.0)


def margin(logits: NDArray[np.float32]) -> float:
    """How much likelier than not a mask's pixels are on it, on average: logits (h, w) to [0, 1], 0 if empty.

    A pixel's 2 p - 1, p being the sigmoid of its logit, is the hyperbolic tangent of half of it.
    """
    inside = logits[logits > 0]
    return float(np.tanh(inside / 2).mean()) if inside.size else 0.0
