"""A live session on disk: each frame that was tracked, pixel by pixel, and the commands that it met.

A tape is a folder: `tape.json` says what ran, `frames.h264` holds the pictures one after the other, and
`steps.jsonl` has a line for each: which frame it was, how many bytes it takes, what was commanded with it,
and the rules where they are not those of the line before. It may be cut off anywhere and is good up to there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
from pydantic import BaseModel, ConfigDict, ValidationError

from keepsight.streams import rle
from keepsight.streams.lossless import LosslessDecoder, LosslessEncoder
from keepsight.streams.node_messages import keepsight_version
from keepsight.streams.types import Command, Correct, Forget, Frame, Image, Prompt, Reset
from keepsight.streams.wording import first_error

from .auto import points_back
from .calibration import sha256_of
from .config import Engine, MemoryPolicy
from .pipeline import Stream
from .prompts import first_free_id
from .rules import NO_RULES, Rules
from .validation import ConfigError
from .weights import find_weights

HEADER, STEPS, FRAMES = "tape.json", "steps.jsonl", "frames.h264"
MOST_BYTES = 32 * 2**30
"""What a tape may take."""
SPARE_BYTES = 2**30
"""What a tape leaves free on its disk."""
KINDS: dict[str, type[Command]] = {"prompt": Prompt, "correct": Correct, "forget": Forget, "reset": Reset}
FACTS = ("index", "epoch", "time", "captured", "clock", "arrived")
"""What is written of a frame beside its pixels."""


class Header(BaseModel):
    """What ran. live: of its last frame the result was told when it came; rewinds: users could point at
    frames that were past; first_id: of the first object that asked for an id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    version: str
    name: str
    source: str
    live: bool
    engine: Engine
    weights_sha256: str | None
    max_objects: int
    rewinds: bool
    first_id: int = 1
    memory: MemoryPolicy = "recent"
    noise: float = 0.0


def header_of(stream: Stream, engine: Engine, max_objects: int) -> Header:
    """Of what is about to run."""
    weights = find_weights(engine.model, engine.weights)
    return Header(
        version=keepsight_version(),
        name=stream.name,
        source=stream.source.url,
        live=stream.source.live,
        engine=Engine(**{name: getattr(engine, name) for name in Engine.model_fields}),
        weights_sha256=sha256_of(weights) if weights else None,
        max_objects=max_objects,
        rewinds=points_back(stream),
        first_id=first_free_id(stream.cues),
        memory=stream.memory,
        noise=stream.noise,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """One frame as it was stepped."""

    frame: Frame
    commands: tuple[Command, ...]
    rules: Rules


class FullError(Exception):
    """A tape has come to its bounds; the message says to which."""


@dataclass(slots=True)
class TapeWriter:
    """Writes one tape. All calls may block and raise OSError, `av.FFmpegError` or FullError."""

    folder: Path
    header: Header
    most_bytes: int = MOST_BYTES
    spare_bytes: int = SPARE_BYTES
    _files: list[BinaryIO] = field(default_factory=list)
    _encoder: LosslessEncoder | None = None
    _size: tuple[int, int] = (0, 0)
    _rules: Rules = NO_RULES
    _written: int = 0

    def pack(self, image: Image) -> bytes:
        """A picture as it is kept; in the order of the steps."""
        size = image.shape[0], image.shape[1]
        if self._encoder is None or self._size != size:
            self._encoder, self._size = LosslessEncoder(size), size
        return self._encoder.encode(image)

    def add(self, packed: bytes, step: Step) -> None:
        """One step, with what `pack` made of its picture."""
        self._check_room(len(packed))
        frames, steps = self._files or self._open()
        rules = step.rules if step.rules != self._rules else None
        self._rules = step.rules
        frames.write(packed)
        steps.write(_line(step, len(packed), rules))

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _open(self) -> list[BinaryIO]:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / HEADER).write_text(self.header.model_dump_json(indent=1) + "\n", encoding="utf-8")
        self._files = [(self.folder / name).open("xb", buffering=0) for name in (FRAMES, STEPS)]
        return self._files

    def _check_room(self, more: int) -> None:
        self._written += more
        if self._written > self.most_bytes:
            raise FullError(f"it has the {self.most_bytes / 2**30:g} GiB that a tape may take")
        there = next(one for one in (self.folder, *self.folder.resolve().parents) if one.exists())
        if shutil.disk_usage(there).free < self.spare_bytes:
            raise FullError(f"less than {self.spare_bytes / 2**30:g} GiB are free on its disk")


def fresh_folder(folder: Path) -> Path:
    """Where the next tape goes: into a folder of its own, or, where an earlier one is in it, into a new one
    in that, named by the time (UTC)."""
    if not (folder / HEADER).exists():
        return folder
    return folder / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def read_header(folder: Path) -> Header:
    """Raises ConfigError where there is no tape."""
    path = folder / HEADER
    try:
        return Header.model_validate_json(path.read_bytes())
    except OSError:
        raise ConfigError(f"{folder}: holds no tape: give a folder that `run --record` has made") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_error(error, Header.model_fields)}") from None


def count_steps(folder: Path) -> int:
    with (folder / STEPS).open("rb") as lines:
        return sum(1 for _ in lines)


def read_steps(folder: Path) -> Iterator[Step]:
    """The steps in order, up to where the tape was cut off. Raises ConfigError for what is damaged before."""
    rules, decoder, size = NO_RULES, LosslessDecoder(), (0, 0)
    with (folder / STEPS).open("rb") as lines, (folder / FRAMES).open("rb") as frames:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                said = json.loads(line)
                packed = frames.read(said["bytes"])
                if len(packed) < said["bytes"]:
                    return
                if said["size"] != list(size):
                    decoder, size = LosslessDecoder(), tuple(said["size"])
                image = decoder.decode(packed)
                rules = Rules.model_validate(said["rules"]) if said["rules"] is not None else rules
                commands = tuple(command_of(fields) for fields in said["commands"])
                frame = Frame(image=image, **{name: said[name] for name in FACTS})
            except (ValueError, KeyError, TypeError, av.FFmpegError) as error:
                raise ConfigError(f"{folder / STEPS}, line {number}: cannot be read: {error}") from None
            yield Step(frame, commands, rules)


def _line(step: Step, packed: int, rules: Rules | None) -> bytes:
    said = {name: getattr(step.frame, name) for name in FACTS} | {
        "size": step.frame.size,
        "bytes": packed,
        "commands": [fields_of(command) for command in step.commands],
        "rules": rules.model_dump(mode="json") if rules is not None else None,
    }
    return json.dumps(said).encode() + b"\n"


def fields_of(command: Command) -> dict[str, Any]:
    """A command as JSON; masks as COCO RLE."""
    said = {one.name: getattr(command, one.name) for one in fields(command)}
    if said.get("mask") is not None:
        said["mask"] = rle.encode(said["mask"])
    return {"command": type(command).__name__.lower(), **said}


def command_of(said: Mapping[str, Any]) -> Command:
    """The command that `fields_of` gave these fields. Raises KeyError, TypeError or ValueError."""
    given = {name: _frozen(value) for name, value in said.items() if name != "command"}
    if given.get("mask") is not None:
        given["mask"] = rle.decode(said["mask"])
    return KINDS[said["command"]](**given)


def _frozen(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
