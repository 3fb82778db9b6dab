"""What fewer bits cost and gain: a model in every dtype on the same frames, turn by turn, beside float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.types import Result

from .bench import WARM_UP, Drawn
from .evaluation.metrics import region_similarity
from .state import initial
from .step import step

REFERENCE = "float32"
ON_CPU = (REFERENCE, "bfloat16", "int8")
ON_GPU = (REFERENCE, "bfloat16")


class Stepped(NamedTuple):
    """A frame's step. seconds: how long it took; logits: (N, *mask) float32 of the last masks."""

    seconds: float
    result: Result
    logits: Tensor


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


def compare(models: Mapping[str, VideoPredictor], drawn: Drawn) -> list[Precision]:
    """Every model by its dtype, float32 among them. They take turns frame by frame, so that whatever else the
    machine does slows all alike."""
    turns = zip(*(steps(model, drawn) for model in models.values()), strict=True)
    columns = dict(zip(models, zip(*turns, strict=True), strict=True))
    reference = columns[REFERENCE]
    return [precision(dtype, column, reference) for dtype, column in columns.items()]


def steps(model: VideoPredictor, drawn: Drawn) -> Iterator[Stepped]:
    """Every frame of a scene whose objects are shown in the first."""
    state = initial(len(drawn.cues))
    for frame in drawn.frames:
        commands = [cue.command for cue in drawn.cues] if frame.index == 0 else []
        started = perf_counter()
        state, result = step(model, state, frame, commands)
        took = perf_counter() - started
        assert state.memory is not None
        yield Stepped(took, result, state.memory.logits.float().cpu().clone())


def precision(dtype: str, column: tuple[Stepped, ...], reference: tuple[Stepped, ...]) -> Precision:
    pairs = list(zip(column, reference, strict=True))
    timed = pairs[WARM_UP:]
    apart = [(own.logits - other.logits).abs() for own, other in pairs]
    return Precision(
        dtype=dtype,
        seconds=median(own.seconds for own, _ in timed),
        ratio=median(other.seconds / own.seconds for own, other in timed),
        iou=fmean(iou for own, other in pairs for iou in overlaps(own.result, other.result)),
        largest=max(float(each.max()) for each in apart),
        mean=fmean(float(each.mean()) for each in apart),
    )


def overlaps(result: Result, reference: Result) -> Iterator[float]:
    """The IoU of every object's mask in both."""
    for own, other in zip(result.tracks, reference.tracks, strict=True):
        yield region_similarity(own.mask, other.mask)
