"""`keepsight eval`: how well a model tracks on labelled videos, beside three baselines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..evaluation.propagator import Propagator
    from ..evaluation.report import Report

OBJECTS = 32
"""More than the labelled videos of the field have at once."""


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="DAVIS layout, or folders that have images and masks")],
    model: Annotated[str, typer.Option(help="See keepsight models")] = "nano",
    weights: Annotated[Path | None, typer.Option(help="A .safetensors or .pt file, or hf:owner/name")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16")] = "auto",
    size: Annotated[int | None, typer.Option(help="Side of the model's input in pixels")] = None,
    sequence: Annotated[list[str] | None, typer.Option(help="Only this sequence; repeatable")] = None,
    baselines: Annotated[bool, typer.Option(help="Run the baselines, too")] = True,
    objects: Annotated[bool, typer.Option(help="Show every object, too")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write the scores")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the scores")] = None,
) -> None:
    """Score a model on labelled videos: J, F and J&F, first masks given, by quarter of the sequence."""
    from ..api import load
    from ..evaluation.baselines import BASELINES
    from ..evaluation.propagator import predict_with_tracker
    from ..evaluation.report import as_csv, as_json, object_table, table
    from .console import out

    tracker = load(model, weights=weights, device=device, dtype=dtype, size=size, max_objects=OBJECTS)
    methods: dict[str, Propagator] = {model: partial(predict_with_tracker, tracker.track)}
    if baselines:
        methods |= BASELINES
    report = scored(dataset, methods, sequence or [])
    out.print(table(report))
    if objects:
        out.print(object_table(report))
    if csv is not None:
        csv.write_text(as_csv(report))
    if json is not None:
        json.write_bytes(as_json(report))


def scored(dataset: Path, methods: Mapping[str, Propagator], sequences: Sequence[str]) -> Report:
    """The scores of all methods, with a progress bar meanwhile. Raises ConfigError for a wrong dataset."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..evaluation.evaluate import evaluate as run
    from ..validation import ConfigError
    from .console import err

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("reading", total=None)
        try:
            return run(
                dataset,
                methods,
                lambda at: progress.update(
                    task, description=f"{at.sequence}: {at.method}", completed=at.done, total=at.total
                ),
                sequences,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
