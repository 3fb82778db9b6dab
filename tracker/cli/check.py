"""`keepsight check`: what a deployment file would run, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="A deployment: one stream or several")],
) -> None:
    """Check a deployment file and show what it would run: sources, prompts, outputs, model and weights."""
    from rich.table import Table

    from ..config import read_deployment
    from ..deployment import prepare
    from ..weights import whereabouts
    from .console import out

    deployment = read_deployment(file)
    weights = whereabouts(deployment.model, deployment.weights)
    table = Table(title=f"{file} is fine")
    for heading in ("stream", "source", "commands", "objects at most", "outputs"):
        table.add_column(heading, overflow="fold")  # nothing of a URL is cut off
    for stream in prepare(deployment, file=file):
        room = deployment.streams[stream.name].max_objects
        outputs = "\n".join(sink.url for sink in stream.sinks)
        kind = "live" if stream.source.live else "waits"
        table.add_row(stream.name, f"{stream.source.url} ({kind})", str(len(stream.cues)), str(room), outputs)
    out.print(table)
    out.print(
        f"model {deployment.model} on {deployment.device}, weights {weights}",
        soft_wrap=True,
    )
