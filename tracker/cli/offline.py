"""`keepsight run --offline`: a recording as a whole, with prompts on any frame, in both directions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.progress import Progress

from keepsight.streams.threads import Worker, run_loop
from keepsight.streams.types import Prompt

from ..config import RunConfig
from ..deployment import file_of, prepare
from ..rules import NO_RULES
from ..validation import ConfigError
from ..weights import find_weights
from .console import err, out
from .running import Stop

if TYPE_CHECKING:
    from keepsight.model.video_predictor import VideoPredictor

    from ..pipeline import Stream
    from ..replay import Replay
    from ..settings import TrackerSettings


class StoppedError(Exception):
    """Ctrl-C while frames are read, stepped or written."""


def run_offline(config: RunConfig) -> int:
    """Track, write, sum up; the exit code. Raises ConfigError, SourceError, SinkError and WriteError."""
    live = [url for url in config.output if file_of(url) is None]
    if live:
        raise ConfigError(f"--offline: writes files when all is tracked; {live[0]} is for a stream")
    if config.realtime or config.loop:
        raise ConfigError("--offline: takes a recording as a whole; leave out --realtime and --loop")
    if config.hwaccel != "off":
        raise ConfigError("--offline: seeks frame by frame, in software; leave out --hwaccel")
    if config.record is not None:
        raise ConfigError("--offline: the recording is there already; leave out --record")
    if config.auto != "off" or config.rules != NO_RULES:
        raise ConfigError("--offline: finds nothing by itself and tells no events; leave out --auto, --rules")
    (stream,) = prepare(config.deployment())
    check_room(stream, config.max_objects)
    find_weights(config.model, config.weights)
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        replayed, stopped_by = run_loop(_run(stream, config, bar))
    if replayed is not None:
        out.print(
            f"{stream.name}: {replayed.frames} frames; {replayed.stepped} were tracked, "
            "forwards and backwards",
            soft_wrap=True,
        )
    return 128 + stopped_by if stopped_by else 0


def check_room(stream: Stream, max_objects: int) -> None:
    """Raises ConfigError where more objects are shown than may be tracked: here all are, at once."""
    objects = {cue.command.object_id for cue in stream.cues if isinstance(cue.command, Prompt)}
    if len(objects) > max_objects:
        raise ConfigError(f"--offline: {len(objects)} objects are shown; --max-objects is {max_objects}")


async def _run(stream: Stream, config: RunConfig, bar: Progress) -> tuple[Replay | None, int]:
    from keepsight.streams.recording import open_recording

    from ..replay import replay

    stop, task = Stop(), bar.add_task("tracking", total=None)

    def go_on() -> None:
        if stop.signal:
            raise StoppedError

    def tell(stepped: int, total: int) -> None:
        bar.update(task, completed=stepped, total=total)
        go_on()

    with stop.on_signals():
        async with Worker("model") as worker:
            read = partial(open_recording, config.source, each=go_on)
            try:
                load, private = partial(_load, config), stream.privacy
                done = await replay(worker, load, read, stream.cues, stream.sinks, tell, private)
            except StoppedError:
                return None, stop.signal
    return done, stop.signal


def _load(config: RunConfig) -> tuple[VideoPredictor, TrackerSettings]:
    from ..build import load_predictor, suited
    from ..settings import TrackerSettings

    settings = TrackerSettings(memory=config.memory, noise=config.noise)
    return load_predictor(config), suited(settings, config)
