"""What an evaluation found: by object, by sequence and over all, over time, as tables, CSV and JSON.

Means follow DAVIS 2017: over the frames of an object, then over objects, so that sequences with many objects
weigh more. Scores are in [0, 1] here and printed times 100.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from statistics import fmean
from typing import Any, NamedTuple

import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .tracking_report import TRACKING_COLUMNS, TrackingReport
from .wording import hundredfold, points

QUARTERS = 4
OVERALL = "all"
SHOWN = {
    "mask": "first masks given",
    "box": "shown a box; baselines the first masks",
    "click": "shown one click; baselines the first masks",
    "clicks": "shown three clicks; baselines the first masks",
}
"""How objects were shown, by the name of the prompt."""


class FrameScore(NamedTuple):
    """J and F of one object in one frame."""

    frame: int
    j: float
    f: float


class Score(NamedTuple):
    """Mean J and F, in [0, 1]; NaN where there is nothing to score."""

    j: float
    f: float

    @property
    def jf(self) -> float:
        return (self.j + self.f) / 2


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """The scored frames of one object in a sequence of `length` frames."""

    sequence: str
    object_id: int
    length: int
    frames: tuple[FrameScore, ...]

    def in_quarter(self, quarter: int) -> tuple[FrameScore, ...]:
        """The scored frames in a quarter, 0 to 3, of the sequence."""
        return tuple(score for score in self.frames if score.frame * QUARTERS // self.length == quarter)


class Run(NamedTuple):
    """What one method reached on one sequence of `frames` frames, and the seconds it took."""

    method: str
    objects: tuple[ObjectScores, ...]
    frames: int
    seconds: float


@dataclass(frozen=True, slots=True)
class MethodScores:
    """What one method reached, and the seconds it took for `frames` frames, reading the pictures included."""

    name: str
    objects: tuple[ObjectScores, ...] = ()
    frames: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Frames/s."""
        return self.frames / self.seconds if self.seconds else nan

    def with_run(self, run: Run) -> MethodScores:
        return replace(
            self,
            objects=(*self.objects, *run.objects),
            frames=self.frames + run.frames,
            seconds=self.seconds + run.seconds,
        )

    def of(self, sequence: str, object_id: int | None = None) -> tuple[ObjectScores, ...]:
        """The objects of a sequence; of all for `OVERALL`. Only the one named, if one is."""
        return tuple(
            scores
            for scores in self.objects
            if sequence in (OVERALL, scores.sequence) and object_id in (None, scores.object_id)
        )


@dataclass(frozen=True, slots=True)
class Report:
    """Several methods on the same sequences. `without_masks`: sequences that could not be scored.

    `prompt`: how objects were shown to the model. A method that was interrupted lacks its last sequences.
    """

    dataset: str
    methods: tuple[MethodScores, ...]
    without_masks: tuple[str, ...] = ()
    prompt: str = "mask"

    @classmethod
    def begin(
        cls, dataset: str, methods: Iterable[str], without_masks: tuple[str, ...], prompt: str
    ) -> Report:
        """The report before anything was scored."""
        return cls(dataset, tuple(MethodScores(name) for name in methods), without_masks, prompt)

    def with_run(self, run: Run) -> Report:
        methods = (one.with_run(run) if one.name == run.method else one for one in self.methods)
        return replace(self, methods=tuple(methods))

    @property
    def sequences(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(scores.sequence for method in self.methods for scores in method.objects))


def mean_score(objects: Iterable[ObjectScores]) -> Score:
    """The mean over objects of their means over frames; objects without scored frames are left out."""
    return _mean(scores.frames for scores in objects)


def quarter_score(objects: Iterable[ObjectScores], quarter: int) -> Score:
    """`mean_score` of one quarter, 0 to 3, of the sequences: how a method holds out over time."""
    return _mean(scores.in_quarter(quarter) for scores in objects)


def overall(report: Report, method: str) -> str:
    """The J&F of a method over all, as it is printed."""
    (scores,) = (one for one in report.methods if one.name == method)
    return points(mean_score(scores.objects).jf)


