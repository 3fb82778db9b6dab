"""`keepsight bench`: speed on this machine."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from .options import BACKEND, DEVICE, DTYPE, MODEL, SIZE, WEIGHTS

if TYPE_CHECKING:
    from rich.table import Table

    from ..api import Predictor
    from ..config import Engine

OBJECTS = typer.Option(min=1, help="How many; repeatable; 1 and 5 by default")
VIDEO = typer.Option(metavar="WxH", help="Size of the video")
FRAMES = typer.Option(min=10, help="Length of the video")
PEER = typer.Option(help="Race on random weights against: transformers")
PICTURES = typer.Option(min=1, help="Instead: so many still pictures, in batches and one by one")
DTYPES = typer.Option("--dtypes", help="Instead: speed and error of every dtype beside float32")


def bench(
    model: Annotated[str, MODEL] = "nano",
    objects: Annotated[list[int] | None, OBJECTS] = None,
    video: Annotated[str, VIDEO] = "1280x720",
    frames: Annotated[int, FRAMES] = 60,
    weights: Annotated[Path | None, WEIGHTS] = None,
    device: Annotated[str, DEVICE] = "auto",
    dtype: Annotated[str, DTYPE] = "auto",
    backend: Annotated[str, BACKEND] = "auto",
    size: Annotated[int | None, SIZE] = None,
    peer: Annotated[str | None, PEER] = None,
    pictures: Annotated[int | None, PICTURES] = None,
    dtypes: Annotated[bool, DTYPES] = False,
) -> None:
    """Measure frames/s and each stage: the model alone, then from an H.264 file with and without overlay.

    With --peer: seconds a frame of the model alone beside another implementation's of the same network, on
    the same random weights and frames, turn by turn, with the memory full; the ratio first.
    """
    from ..build import load_predictor
    from ..config import engine

    named = {"model": model, "weights": weights, "device": device, "dtype": dtype, "backend": backend}
    chosen = engine({**named, "size": size})
    if peer is not None:
        race(peer, chosen, objects or [1, 3, 8], frames)
    elif dtypes:
        bench_dtypes(chosen, read_size(video), objects or [1], frames)
    elif pictures is not None:
        bench_pictures(load_predictor(chosen), pictures)
    else:
        bench_video(chosen, video, objects or [1, 5], frames)


def bench_video(chosen: Engine, video: str, objects: list[int], frames: int) -> None:
    """Print a table of the model alone, and from a file with and without overlay."""
    from tempfile import TemporaryDirectory

    from ..bench import draw_scene, measurements
    from ..build import load_predictor, suited
    from ..settings import TrackerSettings
    from .console import out

    settings = suited(TrackerSettings(), chosen)
    network, (height, width) = load_predictor(chosen), read_size(video)
    table = empty_table(
        f"{chosen.model}, {width}×{height}, {frames} frames, objects: way; stages in ms, medians"
    )
    for count in objects:
        with TemporaryDirectory() as folder:
            scene = draw_scene(Path(folder), (height, width), count, frames)
            for way, summary in measurements(network, scene, settings):
                times = (f"{1e3 * stage.median:.1f}" for stage in (*summary.stages, summary.step))
                table.add_row(f"{count}: {way}", f"{summary.fps:.1f}", *times)
    out.print(table)


def race(peer: str, chosen: Engine, objects: list[int], frames: int) -> None:
    """Print a row as soon as it is known: with many objects a frame of the peer takes a minute on a CPU.
    Raises ConfigError."""
    from ..build import choose_device, configuration, sized
    from ..peer import check_peer
    from ..race import races
    from .console import out

    refuse_choices(chosen)
    config = check_peer(peer, chosen.model, sized(configuration(chosen.model), chosen.size))
    out.print(f"{chosen.model} at {config.image_size}, float32, {frames} frames each; s a frame, medians")
    for each in races(config, objects, frames, choose_device(chosen.device)):
        out.print(
            f"{each.objects} objects: {each.ratio:.2f} times {peer}'s speed "
            f"({median(each.ours):.2f} against {median(each.peers):.2f})"
        )


def refuse_choices(chosen: Engine) -> None:
    """Raises ConfigError for what a race, whose two sides are to be alike, does not let anybody choose."""
    from ..validation import ConfigError

    allowed = {"weights": ("None",), "dtype": ("auto", "float32"), "backend": ("auto", "torch")}
    if other := [f"--{name}" for name, values in allowed.items() if str(getattr(chosen, name)) not in values]:
        raise ConfigError(
            f"--peer: is raced on random weights, in float32, with PyTorch: leave out {', '.join(other)}"
        )


def bench_pictures(network: Predictor, count: int) -> None:
    """Still pictures/s, and what batches gain."""
    from ..api import Tracker
    from ..bench_pictures import throughput
    from .console import out

    found = throughput(Tracker(network), count)
    out.print(
        f"{count} pictures of mixed sizes, a box each: {found.one_by_one:.2f} pictures/s one by one, "
        f"{found.in_batches:.2f} in batches: {found.ratio:.2f} times as fast"
    )


def bench_dtypes(chosen: Engine, size: tuple[int, int], objects: list[int], frames: int) -> None:
    """Print a table of the model in every dtype that its device has; on random weights, and the title says
    so, where none are given and its own are not on this machine."""
    from rich.table import Table

    from ..bench import draw
    from ..bench_dtypes import UNTRAINED, compare, dtypes_of
    from ..build import choose_device, load_predictor, random_predictor
    from ..step import DEFAULTS
    from ..weights import at_hand
    from .console import out

    if chosen.weights is not None or at_hand(chosen.model):
        load, settings, weights = load_predictor, DEFAULTS, ""
    else:
        load, settings, weights = random_predictor, UNTRAINED, " on random weights: only speeds tell"
    names = dtypes_of(choose_device(chosen.device))
    models = {name: load(chosen.model_copy(update={"dtype": name})) for name in names}
    title = f"{chosen.model}{weights}, model only, {size[1]}×{size[0]}, {frames} frames; beside float32"
    table = Table(title=title, box=None, title_justify="left")
    for heading in ("objects", "dtype", "ms a frame", "speed", "mask IoU", "largest", "mean logit error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for count in objects:
        for one in compare(models, draw(size, count, frames), settings):
            errors = f"{one.iou:.4f}", f"{one.largest:.3g}", f"{one.mean:.2g}"
            table.add_row(str(count), one.dtype, f"{1e3 * one.seconds:.1f}", f"{one.ratio:.2f}", *errors)
    out.print(table)


def read_size(text: str) -> tuple[int, int]:
    """(height, width) of `1280x720`. Raises ConfigError."""
    from ..validation import ConfigError

    width, x, height = text.partition("x")
    if not (x and width.isdecimal() and height.isdecimal()) or min(int(width), int(height)) < 32:
        raise ConfigError(f"--video {text}: must be WIDTHxHEIGHT from 32x32 on, for example 1280x720")
    return int(height), int(width)


def empty_table(title: str) -> Table:
    from rich.table import Table

    from ..summary import STAGES

    table = Table(title=title, box=None, title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("fps", *STAGES, "step"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table
