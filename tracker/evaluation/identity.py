"""Whether a tracker keeps identities through drawn scenes in which one hard thing happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from statistics import fmean
from typing import NamedTuple

import numpy as np

from keepsight.streams.sources.hard_scenes import (
    AWAY,
    FOLLOWED,
    FRAMES,
    KINDS,
    SETTLED_FRAMES,
    HardKind,
    HardScene,
    make_hard_scene,
)
from keepsight.streams.types import Result

from .evaluate import Progress, silent
from .propagator import IndexMap, Prompter, Track, accepted
from .truth import FOUND, TruthScores, begin, with_frame

FILMED = 0, 26, 38, 50, 62, 74, FRAMES - 1
"""The frames that are kept of a scene to be looked at: before, during and after what is hard in it."""


class Subject(NamedTuple):
    """What is examined: a tracker, how it is shown the objects, and the presence, in (0, 1), from which it
    takes one to be visible."""

    name: str
    track: Track
    show: Prompter
    visible: float


class Delays(NamedTuple):
    """Frames until the object score falls below visible after the last pixel went out of sight, and until it
    rises again after the first came back: 1 where it does in that very frame, infinite where it never
    does."""

    fall: float
    rise: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tracker made of one scene. `scores`: each followed object's, from the frame after it was shown
    on; `settled`: those of the last frames; `delays`: None in scenes in which nothing goes out of sight."""

    kind: HardKind
    seed: int
    scores: tuple[TruthScores, ...]
    settled: tuple[TruthScores, ...]
    delays: Delays | None

    @property
    def right(self) -> bool:
        """Whether in the end each id is on its own object with a mean J of a half, and on no other in any
        frame."""
        return all(one.mean_j >= FOUND and not one.strayed for one in self.settled)

    @property
    def mean_j(self) -> float:
        """In [0, 1]: over the frames in which an object can be seen, then over objects."""
        return fmean(one.mean_j for one in self.scores)


class Film(NamedTuple):
    """An outcome, and the results of the `FILMED` frames that led to it."""

    outcome: Outcome
    stills: tuple[Result, ...]


def follow_scenes(
    subject: Subject, seeds: int, progress: Callable[[Progress], None] = silent
) -> Iterator[Film]:
    """Let a tracker follow a scene of each kind for each seed from 0; each as soon as it is done.

    Raises ValueError where it refuses a prompt or does not give one result for each frame.
    """
    total = seeds * len(KINDS) * FRAMES
    for number, (seed, kind) in enumerate(product(range(seeds), KINDS)):
        scene = make_hard_scene(kind, seed)

        def watch(frame: int, name: str = scene.name, before: int = number * FRAMES) -> None:
            progress(Progress(subject.name, name, before + frame + 1, total))

        yield follow(subject, scene, watch)


def follow(subject: Subject, scene: HardScene, watch: Callable[[int], None]) -> Film:
    """What a tracker makes of one scene; `watch` is told of each frame when it is done."""
    images = [scene.image(index) for index in range(FRAMES)]
    prompts = subject.show(images, {0: first_mask(scene)})
    stills: list[Result] = []

    def watched() -> Iterator[Result]:
        for result in subject.track(images, prompts):
            if result.frame.index in FILMED:
                stills.append(result)
            watch(result.frame.index)
            yield result

    return Film(judge(scene, watched(), subject.visible), tuple(stills))


def first_mask(scene: HardScene) -> IndexMap:
    """The map (H, W) uint8 of what is to be followed in the first frame."""
    truth = scene.truth(0)
    return np.where(np.isin(truth, FOLLOWED), truth, np.uint8(0))


def judge(scene: HardScene, results: Iterable[Result], visible: float) -> Outcome:
    """The outcome of a scene from the results of all its frames in order.

    Raises ValueError where a prompt was refused or the number of results is not that of the frames.
    """
    scores, settled = (begin(dict.fromkeys(FOLLOWED, since)) for since in (1, FRAMES - SETTLED_FRAMES))
    seen: list[bool] = []
    said: list[bool] = []
    for result in results:
        accepted(result)
        truth = scene.truth(result.frame.index)
        scores, settled = (with_frame(some, truth, result) for some in (scores, settled))
        seen.append(bool((truth == AWAY).any()))
        said.append(any(one.object_id == AWAY and one.presence >= visible for one in result.tracks))
    if len(said) != FRAMES:
        raise ValueError(f"{scene.name}: {FRAMES} frames, but the tracker gave {len(said)} results")
    goes = scene.kind != "crossing"
    return Outcome(scene.kind, scene.seed, scores, settled, delays(seen, said) if goes else None)


def delays(seen: Sequence[bool], said: Sequence[bool]) -> Delays:
    """How late a tracker says that an object is gone and back. For each frame `seen`: whether the truth has a
    pixel of it; `said`: whether its score is that of something visible.

    The object goes out of sight once and comes back. A score that is up in the last frame out of sight does
    not rise: who never saw it go cannot see it return.
    """
    gone = seen.index(False)
    back = seen.index(True, gone)
    fall = next((late for late, up in enumerate(said[gone:back], start=1) if not up), inf)
    rise = next((late for late, up in enumerate(said[back:], start=1) if up), inf)
    return Delays(fall, inf if said[back - 1] else rise)
