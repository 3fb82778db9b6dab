"""`keepsight eval --calibrate`: fits the confidence on labelled videos and writes it down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.table import Table

from ..calibration import CalibrationFile, Errors, Weights, beside, sha256_of
from ..evaluation.calibrate import (
    Observation,
    bins_of,
    brier,
    calibration_error,
    fit,
    held_out,
    right_of,
)
from ..evaluation.reliability import reliability_plot
from ..validation import ConfigError
from .console import out


def calibrate(observations: Sequence[Observation], model: str, weights: Path, file: Path) -> None:
    """Write the calibration and beside it the reliability plot, and tell how good they are. Raises
    ConfigError where there is nothing to fit."""
    right, said = right_of(observations), np.array([one.confidence for one in observations])
    if not observations or right.min() == right.max():
        raise ConfigError("--calibrate: of all masks none was wrong, or none right: that teaches nothing")
    after, fitted = held_out(observations), fit(observations)
    content = CalibrationFile(
        model=model,
        weights_sha256=sha256_of(weights),
        bias=fitted.bias,
        weights=Weights(
            iou=fitted.iou, presence=fitted.presence, stability=fitted.stability, margin=fitted.margin
        ),
        sequences=tuple(dict.fromkeys(one.sequence for one in observations)),
        observations=len(observations),
        before=Errors(ece=calibration_error(bins_of(said, right)), brier=brier(said, right)),
        after=Errors(ece=calibration_error(bins_of(after, right)), brier=brier(after, right)),
    )
    plot = reliability_plot(model, bins_of(said, right), bins_of(after, right))
    write(file, content, cv2.imencode(".png", plot[..., ::-1])[1].tobytes())
    out.print(table(content))
    out.print(f"{file} is used where it lies beside the weights, as {beside(weights)}", soft_wrap=True)


def write(file: Path, content: CalibrationFile, plot: bytes) -> None:
    try:
        file.write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")
        file.with_suffix(".png").write_bytes(plot)
    except OSError as error:
        raise ConfigError(f"--calibrate {file}: {error.strerror or error}") from None


def table(content: CalibrationFile) -> Table:
    made = Table(
        title=f"{content.model}: confidence of {content.observations} masks", box=None, title_justify="left"
    )
    made.add_column("")
    made.add_column("expected calibration error", justify="right")
    made.add_column("Brier score", justify="right")
    for name, errors in (("before", content.before), ("after, on unseen sequences", content.after)):
        made.add_row(name, f"{errors.ece:.3f}", f"{errors.brier:.3f}")
    return made
