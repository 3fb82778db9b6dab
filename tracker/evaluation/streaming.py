"""A tracker scored while the file plays at its own rate: what it has no time for, it does not see.

After Li et al., "Towards Streaming Perception", ECCV 2020, in a simulation: the time of each step is
measured, the time between frames is not waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import nan
from statistics import median
from typing import Generic, NamedTuple, TypeVar

from keepsight.streams.types import Frame, Image, Prompt, Result

from .labelled import Pictures

RATE = 30.0
"""Frames/s where neither the user nor the dataset says it."""

Step = Callable[[Frame, Sequence[Prompt]], Result]
"""Steps one stream by a frame and the prompts for it."""
Seconds = Callable[[Result], float]
"""The clock: how long the step with this result took."""

F = TypeVar("F")
T = TypeVar("T")


class Moment(NamedTuple):
    """What a tracker shows at a frame: the result of the frame where it saw it, else the last one it had by
    then, None where it had none. `latency`: seconds from the frame to its own result, NaN where missed."""

    result: Result | None
    seen: bool
    latency: float


@dataclass(frozen=True, slots=True)
class Playback:
    """How a tracker kept up. `latencies`: seconds from a frame that was seen to its result."""

    missed: int = 0
    latencies: tuple[float, ...] = ()

    @property
    def seen(self) -> int:
        return len(self.latencies)

    @property
    def latency(self) -> float:
        """The median in seconds; NaN where nothing was seen."""
        return median(self.latencies) if self.latencies else nan


def model_seconds(result: Result) -> float:
    """What the model and all around it took for a step, without reading the picture."""
    return result.timings.total


def play(
    step: Step,
    images: Sequence[Image],
    prompts: Sequence[Prompt],
    rate: float,
    seconds_of: Seconds = model_seconds,
) -> Iterator[Moment]:
    """One moment per frame, frame i coming at i / rate seconds.

    A free tracker takes the newest frame; while it works the others pass. A frame on which an object is shown
    is never passed over: whoever shows it waits until the tracker is free. Nor is the last, which nothing
    replaces.
    """
    shown = {frame: tuple(group) for frame, group in groupby(prompts, _frame_of)}
    ready: deque[tuple[float, Result]] = deque()
    last, free = None, 0.0
    for index, image in enumerate(images):
        now, following = index / rate, (index + 1) / rate
        while ready and ready[0][0] <= now:
            last = ready.popleft()[1]
        begin = max(free, now)
        if begin < following or index in shown or index == len(images) - 1:
            result = step(Frame(image, index, 0, now, now, "generated", now), shown.get(index, ()))
            free = begin + seconds_of(result)
            ready.append((free, result))
            yield Moment(result, True, free - now)
        else:
            yield Moment(last, False, nan)


class Streaming(Generic[F, T]):
    """A method for evaluation that plays each sequence; `playback` says how it kept up on those it finished.

    start: a fresh stream for a number of objects; prompter: as for the tracker that sees every frame; show:
    what is scored of a result; nothing: the same before the first result; rate: frames/s, None for what the
    dataset states, or else `RATE`.
    """

    def __init__(
        self,
        start: Callable[[int], Step],
        prompter: Callable[[Sequence[Image], F], Sequence[Prompt]],
        show: tuple[Callable[[Result], T], Callable[[Image], T]],
        rate: float | None,
        seconds_of: Seconds = model_seconds,
    ) -> None:
        self.playback = Playback()
        self._start = start
        self._prompter = prompter
        self._show, self._nothing = show
        self.rate = rate
        self._seconds_of = seconds_of

    def __call__(self, images: Sequence[Image], first: F) -> Iterator[T]:
        """What is shown at each frame: a `Propagator`, or a `BoxFollower`."""
        prompts = self._prompter(images, first)
        rate = self.rate or stated_rate(images) or RATE
        missed, latencies = 0, list[float]()
        for index, moment in enumerate(
            play(self._start(len(prompts)), images, prompts, rate, self._seconds_of)
        ):
            yield self._nothing(images[index]) if moment.result is None else self._show(moment.result)
            if moment.seen:
                latencies.append(moment.latency)
            missed += not moment.seen
        before = self.playback
        self.playback = Playback(before.missed + missed, (*before.latencies, *latencies))


def stated_rate(images: Sequence[Image]) -> float | None:
    """The frames/s that the dataset states for these pictures."""
    return images.rate if isinstance(images, Pictures) else None


def as_json(playback: Playback) -> Mapping[str, float | None]:
    """Frames seen and missed, and the median latency in seconds, None where nothing was seen."""
    latency = playback.latency if playback.seen else None
    return {"seen": playback.seen, "missed": playback.missed, "latency": latency}


def _frame_of(prompt: Prompt) -> int:
    return prompt.frame_ref[1] if prompt.frame_ref else 0
