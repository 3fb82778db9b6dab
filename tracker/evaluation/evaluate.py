"""Run methods over sequences labelled with masks, and score what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import TypeVar

import numpy as np

from keepsight.streams.types import Mask

from .labelled import Dataset, LabelledSequence, Pictures, Truth, check_size, first_masks
from .metrics import contour_accuracy, region_similarity
from .propagator import IndexMap, Propagator
from .report import FrameScore, ObjectScores, Run

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """Which frame has just been scored: `done` of `total` frames, all methods and sequences counted."""

    method: str
    sequence: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """What a method said of one frame beside what is true: maps (H, W), and the scores of the objects that
    had begun before."""

    method: str
    sequence: LabelledSequence
    frame: int
    predicted: IndexMap
    truth: IndexMap
    scores: Mapping[int, FrameScore]


Observer = Callable[[ScoredFrame], None]


def silent(progress: Progress) -> None:
    """For those who need not know."""


def evaluate(
    dataset: Dataset,
    methods: Mapping[str, Propagator],
    progress: Callable[[Progress], None] = silent,
    observers: Sequence[Observer] = (),
) -> Iterator[Run]:
    """Score each method on each sequence; each run as soon as it is done.

    A method gets the mask of each object in the first frame that shows it. As in the semi-supervised setting
    of DAVIS 2016 and 2017, the first frame of a sequence is not scored, and the last only where the dataset
    asks for it; nor are an object's frames up to that of its first mask, nor frames without annotation.
    Raises ValueError where a sequence has nothing to score, or a method does not yield one map of the frame's
    size for each frame.
    """
    total = len(methods) * sum(len(sequence) for sequence in dataset.sequences)
    done = count(1)
    for sequence in dataset.sequences:
        truth = dataset.annotate(sequence)
        for name, method in methods.items():
            run = _Scoring(name, truth, observers)
            for _ in run.frames(method):
                progress(Progress(name, sequence.name, next(done), total))
            yield Run(name, tuple(run.objects()), len(sequence), run.seconds)


class _Scoring:
    """One method on one sequence: the scores of each object so far."""

    def __init__(self, method: str, truth: Truth, observers: Sequence[Observer]) -> None:
        self.method = method
        self.truth = truth
        self.observers = observers
        self.seconds = 0.0
        self._scores: dict[int, list[FrameScore]] = {object_id: [] for object_id in truth.born}

    def frames(self, method: Propagator) -> Iterator[int]:
        """Score frame after frame, and yield the index of each."""
        sequence = self.truth.sequence
        maps = timed(method(Pictures(sequence.images, sequence.rate), first_masks(self.truth)))
        end = len(sequence) if sequence.scores_last else len(sequence) - 1
        frame = -1
        for frame, (index_map, seconds) in enumerate(maps):
            self.seconds += seconds
            if 0 < frame < end:
                self._score(frame, index_map)
            yield frame
        if frame + 1 != len(sequence):
            raise ValueError(f"{sequence.name}: {len(sequence)} frames, but the method gave {frame + 1} maps")

    def objects(self) -> list[ObjectScores]:
        sequence = self.truth.sequence
        if not any(self._scores.values()):
            raise ValueError(
                f"{sequence.name}: no annotated frame to score between the first masks and the last"
            )
        return [
            ObjectScores(sequence.name, object_id, len(sequence), tuple(scores))
            for object_id, scores in self._scores.items()
        ]

    def _score(self, frame: int, predicted: IndexMap) -> None:
        truth = self.truth.map(frame)
        if truth is None:
            return
        sequence = self.truth.sequence
        if predicted.shape != truth.shape:
            check_size(sequence, frame, truth)
            raise ValueError(
                f"{sequence.name}: frame {frame} has a map of {predicted.shape} for a mask of {truth.shape}"
            )
        if (ignored := self.truth.ignored(frame)) is not None:
            predicted = np.where(ignored, predicted.dtype.type(0), predicted)
        scores = {
            object_id: _frame_score(frame, predicted == object_id, truth == object_id)
            for object_id, born in self.truth.born.items()
            if frame > born
        }
        for object_id, score in scores.items():
            self._scores[object_id].append(score)
        for observe in self.observers:
            observe(ScoredFrame(self.method, sequence, frame, predicted, truth, scores))


def _frame_score(frame: int, predicted: Mask, truth: Mask) -> FrameScore:
    return FrameScore(frame, region_similarity(predicted, truth), contour_accuracy(predicted, truth))


def timed(items: Iterable[T]) -> Iterator[tuple[T, float]]:
    """Each item, and the seconds it was waited for."""
    started = perf_counter()
    for item in items:
        yield item, perf_counter() - started
        started = perf_counter()
