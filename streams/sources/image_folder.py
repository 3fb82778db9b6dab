"""Reads the pictures of a folder, sorted by name, as a video."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import cv2
import numpy as np
import structlog

from ..base import SourceError
from ..types import Frame, Image
from .reading import NOMINAL_RATE, Mark, StreamInfo, ThreadedSource, Timeline

log = structlog.get_logger(__name__)

ENDINGS = {".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}

BEGINNING = Mark(0, 0, Timeline(step=1 / NOMINAL_RATE))


class ImageFolderSource(ThreadedSource):
    """One frame a picture, upright (EXIF), `NOMINAL_RATE` frames/s.

    Pictures may differ in size: each frame has its own picture's size, and a warning is logged once. A
    picture that cannot be read is skipped, counted in `broken`, and named in a warning.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), live=False)
        self.broken = 0
        self._folder = folder

    @contextlib.contextmanager
    def _open(self, stopping: threading.Event) -> Iterator[tuple[StreamInfo, Iterator[Frame]]]:
        paths = self._paths()
        yield StreamInfo(NOMINAL_RATE, len(paths)), (frame for frame, _ in self._frames(paths))

    def replay(self, mark: Mark | None = None) -> Generator[tuple[Frame, Mark | None]]:
        return self._frames(self._paths(), mark or BEGINNING)

    def _paths(self) -> list[Path]:
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix.lower() in ENDINGS)
        except OSError as error:
            raise SourceError(f"{self.url}: {error.strerror}") from None
        if not paths:
            raise SourceError(f"{self.url}: no pictures in this folder ({' '.join(sorted(ENDINGS))})")
        return paths

    def _frames(self, paths: list[Path], begin: Mark = BEGINNING) -> Generator[tuple[Frame, Mark | None]]:
        index, first_shape, differ = begin.index, None, False
        for place, path in enumerate(paths[begin.place :], begin.place):
            started = time.perf_counter()
            image = read_image(path)
            if image is None:
                self.broken += 1
                log.warning("skipped a picture that cannot be read", path=str(path))
                continue
            at = index / NOMINAL_RATE
            spent = time.perf_counter() - started
            yield (
                Frame(image, index, 0, at, at, "file", time.monotonic(), spent),
                Mark(index, place, BEGINNING.timeline),
            )
            index += 1
            first_shape = first_shape or image.shape
            if image.shape != first_shape and not differ:
                differ = True
                log.warning("pictures differ in size, each keeps its own", path=str(path))
        if index == 0:
            raise SourceError(f"{self.url}: none of its {len(paths)} pictures can be read")


def read_image(path: Path) -> Image | None:
    """(H, W, 3) uint8 RGB of any picture OpenCV knows, upright; None where it cannot be read."""
    try:
        data = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):  # OpenCV raises for more than 2**30 pixels
        return None
    return None if picture is None else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
