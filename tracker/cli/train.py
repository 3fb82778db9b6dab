"""`keepsight train`: weights from a recipe, and labels for videos that have none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import complain, description, err, out
from .interrupts import Interrupts

if TYPE_CHECKING:
    from ..training.recipe import Recipe
    from ..training.reports import Progress, Report

EXAMPLES = """
Examples:

`keepsight train configs/finetune.yaml`

`keepsight train configs/finetune.yaml --from sam2.1-tiny`

`keepsight train recipe.yaml --from runs/mine/weights.safetensors`

`torchrun --nproc-per-node 2 -m keepsight.tracker.training recipe.yaml`
"""
LINE_SECONDS = 10.0
"""Between two lines where there is no terminal to draw a bar on."""


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="See configs/finetune.yaml")],
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME|FILE", help="A model or a file of weights to start from"),
    ] = None,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Label the recipe's unlabelled videos, and stop")
    ] = False,
) -> int:
    """Train a model from labelled pictures and videos, as a recipe says, or fine-tune one.

    Called again, it goes on where it was; Ctrl-C writes a checkpoint first. Under torchrun it is several
    processes: one a GPU, or one a core, which is faster on a CPU.
    """
    from ..training.recipe import read_recipe
    from ..validation import ConfigError

    read, interrupts = read_recipe(recipe, start_from), Interrupts()
    try:
        with interrupts.heard():
            label(read)
            return 0 if labels_only else fit(read, interrupts)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        complain(f"{error.filename or read.output}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        complain(f"interrupted: called again, it goes on from {read.output}")
        return 128 + (interrupts.signal or 2)


def fit(recipe: Recipe, interrupts: Interrupts) -> int:
    """Train, showing how it goes."""
    from ..training.train import train as run

    with shown(recipe) as report:
        weights = run(recipe, report, interrupts.held)
    if is_first():
        out.print(f"weights: {weights}", soft_wrap=True)
    return 0


def label(recipe: Recipe) -> None:
    """Let the model that training starts from label the videos that have no labels yet. Raises ConfigError
    where there is no such model."""
    from ..api import load
    from ..training.checkpoint import starting_weights
    from ..training.layouts import layout_of
    from ..training.self_training import TrackingTeacher, is_labelled, label_videos
    from ..training.train import LABELS
    from ..validation import ConfigError

    folders = {name: recipe.data.root / name for name in recipe.data.sets}
    for name, folder in folders.items():
        labels = recipe.output / LABELS / name
        if layout_of(folder, recipe.data.sets[name].layout) != "unlabelled" or is_labelled(folder, labels):
            continue
        if recipe.start_from is None:
            raise ConfigError(f"{folder}: has no labels: a model makes them, so name one as `start_from`")
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError(
                f"{folder}: has no labels yet: make them first, with keepsight train --labels-only"
            )
        tracker = load(recipe.model, weights=starting_weights(recipe), device=recipe.device)
        with labelling(name) as report:
            label_videos(folder, labels, TrackingTeacher(tracker), recipe.self_training, report)


@contextmanager
def labelling(name: str) -> Iterator[Callable[[Path, int, int], None]]:
    """A bar over the videos of a set; lines where there is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = description(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(f"labelling {name}", total=None)

        def report(video: Path, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not err.is_terminal:
                err.print(f"labelling {name}: {done} of {total}: {video.name}", soft_wrap=True)

        yield report


@contextmanager
def shown(recipe: Recipe) -> Iterator[Report]:
    """A reporter with a progress bar, or lines where there is no terminal, that also writes the logs."""
    from rich.progress import BarColumn, MofNCompleteColumn
    from rich.progress import Progress as Bar

    from ..training.reports import reports_of

    columns = description(), BarColumn(), MofNCompleteColumn()
    reports = reports_of(recipe.output, recipe.steps) if is_first() else []
    told = 0.0
    with Bar(*columns, console=err, disable=not (err.is_terminal and is_first())) as bar:
        task = bar.add_task("training", total=recipe.steps)
        first: int | None = None

        def report(progress: Progress) -> None:
            nonlocal told, first
            for write in reports:
                write(progress)
            first = progress.step if first is None else first
            said = in_words(progress, first, recipe.steps)
            bar.update(task, completed=progress.step + 1, description=said)
            if not err.is_terminal and progress.seconds - told > LINE_SECONDS:
                told = progress.seconds
                err.print(f"step {progress.step + 1} of {recipe.steps}: {said}", soft_wrap=True)

        yield report


def in_words(progress: Progress, first: int, steps: int) -> str:
    """How a run is doing that began with the step `first`."""
    rate = (progress.step + 1 - first) / max(progress.seconds, 1e-9)
    left = round((steps - progress.step - 1) / rate)
    time_left = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    return f"loss {progress.loss:.3f}  IoU {progress.iou:.2f}  {rate:.2f} steps/s  {time_left} left"


def is_first() -> bool:
    """Whether this is the process that tells and writes."""
    return os.environ.get("RANK", "0") == "0"
