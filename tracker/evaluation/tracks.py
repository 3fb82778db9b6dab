"""Score tracks: methods that follow boxes over sequences of boxes, and index maps over instance masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from .box_methods import BoxFollower
from .box_metrics import centre_distance, overlap, precision, success
from .evaluate import Progress, ScoredFrame, timed
from .labelled import Pictures
from .mot import BoxDataset, Boxes, BoxSequence
from .tracking_metrics import FrameOverlaps, box_overlaps, mask_overlaps
from .tracking_report import TrackedSequence


@dataclass(frozen=True, slots=True)
class ScoredBoxes:
    """What a method said of one frame beside what is true, of the objects that had begun before."""

    method: str
    sequence: BoxSequence
    frame: int
    predicted: Boxes
    truth: Boxes


BoxObserver = Callable[[ScoredBoxes], None]


def evaluate_boxes(
    dataset: BoxDataset,
    methods: Mapping[str, BoxFollower],
    progress: Callable[[Progress], None],
    observers: Sequence[BoxObserver] = (),
) -> Iterator[TrackedSequence]:
    """Score each method on each sequence; each run as soon as it is done.

    A method gets the box of each object in the first frame that has one, and that frame is not scored for the
    object: it was told. Raises ValueError where a method does not yield boxes for each frame.
    """
    total = len(methods) * sum(len(sequence) for sequence in dataset.sequences)
    done = count(1)
    for sequence in dataset.sequences:
        for name, method in methods.items():
            run = _Following(name, sequence, observers)
            for _ in run.frames(method):
                progress(Progress(name, sequence.name, next(done), total))
            yield run.scores()


class TrackTally:
    """An observer of the evaluation with masks that keeps the overlaps of every scored frame."""

    def __init__(self) -> None:
        self._overlaps: dict[tuple[str, str], list[FrameOverlaps]] = {}

    def __call__(self, scored: ScoredFrame) -> None:
        found = mask_overlaps(scored.truth, scored.predicted, sorted(scored.scores))
        self._overlaps.setdefault((scored.method, scored.sequence.name), []).append(found)

    def run(self, method: str, sequence: str) -> TrackedSequence:
        """What was seen of a method on a sequence."""
        return TrackedSequence(method, sequence, tuple(self._overlaps.get((method, sequence), ())))


class _Following:
    """One method on one sequence of boxes: what is known so far."""

    def __init__(self, method: str, sequence: BoxSequence, observers: Sequence[BoxObserver]) -> None:
        self.method = method
        self.sequence = sequence
        self.observers = observers
        self.seconds = 0.0
        self._overlaps: list[FrameOverlaps] = []
        self._own: dict[int, list[tuple[float, float]]] = {object_id: [] for object_id in sequence.born}

    def frames(self, method: BoxFollower) -> Iterator[int]:
        """Score frame after frame, and yield the index of each."""
        sequence = self.sequence
        frame = -1
        told = method(Pictures(sequence.images, sequence.rate), sequence.prompts())
        for frame, (boxes, seconds) in enumerate(timed(told)):
            self.seconds += seconds
            if frame < len(sequence):
                self._score(frame, boxes)
            yield frame
        if frame + 1 != len(sequence):
            raise ValueError(f"{sequence.name}: {len(sequence)} frames, but the method gave {frame + 1}")

    def scores(self) -> TrackedSequence:
        own = [tuple(zip(*pairs, strict=True)) for pairs in self._own.values() if pairs]
        return TrackedSequence(
            self.method,
            self.sequence.name,
            tuple(self._overlaps),
            tuple(success(overlaps) for overlaps, _ in own),
            tuple(precision(distances) for _, distances in own),
            len(self.sequence),
            self.seconds,
        )

    def _score(self, frame: int, predicted: Boxes) -> None:
        begun = {object_id for object_id, born in self.sequence.born.items() if born < frame}
        truth = {one: box for one, box in self.sequence.truth[frame].items() if one in begun}
        said = {one: box for one, box in predicted.items() if one in begun}
        if not begun:
            return
        self._overlaps.append(box_overlaps(truth, said))
        for one, box in truth.items():
            mine = said.get(one)
            self._own[one].append((overlap(mine, box) if mine else 0.0, centre_distance(mine, box)))
        for observe in self.observers:
            observe(ScoredBoxes(self.method, self.sequence, frame, said, truth))
