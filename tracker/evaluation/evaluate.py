"""Run methods over labelled sequences and score what they say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter

from .davis import Annotations, annotate, find_sequences, read_images
from .metrics import contour_accuracy, region_similarity
from .propagator import IndexMap, Propagator
from .report import FrameScore, MethodScores, ObjectScores, Report


@dataclass(frozen=True, slots=True)
class Progress:
    """Which frame has just been scored: `done` of `total` frames, all methods and sequences counted."""

    method: str
    sequence: str
    done: int
    total: int


def evaluate(
    dataset: Path,
    methods: Mapping[str, Propagator],
    progress: Callable[[Progress], None] | None = None,
    sequences: Collection[str] = (),
) -> Report:
    """Score each method on the labelled sequences of a folder (layouts: `davis.py`), or on those named.

    A method gets the mask of each object in the first frame that shows it. As in the semi-supervised setting
    of DAVIS 2016 and 2017, the first and the last frame of a sequence are not scored; nor are an object's
    frames up to that of its first mask, nor frames without annotation. Raises ValueError when the folder has
    nothing to score, or a method does not yield one map of the frame's size for each frame.
    """
    found = find_sequences(dataset, sequences)
    total = len(methods) * sum(len(sequence) for sequence in found.sequences)
    done = count(1)
    scores = {name: MethodScores(name) for name in methods}
    for sequence in found.sequences:
        annotations = annotate(sequence)
        for name, method in methods.items():
            run = _Run(annotations)
            for _ in run.frames(method):
                if progress is not None:
                    progress(Progress(name, sequence.name, next(done), total))
            scores[name] = scores[name].with_sequence(run.objects(), len(sequence), run.seconds)
    return Report(str(dataset), tuple(scores.values()), found.without_masks)


class _Run:
    """One method on one sequence: the scores of each object so far."""

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self.seconds = 0.0
        self._scores: dict[int, list[FrameScore]] = {object_id: [] for object_id in annotations.born}

    def frames(self, method: Propagator) -> Iterator[int]:
        """Score frame after frame, and yield the index of each."""
        sequence = self.annotations.sequence
        maps = _timed(method(read_images(sequence), self.annotations.prompts()))
        frame = -1
        for frame, (index_map, seconds) in enumerate(maps):
            self.seconds += seconds
            if 0 < frame < len(sequence) - 1:
                self._score(frame, index_map)
            yield frame
        if frame + 1 != len(sequence):
            raise ValueError(f"{sequence.name}: {len(sequence)} frames, but the method gave {frame + 1} maps")

    def objects(self) -> list[ObjectScores]:
        sequence = self.annotations.sequence
        if not any(self._scores.values()):
            raise ValueError(
                f"{sequence.name}: no annotated frame to score between the first masks and the last"
            )
        return [
            ObjectScores(sequence.name, object_id, len(sequence), tuple(scores))
            for object_id, scores in self._scores.items()
        ]

    def _score(self, frame: int, predicted: IndexMap) -> None:
        truth = self.annotations.map(frame)
        if truth is None:
            return
        if predicted.shape != truth.shape:
            name = self.annotations.sequence.name
            raise ValueError(
                f"{name}: frame {frame} has a map of {predicted.shape} for a mask of {truth.shape}"
            )
        for object_id, born in self.annotations.born.items():
            if frame > born:
                one, other = predicted == object_id, truth == object_id
                score = FrameScore(frame, region_similarity(one, other), contour_accuracy(one, other))
                self._scores[object_id].append(score)


def _timed(maps: Iterable[IndexMap]) -> Iterator[tuple[IndexMap, float]]:
    """Each map, and the seconds it was waited for."""
    started = perf_counter()
    for index_map in maps:
        yield index_map, perf_counter() - started
        started = perf_counter()
