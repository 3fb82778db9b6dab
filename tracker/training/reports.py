"""What a training run tells while it runs: rows of a CSV file, and TensorBoard where that is installed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("step", "loss", "iou", "prompted_iou", "learning_rate", "clips", "seconds")
EVERY = 20
"""Steps that a row is the mean of."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one step reports. `clips`: seen by all processes so far; `seconds`: since this process started."""

    step: int
    loss: float
    iou: float
    prompted_iou: float
    learning_rate: float
    clips: int
    seconds: float


Report = Callable[[Progress], None]


def csv_log(path: Path, steps: int) -> Report:
    """Appends the mean of every `EVERY` steps, and of what is left after the last of `steps`. A run that goes
    on takes back the rows of the steps it repeats."""
    pending: list[Progress] = []
    begun = False

    def report(progress: Progress) -> None:
        nonlocal begun
        if not begun:
            keep_before(path, progress.step)
            begun = True
        pending.append(progress)
        if (progress.step + 1) % EVERY and progress.step + 1 < steps:
            return
        means = [sum(getattr(p, column) for p in pending) / len(pending) for column in COLUMNS[1:4]]
        row = (progress.step, *means, progress.learning_rate, progress.clips, progress.seconds)
        with path.open("a", newline="") as file:
            csv.writer(file).writerow([f"{v:.5g}" if isinstance(v, float) else v for v in row])
        pending.clear()

    return report


def keep_before(path: Path, step: int) -> None:
    """The file with its heading, and of its rows those of steps before `step`."""
    rows: list[list[str]] = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row and row[0].isdecimal() and int(row[0]) < step]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def tensorboard_log(folder: Path) -> Report | None:
    """Writes every step for TensorBoard; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer = SummaryWriter(str(folder))

    def report(progress: Progress) -> None:
        for column in COLUMNS[1:5]:
            writer.add_scalar(column, getattr(progress, column), progress.step)

    return report


def reports_of(folder: Path, steps: int) -> list[Report]:
    """The reports that a run writes into its folder."""
    tensorboard = tensorboard_log(folder)
    return [csv_log(folder / "log.csv", steps), *([tensorboard] if tensorboard else [])]
