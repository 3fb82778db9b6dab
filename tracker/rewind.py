"""Commands for frames that are past: whoever points at what they see is late by some tenths of a second.

The last frames are kept as the model sees them. An object that was shown on one of them is tracked from there
to the present frame by a fold of its own, over a few of the frames between, and then joins the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from keepsight.model.memory import EMPTY, NO_OBJECT_LOGIT, Memory, empty
from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.types import (
    Applied,
    Command,
    Correct,
    Event,
    Frame,
    FrameRef,
    Image,
    Prompt,
    Refusal,
    Result,
)

from .settings import TrackerSettings
from .snapshots import copied
from .state import TrackerState, TrackRecord
from .step import Encoded, kept_size, step
from .transforms import sample_of, shrunk, to_image

FRAMES = 64
"""Frames that are kept at most: two and a half seconds of a stream that is only looked at."""
BYTES = 64 * 2**20
"""What they and the masks found in them may take; the oldest go first."""
BETWEEN = 3
"""Frames between the one that was pointed at and the last one that are stepped at most."""
TARGETS = 4
"""Frames that may be pointed at before one step; commands for others are for the present one."""

Pointing = Prompt | Correct


@dataclass(frozen=True, slots=True)
class Past:
    """A frame that was stepped.

    frame: without its pixels; pixels: (H, W, 3) at the model's input size; logits: of each object that was
    found in it, by id, float16 as in the memory.
    """

    frame: Frame
    pixels: Image
    logits: Mapping[int, Tensor]

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + sum(one.numel() * one.element_size() for one in self.logits.values())


@dataclass(slots=True)
class Recent:
    """The last frames of a stream, oldest first, at most `FRAMES` and `BYTES`."""

    frames: deque[Past] = field(default_factory=deque)
    nbytes: int = 0

    def keep(self, model: VideoPredictor, frame: Frame, state: TrackerState) -> None:
        """Keep a frame that was stepped; `state` is what came of it."""
        pixels = shrunk(frame.image, kept_size(state) or model.input_size(frame.size))
        blank = np.broadcast_to(np.uint8(0), frame.image.shape)
        past = Past(replace(frame, image=blank), pixels, _logits(state))
        self.frames.append(past)
        self.nbytes += past.nbytes
        while len(self.frames) > FRAMES or (self.nbytes > BYTES and len(self.frames) > 1):
            self.nbytes -= self.frames.popleft().nbytes

    def found(self, past: Past, logits: Mapping[int, Tensor]) -> None:
        """Keep what was found in a frame when it was stepped again, too: it is what users see of it now."""
        place = next(place for place, one in enumerate(self.frames) if one.frame.ref == past.frame.ref)
        known = self.frames[place]
        self.frames[place] = replace(known, logits={**known.logits, **logits})
        self.nbytes += self.frames[place].nbytes - known.nbytes

    def named(self, ref: FrameRef | None) -> Past | None:
        """The frame of that name, or where it was dropped the next one; None if it is older than these."""
        if ref is None or not self.frames or ref < self.frames[0].frame.ref:
            return None
        return next((past for past in self.frames if past.frame.ref >= ref), None)


@dataclass(frozen=True, slots=True)
class Rewound:
    """The state with the objects that were tracked from the past to the last frame, and what to add to the
    result of the present one. later: the commands that are still to be carried out."""

    state: TrackerState
    later: tuple[Command, ...]
    applied: tuple[Applied, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    events: tuple[Event, ...] = ()

    def told(self, result: Result) -> Result:
        """The result of the present frame with what was done before it."""
        applied = tuple(replace(one, frame=result.frame.ref) for one in self.applied)
        return replace(
            result,
            applied=applied + result.applied,
            refusals=self.refusals + result.refusals,
            events=self.events + result.events,
        )


def rewind(
    model: VideoPredictor,
    state: TrackerState,
    recent: Recent,
    commands: Sequence[Command],
    settings: TrackerSettings,
) -> Rewound:
    """Carry out those of the commands that name a past frame, before the present one is stepped.

    What the frame is no longer there for, or the size of the model's input has changed since, or an object
    began after, is left to the present frame. The old state is given up.
    """
    aimed = _aimed(model, state, recent, commands)
    done = Rewound(state, tuple(one for one in commands if not any(one is command for command, _ in aimed)))
    for group in _by_first_frame(aimed):
        done = _again(model, done, recent, group, settings)
    return done


def _by_first_frame(aimed: Sequence[tuple[Pointing, Past]]) -> list[list[tuple[Pointing, Past]]]:
    """The commands of those objects together that are gone back to the same frame for, the earliest first."""
    first: dict[int | None, FrameRef] = {}
    for command, past in aimed:
        first[command.object_id] = min(first.get(command.object_id, past.frame.ref), past.frame.ref)
    groups: dict[FrameRef, list[tuple[Pointing, Past]]] = {}
    for command, past in aimed:
        since = past.frame.ref if command.object_id is None else first[command.object_id]
        groups.setdefault(since, []).append((command, past))
    return [groups[since] for since in sorted(groups)]


def _again(
    model: VideoPredictor,
    done: Rewound,
    recent: Recent,
    aimed: Sequence[tuple[Pointing, Past]],
    settings: TrackerSettings,
) -> Rewound:
    """Track the objects of some commands again, from the first frame that is pointed at to the last. One of
    which every command was refused stays as it is."""
    side, slots = _side(model, done.state, recent, aimed)
    found: list[tuple[Past, Mapping[int, Tensor]]] = []
    applied: list[Applied] = []
    refusals: list[Refusal] = []
    events: list[Event] = []
    for past in _way(recent, [past for _, past in aimed]):
        asks = [command for command, target in aimed if target.frame.ref == past.frame.ref]
        side, result = step(
            model, side, past.frame, asks, replace(settings, noise=0.0, untangle=False), _encoded(model, past)
        )
        found.append((past, _logits(side)))
        applied += result.applied
        refusals += result.refusals
        events += (event for event in result.events if event.object_id not in slots)
    untouched = set(slots) - {one.object_id for one in applied}
    for past, logits in found:
        recent.found(past, {name: one for name, one in logits.items() if name not in untouched})
    return replace(
        done,
        state=_joined(model, done.state, side, slots, untouched),
        applied=(*done.applied, *applied),
        refusals=(*done.refusals, *refusals),
        events=(*done.events, *events),
    )


def _aimed(
    model: VideoPredictor, state: TrackerState, recent: Recent, commands: Sequence[Command]
) -> list[tuple[Pointing, Past]]:
    """The commands that can be carried out in the past, with their frames: none after one that clears or
    forgets, none at all where there is no room for what they begin."""
    if not recent.frames:
        return []
    size = recent.frames[-1].pixels.shape
    births = {record.object_id: _birth(state, slot) for slot, record in _held(state)}
    aimed = [
        (command, past)
        for command in takewhile(_is_pointing, commands)
        if _is_pointing(command)
        and (past := recent.named(command.frame_ref)) is not None
        and past.pixels.shape == size
        and (state.input_size in (None, size[:2]) or not births)
        and births.get(command.object_id or 0, past.frame.index) <= past.frame.index
        and (isinstance(command, Prompt) or command.object_id in births)
    ]
    targets = list(dict.fromkeys(past.frame.ref for _, past in aimed))[:TARGETS]
    aimed = [(command, past) for command, past in aimed if past.frame.ref in targets]
    return aimed if _fresh(aimed, births) <= state.slots.count(None) else []


def _is_pointing(command: Command) -> TypeGuard[Pointing]:
    return isinstance(command, Prompt | Correct)


def _fresh(aimed: Iterable[tuple[Pointing, Past]], known: Mapping[int, int]) -> int:
    """How many objects these commands may begin."""
    ids = [command.object_id for command, _ in aimed]
    return ids.count(None) + len({name for name in ids if name is not None and name not in known})


def _held(state: TrackerState) -> list[tuple[int, TrackRecord]]:
    return [(slot, record) for slot, record in enumerate(state.slots) if record is not None]


def _birth(state: TrackerState, slot: int) -> int:
    """The index of the frame an object was first shown on."""
    assert state.memory is not None
    written = state.memory.written[slot]
    return int(written[written != EMPTY].min())


def _logits(state: TrackerState) -> dict[int, Tensor]:
    if state.memory is None:
        return {}
    return {record.object_id: state.memory.logits[slot].half() for slot, record in _held(state)}


def _way(recent: Recent, targets: Sequence[Past]) -> list[Past]:
    """The frames to be stepped: those that were pointed at, the last one, and some of those between."""
    refs = {past.frame.ref for past in targets}
    frames = [past for past in recent.frames if past.frame.ref >= min(refs)]
    picked = {round(place * (len(frames) - 1) / (BETWEEN + 1)) for place in range(BETWEEN + 2)}
    return [past for place, past in enumerate(frames) if place in picked or past.frame.ref in refs]


def _encoded(model: VideoPredictor, past: Past) -> Encoded:
    height, width = past.pixels.shape[:2]
    with torch.inference_mode():
        features = model.encode_image(to_image(past.pixels, (height, width), sample_of(model)))
    return Encoded(features, (height, width), 0.0)


@torch.inference_mode()
def _side(
    model: VideoPredictor, state: TrackerState, recent: Recent, aimed: Sequence[tuple[Pointing, Past]]
) -> tuple[TrackerState, dict[int, int]]:
    """A state of the known objects that are to be corrected, as they were in the first of the frames, with
    room for the new ones; and the slots of the former in the state they come from, by id."""
    named = {command.object_id for command, _ in aimed}
    held = {record.object_id: (slot, record) for slot, record in _held(state) if record.object_id in named}
    room = min(state.slots.count(None), len(aimed))
    blank = TrackerState(slots=(None,) * max(room, 1), next_id=state.next_id)
    if not held:
        return blank, {}
    assert state.memory is not None
    since = min((past for _, past in aimed), key=_ref)
    before = max((past for past in recent.frames if _ref(past) < _ref(since)), key=_ref, default=since)
    rows = [
        _as_of(copied(state.memory, slot), model.layout.conditioning, since, _logits_of(name, since, before))
        for name, (slot, _) in held.items()
    ]
    free = empty(room, model.layout, model.memory_shape(recent.frames[-1].pixels.shape[:2]), rows[0].features)
    side = replace(
        blank,
        slots=(*(replace(record, course=None) for _, record in held.values()), *(None,) * room),
        memory=Memory(*(torch.cat(parts) for parts in zip(*rows, free, strict=True))),
        input_size=state.input_size,
    )
    return side, {name: slot for name, (slot, _) in held.items()}


def _ref(past: Past) -> FrameRef:
    return past.frame.ref


def _logits_of(object_id: int, *frames: Past) -> Tensor | None:
    """Those of an object in the first of the frames that it is known in."""
    return next((past.logits[object_id] for past in frames if object_id in past.logits), None)


def _as_of(row: Memory, conditioning: int, since: Past, seen: Tensor | None) -> Memory:
    """A row without what was written from a frame on, but for what it was shown by on this very frame, which
    is what a correction of it corrects; and with the mask that was seen there."""
    index = since.frame.index
    shown = row.written[:, :conditioning] == index
    row.written[row.written >= index] = EMPTY
    row.pointed[row.pointed >= index] = EMPTY
    row.written[:, :conditioning][shown] = index
    row.pointed[:, :conditioning][shown] = index
    row.logits.copy_(row.logits.new_tensor(NO_OBJECT_LOGIT) if seen is None else seen)
    return row


@torch.inference_mode()
def _joined(
    model: VideoPredictor,
    state: TrackerState,
    side: TrackerState,
    slots: Mapping[int, int],
    untouched: Set[int],
) -> TrackerState:
    """The state with the objects of the other, but for `untouched` ones: known ones in `slots`, new ones
    where there is room."""
    if side.memory is None:
        return state
    memory = state.memory
    if memory is None or state.input_size != side.input_size:
        assert side.input_size is not None
        shape = model.memory_shape(side.input_size)
        memory = empty(len(state.slots), model.layout, shape, like=side.memory.features)
    held = list(state.slots)
    for row, record in _held(side):
        if record.object_id in untouched:
            continue
        slot = slots.get(record.object_id, held.index(None) if None in held else 0)
        for whole, part in zip(memory, side.memory, strict=True):
            whole[slot] = part[row]
        known = held[slot]
        again = replace(known, remembered=record.remembered, label=record.label) if known else record
        held[slot] = replace(again, course=None)
    return replace(
        state,
        slots=tuple(held),
        next_id=max(state.next_id, side.next_id),
        memory=memory,
        input_size=side.input_size,
        previous=state.previous or side.previous,
    )
