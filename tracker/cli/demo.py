"""`keepsight demo`: the whole path on a drawn scene whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import MODEL


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where overlay, masks and events go")
    ] = Path("demo"),
    model: Annotated[str, MODEL] = "nano",
    frames: Annotated[int, typer.Option(min=1, help="Length of the scene")] = 120,
) -> int:
    """Track three drawn objects from a box around each, and compare with the truth.

    Needs no network and no GPU. Writes DIR/overlay.mp4, DIR/masks/ and DIR/events.jsonl.
    """
    from ..config import run_config
    from ..demo import judged_scene
    from ..evaluation.truth import truth_table
    from ..weights import find_weights
    from . import console
    from .running import run_streams, tell

    outputs = [str(out / "overlay.mp4"), f"masks:{out / 'masks'}", str(out / "events.jsonl")]
    scene = f"test://?objects=3&frames={frames}&size=640x360"
    deployment = run_config({"source": scene, "model": model, "output": outputs}).deployment("demo")
    find_weights(deployment.model, deployment.weights)
    stream, judge = judged_scene(scene, outputs)
    reports, code = run_streams([stream], deployment)
    tell(reports)
    if code == 0:
        console.out.print(truth_table(judge.scores))
        console.out.print(
            f"Look at {outputs[0]}; masks: {out / 'masks'}, events: {outputs[2]}", soft_wrap=True
        )
    return code
