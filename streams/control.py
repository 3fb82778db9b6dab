"""What others may ask of a running stream: a message becomes a command, or a refusal that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json

from . import rle
from .types import Box, Command, Correct, Forget, FrameRef, Geometry, Mask, Point, Prompt, Reset
from .wording import cut, first_error, unknown

MAX_BYTES = 2**18
"""A longer message is not read."""
MAX_BYTES_BESIDE_MASK = 2**14
"""What is not a mask is short; and who sends thousands of mistakes shall not keep us busy listing them."""
MAX_POINTS = 100
MAX_PIXELS = 2**25
"""The largest mask that is decoded: a frame of 7680 x 4320 fits."""
MAX_ID = 128
PIXELS = "are fractions of the frame from 0 to 1, not pixels: divide x by the width and y by the height"

Natural = Annotated[int, Field(ge=0, le=2**53 - 1)]
Length = Annotated[int, Field(ge=1, le=MAX_PIXELS)]
ObjectId = Annotated[int, Field(ge=1, le=2**53 - 1)]
"""Whole numbers up to here are exact in JSON everywhere (RFC 8259, section 6)."""
Version = Annotated[int, Field(ge=1, le=1)]
RequestId = Annotated[str, Field(min_length=1, max_length=MAX_ID)]


def _as_bool(value: object) -> object:
    return bool(value) if type(value) is int and value in (0, 1) else value


Label = Annotated[bool, BeforeValidator(_as_bool), WithJsonSchema({"enum": [0, 1, False, True]})]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Rle(_Part):
    """A mask in COCO's compressed run-length encoding, column-major, of the frame's size."""

    model_config = ConfigDict(strict=True)

    size: tuple[Length, Length]
    """Height and width in pixels."""
    counts: str

    def mask(self) -> Mask:
        """The mask (H, W) bool. Raises ValueError where it is too large or the counts do not fill it."""
        height, width = self.size
        if height * width > MAX_PIXELS:
            raise ValueError(f"mask: {width}x{height} is more than {MAX_PIXELS} pixels")
        try:
            return rle.decode({"size": [height, width], "counts": self.counts})
        except ValueError as error:
            raise ValueError(f"mask: {error}") from None


class GeometryFields(TypedDict):
    """The fields of a `types.Geometry`."""

    points: tuple[Point, ...]
    labels: tuple[bool, ...]
    box: Box | None
    mask: Mask | None


class Shown(_Part):
    """Where an object is. Coordinates are fractions of the frame from 0 to 1."""

    points: Annotated[tuple[Point, ...], Field(max_length=MAX_POINTS, fail_fast=True)] = ()
    """Clicks: x, y."""
    labels: Annotated[tuple[Label, ...], Field(fail_fast=True)] | None = None
    """One a point: 1 on the object, 0 not on it. Without them all points are on it."""
    box: Box | None = None
    """x0, y0, x1, y1."""
    mask: Rle | None = None

    def geometry(self) -> GeometryFields:
        """What is shown. Raises ValueError where it is nothing, in pixels, or outside the frame."""
        if not self.points and self.box is None and self.mask is None:
            raise ValueError("give points, a box or a mask")
        for name, numbers in (("points", sum(self.points, ())), ("box", self.box or ())):
            if any(number > 1.5 for number in numbers):
                raise ValueError(f"{name}: coordinates {PIXELS}")
        labels = (True,) * len(self.points) if self.labels is None else self.labels
        Geometry(points=self.points, labels=labels, box=self.box)  # raises before a mask is decoded
        mask = None if self.mask is None else self.mask.mask()
        return GeometryFields(points=self.points, labels=labels, box=self.box, mask=mask)


class FrameName(_Part):
    """A frame, as frames messages name it."""

    model_config = ConfigDict(strict=True)

    epoch: Natural
    index: Natural


class _Message(_Part):
    model_config = ConfigDict(strict=True)

    v: Version = 1
    """Version of the message format; may be left out."""
    request_id: RequestId | None = None
    """Comes back in the answer."""


class _Showing(_Message, Shown):
    frame_ref: FrameName | None = None
    """The frame that was pointed at. One that has not come is waited for; one of the last two seconds or so
    is gone back to; null, or one that is older, means the next one."""

    @property
    def ref(self) -> FrameRef | None:
        return None if self.frame_ref is None else (self.frame_ref.epoch, self.frame_ref.index)


class PromptMessage(_Showing):
    """Track this object from now on; or, where the object is tracked already, mend its mask."""

    object_id: ObjectId | None = None
    """Null asks for the next free id. With an id of your own, asking twice makes one object."""
    label: Annotated[str, Field(max_length=100)] = ""

    def command(self, token: str) -> Command:
        return Prompt(
            object_id=self.object_id,
            label=self.label,
            frame_ref=self.ref,
            request=token,
            **self.geometry(),
        )


class CorrectMessage(_Showing):
    """Mend the mask of an object that is being tracked."""

    object_id: ObjectId
    """One that is tracked."""

    def command(self, token: str) -> Command:
        return Correct(object_id=self.object_id, frame_ref=self.ref, request=token, **self.geometry())


class ForgetMessage(_Message):
    """Stop tracking an object."""

    object_id: ObjectId
    """One that is tracked."""

    def command(self, token: str) -> Command:
        return Forget(self.object_id, token)


class ResetMessage(_Message):
    """Stop tracking everything."""

    def command(self, token: str) -> Command:
        return Reset(token)


CommandMessage = PromptMessage | CorrectMessage | ForgetMessage | ResetMessage
MESSAGES: dict[str, type[CommandMessage]] = {
    "prompt": PromptMessage,
    "correct": CorrectMessage,
    "forget": ForgetMessage,
    "reset": ResetMessage,
}
"""What is read for each command."""
COMMANDS = tuple(MESSAGES)
"""The names of the commands, as in topics and for `schema`."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of the message of a command."""
    return MESSAGES[name].model_json_schema()


