"""What to track, as users write it: `--prompt` strings, masks in indexed PNGs, and prompt logs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from keepsight.streams.control import PIXELS, Shown
from keepsight.streams.types import Box, Command, Correct, Forget, Mask, Point, Prompt, Reset
from keepsight.streams.wording import first_error, unknown

from .evaluation.labelled import VOID, read_index_map
from .validation import ConfigError

Index = Annotated[int, Field(ge=0)]
ObjectId = Annotated[int, Field(ge=1)]
PROMPT_KEYS = ("box", "point", "id", "label", "frame")


@dataclass(frozen=True, slots=True)
class Cue:
    """A command and the index of the frame it is for; it is carried out on the first frame at or after it."""

    frame: int
    command: Command

    @property
    def mask(self) -> Mask | None:
        return self.command.mask if isinstance(self.command, Prompt | Correct) else None


def parse_prompt(text: str) -> Cue:
    """`box=x0,y0,x1,y1` or `point=x,y point=x,y,-`, with `id=N`, `label=…`, `frame=N` where wanted.

    A point that ends in `,-` is not on the object. Raises ConfigError.
    """
    if any(
        "\ud800" <= character <= "\udfff" for character in text
    ):  # how Python keeps odd bytes it was given
        raise ConfigError(f"--prompt {text!r}: is not UTF-8")
    try:
        return _parse_prompt(_pairs(text))
    except ValueError as error:
        raise ConfigError(f"--prompt {text!r}: {error}") from None


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        if key not in PROMPT_KEYS:
            raise ValueError(unknown(key, "key", PROMPT_KEYS))
        if not equals or not value:
            raise ValueError(f"{key} has no value: write {key}=…")
        pairs.append((key, value))
    return pairs


def _parse_prompt(pairs: Sequence[tuple[str, str]]) -> Cue:
    single = {key: value for key, value in pairs if key != "point"}
    if len(single) + sum(key == "point" for key, _ in pairs) < len(pairs):
        raise ValueError("only point may be given more than once")
    points = [_point(value) for key, value in pairs if key == "point"]
    box = _box(single["box"]) if "box" in single else None
    if box is None and not points:
        raise ValueError("give a box=x0,y0,x1,y1 or a point=x,y")
    prompt = Prompt(
        points=tuple(point for point, _ in points),
        labels=tuple(label for _, label in points),
        box=box,
        object_id=_whole("id", single["id"], 1) if "id" in single else None,
        label=single.get("label", ""),
    )
    return Cue(_whole("frame", single.get("frame", "0"), 0), prompt)


def _whole(key: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{key}={text} must be a whole number of at least {least}")
    return int(text)


def _point(text: str) -> tuple[Point, bool]:
    positive = not text.endswith(",-")
    x, y = _fractions("point", text.removesuffix(",-"), 2)
    return (x, y), positive


def _box(text: str) -> Box:
    x0, y0, x1, y1 = _fractions("box", text, 4)
    return x0, y0, x1, y1


def _fractions(key: str, text: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{key}={text} must be {count} numbers between commas") from None
    if len(numbers) != count:
        raise ValueError(f"{key}={text} has {len(numbers)} numbers instead of {count}")
    if any(number > 1.5 for number in numbers):
        raise ValueError(f"coordinates of {key}={text} {PIXELS}")
    return numbers


def read_prompt_mask(text: str) -> list[Cue]:
    """`FILE.png[@FRAME]`: a prompt for each value above 0 of an indexed or grey PNG: the object's id.

    As in DAVIS and PASCAL VOC, 255 beside other ids is the void, of which nobody says what it shows. Where it
    is the only one, the picture is in black and white and shows object 1. Raises ConfigError.
    """
    file, frame = mask_and_frame(text)
    if not file.is_file():
        raise ConfigError(f"--prompt-mask {file}: no such file")
    try:
        values = read_index_map(file)
    except ValueError as error:
        raise ConfigError(f"--prompt-mask {error}") from None
    ids = [int(value) for value in np.unique(values) if value > 0]
    if not ids:
        raise ConfigError(f"--prompt-mask {file}: every pixel is 0, which is background: it shows no object")
    if ids == [VOID]:
        return [Cue(frame, Prompt(object_id=1, mask=values == VOID))]
    return [Cue(frame, Prompt(object_id=one, mask=values == one)) for one in ids if one != VOID]


def mask_and_frame(text: str) -> tuple[Path, int]:
    """The file and the frame that `FILE.png[@FRAME]` names."""
    name, at, frame = text.rpartition("@")
    return (Path(name), int(frame)) if at and frame.isdecimal() else (Path(text), 0)


def reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PromptLine(_Strict, Shown):
    """Track an object, shown by points (labels 1 on the object, 0 not), a box, a mask, or several of them."""

    command: Literal["prompt"]
    frame: Index = 0
    object_id: ObjectId | None = None
    label: str = ""


class CorrectLine(_Strict, Shown):
    """Mend the mask of a tracked object."""

    command: Literal["correct"]
    frame: Index = 0
    object_id: ObjectId


class ForgetLine(_Strict):
    """Stop tracking an object."""

    command: Literal["forget"]
    frame: Index = 0
    object_id: ObjectId


class ResetLine(_Strict):
    """Stop tracking everything."""

    command: Literal["reset"]
    frame: Index = 0


PromptLogLine = PromptLine | CorrectLine | ForgetLine | ResetLine
LOG_LINE: TypeAdapter[PromptLogLine] = TypeAdapter(Annotated[PromptLogLine, Field(discriminator="command")])


def read_prompt_log(path: Path) -> list[Cue]:
    """A prompt log: one JSON object a line, for example

    `{"frame": 0, "command": "prompt", "object_id": 1, "label": "dog", "box": [0.1, 0.2, 0.4, 0.8]}`
    `{"frame": 40, "command": "correct", "object_id": 1, "points": [[0.2, 0.3]], "labels": [0]}`
    `{"frame": 90, "command": "forget", "object_id": 1}` or `{"frame": 90, "command": "reset"}`

    Empty lines are skipped. Raises ConfigError naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not at what else ends lines: JSON may hold it
    except OSError as error:
        raise ConfigError(f"--prompts {path}: {reason(error)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--prompts {path}: is not a text file") from None
    return [_log_line(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _log_line(path: Path, number: int, line: str) -> Cue:
    where = f"--prompts {path}, line {number}"
    try:
        said = LOG_LINE.validate_json(line)
        return Cue(said.frame, _command(said))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_log_complaint(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _log_complaint(error: ValidationError) -> str:
    kinds: dict[str, type[BaseModel]] = {
        "prompt": PromptLine,
        "correct": CorrectLine,
        "forget": ForgetLine,
        "reset": ResetLine,
    }
    kind = next((str(one["loc"][0]) for one in error.errors() if one["loc"]), "")
    return first_error(error, kinds[kind].model_fields if kind in kinds else ()).removeprefix(f"{kind}.")


def _command(said: PromptLogLine) -> Command:
    match said:
        case PromptLine():
            return Prompt(object_id=said.object_id, label=said.label, **said.geometry())
        case CorrectLine():
            return Correct(object_id=said.object_id, **said.geometry())
        case ForgetLine():
            return Forget(said.object_id)
        case ResetLine():
            return Reset()


def first_free_id(cues: Iterable[Cue]) -> int:
    """Above every id that is named: who asks for one meanwhile gets none that is meant for what comes."""
    named = (cue.command.object_id for cue in cues if isinstance(cue.command, Prompt | Correct | Forget))
    return 1 + max((name for name in named if name is not None), default=0)


def due(cues: Sequence[Cue], frame: int) -> tuple[tuple[Command, ...], tuple[Cue, ...]]:
    """The commands for frame index `frame` or earlier ones, in order, and the cues that are to come."""
    now = tuple(cue.command for cue in cues if cue.frame <= frame)
    return now, tuple(cue for cue in cues if cue.frame > frame)


def check_masks(cues: Sequence[Cue], size: tuple[int, int]) -> None:
    """Raises ConfigError where a mask has not the frames' size (height, width)."""
    for cue in cues:
        if cue.mask is not None and cue.mask.shape != size:
            height, width = cue.mask.shape
            raise ConfigError(
                f"the prompt mask for frame {cue.frame} is {width}×{height} but the frames are "
                f"{size[1]}×{size[0]}: give a mask of the frames' size"
            )
