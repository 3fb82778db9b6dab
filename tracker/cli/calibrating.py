"""`keepsight eval --calibrate`: fits the confidence on labelled videos and writes it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.table import Table

from ..calibration import CalibrationFile, Errors, Weights, beside, sha256_of
from ..evaluation.calibrate import (
    Floats,
    Judgement,
    Observation,
    bins_of,
    fit,
    held_out,
    judge,
    names_of,
    right_of,
)
from ..evaluation.reliability import reliability_plot
from ..validation import ConfigError
from .console import out

UNJUDGED = "-: not judged, since all masks of the others are right, or all wrong, and teach no difference"


@dataclass(frozen=True, slots=True)
class Trial:
    """Masks that were judged by a calibration that had not seen their sequences: what is said of each before
    and after, and whether it was right, (n,) each."""

    sequences: tuple[str, ...]
    before: Floats
    after: Floats
    right: Floats

    def of(self, *names: str) -> tuple[Judgement, Judgement]:
        """Before and after, on these sequences."""
        own = np.isin(np.array(self.sequences), names)
        return judge(self.before[own], self.right[own]), judge(self.after[own], self.right[own])


def tried(observations: Sequence[Observation]) -> Trial:
    """Raises ConfigError where no sequence can be judged by the others."""
    after = held_out(observations)
    kept = [row for row, said in enumerate(after) if not np.isnan(said)]
    if not kept:
        raise ConfigError("--calibrate: no sequence has both right and wrong masks: add labelled videos")
    judged = [observations[row] for row in kept]
    before = np.array([one.confidence for one in judged])
    return Trial(tuple(one.sequence for one in judged), before, after[kept], right_of(judged))


def calibrate(observations: Sequence[Observation], model: str, weights: Path, file: Path) -> None:
    """Write the calibration and beside it the reliability plot, and tell how good they are. Raises
    ConfigError where there is nothing to fit."""
    trial, fitted = tried(observations), fit(observations)
    judged = tuple(dict.fromkeys(trial.sequences))
    before, after = trial.of(*judged)
    content = CalibrationFile(
        model=model,
        weights_sha256=sha256_of(weights),
        bias=fitted.bias,
        weights=Weights(
            iou=fitted.iou, presence=fitted.presence, stability=fitted.stability, margin=fitted.margin
        ),
        sequences=tuple(names_of(observations)),
        observations=len(observations),
        judged=judged,
        before=Errors(ece=before.ece, brier=before.brier),
        after=Errors(ece=after.ece, brier=after.brier),
    )
    plot = reliability_plot(model, bins_of(trial.before, trial.right), bins_of(trial.after, trial.right))
    write(file, content, cv2.imencode(".png", plot[..., ::-1])[1].tobytes())
    out.print(table(trial, content.sequences, judged))
    out.print(f"{file} is used where it lies beside the weights, as {beside(weights)}", soft_wrap=True)


def write(file: Path, content: CalibrationFile, plot: bytes) -> None:
    try:
        file.write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")
        file.with_suffix(".png").write_bytes(plot)
    except OSError as error:
        raise ConfigError(f"--calibrate {file}: {error.strerror or error}") from None


def table(trial: Trial, sequences: Sequence[str], judged: Sequence[str]) -> Table:
    """One row per sequence, judged by a calibration fitted on the others, and one for all that could be."""
    caption = None if len(judged) == len(sequences) else UNJUDGED
    made = Table(title="Confidence before and after calibration on the others", caption=caption, box=None)
    for heading in ("", "masks", "right", "ECE before", "after", "Brier before", "after"):
        made.add_column(heading, justify="right" if heading else "left")
    for name, own in (*((one, (one,)) for one in sequences), ("all judged", tuple(judged))):
        if not set(own) <= set(judged):
            made.add_row(name, *"-" * 6)
            continue
        before, after = trial.of(*own)
        errors = (before.ece, after.ece, before.brier, after.brier)
        made.add_row(name, str(before.masks), f"{before.right:.0%}", *(f"{error:.3f}" for error in errors))
    return made
