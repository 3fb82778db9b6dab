"""The file beside a model's weights that makes one number of its opinions: read where it belongs to them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .confidence import Calibration

log = structlog.get_logger(__name__)

NonNegative = Field(ge=0)


class Weights(BaseModel):
    """The weight of each opinion's logit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iou: float = NonNegative
    presence: float = NonNegative
    stability: float = NonNegative
    margin: float = NonNegative


class Errors(BaseModel):
    """Expected calibration error and Brier score, each in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ece: float
    brier: float


class CalibrationFile(BaseModel):
    """What is written. event: what the number is the probability of; sequences: what it was fitted on;
    before, after: how far off it was on the `judged` ones of them, without calibration, and with one that was
    fitted on the others only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    model: str
    weights_sha256: str
    event: str = "the object is visible and its mask has an IoU above 0.5 with it"
    bias: float
    weights: Weights
    sequences: tuple[str, ...]
    observations: int
    judged: tuple[str, ...]
    before: Errors
    after: Errors

    @property
    def calibration(self) -> Calibration:
        return Calibration(bias=self.bias, **self.weights.model_dump())


def beside(weights: Path) -> Path:
    """Where the calibration of a weights file is looked for."""
    return weights.with_name(f"{weights.stem}.calibration.json")


def find_calibration(weights: Path | None) -> Calibration | None:
    """The calibration beside `weights`. One that was made for others, or cannot be read, is left out with a
    warning."""
    if weights is None or not beside(weights).is_file():
        return None
    try:
        found = CalibrationFile.model_validate_json(beside(weights).read_bytes())
    except (OSError, ValidationError) as error:
        log.warning("calibration left out: it cannot be read", file=str(beside(weights)), reason=str(error))
        return None
    if found.weights_sha256 != sha256_of(weights):
        log.warning("calibration left out: it was made for other weights", file=str(beside(weights)))
        return None
    return found.calibration


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
