"""`keepsight run`: track what was shown on one stream, or on several from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
Examples:

`keepsight run street.mp4 --prompt "box=0.1,0.2,0.3,0.6 label=car" -o out.mp4 -o masks:out -o out.jsonl`

`keepsight run rtsp://camera/main --prompt "point=0.5,0.6 point=0.1,0.1,-" -o mqtt://broker/keepsight`

`keepsight run clip.mp4 --prompt-mask first.png -o overlay.mkv`

`keepsight run --config cameras.yaml`
"""


def run(
    source: Annotated[
        str | None,
        typer.Argument(help="A file, a folder of images, rtsp://, http(s)://, /dev/video0 or test://"),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output", "-o", help="FILE.mp4, FILE.mkv, masks:DIR, FILE.jsonl, mqtt://HOST/PREFIX; repeatable"
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help='"box=x0,y0,x1,y1 id=N label=NAME frame=N" or "point=x,y point=x,y,-", 0 to 1; repeatable'
        ),
    ] = None,
    prompt_mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.png[@FRAME]", help="Indexed PNG: a pixel's value is its object's id; repeatable"
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="A prompt log: one command a line with its frame"),
    ] = None,
    auto: Annotated[str | None, typer.Option(help="Find objects without prompts: off")] = None,
    model: Annotated[str | None, typer.Option(help="See keepsight models; nano by default")] = None,
    weights: Annotated[Path | None, typer.Option(help="A .safetensors or .pt file, or hf:owner/name")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or int8")] = None,
    backend: Annotated[str | None, typer.Option(help="auto or torch")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the model's input in pixels")] = None,
    max_objects: Annotated[int | None, typer.Option(help="Objects at once, 16 by default")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="All of this from a file")] = None,
) -> int:
    """Track what you show on a stream, and send masks, identities and events where you say."""
    from ..config import read_deployment, run_config
    from ..deployment import prepare
    from ..validation import ConfigError
    from ..weights import find_weights
    from .running import run_streams, tell

    given = typed(
        source=source,
        output=output,
        prompt=prompt,
        prompt_mask=prompt_mask,
        prompts=prompts,
        auto=auto,
        model=model,
        weights=weights,
        device=device,
        dtype=dtype,
        backend=backend,
        size=size,
        max_objects=max_objects,
    )
    if config is not None and given:
        raise ConfigError(f"--config stands alone: write {next(iter(given))} into {config}")
    if config is None and source is None:
        raise ConfigError("nothing to run: give a SOURCE, or --config FILE.yaml")
    deployment = run_config(given).deployment() if config is None else read_deployment(config)
    streams = prepare(deployment)
    find_weights(deployment.model, deployment.weights)
    reports, code = run_streams(streams, deployment)
    tell(reports)
    return code


def typed(**options: object) -> dict[str, object]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value not in (None, [])}