@dataclass(frozen=True, slots=True)
class Request:
    """A message that asks for something, read: `command`, or where it cannot be meant None and `refusal`."""

    request_id: str | None
    command: Command | None = None
    refusal: str = ""


def read_request(name: str, payload: bytes, token: str) -> Request:
    """What a message to command `name` asks for; its command has `token` as its `request`.

    Whatever the payload is, nothing is raised: the refusal says in one line what is wrong, and the id is told
    where there is one. Decoding a mask takes up to some 50 ms: not for the event loop.
    """
    try:
        message = _read(name, payload)
        return Request(message.request_id, message.command(token))
    except ValueError as error:
        return Request(_request_id(payload), refusal=str(error))


def _read(name: str, payload: bytes) -> CommandMessage:
    if name not in MESSAGES:
        raise ValueError(unknown(cut(name), "command", COMMANDS))
    if len(payload) > MAX_BYTES or len(payload) - _mask_bytes(payload) > MAX_BYTES_BESIDE_MASK:
        raise ValueError(
            f"the message is too long: at most {MAX_BYTES_BESIDE_MASK} bytes beside the counts of a mask, "
            f"and {MAX_BYTES} in all"
        )
    kind = MESSAGES[name]
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        reason = first_error(error, _known_keys(error, kind))
        raise ValueError(reason if error.errors()[0]["loc"] else f"the message {reason}") from None


def _known_keys(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """The keys that were possible where a key is not known."""
    parts: dict[str, type[BaseModel]] = {"mask": Rle, "frame_ref": FrameName}
    strangers = (one["loc"] for one in error.errors() if one["type"] == "extra_forbidden")
    place = next(strangers, ())
    inside = parts.get(str(place[0]), kind) if len(place) > 1 else kind
    return list(inside.model_fields)


def _mask_bytes(payload: bytes) -> int:
    """How long the counts of a message's mask are."""
    mask = _said(payload).get("mask")
    counts = mask.get("counts") if isinstance(mask, dict) else None
    return len(counts) if isinstance(counts, str) else 0


def _request_id(payload: bytes) -> str | None:
    """The id of a request that is refused, where it can be told."""
    given = _said(payload).get("request_id") if len(payload) <= MAX_BYTES else None
    return given if isinstance(given, str) and 0 < len(given) <= MAX_ID else None


def _said(payload: bytes) -> dict[str, Any]:
    """A message as it is; empty where it is not an object in JSON."""
    try:
        said = from_json(payload)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
