"""What fewer bits cost and gain: a model in every dtype on the same frames, turn by turn, beside float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.types import Result

from .bench import WARM_UP, Drawn
from .evaluation.metrics import region_similarity
from .settings import TrackerSettings
from .state import initial
from .step import DEFAULTS, step

ON_CPU = ("float32", "bfloat16", "int8")
ON_GPU = ("float32", "bfloat16")
UNTRAINED = replace(DEFAULTS, write_presence=0.0, write_iou=0.0)
"""For random weights, which doubt all they see: every frame is remembered, as those of good weights are."""


class Stepped(NamedTuple):
    """A frame's step. seconds: how long it took; logits: (N, *mask) float32 of the last masks."""

    seconds: float
    result: Result
    logits: Tensor


class Beside(NamedTuple):
    """A frame's step beside float32's. ratio: float32's time by its own; ious: of each object's two masks;
    largest, mean: absolute differences of the logits."""

    seconds: float
    ratio: float
    ious: tuple[float, ...]
    largest: float
    mean: float


@dataclass(frozen=True, slots=True)
class Precision:
    """A dtype beside float32. seconds: of a frame, the median; ratio: how many times float32's speed, the
    median over the frames; iou: of its masks with float32's, the mean over objects and frames, in [0, 1];
    largest, mean: absolute differences of the logits of masks."""

    dtype: str
    seconds: float
    ratio: float
    iou: float
    largest: float
    mean: float


def dtypes_of(device: torch.device) -> tuple[str, ...]:
    """What a model can be run in, float32 first."""
    return ON_CPU if device.type == "cpu" else ON_GPU


def compare(
    models: Mapping[str, VideoPredictor], drawn: Drawn, settings: TrackerSettings = DEFAULTS
) -> list[Precision]:
    """Every model by its dtype, float32 first. They take turns frame by frame, so that whatever else the
    machine does slows all alike."""
    turns = zip(*(steps(model, drawn, settings) for model in models.values()), strict=True)
    compared = [[beside(own, turn[0]) for own in turn] for turn in turns]
    return [precision(dtype, column) for dtype, *column in zip(models, *compared, strict=True)]


def steps(model: VideoPredictor, drawn: Drawn, settings: TrackerSettings) -> Iterator[Stepped]:
    """Every frame of a scene whose objects are shown in the first."""
    state = initial(len(drawn.cues))
    for frame in drawn.frames:
        commands = [cue.command for cue in drawn.cues] if frame.index == 0 else []
        started = perf_counter()
        state, result = step(model, state, frame, commands, settings)
        took = perf_counter() - started
        assert state.memory is not None
        yield Stepped(took, result, state.memory.logits.float().cpu().clone())


def beside(own: Stepped, reference: Stepped) -> Beside:
    apart = (own.logits - reference.logits).abs()
    return Beside(
        seconds=own.seconds,
        ratio=reference.seconds / own.seconds,
        ious=tuple(
            region_similarity(one.mask, other.mask)
            for one, other in zip(own.result.tracks, reference.result.tracks, strict=True)
        ),
        largest=float(apart.max()),
        mean=float(apart.mean()),
    )


def precision(dtype: str, frames: Sequence[Beside]) -> Precision:
    timed = frames[WARM_UP:]
    return Precision(
        dtype=dtype,
        seconds=median(frame.seconds for frame in timed),
        ratio=median(frame.ratio for frame in timed),
        iou=fmean(iou for frame in frames for iou in frame.ious),
        largest=max(frame.largest for frame in frames),
        mean=fmean(frame.mean for frame in frames),
    )
