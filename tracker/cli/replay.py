"""`keepsight replay`: a session that `run --record` has kept, once more, to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keepsight.streams.base import Sink

    from ..tape import Header

TAPE = typer.Argument(metavar="DIR", help="The folder of `keepsight run --record DIR`")
OUTPUT = typer.Option(
    "--output",
    "-o",
    help="FILE.mp4, FILE.mkv, masks:DIR, FILE.jsonl, coco:FILE.json, mot:FILE.txt; repeatable",
)


def replay(tape: Annotated[Path, TAPE], output: Annotated[list[str], OUTPUT]) -> int:
    """Track a recorded session again: the same frames, commands, results and events."""
    from keepsight.streams.sinks import open_sink
    from keepsight.streams.threads import run_loop

    from ..deployment import file_of
    from ..tape import read_header
    from ..validation import ConfigError
    from .console import out

    header = read_header(tape)
    for url in output:
        if (file := file_of(url)) is None:
            raise ConfigError(f"replay writes files; {url} is for a stream")
        if tape.resolve() in (file, *file.parents):
            raise ConfigError(f"{url} is in the folder that is replayed: name another place")
    check_weights(header)
    sinks = [open_sink(url, camera=header.name) for url in output]
    stepped, stopped_by = run_loop(_replay(tape, header, sinks))
    out.print(f"{header.name}: {stepped} frames replayed", soft_wrap=True)
    return 128 + stopped_by if stopped_by else 0


def check_weights(header: Header) -> None:
    """Raises ConfigError where the weights are not those that were taped."""
    from ..calibration import sha256_of
    from ..validation import ConfigError
    from ..weights import find_weights

    weights = find_weights(header.engine.model, header.engine.weights)
    if weights is not None and sha256_of(weights) != header.weights_sha256:
        raise ConfigError(f"{weights} is not what ran when this was recorded: its SHA-256 is another")


async def _replay(tape: Path, header: Header, sinks: list[Sink]) -> tuple[int, int]:
    """How many frames were replayed, and the signal that ended it, or 0."""
    from dataclasses import replace

    from rich.progress import Progress

    from ..engine import model_threads
    from ..session import TrackerSession
    from ..tape import count_steps, read_steps
    from ..taped import replay_tape
    from .console import err
    from .running import MODEL_STOP_SECONDS, Stop, load

    stop = Stop()
    with stop.on_signals(), Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("replaying", total=count_steps(tape))

        def goes_on(stepped: int) -> bool:
            bar.update(task, completed=stepped)
            return not stop.event.is_set()

        async with model_threads(MODEL_STOP_SECONDS) as threads:
            model, settings = await threads.tracker.run(load, header.engine)
            settings = replace(settings, memory=header.memory, noise=header.noise)
            await threads.share_cores()
            session = TrackerSession(
                threads,
                model,
                header.max_objects,
                settings,
                rewinds=header.rewinds,
                first_id=header.first_id,
            )
            steps, run = read_steps(tape), threads.encoder.run
            stepped = await replay_tape(steps, header.live, session, sinks, run, goes_on)
    return stepped, stop.signal
