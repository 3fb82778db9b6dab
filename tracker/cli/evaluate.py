"""`keepsight eval`: how well a model tracks on labelled videos beside baselines; how sure it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand

from .options import DEVICE, DTYPE, MODEL, SIZE, WEIGHTS

if TYPE_CHECKING:
    from ..api import Tracker
    from ..config import MemoryPolicy
    from ..settings import TrackerSettings

Videos = tuple[Path, Sequence[str]]
"""A dataset, and the sequences of it that are asked for; all where none is."""

OBJECTS = 32
"""More than the labelled videos of the field have at once."""
STATED = 0.0
"""Stands for the frames/s that the dataset states."""

DATASET = typer.Argument(help="A folder of labelled videos, or one of them")
LAYOUT = typer.Option(help="davis, youtube-vos, mot or mots; else by what lies in the folder")
SEQUENCE = typer.Option(help="Only this sequence; repeatable")
PROMPT = typer.Option(help="How objects are shown: mask, box, click or clicks (three, that correct)")
STREAMING = typer.Option(metavar="[FPS]", min=0, help="Score, too, while it plays; what is late is missed")
BASELINES = typer.Option(help="Run the baselines, too")
OPENCV = typer.Option(help="Run OpenCV's MIL tracker, too, which is slow")
SHOW_OBJECTS = typer.Option(help="Show every object, too")
CSV = typer.Option(metavar="FILE.csv", help="Write the scores")
JSON = typer.Option(metavar="FILE.json", help="Write the scores")
WORST = typer.Option(metavar="FILE.jpg", help="Draw the model's worst moments on one sheet")
WORST_COUNT = typer.Option(min=1, max=200, help="How many of them")
MEMORY = typer.Option(help="Frames that are remembered: recent or selective")
IDENTITY = typer.Option("--identity", help="Follow objects through drawn hard scenes; needs no DATASET")
SEEDS = typer.Option(min=1, help="How many scenes of each kind --identity draws")
CALIBRATE = typer.Option(metavar="FILE.json", help="Fit the confidence instead, with a plot as FILE.png")


class EvalCommand(TyperCommand):
    """Lets `--streaming` go without its number, which typer has no word for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_rate(args))


def with_rate(arguments: Sequence[str]) -> list[str]:
    """The arguments, with `STATED` after a `--streaming` that no number follows."""
    filled: list[str] = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        filled.append(argument)
        if argument == "--streaming" and not re.fullmatch(r"-?[\d.]+", following):
            filled.append(str(STATED))
    return filled


def evaluate(
    dataset: Annotated[Path | None, DATASET] = None,
    model: Annotated[str, MODEL] = "nano",
    weights: Annotated[Path | None, WEIGHTS] = None,
    device: Annotated[str, DEVICE] = "auto",
    dtype: Annotated[str, DTYPE] = "auto",
    size: Annotated[int | None, SIZE] = None,
    layout: Annotated[str | None, LAYOUT] = None,
    sequence: Annotated[list[str] | None, SEQUENCE] = None,
    prompt: Annotated[str | None, PROMPT] = None,
    streaming: Annotated[float | None, STREAMING] = None,
    baselines: Annotated[bool, BASELINES] = True,
    opencv: Annotated[bool, OPENCV] = False,
    objects: Annotated[bool, SHOW_OBJECTS] = False,
    csv: Annotated[Path | None, CSV] = None,
    json: Annotated[Path | None, JSON] = None,
    worst: Annotated[Path | None, WORST] = None,
    worst_count: Annotated[int, WORST_COUNT] = 20,
    memory: Annotated[str, MEMORY] = "recent",
    identity: Annotated[bool, IDENTITY] = False,
    seeds: Annotated[int, SEEDS] = 10,
    calibrate: Annotated[Path | None, CALIBRATE] = None,
) -> int:
    """Score a model on labelled videos: J&F by quarter of the sequence, or HOTA where the truth is tracks.

    Layouts: DAVIS; YouTube-VOS; MOT (boxes); MOTS (masks of many objects).

    With --identity: whether ids stay on their objects where look-alikes cross, one is hidden, or leaves.
    """
    from . import identity as identities
    from .evaluating import Files, Methods, Task, begin

    options = {"model": model, "weights": weights, "device": device, "dtype": dtype, "size": size}
    if identity:
        unfit: dict[str, object] = {
            "DATASET": dataset,
            "--layout": layout,
            "--sequence": sequence or None,
            "--streaming": streaming,
            "--opencv": opencv or None,
            "--objects": objects or None,
            "--calibrate": calibrate,
        }
        files = Files(csv=csv, json=json, worst=worst, worst_count=worst_count)
        asked = identities.IdentityTask(model=model, prompt=prompt or "mask", seeds=seeds, files=files)
        return identities.begin(asked, unfit)(loaded(options, memory))
    if dataset is None:
        raise typer.BadParameter("give a folder of labelled videos, or --identity", param_hint="DATASET")
    if calibrate is not None:
        fit_confidence(loaded(options, memory), options, calibrate, (dataset, sequence or []))
        return 0
    task = Task(
        dataset=dataset,
        sequences=tuple(sequence or ()),
        layout=layout,
        prompt=prompt,
        methods=Methods(model=model, streaming=streaming, baselines=baselines, opencv=opencv),
        objects=objects,
        files=Files(csv=csv, json=json, worst=worst, worst_count=worst_count),
    )
    return begin(task)(loaded(options, memory))


def loaded(options: Mapping[str, Any], memory: str) -> Tracker:
    """The tracker that the options name."""
    from ..api import load

    return load(**options, max_objects=OBJECTS, settings=settings_with(memory))


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
    from .evaluating import mistakes_told, progress_bar

    if file.suffix != ".json" or not file.absolute().parent.is_dir():
        raise ConfigError(f"--calibrate {file}: must be a FILE.json in a folder that is there")
    weights = weights_of(engine(options))
    if weights is None:
        raise ConfigError("--calibrate: a calibration belongs to a file of weights: give --weights FILE")
    plain = replace(tracker, settings=replace(tracker.settings, calibration=None))
    dataset, sequences = videos
    with mistakes_told(), progress_bar() as show:
        seen = observe(plain.track, dataset, show, sequences)
    calibrate(seen, str(options["model"]), weights, file)
