"""Plays a drawn scene and knows its truth: `test://?objects=3&frames=250&size=640x360&fps=25&seed=0&live=0`."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..base import SourceError
from ..types import Frame
from .reading import StreamInfo, ThreadedSource, paced
from .scene import IndexedMask, Scene, make_scene


@dataclass(frozen=True, slots=True)
class Play:
    """What a `test://` URL asks for. `size` is (height, width), `fps` frames/s; `frames` 0 plays for ever."""

    objects: int = 3
    frames: int = 250
    size: tuple[int, int] = (360, 640)
    fps: float = 25.0
    seed: int = 0
    live: bool = False

    def __post_init__(self) -> None:
        height, width = self.size
        for name, value, lowest, highest in (
            ("objects", self.objects, 1, 32),
            ("frames", self.frames, 0, sys.maxsize),
            ("width", width, 32, 8192),
            ("height", height, 32, 8192),
            ("fps", self.fps, 0.01, 1000),
            ("seed", self.seed, 0, sys.maxsize),
        ):
            if not lowest <= value <= highest:
                raise ValueError(f"{name} {value:g} is outside {lowest:g} to {highest:g}")


class SyntheticSource(ThreadedSource):
    """The same URL gives the same frames, byte for byte. Live plays in real time and drops what nobody reads.

    `SourceError` for a URL that asks for what cannot be drawn.
    """

    def __init__(self, url: str = "test://") -> None:
        self.play = parse_play(url)
        super().__init__(url, live=self.play.live)

    @cached_property
    def scene(self) -> Scene:
        return make_scene(self.play.size, self.play.objects, self.play.seed)

    def truth(self, index: int) -> IndexedMask:
        """(H, W) uint8: the object id (1, 2, …) seen at each pixel of frame `index`, 0 for the background."""
        return self.scene.truth(index / self.play.fps)

    def visible(self, index: int) -> dict[int, float]:
        """For each object id the part of it, 0 to 1, that frame `index` shows."""
        return self.scene.visible(index / self.play.fps)

    @contextlib.contextmanager
    def _open(self, stopping: threading.Event) -> Iterator[tuple[StreamInfo, Iterator[Frame]]]:
        frames = self._frames()
        yield (
            StreamInfo(self.play.fps, self.play.frames or None),
            paced(frames, stopping) if self.live else frames,
        )

    def _frames(self) -> Iterator[Frame]:
        scene = self.scene
        for index in range(self.play.frames) if self.play.frames else itertools.count():
            started = time.perf_counter()
            at = index / self.play.fps
            image = scene.image(at)
            spent = time.perf_counter() - started
            yield Frame(image, index, 0, at, at, "generated", time.monotonic(), spent)


def parse_play(url: str) -> Play:
    """Reads the query of a `test://` URL; `SourceError` names what cannot be drawn, and what is known."""
    asked = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    known: dict[str, Callable[[str], Any]] = {
        "objects": int,
        "frames": int,
        "size": _read_size,
        "fps": float,
        "seed": int,
        "live": lambda text: bool(int(text)),
    }
    for name in asked.keys() - known.keys():
        raise SourceError(f"{url}: unknown parameter {name}; known: {', '.join(known)}")
    try:
        return Play(**{name: known[name](text) for name, text in asked.items()})
    except ValueError as error:
        raise SourceError(f"{url}: {error}") from None


def _read_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ValueError(f"size {text} is not like 640x360")
    return int(height), int(width)
