"""What became of identities in hard scenes, as a table, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isinf
from statistics import fmean, median
from typing import Any, NamedTuple

import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

from keepsight.streams.sources.hard_scenes import KINDS, HardKind

from .identity import Outcome
from .report import SHOWN
from .wording import hundredfold, points

FALL_TARGET, RISE_TARGET = 3, 5
"""Within how many frames the object score is to say that an object is gone, and that it is back."""
CAPTION = (
    "right: at the end each id has a mean IoU of 0.5 or more with its object, and none is on another. falls: "
    "in how many frames the object score is below visible once no pixel is left, rises: above it once one is "
    "back; 1 is that very frame. J: over frames that show the object."
)


@dataclass(frozen=True, slots=True)
class IdentityReport:
    """What one model made of the scenes so far. `prompt`: how objects were shown to it."""

    model: str
    prompt: str
    outcomes: tuple[Outcome, ...] = ()

    def with_outcome(self, outcome: Outcome) -> IdentityReport:
        return replace(self, outcomes=(*self.outcomes, outcome))

    def of(self, kind: HardKind) -> tuple[Outcome, ...]:
        return tuple(one for one in self.outcomes if one.kind == kind)


class Lateness(NamedTuple):
    """Of a delay over seeds: the share, in [0, 1], that is within its target, and the median in frames."""

    in_time: float
    median: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcomes of one kind of scene. `right`: how many of the `seeds` were; `mean_j` in [0, 1]; `falls`,
    `rises`: None where nothing goes out of sight."""

    seeds: int
    right: int
    mean_j: float
    falls: Lateness | None
    rises: Lateness | None


def summary(outcomes: Sequence[Outcome]) -> Summary:
    """Of at least one outcome, all of one kind."""
    delays = [one.delays for one in outcomes if one.delays]
    return Summary(
        seeds=len(outcomes),
        right=sum(one.right for one in outcomes),
        mean_j=fmean(one.mean_j for one in outcomes),
        falls=lateness([one.fall for one in delays], FALL_TARGET),
        rises=lateness([one.rise for one in delays], RISE_TARGET),
    )


def lateness(delays: Sequence[float], target: int) -> Lateness | None:
    """None where there are no delays."""
    return Lateness(fmean(late <= target for late in delays), median(delays)) if delays else None


def table(report: IdentityReport) -> Table:
    """One row per kind of scene."""
    made = Table(
        title=f"Identities kept by {report.model}, {SHOWN[report.prompt].partition(';')[0]}",
        caption=CAPTION,
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    made.add_column("scene")
    falls, rises = f"falls within {FALL_TARGET}", f"rises within {RISE_TARGET}"
    for heading in ("right", falls, "median", rises, "median", "mean J"):
        made.add_column(heading, justify="right")
    for kind in KINDS:
        if outcomes := report.of(kind):
            made.add_row(kind, *_cells(summary(outcomes)))
    return made


def _cells(told: Summary) -> list[str]:
    late = [
        cell
        for one in (told.falls, told.rises)
        for cell in ((f"{one.in_time:.0%}", frames(one.median)) if one else ("-", "-"))
    ]
    return [f"{told.right} of {told.seeds} ({told.right / told.seeds:.0%})", *late, points(told.mean_j)]


def frames(late: float) -> str:
    """A delay in frames as it is printed."""
    return "never" if isinf(late) else f"{late:g}"


def as_csv(report: IdentityReport) -> str:
    """Header `model,scene,seed,right,falls,rises,J,last J 1,last J 2,false masks,strayed`: one row a scene.

    right: 1 or 0; falls, rises: delays in frames, `never`, or nothing where nothing goes out of sight; J, in
    all frames and in the last, times 100; false masks: frames in which an object has a mask and no pixel;
    strayed: frames in which most of an object's mask lies on another, those of both objects added up.
    """
    text = io.StringIO()
    rows = [_row(report.model, one) for one in report.outcomes]
    writer = csv.DictWriter(text, rows[0] if rows else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(report: IdentityReport) -> bytes:
    """`kinds`: what the table says; `scenes`: the rows of the CSV. Scores and shares are times 100, not
    rounded; a median is null for never, and all about delays where nothing goes out of sight."""
    told = {
        "model": report.model,
        "prompt": report.prompt,
        "kinds": [_kind_json(kind, summary(some)) for kind in KINDS if (some := report.of(kind))],
        "scenes": [_row(report.model, one) for one in report.outcomes],
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2)


def _kind_json(kind: HardKind, told: Summary) -> dict[str, Any]:
    made = {"scene": kind, "seeds": told.seeds, "right": told.right, "J": hundredfold(told.mean_j)}
    for name, late in (("falls", told.falls), ("rises", told.rises)):
        made[f"{name} in time"] = hundredfold(late.in_time) if late else None
        made[f"{name} median"] = late.median if late and not isinf(late.median) else None
    return made


def _row(model: str, one: Outcome) -> dict[str, str | int]:
    falls, rises = map(frames, one.delays) if one.delays else ("", "")
    return {
        "model": model,
        "scene": one.kind,
        "seed": one.seed,
        "right": int(one.right),
        "falls": falls,
        "rises": rises,
        "J": points(one.mean_j),
        **{f"last J {scores.object_id}": points(scores.mean_j) for scores in one.settled},
        "false masks": sum(scores.false_masks for scores in one.scores),
        "strayed": sum(scores.strayed for scores in one.scores),
    }
