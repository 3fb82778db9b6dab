"""The vocabulary every part of Keepsight speaks: frames, commands, tracks, events and results.

Points are (x, y) and boxes (x0, y0, x1, y1), both in [0, 1] of the frame; sizes are (height, width);
images are RGB; times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""
Mask = NDArray[np.bool_]
"""(H, W) bool, True on the object."""
Point = tuple[float, float]
Box = tuple[float, float, float, float]
FrameRef = tuple[int, int]
"""(epoch, index): names one frame of one stream for ever."""

Clock = Literal["rtcp", "arrival", "file", "generated"]
"""Where a capture time came from."""
State = Literal["tentative", "tracked", "occluded", "lost"]
Switch = Literal["enabled", "overlay", "auto"]
"""What may be switched off and on while a stream runs: tracking, drawing, and finding objects."""
EventKind = Literal[
    "new",
    "update",
    "occluded",
    "recovered",
    "lost",
    "end",
    "zone_enter",
    "zone_dwell",
    "zone_leave",
    "line_cross",
    "moving",
    "stationary",
]
Side = Literal["left", "right"]
"""Of a line, as seen by who looks from its first point to its second."""

SourceState = Literal["online", "stalled", "offline"]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a live source is doing: frames come, are late, or there is no connection. `reason` says why.

    `reconnects` counts the times that frames came again after a connection was lost.
    """

    state: SourceState
    reason: str
    reconnects: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a stream, upright.

    `index` counts decoded frames from 0 and goes on over reconnects; `epoch` rises at each reconnect;
    `time` is the presentation time; `captured` is wall-clock time (seconds since 1970) as told by `clock`;
    `arrived` is `time.monotonic()` when the frame was decoded; `decode_seconds` is what decoding it cost;
    `passed` counts the frames before it that were let go by while the stream was switched off.
    """

    image: Image
    index: int
    epoch: int
    time: float
    captured: float
    clock: Clock
    arrived: float
    decode_seconds: float = 0.0
    passed: int = 0

    @property
    def place(self) -> int:
        """Its index among those that were not let go by: where places are missing, frames were dropped."""
        return self.index - self.passed

    @property
    def ref(self) -> FrameRef:
        return self.epoch, self.index

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where an object is, as a user shows it: points, a box, a mask, or several of them together.

    `labels` has one entry per point: True for on the object, False for not on it. `mask` has the frame's
    size. Points and labels may come as lists; they are kept as tuples.
    """

    points: tuple[Point, ...] = ()
    labels: tuple[bool, ...] = ()
    box: Box | None = None
    mask: Mask | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(self.points))
        object.__setattr__(self, "labels", tuple(self.labels))
        if len(self.points) != len(self.labels):
            raise ValueError(
                f"{len(self.points)} points but {len(self.labels)} labels: give one label per point"
            )
        for x, y in self.points:
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise ValueError(f"point ({x:g}, {y:g}) is outside the frame: coordinates go from 0 to 1")
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                turned = "is empty or turned round" if x0 >= x1 or y0 >= y1 else "is not inside the frame"
                raise ValueError(
                    f"box {x0:g},{y0:g},{x1:g},{y1:g} {turned}: "
                    "give x0,y0,x1,y1 with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1"
                )

    @property
    def is_empty(self) -> bool:
        return not self.points and self.box is None and self.mask is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Geometry):
    """Track this object from now on. `object_id` None asks for the next free id.

    `frame_ref` names the frame the user pointed at; None means the next frame to be stepped. `request`, of
    any command, is whose answer somebody waits for: it comes back in the result that carried it out or
    refused it.
    """

    object_id: int | None = None
    label: str = ""
    frame_ref: FrameRef | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct(Geometry):
    """Mend the mask of an object that is being tracked."""

    object_id: int
    frame_ref: FrameRef | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """Stop tracking one object and free its slot."""

    object_id: int
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Stop tracking everything."""

    request: str | None = None


Command = Prompt | Correct | Forget | Reset


@dataclass(frozen=True, slots=True)
class Track:
    """One object in one frame.

    `box` is the tight box of `mask`, None where the mask is empty. `confidence`, `iou` (predicted),
    `presence` (probability that the object is visible), `stability` (of the mask's outline) and `margin` (how
    clearly its pixels are told from the others) lie in [0, 1]. `speed` is in diagonals of the frame a second,
    `heading` in degrees clockwise from straight up in the picture, in [0, 360), None while the object stands
    still; all three are None until it has been seen for long enough, and where nobody looks for them.
    """

    object_id: int
    label: str
    mask: Mask
    box: Box | None
    state: State
    confidence: float
    iou: float
    presence: float
    stability: float
    margin: float
    speed: float | None = None
    heading: float | None = None
    moving: bool | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """A zone (a polygon) or a line (two points) that is watched, and what there is to count.

    `counts`: of a zone, how many objects of each label are in it, by label, without those of which there is
    none; of a line, how many have crossed it to each side that is watched.
    """

    kind: Literal["zone", "line"]
    name: str
    points: tuple[Point, ...]
    counts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something a consumer may act on. `previous` is the state before it; `reason` says why in words.

    `rule`: the zone or line it is about; `seconds`: how long the object was surely in the zone; `side`: the
    one of the line it went to; `speed` and `heading` as in a track. Each is None where it says nothing.
    """

    kind: EventKind
    object_id: int
    label: str
    frame: FrameRef
    time: float
    captured: float
    clock: Clock
    confidence: float
    box: Box | None
    state: State
    previous: State | None
    reason: str
    rule: str | None = None
    seconds: float | None = None
    side: Side | None = None
    speed: float | None = None
    heading: float | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """A command that was carried out, the frame it took effect on, and its object; None for all of them."""

    command: Command
    frame: FrameRef
    object_id: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that was not carried out, and why."""

    command: Command
    reason: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent on one frame, by stage: `masks` is the mask decoder with the resizing to the frame."""

    decode: float = 0.0
    encode: float = 0.0
    attention: float = 0.0
    masks: float = 0.0
    memory: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What one step of the tracker says about one frame; tracks are in the order of their object ids.

    `watched`: the zones and lines of the stream's rules, as of this frame; `drawn`: whether an overlay shows
    more than the frame itself; `removed`: the objects that were painted out of it, which overlays leave out;
    `closing`: the frame was told before, and comes again for what the end of a live stream adds, which are
    events and refusals: it has those alone.
    """

    frame: Frame
    tracks: tuple[Track, ...] = ()
    events: tuple[Event, ...] = ()
    applied: tuple[Applied, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    timings: Timings = Timings()
    watched: tuple[Watched, ...] = ()
    drawn: bool = True
    removed: frozenset[int] = frozenset()
    closing: bool = False
