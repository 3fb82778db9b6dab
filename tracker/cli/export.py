"""`keepsight export`: a model's parts as ONNX files, for other runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import MODEL, SIZE, WEIGHTS

if TYPE_CHECKING:
    from keepsight.model.nano import Nano
    from keepsight.model.sam2 import Sam2

    from ..exporting import Exported, Named, Origin

OBJECTS = typer.Option(min=1, max=255, help="How many at once")
VIDEO = typer.Option(metavar="WxH", help="Size of the frames; nano takes over its shape")
OUTPUT = typer.Option("--output", "-o", metavar="FOLDER", help="By default MODEL-onnx")


def export(
    model: Annotated[str, MODEL] = "nano",
    weights: Annotated[Path | None, WEIGHTS] = None,
    size: Annotated[int | None, SIZE] = None,
    objects: Annotated[int, OBJECTS] = 1,
    video: Annotated[str, VIDEO] = "1280x720",
    output: Annotated[Path | None, OUTPUT] = None,
) -> int:
    """Write each part of a model as ONNX, in float32 and with fixed shapes, and compare it with torch.

    The same random input goes through torch and onnxruntime; the table shows the largest absolute difference.
    Beside the files lies export.json: names, shapes and types of all tensors, and the SHA-256 of the weights.
    """
    from ..build import load_predictor, weights_of
    from ..config import engine
    from ..exporting import Origin, check_installed, open_folder
    from .bench import read_size
    from .console import complain

    check_installed()
    frame_size, folder = read_size(video), output or Path(f"{model}-onnx")
    chosen = engine({"model": model, "weights": weights, "device": "cpu", "dtype": "float32", "size": size})
    network = load_predictor(chosen)
    origin = Origin(model=model, weights=weights_of(chosen), frame_size=frame_size, objects=objects)
    open_folder(folder)
    try:
        return export_all(network, origin, folder)
    except OSError as error:
        complain(f"{error.filename or folder}: cannot be written: {error.strerror or error}")
        return 1


def export_all(network: Nano | Sam2, origin: Origin, folder: Path) -> int:
    """Write all parts, tell how far each is from torch, and describe them where all agree; the exit code."""
    from ..exporting import describe, parts_of
    from ..exporting import export as exporting
    from .console import complain

    parts = parts_of(network, origin.frame_size, origin.objects)
    done = []
    with progress([part.name for part in parts]) as advance:
        for one in exporting(parts, folder):
            advance()
            done.append(one)
    tell(done)
    if wrong := [one for one in done if not one.agrees]:
        complain(f"not as in torch, do not use: {', '.join(str(one.file) for one in wrong)}")
        return 1
    describe(folder, network, origin, done)
    return 0


@contextmanager
def progress(names: list[str]) -> Iterator[Callable[[], None]]:
    """Which part is being exported, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    from .console import description, err

    columns = description(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        coming = iter([*names[1:], "done"])
        task = bar.add_task(names[0], total=len(names))
        yield lambda: bar.update(task, advance=1, description=next(coming))


def tell(exported: list[Exported]) -> None:
    from rich.table import Column, Table

    from .console import out

    table = Table(
        Column("part", no_wrap=True),
        Column("file", overflow="fold"),
        Column("MB", justify="right", no_wrap=True),
        Column("inputs", overflow="fold"),
        Column("outputs", overflow="fold"),
        Column("max difference", justify="right"),
    )
    for one in exported:
        table.add_row(
            one.part,
            str(one.file),
            f"{one.file.stat().st_size / 1e6:.1f}",
            shapes(one.inputs),
            shapes(one.outputs),
            f"{one.difference.absolute:.1e}",
        )
    out.print(table)


def shapes(tensors: tuple[Named, ...]) -> str:
    """`logits 1×80×112`, a line for each."""
    return "\n".join(f"{one.name} {'×'.join(map(str, one.shape))}" for one in tensors)
