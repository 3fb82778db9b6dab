"""Real networks, small and untrained: for what must hold whatever a network has learned."""

from __future__ import annotations

from dataclasses import replace

import torch

from keepsight.model.int8 import quantise
from keepsight.model.memory import MemoryLayout
from keepsight.model.nano import Nano
from keepsight.model.nano_config import NANO
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import TEST, PerceiverConfig, RepVitConfig
from keepsight.tracker.settings import TrackerSettings

EDGETAM = replace(
    TEST,
    trunk=RepVitConfig(widths=(8, 16, 24, 32), depths=(1, 1, 1, 1)),
    layout=MemoryLayout(conditioning=2, recent=2, pointers=2 + 3),
    image_size=64,
    decoder_depth=1,
    attention_depth=1,
    pointer_time=False,
    occlusion_embedding=False,
    perceiver=PerceiverConfig(side=4, depth=1),
)
SAM2 = {"sam2": replace(TEST, image_size=64), "edgetam": EDGETAM}
NAMES = ["sam2", "edgetam"]
"""Networks whose objects are apart to the bit. Nano takes all as one batch: there they are apart up to the
order of sums, see tests/model/test_nano.py."""
ROUNDED = ["sam2 bfloat16", "sam2 int8"]
"""The same of fewer bits."""
ALWAYS = TrackerSettings(write_presence=0.0, write_iou=0.0, visible_presence=1e-6)
"""Untrained networks doubt what they see: their masks are kept and remembered all the same."""


def network(name: str) -> Nano | Sam2:
    """For inputs of about 64 x 64 pixels, in float32 where the name says no other; always the same."""
    torch.manual_seed(0)
    family, _, dtype = name.partition(" ")
    if family == "nano":
        return untrained_nano()
    model = Sam2(SAM2[family]).eval().requires_grad_(False)
    model.fuse()
    if dtype == "int8":
        quantise(model)
    return model.bfloat16() if dtype == "bfloat16" else model


def untrained_nano() -> Nano:
    nano = Nano(replace(NANO, image_side=64)).eval().requires_grad_(False)
    nano.fuse()
    (*_, scores) = nano.decoder.scores
    assert isinstance(scores, torch.nn.Linear)
    scores.bias[1] = 3.0  # untrained, it would take every object to be absent
    return nano
