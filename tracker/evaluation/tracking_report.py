"""What an evaluation of tracks found: HOTA and its like by sequence and over all, as a table, CSV and
JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from statistics import fmean
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .tracking_metrics import FrameOverlaps, TrackingScores, tracking_scores
from .wording import hundredfold, points

OVERALL = "all"
NOTHING = TrackingScores(nan, nan, nan, nan, nan)
TRACKING_COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "MOTA")
SINGLE_COLUMNS = ("success", "precision")


@dataclass(frozen=True, slots=True)
class TrackedSequence:
    """One method on one sequence: the overlaps of every scored frame.

    `success` and `precision` of each object's own box (none where the truth is masks), and the `frames` and
    `seconds` that the method took.
    """

    method: str
    sequence: str
    overlaps: tuple[FrameOverlaps, ...]
    success: tuple[float, ...] = ()
    precision: tuple[float, ...] = ()
    frames: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TrackingReport:
    """Several methods on the same sequences. `without_truth`: sequences that could not be scored."""

    dataset: str
    methods: tuple[str, ...]
    runs: tuple[TrackedSequence, ...] = ()
    without_truth: tuple[str, ...] = ()
    shown: str = ""

    def with_run(self, run: TrackedSequence) -> TrackingReport:
        return replace(self, runs=(*self.runs, run))

    @property
    def sequences(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.sequence for run in self.runs))

    @property
    def has_boxes(self) -> bool:
        return any(run.success for run in self.runs)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*TRACKING_COLUMNS, *(SINGLE_COLUMNS if self.has_boxes else ()))

    def of(self, method: str, sequence: str) -> tuple[TrackedSequence, ...]:
        """The runs of a method on a sequence; on all for `OVERALL`."""
        return tuple(run for run in self.runs if run.method == method and sequence in (OVERALL, run.sequence))

    def values(self, method: str, sequence: str) -> list[float]:
        """The scores of `columns`, in [0, 1]; NaN where there are none."""
        runs = self.of(method, sequence)
        scores = tracking_scores([run.overlaps for run in runs]) if runs else NOTHING
        single = (_mean([run.success for run in runs]), _mean([run.precision for run in runs]))
        return [*scores, *(single if self.has_boxes else ())]

    def cells(self, method: str, sequence: str) -> list[str]:
        return [points(value) for value in self.values(method, sequence)]

    def rate(self, method: str) -> float:
        """Frames/s; NaN where nothing was timed."""
        runs = self.of(method, OVERALL)
        seconds = sum(run.seconds for run in runs)
        return sum(run.frames for run in runs) / seconds if seconds else nan


def tracking_table(report: TrackingReport) -> Table:
    """One row per method: for each sequence, then for all."""
    names = ", ".join(report.without_truth)
    caption = f"not scored, for want of truth: {names}" if names else None
    made = Table(
        title=f"Tracks on {report.dataset}{report.shown}",
        caption=caption,
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    made.add_column("sequence", overflow="fold")
    made.add_column("method", overflow="fold")
    timed = any(run.seconds for run in report.runs)
    for heading in (*report.columns, *(("frames/s",) if timed else ())):
        made.add_column(heading, justify="right")
    for sequence in (*report.sequences, OVERALL):
        for row, method in enumerate(report.methods):
            last = row + 1 == len(report.methods)
            rate = [f"{report.rate(method):.1f}" if sequence == OVERALL else ""] if timed else []
            cells = report.cells(method, sequence) + rate
            made.add_row("" if row else sequence, method, *cells, end_section=last)
    return made


def as_csv(report: TrackingReport) -> str:
    """Header `method,sequence,frames,HOTA,DetA,AssA,IDF1,MOTA,success,precision`: number of frames scored."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "sequence", "frames", *report.columns])
    for method in report.methods:
        for sequence in (OVERALL, *report.sequences):
            scored = sum(len(run.overlaps) for run in report.of(method, sequence))
            writer.writerow([method, sequence, scored, *report.cells(method, sequence)])
    return text.getvalue()


def as_json(report: TrackingReport, further: Mapping[str, Any]) -> bytes:
    """The rows of the CSV, times 100, not rounded, null where nothing was scored; `further`: what else there
    is to tell, by name."""
    made = {"dataset": report.dataset, "without_truth": report.without_truth, **rows(report), **further}
    return orjson.dumps(made, option=orjson.OPT_INDENT_2)


def rows(report: TrackingReport) -> dict[str, Any]:
    """`tracking`: a row for each method and sequence, and over all."""
    names = [(method, sequence) for method in report.methods for sequence in (OVERALL, *report.sequences)]
    return {"tracking": [_row(report, method, sequence) for method, sequence in names]}


def _row(report: TrackingReport, method: str, sequence: str) -> dict[str, Any]:
    scores = map(hundredfold, report.values(method, sequence))
    return {"method": method, "sequence": sequence, **dict(zip(report.columns, scores, strict=True))}


def _mean(by_run: Sequence[Sequence[float]]) -> float:
    """The mean over all objects of all runs; NaN where there are none."""
    values = [value for run in by_run for value in run]
    return fmean(values) if values else nan
