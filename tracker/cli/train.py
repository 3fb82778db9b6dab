"""`keepsight train`: weights from a recipe."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import err, out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..training.recipe import Recipe
    from ..training.train import Progress


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="See configs/train_nano.yaml")],
) -> None:
    """Train nano from photos with instance masks, as a recipe says. Called again, it goes on where it was.

    One process, on the CPU. For one process a core, which is faster there:
    `torchrun --nproc-per-node 2 -m keepsight.tracker.training RECIPE.yaml`
    """
    from ..training.recipe import read_recipe
    from ..training.train import train as run
    from ..validation import ConfigError

    try:
        read = read_recipe(recipe)
        with shown(read) as report:
            weights = run(read, report)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    out.print(f"weights: {weights}", markup=False, soft_wrap=True)


@contextmanager
def shown(recipe: Recipe) -> Iterator[Callable[[Progress], None]]:
    """A reporter with a progress bar that also writes `log.csv`."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from ..training.train import csv_log

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=err) as bar:
        task = bar.add_task("training", total=recipe.steps)
        write = csv_log(recipe.output / "log.csv")

        def report(progress: Progress) -> None:
            write(progress)
            said = f"loss {progress.loss:.3f}  IoU {progress.iou:.2f}"
            bar.update(task, completed=progress.step + 1, description=said)

        yield report
