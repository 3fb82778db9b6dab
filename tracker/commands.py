"""Commands meet the state: who gets a slot, who is prompted in this frame, what waits, what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from keepsight.streams.types import (
    Applied,
    Command,
    Correct,
    Event,
    Forget,
    Frame,
    Geometry,
    Prompt,
    Refusal,
    Reset,
)

from .events import ended
from .state import TrackerState, TrackRecord

MAX_PENDING = 1024
"""How many commands may wait for a frame that has not come; more are refused."""
MOST_AHEAD = 600
"""How many frames ahead a command may name one, 20 s at 30 frames/s: beyond that it means another run's."""

MOST_CHOSEN = 2**15
"""The highest id that who commands over a network may choose for a new object: half of those that a PNG of
masks can hold, since the ids given to later objects go on from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the commands of one frame come to.

    slots: the objects after them; fresh: the slots whose object begins in this frame; asks: what users
    showed, by slot; redrawn: the slots whose masks the network took for another's; events: the ends of
    forgotten objects; applied, refusals: what became of each command that does not wait; next_id, pending: as
    in TrackerState.
    """

    slots: tuple[TrackRecord | None, ...]
    next_id: int
    pending: tuple[Prompt | Correct, ...] = ()
    fresh: frozenset[int] = frozenset()
    asks: Mapping[int, Geometry] = field(default_factory=dict)
    redrawn: frozenset[int] = frozenset()
    events: tuple[Event, ...] = ()
    applied: tuple[Applied, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @property
    def occupied(self) -> tuple[int, ...]:
        """The slots that hold an object, rising."""
        return tuple(slot for slot, record in enumerate(self.slots) if record is not None)

    @property
    def remembered(self) -> tuple[int, ...]:
        """The slots whose object was there before this frame, rising."""
        return tuple(slot for slot in self.occupied if slot not in self.fresh)

    def slot_of(self, object_id: int) -> int | None:
        held = (record.object_id if record else None for record in self.slots)
        return next((slot for slot, holds in enumerate(held) if holds == object_id), None)


def carry_out(state: TrackerState, frame: Frame, commands: Iterable[Command]) -> Plan:
    """The plan for `frame`: the pending commands it is the time for, then `commands`, one after the other.

    A prompt or correction applies to the present frame if it names this one, one that is past (its picture is
    gone) or none. What it says of an object adds up with what other commands of this frame say.
    """
    due = [command for command in state.pending if not _is_early(command, frame)]
    waiting = tuple(command for command in state.pending if _is_early(command, frame))
    plan = Plan(slots=state.slots, next_id=state.next_id, pending=waiting)
    for command in (*due, *commands):
        try:
            plan = _apply(plan, command, frame)
        except ValueError as error:
            plan = _refuse(plan, str(error), command)
    return plan


def _is_early(command: Prompt | Correct, frame: Frame) -> bool:
    return command.frame_ref is not None and command.frame_ref > frame.ref


def _apply(plan: Plan, command: Command, frame: Frame) -> Plan:
    """The plan with one more command carried out. Raises ValueError with the reason if it cannot be."""
    match command:
        case Prompt() | Correct() if _is_early(command, frame):
            return _wait(plan, command, frame)
        case Prompt():
            object_id = plan.next_id if command.object_id is None else command.object_id
            return _applied(_prompt(plan, command, frame), command, frame, object_id)
        case Correct():
            slot = _known(plan, command.object_id)
            return _applied(_ask(plan, slot, command, frame), command, frame, command.object_id)
        case Forget():
            return _applied(_forget(plan, command.object_id, frame), command, frame, command.object_id)
        case Reset():
            return _applied(_reset(plan, frame), command, frame, None)


def _applied(plan: Plan, command: Command, frame: Frame, object_id: int | None) -> Plan:
    return replace(plan, applied=(*plan.applied, Applied(command, frame.ref, object_id)))


def _refuse(plan: Plan, reason: str, *commands: Command) -> Plan:
    return replace(plan, refusals=(*plan.refusals, *(Refusal(command, reason) for command in commands)))


def _wait(plan: Plan, command: Prompt | Correct, frame: Frame) -> Plan:
    epoch, index = command.frame_ref or frame.ref
    if epoch > frame.epoch or index - frame.index > MOST_AHEAD:
        raise ValueError(
            f"frame {epoch}/{index} is not near the present one, {frame.epoch}/{frame.index}: name one that "
            f"was seen, or is at most {MOST_AHEAD} ahead"
        )
    if len(plan.pending) >= MAX_PENDING:
        raise ValueError(f"{MAX_PENDING} commands are already waiting for frames that have not come")
    return replace(plan, pending=(*plan.pending, command))


def _prompt(plan: Plan, prompt: Prompt, frame: Frame) -> Plan:
    """A new object, or the correction of one that is known."""
    slot = None if prompt.object_id is None else plan.slot_of(prompt.object_id)
    if slot is None:
        return _begin(plan, prompt, frame)
    return _ask(_relabel(plan, slot, prompt.label), slot, prompt, frame)


def _begin(plan: Plan, prompt: Prompt, frame: Frame) -> Plan:
    object_id = plan.next_id if prompt.object_id is None else prompt.object_id
    if object_id < 1:
        raise ValueError(f"object id {object_id}: ids count from 1 (0 is the background)")
    if prompt.request and prompt.object_id is not None and prompt.object_id > MOST_CHOSEN:
        raise ValueError(f"object id {object_id}: choose one of at most {MOST_CHOSEN}, or none")
    if not shows_an_object(prompt):
        raise ValueError("a new object needs a box, a mask or a point that is on it")
    if None not in plan.slots:
        raise ValueError(
            f"all {len(plan.slots)} object slots are in use: forget an object or raise --max-objects"
        )
    slot = plan.slots.index(None)
    record = TrackRecord(object_id=object_id, label=prompt.label, seen=frame.time)
    begun = replace(plan, next_id=max(plan.next_id, object_id + 1), fresh=plan.fresh | {slot})
    return _ask(_put(begun, slot, record), slot, prompt, frame)


def _ask(plan: Plan, slot: int, shown: Geometry, frame: Frame) -> Plan:
    if shown.is_empty:
        raise ValueError("a prompt needs points, a box or a mask")
    if shown.mask is not None and shown.mask.shape != frame.size:
        mask, size = (f"{width}x{height}" for height, width in (shown.mask.shape[:2], frame.size))
        raise ValueError(f"the mask is {mask} but the frame is {size}: give a mask of the frame's size")
    if shown.mask is not None and not shown.mask.any():
        raise ValueError("the mask is empty: mark at least one pixel of the object")
    return replace(plan, asks={**plan.asks, slot: together(plan.asks.get(slot, Geometry()), shown)})


def _forget(plan: Plan, object_id: int, frame: Frame) -> Plan:
    """Free the object's slot; what waits for it waits no more, and is refused."""
    waits = tuple(command for command in plan.pending if command.object_id != object_id)
    gone = tuple(command for command in plan.pending if command.object_id == object_id)
    if plan.slot_of(object_id) is not None or not gone:
        plan = _free(plan, _known(plan, object_id), frame, "forgotten on request")
    reason = f"object {object_id} was forgotten before the frame came"
    return _refuse(replace(plan, pending=waits), reason, *gone)


def _reset(plan: Plan, frame: Frame) -> Plan:
    """Free every slot; nothing waits any more, and what waited is refused. Ids go on counting."""
    for slot in plan.occupied:
        plan = _free(plan, slot, frame, "everything was reset")
    return _refuse(replace(plan, pending=()), "everything was reset before the frame came", *plan.pending)


def _free(plan: Plan, slot: int, frame: Frame, reason: str) -> Plan:
    """Empty a slot; an object that was to begin in this very frame never lived and has no end."""
    record = plan.slots[slot]
    gone = (record,) if record is not None and slot not in plan.fresh else ()
    asks = {other: shown for other, shown in plan.asks.items() if other != slot}
    events = (*plan.events, *ended(gone, frame, reason))
    return replace(_put(plan, slot, None), fresh=plan.fresh - {slot}, asks=asks, events=events)


def _relabel(plan: Plan, slot: int, label: str) -> Plan:
    record = plan.slots[slot]
    return _put(plan, slot, replace(record, label=label)) if record is not None and label else plan


def _put(plan: Plan, slot: int, record: TrackRecord | None) -> Plan:
    return replace(plan, slots=(*plan.slots[:slot], record, *plan.slots[slot + 1 :]))


def _known(plan: Plan, object_id: int) -> int:
    slot = plan.slot_of(object_id)
    if slot is None:
        known = ", ".join(str(record.object_id) for record in plan.slots if record is not None)
        raise ValueError(
            f"there is no object {object_id}: " + (f"known ids are {known}" if known else "none is tracked")
        )
    return slot


def shows_an_object(shown: Geometry) -> bool:
    """Whether a prompt says where an object is, not only where it is not."""
    return shown.box is not None or shown.mask is not None or any(shown.labels)


def together(earlier: Geometry, later: Geometry) -> Geometry:
    """Two prompts for one object in one frame: all points; the later box and mask, where both have one."""
    return Geometry(
        points=earlier.points + later.points,
        labels=earlier.labels + later.labels,
        box=later.box or earlier.box,
        mask=earlier.mask if later.mask is None else later.mask,
    )
