"""How a camera did since its last stats: counts and latencies, of bounded size."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import fields
from pathlib import Path

import numpy as np

from ..node_messages import Stats
from ..types import Frame, Result, Timings

STATS_SECONDS = 60.0
RATE_SECONDS = 60.0
MOST_FRAMES = 4096
"""Of more frames in a minute the newest count."""
STAGES = tuple(field.name for field in fields(Timings) if field.name != "total")


class SourceRate:
    """How many frames a second a source has given over the last minute of results, those that nobody had
    time for included: told from the first and the last that became results."""

    def __init__(self) -> None:
        self._frames: deque[tuple[int, float]] = deque(maxlen=MOST_FRAMES)

    def count(self, frame: Frame) -> None:
        self._frames.append((frame.index, frame.arrived))

    def rate(self, now: float) -> float:
        """`now`: on the monotonic clock. 0 where fewer than two frames came."""
        recent = [(index, arrived) for index, arrived in self._frames if now - arrived < RATE_SECONDS]
        if len(recent) < 2:
            return 0.0
        (first, began), (last, ended) = recent[0], recent[-1]
        return (last - first) / (ended - began) if ended > began else 0.0


class Minute:
    """Results since `stats` was last asked; `began`: on the monotonic clock."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._began: float | None = None
        self._frames = 0
        self._timings: deque[Timings] = deque(maxlen=MOST_FRAMES)
        self._published: deque[float] = deque(maxlen=MOST_FRAMES)

    def count(self, result: Result) -> None:
        """A `closing` frame was counted before."""
        if not result.closing:
            self._frames += 1
            self._timings.append(result.timings)

    def publish(self, result: Result, now: float) -> None:
        """A result is published at `now` (wall clock): how long after its capture, where that is known."""
        if result.frame.clock in ("rtcp", "arrival"):
            self._published.append(max(0.0, now - result.frame.captured))

    def next_due(self, now: float) -> float:
        if self._began is None:
            self._began = now
        return self._began + STATS_SECONDS

    def stats(self, now: float, dropped: int, waiting: int, events_dropped: int, source: float) -> Stats:
        """The figures so far; counting begins anew. `source`: frames a second that come from there."""
        seconds = now - (now if self._began is None else self._began)
        latency = {stage: _quantiles([getattr(one, stage) for one in self._timings]) for stage in STAGES}
        latency["step"] = _quantiles([one.total for one in self._timings])
        latency["capture_to_publish"] = _quantiles(list(self._published))
        stats = Stats(
            self._camera,
            seconds,
            self._frames,
            dropped,
            {stage: found for stage, found in latency.items() if found is not None},
            waiting,
            events_dropped,
            resident_bytes(),
            source,
        )
        self._began, self._frames = now, 0
        self._timings.clear()
        self._published.clear()
        return stats


def _quantiles(seconds: list[float]) -> tuple[float, float] | None:
    """Median and 95th percentile; None of nothing."""
    if not seconds:
        return None
    median, p95 = np.quantile(seconds, (0.5, 0.95))
    return float(median), float(p95)


def resident_bytes() -> int:
    """What this process holds in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
