"""What a run did: frames, speed, latency by stage, peak memory. Of fixed size, however long the run."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Refusal, Reset, Result

REFUSED_KEPT = 20
STAGES = ("decode", "encode", "attention", "masks", "memory", "sinks")
FASTEST, STEP, BUCKETS = 1e-6, 1.03, 700
"""Buckets grow by 3 % from a microsecond, so the last begins at about 16 minutes."""


@dataclass(slots=True)
class Latencies:
    """A histogram of durations whose quantiles are right to 1.5 %."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BUCKETS, np.int64))

    def record(self, seconds: float) -> None:
        bucket = np.log(max(seconds, FASTEST) / FASTEST) / np.log(STEP)
        self.counts[min(int(bucket), BUCKETS - 1)] += 1

    def quantile(self, share: float) -> float:
        """The duration in seconds that `share` of the recorded ones do not exceed; 0 where there are none."""
        total = int(self.counts.sum())
        if total == 0:
            return 0.0
        bucket = int(np.searchsorted(self.counts.cumsum(), share * total))
        return float(FASTEST * STEP ** (bucket + 0.5))


@dataclass(frozen=True, slots=True)
class Stage:
    """How long one stage took, in seconds a frame."""

    name: str
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a run. `seconds` from when the model was ready to the last result; memory in bytes;
    left_out: by the URL of a sink, the frames of a live source for which it had no time, where there are any.
    """

    frames: int
    dropped: int
    seconds: float
    stages: tuple[Stage, ...]
    step: Stage
    peak_memory: int
    left_out: tuple[tuple[str, int], ...] = ()

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds > 0 else 0.0


@dataclass(slots=True)
class Meter:
    """Counts as results come; `summary` at any time.

    `refused`: the first few refused commands in words, without those whose asker was answered; `started`:
    `time.monotonic()` when the model was ready.
    """

    frames: int = 0
    objects: int = 0
    first_place: int = 0
    last_place: int = 0
    refused: list[str] = field(default_factory=list)
    started: float | None = None
    latest: float = 0.0
    stages: dict[str, Latencies] = field(default_factory=lambda: {name: Latencies() for name in STAGES})
    step: Latencies = field(default_factory=Latencies)

    def record(self, result: Result, now: float) -> None:
        """`now` is `time.monotonic()` when the result was ready. A `closing` frame was counted before."""
        room = REFUSED_KEPT - len(self.refused)
        unanswered = [refusal for refusal in result.refusals if refusal.command.request is None]
        self.refused += [described(refusal) for refusal in unanswered[:room]]
        if result.closing:
            return
        if not self.frames:
            self.first_place = result.frame.place
        self.last_place = result.frame.place
        self.frames += 1
        self.objects = len(result.tracks)
        self.latest = now
        self.step.record(result.timings.total)
        for name in STAGES[:-1]:
            self.stages[name].record(getattr(result.timings, name))

    def record_sink(self, seconds: float) -> None:
        self.stages["sinks"].record(seconds)

    @property
    def seconds(self) -> float:
        return 0.0 if self.started is None else self.latest - self.started

    @property
    def dropped(self) -> int:
        """Frames that were decoded and not let go by, but were not stepped."""
        return self.last_place - self.first_place + 1 - self.frames if self.frames else 0

    def summary(self) -> Summary:
        stages = tuple(stage(name, self.stages[name]) for name in STAGES)
        return Summary(
            self.frames, self.dropped, self.seconds, stages, stage("step", self.step), peak_memory()
        )


def described(refusal: Refusal) -> str:
    """A refusal in one line."""
    command = refusal.command
    named = (
        "" if isinstance(command, Reset) or command.object_id is None else f" of object {command.object_id}"
    )
    return f"{type(command).__name__.lower()}{named} was refused: {refusal.reason}"


def stage(name: str, latencies: Latencies) -> Stage:
    return Stage(name, latencies.quantile(0.5), latencies.quantile(0.95))


def peak_memory() -> int:
    """The most bytes this process has held resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
