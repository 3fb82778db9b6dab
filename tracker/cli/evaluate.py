"""`keepsight eval`: how well a model tracks on labelled videos beside three baselines; how sure it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer

if TYPE_CHECKING:
    from ..api import Tracker
    from ..evaluation.evaluate import Progress
    from ..evaluation.propagator import Propagator
    from ..evaluation.report import Report
    from ..settings import MemoryPolicy, TrackerSettings

T = TypeVar("T")
Videos = tuple[Path, Sequence[str]]
"""A dataset, and the sequences of it that are asked for; all where none is."""

OBJECTS = 32
"""More than the labelled videos of the field have at once."""


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="DAVIS layout, or folders that have images and masks")],
    model: Annotated[str, typer.Option(help="See keepsight models")] = "nano",
    weights: Annotated[Path | None, typer.Option(help="A .safetensors or .pt file, or hf:owner/name")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or int8")] = "auto",
    size: Annotated[int | None, typer.Option(help="Side of the model's input in pixels")] = None,
    sequence: Annotated[list[str] | None, typer.Option(help="Only this sequence; repeatable")] = None,
    baselines: Annotated[bool, typer.Option(help="Run the baselines, too")] = True,
    objects: Annotated[bool, typer.Option(help="Show every object, too")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write the scores")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the scores")] = None,
    memory: Annotated[str, typer.Option(help="Frames that are remembered: recent or selective")] = "recent",
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Fit the confidence instead, with a plot as FILE.png"),
    ] = None,
) -> None:
    """Score a model on labelled videos: J, F and J&F, first masks given, by quarter of the sequence."""
    from ..api import load
    from ..evaluation.baselines import BASELINES
    from ..evaluation.propagator import predict_with_tracker
    from ..evaluation.report import as_csv, as_json, object_table, table
    from .console import out

    settings, videos = settings_with(memory), (dataset, sequence or [])
    tracker = load(
        model, weights=weights, device=device, dtype=dtype, size=size, max_objects=OBJECTS, settings=settings
    )
    if calibrate is not None:
        fit_confidence(tracker, {"model": model, "weights": weights}, calibrate, videos)
        return
    methods: dict[str, Propagator] = {model: partial(predict_with_tracker, tracker.track)}
    if baselines:
        methods |= BASELINES
    report = scored(methods, videos)
    out.print(table(report))
    if objects:
        out.print(object_table(report))
    if csv is not None:
        csv.write_text(as_csv(report))
    if json is not None:
        json.write_bytes(as_json(report))


def settings_with(memory: str) -> TrackerSettings:
    """The settings with a memory policy. Raises ConfigError for one that is not known."""
    from ..settings import TrackerSettings
    from ..validation import ConfigError

    try:
        return TrackerSettings(memory=cast("MemoryPolicy", memory))
    except ValueError as error:
        raise ConfigError(f"--{error}") from None


def fit_confidence(tracker: Tracker, options: Mapping[str, object], file: Path, videos: Videos) -> None:
    """Fit a calibration for the weights that `options` name. Raises ConfigError where they have no file."""
    from ..build import weights_of
    from ..config import engine
    from ..evaluation.calibrate import observe
    from ..validation import ConfigError
    from .calibrating import calibrate

    if file.suffix != ".json" or not file.absolute().parent.is_dir():
        raise ConfigError(f"--calibrate {file}: must be a FILE.json in a folder that is there")
    weights = weights_of(engine(options))
    if weights is None:
        raise ConfigError("--calibrate: a calibration belongs to a file of weights: give --weights FILE")
    plain = replace(tracker, settings=replace(tracker.settings, calibration=None))
    dataset, sequences = videos
    seen = with_progress(lambda progress: observe(plain.track, dataset, progress, sequences))
    calibrate(seen, str(options["model"]), weights, file)


def scored(methods: Mapping[str, Propagator], videos: Videos) -> Report:
    """The scores of all methods."""
    from ..evaluation.evaluate import evaluate as run

    dataset, sequences = videos
    return with_progress(lambda progress: run(dataset, methods, progress, sequences))


def with_progress(work: Callable[[Callable[[Progress], None]], T]) -> T:
    """What `work` gives, with a progress bar meanwhile. Raises ConfigError for a wrong dataset."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from ..validation import ConfigError
    from .console import err

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("reading", total=None)

        def show(at: Progress) -> None:
            told = f"{at.sequence}: {at.method}"
            bar.update(task, description=told, completed=at.done, total=at.total)

        try:
            return work(show)
        except ValueError as error:
            raise ConfigError(str(error)) from error
