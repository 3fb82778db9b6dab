"""Every model there is, by name."""

from __future__ import annotations

from .nano import Nano
from .nano_config import NANO, NanoConfig
from .sam2 import Sam2
from .sam2_config import SAM2_1_TINY, TEST, Sam2Config

ModelConfig = NanoConfig | Sam2Config

MODELS: dict[str, ModelConfig] = {
    "nano": NANO,
    "sam2.1-tiny": SAM2_1_TINY,
    "test": TEST,
}


def build(config: ModelConfig) -> Nano | Sam2:
    """The network of a configuration, with random weights from torch's generator."""
    match config:
        case NanoConfig():
            return Nano(config)
        case Sam2Config():
            return Sam2(config)
