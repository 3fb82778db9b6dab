"""The recordings of one camera on disk: clips, pictures and notes of events, and which are removed when."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import cv2

from ..drawing import overlay
from ..encoder import CLOCK_RATE, Unit
from ..messages import clip_message
from ..muxing import Muxer, ShieldedFile
from ..trails import Pasts
from ..types import Event, Result
from .pictures import place

_OURS = re.compile(r"\d{8}T\d{6}Z-[a-z_]+-\d+(-\d+)?\.(mp4|(\d+\.)(jpg|json))")
_UNFINISHED = re.compile(rf"\.{_OURS.pattern}\.part")
_UNFINISHED_SECONDS = 60.0
"""Nobody writes a picture or a note for so long: the process that began it was killed."""
_MP4 = {"movflags": "hybrid_fragmented", "flush_packets": "1"}
"""Playable while it is written and where the process was killed; with an index once it is finished."""
_QUALITY = 85


class ClipFiles:
    """A recording is a clip, `TIME-KIND-OBJECT.mp4`, with `TIME-KIND-OBJECT.1.jpg` and `.1.json` of the event
    that began it, and `.2.…` and so on of those that came while it was recorded.

    Blocks; all calls come from one thread. Everything may raise OSError or `av.FFmpegError`.
    """

    def __init__(self, folder: Path, camera: str, age: float, size: int) -> None:
        self._folder = folder
        self._camera = camera
        self._age = age
        self._size = size
        self._name = ""
        self._events = 0
        self._start = 0
        self._file: ShieldedFile | None = None
        self._muxer: Muxer | None = None

    def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        probe = self._folder / ".keepsight"
        probe.touch()
        probe.unlink()
        self.tidy()

    def begin(self, event: Event, units: Sequence[Unit]) -> None:
        """A new recording, of `units` so far, the first of which is a key frame; without any there is no
        clip."""
        self._name, self._events = self._free_name(event), 0
        if not units:
            return
        self._start = units[0].pts
        self._file = ShieldedFile(self._folder / f"{self._name}.mp4")
        self._muxer = Muxer(self._file, "mp4", _MP4, units[0].data)
        self.write(units)

    def write(self, units: Iterable[Unit]) -> None:
        if self._muxer is None or self._file is None:
            return
        for unit in units:
            self._muxer.write(unit.data, unit.pts, unit.key)
        self._file.check()

    def note(self, event: Event, result: Result, pasts: Pasts, now: int) -> None:
        """Write down an event of the recording, at `now` in ticks of units, with its picture."""
        self._events += 1
        name = f"{self._name}.{self._events}"
        picture = cv2.cvtColor(overlay(result, pasts), cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
        assert done, "every picture can be a JPEG"
        place(self._folder / f"{name}.jpg", data.tobytes())
        clip, at = None, None
        if self._muxer is not None:
            clip, at = f"{self._name}.mp4", round((now - self._start) / CLOCK_RATE, 3)
        message = clip_message(event, self._camera, clip, at, f"{name}.jpg")
        place(self._folder / f"{name}.json", message.model_dump_json().encode() + b"\n")

    def finish(self) -> None:
        """The clip ends here; also after an error, of which only the first is raised."""
        muxer, file = self._muxer, self._file
        self._muxer = self._file = None
        if file is None:
            return
        try:
            if muxer is not None:
                muxer.__exit__(None, None, None)
            file.check()
        finally:
            file.close()

    def tidy(self) -> None:
        """Remove recordings that are too old, and the oldest of too many, but not the one in progress; and
        what a process that was killed has not finished."""
        for path in _unfinished(self._folder):
            path.unlink(missing_ok=True)
        recordings = sorted(_recordings(self._folder), key=lambda one: one.newest)
        total = sum(recording.size for recording in recordings)
        for recording in recordings:
            if recording.name == self._name and self._muxer is not None:
                continue
            if total <= self._size and time.time() - recording.newest <= self._age:
                continue
            total -= recording.size
            for path in recording.paths:
                path.unlink(missing_ok=True)

    def _free_name(self, event: Event) -> str:
        """Sorts by time; what is there is never overwritten."""
        begun = datetime.fromtimestamp(event.captured, UTC).strftime("%Y%m%dT%H%M%SZ")
        name = wanted = f"{begun}-{event.kind}-{event.object_id}"
        number = 1
        while any((self._folder / f"{name}{ending}").exists() for ending in (".mp4", ".1.jpg", ".1.json")):
            number += 1
            name = f"{wanted}-{number}"
        return name


class _Recording(NamedTuple):
    """newest: when it was written to last, since 1970; size: in bytes."""

    name: str
    newest: float
    size: int
    paths: tuple[Path, ...]


def _recordings(folder: Path) -> list[_Recording]:
    """What lies there that is ours, by its names."""
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            files[path.name.partition(".")[0]].append(path)
    return [_recording(name, paths) for name, paths in files.items()]


def _unfinished(folder: Path) -> list[Path]:
    """Pieces that are ours and are not being written now, perhaps by another output to this folder."""
    found = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # it has just been finished
            if _UNFINISHED.fullmatch(path.name) and time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
                found.append(path)
    return found


def _recording(name: str, paths: Sequence[Path]) -> _Recording:
    told = [path.stat() for path in paths]
    return _Recording(name, max(one.st_mtime for one in told), sum(one.st_size for one in told), tuple(paths))
