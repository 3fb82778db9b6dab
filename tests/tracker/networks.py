"""Real networks, small and untrained: for what must hold whatever a network has learned."""

from __future__ import annotations

from dataclasses import replace

import torch

from keepsight.model.nano import Nano
from keepsight.model.nano_config import NANO
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import TEST
from keepsight.tracker.settings import TrackerSettings

NAMES = ["sam2"]
"""Networks whose objects are apart to the bit. Nano takes all as one batch: there they are apart up to the
order of sums, see tests/model/test_nano.py."""
ALWAYS = TrackerSettings(write_presence=0.0, write_iou=0.0, visible_presence=1e-6)
"""Untrained networks doubt what they see: their masks are kept and remembered all the same."""


def network(name: str) -> Nano | Sam2:
    """For inputs of about 64 x 64 pixels; always the same."""
    torch.manual_seed(0)
    if name == "sam2":
        return Sam2(replace(TEST, image_size=64)).eval().requires_grad_(False)
    nano = Nano(replace(NANO, image_side=64)).eval().requires_grad_(False)
    nano.fuse()
    (*_, scores) = nano.decoder.scores
    assert isinstance(scores, torch.nn.Linear)
    scores.bias[1] = 3.0  # untrained, it would take every object to be absent
    return nano
