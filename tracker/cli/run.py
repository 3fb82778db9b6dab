"""`keepsight run`: track what was shown on one stream, or on several from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import BACKEND, DEVICE, DTYPE, SIZE, VOID, WEIGHTS

if TYPE_CHECKING:
    from ..config import Deployment

EXAMPLES = """
Examples:

`keepsight run street.mp4 --prompt "box=0.1,0.2,0.3,0.6 label=car" -o out.mp4 -o masks:out -o out.jsonl`

`keepsight run rtsp://camera/main -o web://:8080`, then click on a thing at http://127.0.0.1:8080

`keepsight run rtsp://camera/main --prompt "point=0.5,0.6 point=0.1,0.1,-" -o mqtt://broker/keepsight`

`keepsight run clip.mp4 --prompt-mask first.png -o overlay.mkv`

`keepsight run --config cameras.yaml`

`keepsight run street.mp4 --offline --prompt "point=0.5,0.6 frame=120" --prompts corrections.jsonl -o out.mp4`
"""


SOURCE = typer.Argument(
    help="A file, a folder of images, rtsp://, http(s):// (MJPEG, HLS), rtmp://, udp:// (MPEG-TS), "
    "/dev/video0, whep://, whip-server://[HOST]:PORT/NAME (browsers and OBS publish there) or test://"
)
OUTPUT = typer.Option(
    "--output",
    "-o",
    help="FILE.mp4, FILE.mkv, masks:DIR, FILE.jsonl, coco:FILE.json, mot:FILE.txt, "
    "mqtt://HOST/PREFIX, web://:PORT, rtsp-server://[HOST]:PORT/NAME, "
    "rtsp://, rtmp://, whip:// (published there), hls:DIR, clips:DIR (of events); repeatable",
)
PROMPT = typer.Option(
    help='"box=x0,y0,x1,y1 id=N label=NAME frame=N" or "point=x,y point=x,y,-", 0 to 1; repeatable'
)
PROMPT_MASK = typer.Option(
    metavar="FILE.png[@FRAME]",
    help=f"Indexed PNG: a pixel's value is its object's id, {VOID}; repeatable",
)
PROMPTS = typer.Option(metavar="FILE.jsonl", help="A prompt log: one command a line with its frame")
REALTIME = typer.Option("--realtime", help="Play a file at its own rate, like a camera")
LOOP = typer.Option("--loop", help="Play a file over and over")
HWACCEL = typer.Option(
    help="Decode in hardware: auto, or cuda, vaapi, videotoolbox, d3d11va; in software where there is none"
)
RULES = typer.Option(metavar="FILE.yaml", help="Zones, lines and motion to be told of")
PRIVACY = typer.Option(
    help="blur, pixelate, solid or remove what is tracked, in every picture that leaves; with label=NAME "
    'only such objects, with rest all but them, as in "blur rest"; repeatable'
)
AUTO = typer.Option(
    metavar="HOW",
    help="Find objects without prompts: motion (before a camera that stands still), grid[,every=SECONDS] "
    "(everything) or detector=FILE.onnx[,labels=FILE] (YOLOX, RT-DETR, SSD)",
)
MODEL = typer.Option(help="See keepsight models; nano by default")
MAX_OBJECTS = typer.Option(help="Objects at once, 16 by default")
MEMORY = typer.Option(
    help="Frames that are remembered: recent (by default), or selective: also earlier sure ones"
)
NOISE = typer.Option(
    help="Find every mask a second time under noise of this strength, 0 to 1, for example 0.02, and heed in "
    "its stability and confidence whether it stays; 0 by default"
)
OFFLINE = typer.Option(
    "--offline",
    help="A recording as a whole: prompts and corrections on any frame, tracked forwards and backwards; "
    "outputs are files, without events",
)
RECORD = typer.Option(
    metavar="DIR", help="Keep the frames that are tracked, and the commands, for `keepsight replay DIR`"
)
CONFIG = typer.Option(metavar="FILE.yaml", help="All of this from a file")


def run(
    source: Annotated[str | None, SOURCE] = None,
    output: Annotated[list[str] | None, OUTPUT] = None,
    prompt: Annotated[list[str] | None, PROMPT] = None,
    prompt_mask: Annotated[list[str] | None, PROMPT_MASK] = None,
    prompts: Annotated[Path | None, PROMPTS] = None,
    auto: Annotated[str | None, AUTO] = None,
    realtime: Annotated[bool | None, REALTIME] = None,
    loop: Annotated[bool | None, LOOP] = None,
    hwaccel: Annotated[str | None, HWACCEL] = None,
    rules: Annotated[Path | None, RULES] = None,
    privacy: Annotated[list[str] | None, PRIVACY] = None,
    model: Annotated[str | None, MODEL] = None,
    weights: Annotated[Path | None, WEIGHTS] = None,
    device: Annotated[str | None, DEVICE] = None,
    dtype: Annotated[str | None, DTYPE] = None,
    backend: Annotated[str | None, BACKEND] = None,
    size: Annotated[int | None, SIZE] = None,
    max_objects: Annotated[int | None, MAX_OBJECTS] = None,
    memory: Annotated[str | None, MEMORY] = None,
    noise: Annotated[float | None, NOISE] = None,
    offline: Annotated[bool, OFFLINE] = False,
    record: Annotated[Path | None, RECORD] = None,
    config: Annotated[Path | None, CONFIG] = None,
) -> int:
    """Track what you show on a stream, and send masks, identities and events where you say."""
    from ..deployment import prepare
    from ..fleet import Servers
    from ..weights import find_weights
    from .running import run_streams, tell

    watched = typed(source=source, output=output, auto=auto, rules=rules, max_objects=max_objects)
    played = typed(realtime=realtime, loop=loop, hwaccel=hwaccel, privacy=privacy, record=record)
    shown = typed(prompt=prompt, prompt_mask=prompt_mask, prompts=prompts)
    tracked = typed(memory=memory, noise=noise)
    engine = typed(model=model, weights=weights, device=device, dtype=dtype, backend=backend, size=size)
    given = watched | played | shown | tracked | engine
    if offline:
        return run_whole(given, config)
    deployment = deployment_of(given, config)
    servers: Servers = {}
    streams = prepare(deployment, servers, config)
    find_weights(deployment.model, deployment.weights)
    reports, code = run_streams(streams, deployment, servers, config)
    tell(reports)
    return code


def run_whole(given: Mapping[str, object], config: Path | None) -> int:
    """Run a recording offline; the exit code. Raises ConfigError where one was not typed."""
    from ..config import run_config
    from ..validation import ConfigError
    from .offline import run_offline

    if config is not None:
        raise ConfigError("--config stands alone: --offline is for one recording, as typed")
    if "source" not in given:
        raise ConfigError("nothing to run: give a SOURCE")
    return run_offline(run_config(given))


def deployment_of(given: Mapping[str, object], config: Path | None) -> Deployment:
    """What to run, as typed or from a file. Raises ConfigError where it is neither, or both."""
    from ..config import read_deployment, run_config
    from ..validation import ConfigError

    if config is not None and given:
        raise ConfigError(f"--config stands alone: write {next(iter(given))} into {config}")
    if config is not None:
        return read_deployment(config)
    if "source" not in given:
        raise ConfigError("nothing to run: give a SOURCE, or --config FILE.yaml")
    return run_config(given).deployment()


def typed(**options: object) -> dict[str, object]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value not in (None, [])}
