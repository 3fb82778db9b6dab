"""The tracker as a Python object: results of a stream in a plain `for` loop, or in an `async for`."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from keepsight.model.image_predictor import ImagePredictor
from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.base import Source
from keepsight.streams.pictures import as_rgb, read_picture
from keepsight.streams.recording import open_recording
from keepsight.streams.sources import open_source
from keepsight.streams.threads import Worker, iterate
from keepsight.streams.types import Command, Correct, Frame, Image, Prompt, Result

from .build import load_predictor, suited
from .config import engine
from .engine import model_threads
from .image import EncodedImage
from .image_batches import encode_pictures
from .offline import OfflineTracker, open_offline
from .pipeline import results
from .prompts import Cue, first_free_id
from .session import TrackerSession
from .settings import TrackerSettings
from .step import DEFAULTS

NOMINAL_RATE = 25.0
"""Frames/s that images without times are taken to have."""

Footage = str | os.PathLike[str] | Source | Iterable[Frame | Image]
"""A path or URL, a source, or frames or images (H, W, 3) uint8 RGB one after the other."""

Picture = str | os.PathLike[str] | NDArray[np.generic]
"""A file, or an array: grey (H, W) or (H, W, 1), RGB (H, W, 3), with alpha (H, W, 4); uint8, uint16, bool, or
float in [0, 1]."""


class Predictor(VideoPredictor, ImagePredictor, Protocol):
    """A model that tracks, and segments still images."""


def load(
    model: str = "nano",
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    backend: str = "auto",
    size: int | None = None,
    max_objects: int = 16,
    settings: TrackerSettings | None = None,
) -> Tracker:
    """A tracker with the weights of `model` (see `keepsight models`).

    weights: a .safetensors or .pt file, or hf:owner/name[@revision][/file] on the Hugging Face Hub; None
    takes the bundled ones, those in the cache, or fetches the published ones. device: auto, cpu, cuda or
    cuda:N; dtype: auto, float32, bfloat16 or int8 (weights, on a CPU); backend, which encodes images: auto,
    torch or openvino; size: side of the model's input in pixels; max_objects: how many objects a stream may
    have at once. Settings without a calibration get the one that lies beside the weights. Raises ConfigError,
    a ValueError, for what cannot be had.
    """
    named = {"model": model, "weights": weights, "device": device, "dtype": dtype, "backend": backend}
    chosen = engine({**named, "size": size})
    return Tracker(load_predictor(chosen), max_objects, suited(settings or DEFAULTS, chosen))


@dataclass(frozen=True, slots=True)
class Tracker:
    """A model and how it tracks. It keeps nothing of a stream, so one tracker serves any number of them."""

    model: Predictor
    max_objects: int = 16
    settings: TrackerSettings = DEFAULTS

    def track(self, footage: Footage, prompts: Iterable[Command] = ()) -> Iterator[Result]:
        """One result per frame of a file; of a live source, one per frame there was time for.

        A prompt or correction with a `frame_ref` is carried out on that frame, any other command on the
        first. Closing the iterator, or leaving the loop, closes the source. Raises SourceError where the
        footage cannot be read, after the results of the frames before, and ConfigError for a mask of another
        size than theirs.
        """
        return iterate(lambda: self.atrack(footage, prompts))

    def offline(self, footage: str | os.PathLike[str]) -> AbstractContextManager[OfflineTracker]:
        """A recording to be tracked in both directions: prompts and corrections on any frame, at any time.

        `with tracker.offline("street.mp4") as recording:`. The file is read once to know its frames. Raises
        SourceError where it cannot be, or is live.
        """
        return open_offline(self.model, self.settings, open_recording(os.fspath(footage)))

    async def atrack(self, footage: Footage, prompts: Iterable[Command] = ()) -> AsyncGenerator[Result]:
        """As `track`, for use in an event loop: `async with aclosing(tracker.atrack(...)) as results:`."""
        cues = tuple(cue_of(command) for command in prompts)
        async with model_threads() as threads:

            async def start(frame: Frame) -> TrackerSession:
                await threads.share_cores()
                first_id = first_free_id(cues)
                return TrackerSession(threads, self.model, self.max_objects, self.settings, first_id=first_id)

            async with aclosing(results(source_of(footage), start, cues)) as coming:
                async for result in coming:
                    yield result

    def image(self, picture: Picture) -> EncodedImage:
        """A still picture, encoded once, to be asked any number of times. Raises SourceError for a file that
        is no picture, and ValueError for an array that is none."""
        return next(self.images([picture]))

    def images(self, pictures: Iterable[Picture], batch: int | None = None) -> Iterator[EncodedImage]:
        """As `image`, for many of any sizes, in their order: up to `batch` of one input size at once, None
        for as many as suit the device. What is read ahead is bounded."""
        return encode_pictures(self.model, (rgb_of(picture) for picture in pictures), batch)


def rgb_of(picture: Picture) -> Image:
    """(H, W, 3) uint8 RGB of a file or an array."""
    return read_picture(Path(picture)) if isinstance(picture, str | os.PathLike) else as_rgb(picture)


def cue_of(command: Command) -> Cue:
    """A command with a frame of its own, as the cue for that frame; any other for the first."""
    if isinstance(command, Prompt | Correct) and command.frame_ref is not None:
        return Cue(command.frame_ref[1], replace(command, frame_ref=None))
    return Cue(0, command)


def source_of(footage: Footage) -> Source:
    if isinstance(footage, str | os.PathLike):
        return open_source(os.fspath(footage))
    if isinstance(footage, Iterable):
        return Pictures(footage)
    return footage


class Pictures:
    """Frames or images from an iterable, as a source that waits. It is asked for them in a thread of its own:
    it may read files, or wait for a camera."""

    live = False
    url = "pictures"
    frame_count = None
    rate = None
    dropped = 0

    def __init__(self, pictures: Iterable[Frame | Image]) -> None:
        self._pictures = pictures
        self._worker = Worker("pictures")

    async def __aenter__(self) -> Self:
        await self._worker.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._worker.__aexit__(kind, error, trace)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        pictures, index = await self._worker.run(iter, self._pictures), 0
        while (picture := await self._worker.run(next, pictures, None)) is not None:
            yield picture if isinstance(picture, Frame) else as_frame(picture, index)
            index += 1


def as_frame(image: Image, index: int) -> Frame:
    """An image (H, W, 3) uint8 RGB as a frame at the nominal rate. Raises ValueError for any other array."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"picture {index} is {image.dtype} {image.shape}: give (H, W, 3) uint8 RGB")
    at = index / NOMINAL_RATE
    return Frame(image, index, epoch=0, time=at, captured=at, clock="generated", arrived=time.monotonic())
