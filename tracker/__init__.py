"""Promptable tracking of any object on any stream.

import keepsight.tracker as ks

tracker = ks.load("nano")
for result in tracker.track("street.mp4", prompts=[ks.Prompt(box=(0.1, 0.2, 0.3, 0.6))]):
    for track in result.tracks:
        print(track.object_id, track.confidence, track.mask.shape)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keepsight.model.mask_generator import GeneratorSettings
    from keepsight.streams.base import SinkError, SourceError
    from keepsight.streams.segments import Segment
    from keepsight.streams.sinks import open_sink
    from keepsight.streams.sources import open_source
    from keepsight.streams.types import Correct, Event, Forget, Frame, Prompt, Refusal, Reset, Result, Track

    from .api import Tracker, load
    from .image import EncodedImage, ImagePrompt, Masks
    from .offline import OfflineTracker
    from .proposals import everything
    from .rules import LineRule, MotionRule, Rules, Zone
    from .settings import TrackerSettings
    from .validation import ConfigError
    from .watching import watch_all

__all__ = [
    "ConfigError",
    "Correct",
    "EncodedImage",
    "Event",
    "Forget",
    "Frame",
    "GeneratorSettings",
    "ImagePrompt",
    "LineRule",
    "Masks",
    "MotionRule",
    "OfflineTracker",
    "Prompt",
    "Refusal",
    "Reset",
    "Result",
    "Rules",
    "Segment",
    "SinkError",
    "SourceError",
    "Track",
    "Tracker",
    "TrackerSettings",
    "Zone",
    "everything",
    "load",
    "open_sink",
    "open_source",
    "watch_all",
]

# Torch's OpenMP threads spin while they wait for each other. Beside a decoder and an encoder on the same
# few cores that made a step up to thirty times slower; asleep they cost nothing. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_TYPES = dict.fromkeys(
    ("Correct", "Event", "Forget", "Frame", "Prompt", "Refusal", "Reset", "Result", "Track"),
    "keepsight.streams.types",
)
_HOMES = _TYPES | {
    "ConfigError": "keepsight.tracker.validation",
    "EncodedImage": "keepsight.tracker.image",
    "GeneratorSettings": "keepsight.model.mask_generator",
    "ImagePrompt": "keepsight.tracker.image",
    "LineRule": "keepsight.tracker.rules",
    "Masks": "keepsight.tracker.image",
    "MotionRule": "keepsight.tracker.rules",
    "Rules": "keepsight.tracker.rules",
    "Segment": "keepsight.streams.segments",
    "OfflineTracker": "keepsight.tracker.offline",
    "SinkError": "keepsight.streams.base",
    "SourceError": "keepsight.streams.base",
    "Tracker": "keepsight.tracker.api",
    "TrackerSettings": "keepsight.tracker.settings",
    "Zone": "keepsight.tracker.rules",
    "everything": "keepsight.tracker.proposals",
    "load": "keepsight.tracker.api",
    "open_sink": "keepsight.streams.sinks",
    "open_source": "keepsight.streams.sources",
    "watch_all": "keepsight.tracker.watching",
}


def __getattr__(name: str) -> object:
    """Imports on first use: `keepsight --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