def table(report: Report) -> Table:
    """One row per method: for each sequence, then for all. Quarters are J&F by quarter of the sequence."""
    made = Table(
        title=f"J and F on {report.dataset}, {SHOWN[report.prompt]}",
        caption=_caption(report),
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    made.add_column("sequence", overflow="fold")
    made.add_column("method", overflow="fold")
    for heading in ("J&F", "J", "F", *_quarter_names(), "frames/s"):
        made.add_column(heading, justify="right")
    for sequence in (*report.sequences, OVERALL):
        for row, method in enumerate(report.methods):
            rate = f"{method.rate:.1f}" if sequence == OVERALL else ""
            cells = [points(value) for value in _columns(method.of(sequence))]
            last = row + 1 == len(report.methods)
            made.add_row("" if row else sequence, method.name, *cells, rate, end_section=last)
    return made


def object_table(report: Report) -> Table:
    """One row per object, one column per method: J&F."""
    made = Table(title="J&F by object", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("sequence", overflow="fold")
    made.add_column("object", justify="right")
    for method in report.methods:
        made.add_column(method.name, justify="right")
    for one in report.methods[0].objects:
        same = (method.of(one.sequence, one.object_id) for method in report.methods)
        cells = [points(mean_score(objects).jf) for objects in same]
        made.add_row(one.sequence, str(one.object_id), *cells)
    return made


def as_csv(report: Report, tracking: TrackingReport | None = None) -> str:
    """Header `method,sequence,object,frames,J&F,J,F,Q1,Q2,Q3,Q4`: number of frames scored, J&F by quarter.

    Rows with `all` for the object or the sequence are means. With `tracking` these rows have its columns,
    too.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    further = TRACKING_COLUMNS if tracking else ()
    writer.writerow(["method", "sequence", "object", "frames", "J&F", "J", "F", *_quarter_names(), *further])
    for method in report.methods:
        for sequence, object_name, objects in _groups(method, report.sequences):
            scored = sum(len(scores.frames) for scores in objects)
            cells = [points(value) for value in _columns(objects)]
            if tracking:
                own = object_name != OVERALL
                cells += [""] * len(further) if own else tracking.cells(method.name, sequence)
            writer.writerow([method.name, sequence, object_name, scored, *cells])
    return text.getvalue()


def as_json(report: Report, further: Mapping[str, Any]) -> bytes:
    """The rows of the CSV, times 100, not rounded, null where nothing was scored; J and F by quarter too.

    `further`: what else there is to tell, by name.
    """
    return orjson.dumps(
        {
            "dataset": report.dataset,
            "prompt": report.prompt,
            "without_masks": report.without_masks,
            "methods": [_method_json(method, report.sequences) for method in report.methods],
            **further,
        },
        option=orjson.OPT_INDENT_2,
    )


def _method_json(method: MethodScores, sequences: Sequence[str]) -> dict[str, Any]:
    scores = [
        {
            "sequence": sequence,
            "object": object_name,
            **_score_json(mean_score(objects)),
            "quarters": [_score_json(quarter_score(objects, quarter)) for quarter in range(QUARTERS)],
        }
        for sequence, object_name, objects in _groups(method, sequences)
    ]
    return {"name": method.name, "frames": method.frames, "seconds": method.seconds, "scores": scores}


def _score_json(score: Score) -> dict[str, float | None]:
    named = {"J&F": score.jf, "J": score.j, "F": score.f}
    return {name: hundredfold(value) for name, value in named.items()}


def _groups(
    method: MethodScores, sequences: Sequence[str]
) -> Iterator[tuple[str, str, tuple[ObjectScores, ...]]]:
    """(sequence, object, scores) of all, then of each sequence and of each of its objects."""
    yield OVERALL, OVERALL, method.objects
    for sequence in sequences:
        objects = method.of(sequence)
        yield sequence, OVERALL, objects
        for scores in objects:
            yield sequence, str(scores.object_id), (scores,)


def _columns(objects: Sequence[ObjectScores]) -> list[float]:
    """J&F, J, F, then J&F by quarter."""
    score = mean_score(objects)
    return [score.jf, score.j, score.f, *(quarter_score(objects, quarter).jf for quarter in range(QUARTERS))]


def _quarter_names() -> list[str]:
    return [f"Q{quarter + 1}" for quarter in range(QUARTERS)]


def _caption(report: Report) -> str | None:
    names = ", ".join(report.without_masks)
    return f"not scored, for want of masks: {names}" if names else None


def _mean(objects: Iterable[Sequence[FrameScore]]) -> Score:
    scored = [frames for frames in objects if frames]
    if not scored:
        return Score(nan, nan)
    j = fmean(fmean(score.j for score in frames) for frames in scored)
    return Score(j, fmean(fmean(score.f for score in frames) for frames in scored))
