"""How fast it is here: the model alone, and the whole way from a file to its results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

import av

from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.sinks import open_sink
from keepsight.streams.sources import SyntheticSource, open_source
from keepsight.streams.types import Frame

from .api import Predictor, Tracker
from .demo import boxes_of_truth
from .engine import model_threads
from .pipeline import Stream, run
from .prompts import Cue
from .session import TrackerSession
from .settings import TrackerSettings
from .summary import Meter, Summary

RATE = 25
WARM_UP = 5
"""Frames that are stepped before the clock starts."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Frames that are drawn once; `cues` show every object of the first."""

    frames: tuple[Frame, ...]
    cues: tuple[Cue, ...]


@dataclass(frozen=True, slots=True)
class Scene(Drawn):
    """Frames that lie in a file as well."""

    file: Path


def draw_scene(folder: Path, size: tuple[int, int], objects: int, count: int) -> Scene:
    """`count` frames of `size` (height, width), in memory and as H.264 in `folder`."""
    drawn = draw(size, objects, count)
    file = folder / f"{objects}.mp4"
    encode(file, drawn.frames)
    return Scene(drawn.frames, drawn.cues, file)


def draw(size: tuple[int, int], objects: int, count: int) -> Drawn:
    """`count` frames of `size` (height, width), in memory."""
    source = SyntheticSource(f"test://?objects={objects}&frames={count}&size={size[1]}x{size[0]}&fps={RATE}")
    images = [source.scene.image(index / RATE) for index in range(count)]
    frames = tuple(
        Frame(image, index, 0, index / RATE, index / RATE, "generated", monotonic())
        for index, image in enumerate(images)
    )
    return Drawn(frames, boxes_of_truth(source))


def measurements(model: Predictor, scene: Scene, settings: TrackerSettings) -> Iterator[tuple[str, Summary]]:
    """What is measured, in words, and what came out."""
    yield "model only", model_only(model, scene, settings)
    results = str(scene.file.with_suffix(".jsonl"))
    yield "end to end", end_to_end(model, scene, [results], settings)
    overlay = str(scene.file.with_name("overlay.mp4"))
    yield "with overlay", end_to_end(model, scene, [results, overlay], settings)


def encode(file: Path, frames: Sequence[Frame]) -> None:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "superfast"})
        stream.height, stream.width = frames[0].size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode(None))


def model_only(model: Predictor, scene: Scene, settings: TrackerSettings) -> Summary:
    """The same way without a file: over frames that lie in memory, to nowhere."""
    tracker, meter = Tracker(model, len(scene.cues), settings), Meter()
    results = tracker.track(scene.frames, [cue.command for cue in scene.cues])
    for result in islice(results, len(scene.frames) - 1):  # the last two come at once
        meter.record(result, monotonic())
        if result.frame.index == WARM_UP:
            meter = Meter(started=monotonic())
    return meter.summary()


def end_to_end(
    model: VideoPredictor, scene: Scene, outputs: Sequence[str], settings: TrackerSettings
) -> Summary:
    """The way of `keepsight run`, from the scene's file to `outputs`."""
    return asyncio.run(_end_to_end(model, scene, outputs, settings))


async def _end_to_end(
    model: VideoPredictor, scene: Scene, outputs: Sequence[str], settings: TrackerSettings
) -> Summary:
    sinks = tuple(open_sink(url) for url in outputs)
    stream = Stream("bench", open_source(str(scene.file)), sinks, scene.cues)
    async with model_threads() as threads:

        async def start() -> TrackerSession:
            await threads.share_cores()
            return TrackerSession(threads, model, len(scene.cues), settings)

        report = await run(stream, start, asyncio.Event(), lambda stream, meter: None)
    return report.summary
