"""Every model there is, by name."""

from __future__ import annotations

import torch

from . import sam2_config as sam2
from .nano import Nano
from .nano_config import NANO, NanoConfig
from .sam2 import Sam2
from .sam2_config import Sam2Config

ModelConfig = NanoConfig | Sam2Config

MODELS: dict[str, ModelConfig] = {
    "nano": NANO,
    "sam2.1-tiny": sam2.SAM2_1_TINY,
    "sam2.1-small": sam2.SAM2_1_SMALL,
    "sam2.1-base-plus": sam2.SAM2_1_BASE_PLUS,
    "sam2.1-large": sam2.SAM2_1_LARGE,
    "sam2-tiny": sam2.as_version_2(sam2.SAM2_1_TINY),
    "sam2-small": sam2.as_version_2(sam2.SAM2_1_SMALL),
    "sam2-base-plus": sam2.as_version_2(sam2.SAM2_1_BASE_PLUS),
    "sam2-large": sam2.as_version_2(sam2.SAM2_1_LARGE),
    "edgetam": sam2.EDGETAM,
    "test": sam2.TEST,
}


def build(config: ModelConfig) -> Nano | Sam2:
    """The network of a configuration, with random weights from torch's generator."""
    match config:
        case NanoConfig():
            return Nano(config)
        case Sam2Config():
            return Sam2(config)


def outline(config: ModelConfig) -> Nano | Sam2:
    """The network without numbers: shapes only, on the meta device, whatever its size."""
    with torch.device("meta"):
        return build(config)
