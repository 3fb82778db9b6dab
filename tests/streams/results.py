"""Results made up for the tests of what is done with results."""

from __future__ import annotations

import numpy as np

from keepsight.streams.types import Event, EventKind, Frame, Mask, Result, State, Track


def frame(index: int = 0, *, size: tuple[int, int] = (48, 64), time: float | None = None) -> Frame:
    """A picture of diagonal stripes that move with the index; 25 frames a second unless `time` is given."""
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.stack([(x * 2 + index * 5) % 256, (y * 3) % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    seconds = index / 25 if time is None else time
    return Frame(image, index, 0, seconds, 1_700_000_000 + seconds, "generated", arrived=seconds)


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> Mask:
    """A disc around `centre` (x, y), both in parts of the frame; `radius` in parts of its height."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.asarray(np.hypot(x - centre[0] * size[1], y - centre[1] * size[0]) <= radius * size[0])


def track(
    object_id: int, mask: Mask, *, label: str = "", state: State = "tracked", confidence: float = 0.9
) -> Track:
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    box = None
    if len(xs):
        box = (xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height)
    return Track(object_id, label, mask, box, state, *[confidence] * 5)


def event(of: Frame, kind: EventKind = "new", object_id: int = 1) -> Event:
    return Event(
        kind,
        object_id,
        "cup",
        of.ref,
        of.time,
        of.captured,
        of.clock,
        0.9,
        (0.1, 0.2, 0.3, 0.4),
        "tracked",
        None,
        "",
    )


def result(
    index: int = 0,
    *,
    size: tuple[int, int] = (48, 64),
    time: float | None = None,
    events: tuple[EventKind, ...] = (),
) -> Result:
    """Two discs side by side, the first moving, and the given events of the first."""
    of = frame(index, size=size, time=time)
    moving = disc(size, (0.25 + 0.01 * (index % 10), 0.5), 0.2)
    tracks = (track(1, moving, label="cup"), track(2, disc(size, (0.75, 0.5), 0.3)))
    return Result(of, tracks, tuple(event(of, kind) for kind in events))
