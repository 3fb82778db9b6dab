"""How the tracker decides: one frozen value, read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from .confidence import Calibration
from .config import MemoryPolicy

VISIBLE = 0.5
"""The probability of being visible from which an object has a mask, where nothing is known of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """Thresholds of the life cycle and of the memory. Raises ValueError for values that make no sense.

    confirm_frames: frames in a row an object must be visible in before it is announced as new.
    occlude_frames: frames in a row it must be hidden in before it counts as occluded.
    recover_frames: frames in a row it must be visible in again before it counts as recovered.
    lost_after: seconds it may stay hidden before it is lost.
    forget_lost_after: seconds a lost object keeps its slot; None keeps it until it is forgotten on request.
    visible_presence: probability of being visible, in (0, 1), from which an object has a mask at all; None
        leaves it to what suits the model, `VISIBLE` where nothing is known.
    write_presence, write_iou: what presence and predicted IoU, in [0, 1], a frame must reach to be written to
        the memory, so that wrong masks do not confirm themselves; 0 and 0 write every frame, as SAM 2 does.
    memory: which frames stay in the memory: the most recent ones, or a selection of them and of earlier ones
        that were sure, unlike each other and free of look-alikes.
    untangle: whether objects that touched, and look alike, are told apart afterwards by where they went; None
        leaves it to what the model needs. Then what becomes of one object depends on those that it meets.
    noise: standard deviation of the noise, in parts of the pixels' range, under which every mask is found a
        second time to judge its stability, at the price of a second look at each frame; 0 does not.
    calibration: how confidence is made of the model's opinions; None takes them as they are.
    """

    confirm_frames: int = 2
    occlude_frames: int = 3
    recover_frames: int = 2
    lost_after: float = 5.0
    forget_lost_after: float | None = None
    visible_presence: float | None = None
    write_presence: float = 0.5
    write_iou: float = 0.3
    memory: MemoryPolicy = "recent"
    untangle: bool | None = None
    noise: float = 0.0
    calibration: Calibration | None = None

    @property
    def visible(self) -> float:
        """The probability of being visible, in (0, 1), from which an object has a mask."""
        return VISIBLE if self.visible_presence is None else self.visible_presence

    def __post_init__(self) -> None:
        for name in ("confirm_frames", "occlude_frames", "recover_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it counts frames and is at least 1")
        for name in ("write_presence", "write_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name):g}: it goes from 0 to 1")
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise is {self.noise:g}: it goes from 0 (none) to 1 (the pixels' whole range)")
        if self.memory not in get_args(MemoryPolicy):
            raise ValueError(f"memory is {self.memory!r}: it is one of {', '.join(get_args(MemoryPolicy))}")
        if not 0 < self.visible < 1:
            raise ValueError(f"visible_presence is {self.visible:g}: it lies between 0 and 1")
        if self.lost_after < 0 or (self.forget_lost_after or 0) < 0:
            raise ValueError("lost_after and forget_lost_after are seconds and cannot be negative")
