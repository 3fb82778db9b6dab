"""Fits how sure a tracker may be on labelled videos, and says how far off it was before and after.

What is predicted is whether the object is visible and its mask has an IoU above a half with it: an event
that happens or does not, so that of a hundred masks of confidence 0.8 eighty should be right, which can be
counted, and a threshold on it means something. How good a right mask is, `iou` says beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Track

from ..confidence import Calibration, Opinions, log_odds
from .evaluate import Progress
from .labelled import Pictures, Truth, first_masks
from .layouts import find_masks
from .metrics import region_similarity
from .propagator import IndexMap, as_prompts
from .propagator import Track as Tracking

Floats = NDArray[np.float64]

FOUND = 0.5
"""The IoU above which a mask is right."""
BINS = 10
RIDGE = 1.0
"""Pulls the weights to 0, about as much as one observation that says the contrary."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One mask that a tracker showed: its opinions and its confidence, and whether it was right."""

    sequence: str
    opinions: Opinions
    confidence: float
    right: bool


class Bin(NamedTuple):
    """The masks whose confidence lies in one of `BINS` equal parts of [0, 1]; `right`: the share that was."""

    masks: int
    confidence: float
    right: float


def observe(
    track: Tracking, dataset: Path, progress: Callable[[Progress], None], sequences: Sequence[str] = ()
) -> list[Observation]:
    """Every mask shown on the annotated frames of a dataset, first masks given. Raises ValueError as
    `evaluate` does, and for fewer than two sequences: none may judge itself."""
    labelled = find_masks(dataset, sequences)
    found = labelled.sequences
    if len(found) < 2:
        raise ValueError(f"{dataset}: calibration takes two labelled sequences: one judges the other")
    total, done = sum(len(sequence) for sequence in found), 0
    observations: list[Observation] = []
    for sequence in found:
        truth = labelled.annotate(sequence)
        results = track(Pictures(sequence.images), as_prompts(first_masks(truth)))
        for frame, result in enumerate(results):
            observations += in_frame(truth, frame, result.tracks)
            done += 1
            progress(Progress("calibrating", sequence.name, done, total))
    return observations


def in_frame(truth: Truth, frame: int, tracks: Sequence[Track]) -> Iterator[Observation]:
    """The masks of one frame, after the frame of their object's first mask."""
    annotated = truth.map(frame)
    if annotated is None:
        return
    for track in tracks:
        if track.box is not None and frame > truth.born[track.object_id]:
            opinions = Opinions(track.iou, track.presence, track.stability, track.margin)
            right = is_right(track, annotated)
            yield Observation(truth.sequence.name, opinions, track.confidence, right)


def is_right(track: Track, truth: IndexMap) -> bool:
    wanted = truth == track.object_id
    return bool(wanted.any()) and region_similarity(track.mask, wanted) > FOUND


def fit(observations: Sequence[Observation]) -> Calibration:
    """The most likely weights that are not negative; an opinion that speaks against itself gets none."""
    logits, right = logits_of(observations), right_of(observations)
    used = list(range(logits.shape[1]))
    while True:
        weights = newton(logits[:, used], right)
        if not used or weights[1:].min() >= 0:
            break
        del used[int(weights[1:].argmin())]
    full = np.zeros(logits.shape[1])
    full[used] = weights[1:]
    return Calibration(float(weights[0]), *map(float, full))


def newton(logits: Floats, right: Floats, steps: int = 30) -> Floats:
    """Logistic regression by Newton's method: logits (n, K), right (n,) of 0 and 1 -> bias and weights
    (1 + K,)."""
    table = np.column_stack([np.ones(len(logits)), logits])
    ridge = np.diag([1e-6, *[RIDGE] * logits.shape[1]])
    weights = np.zeros(table.shape[1])
    for _ in range(steps):
        said = sigmoid(table @ weights)
        slope = table.T @ (right - said) - ridge @ weights
        bend = (table * (said * (1 - said))[:, None]).T @ table + ridge
        step = np.linalg.solve(bend, slope)
        weights += step * min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
    return weights


def sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -40, 40))), np.float64)


def held_out(observations: Sequence[Observation]) -> Floats:
    """The confidence (n,) of each mask by a calibration that has not seen its sequence.

    NaN where all masks of the other sequences are right, or all wrong: they teach no difference.
    """
    said = np.full(len(observations), np.nan)
    for name in names_of(observations):
        others = [one for one in observations if one.sequence != name]
        if len({one.right for one in others}) == 2:
            fitted = fit(others)
            own = [row for row, one in enumerate(observations) if one.sequence == name]
            said[own] = [fitted(observations[row].opinions) for row in own]
    return said


def names_of(observations: Sequence[Observation]) -> list[str]:
    """The sequences in their order."""
    return list(dict.fromkeys(one.sequence for one in observations))


class Judgement(NamedTuple):
    """What is said of some masks, and how far off that was: expected calibration error and Brier score."""

    masks: int
    right: float
    ece: float
    brier: float


def judge(said: Floats, right: Floats) -> Judgement:
    """said: (n,) in [0, 1]; right: (n,) of 0 and 1."""
    return Judgement(len(said), right.mean(), calibration_error(bins_of(said, right)), brier(said, right))


def logits_of(observations: Sequence[Observation]) -> Floats:
    """(n, 4): each opinion's logit."""
    return np.array([[log_odds(opinion) for opinion in astuple(one.opinions)] for one in observations])


def right_of(observations: Sequence[Observation]) -> Floats:
    """(n,): 1 where the mask was right, else 0."""
    return np.array([one.right for one in observations], np.float64)


def bins_of(said: Floats, right: Floats) -> list[Bin]:
    """Confidences (n,) in [0, 1] and what became of them, by `BINS` equal parts; empty ones left out."""
    number = np.minimum((said * BINS).astype(int), BINS - 1)
    members = (number == part for part in range(BINS))
    return [Bin(int(own.sum()), said[own].mean(), right[own].mean()) for own in members if own.any()]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Guo et al. 2017): the mean distance of confidence and share of right."""
    total = sum(one.masks for one in bins)
    return sum(one.masks * abs(one.confidence - one.right) for one in bins) / total


def brier(said: Floats, right: Floats) -> float:
    """The mean squared distance between what was said and what was."""
    return float(np.square(said - right).mean())
