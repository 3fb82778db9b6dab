"""One step of the fold: a frame and commands in, a result out, and the state to step the next frame with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from keepsight.model.memory import Memory, empty, forget
from keepsight.model.video_predictor import ImageFeatures, VideoPredictor
from keepsight.streams.types import Box, Command, Event, Frame, Geometry, Mask, Result, Timings, Track

from .batch import Found, Scene, condition, logit, merged, propagate, remember
from .commands import Plan, carry_out, together
from .confidence import confidence, stability
from .events import Observation, advance
from .settings import TrackerSettings
from .state import TrackerState, TrackRecord, resized
from .stopwatch import Stopwatch
from .transforms import sample_of, to_image, to_masks

DEFAULTS = TrackerSettings()
NOTHING = Geometry()


@dataclass(frozen=True, slots=True)
class Look:
    """How one object looks in one frame. mask: (H, W) bool at its size; the opinions lie in [0, 1]."""

    mask: Mask
    box: Box | None
    iou: float
    presence: float
    stability: float

    @property
    def confidence(self) -> float:
        return confidence(self.iou, self.presence, self.stability)


@torch.inference_mode()
def step(
    model: VideoPredictor,
    state: TrackerState,
    frame: Frame,
    commands: Iterable[Command] = (),
    settings: TrackerSettings = DEFAULTS,
) -> tuple[TrackerState, Result]:
    """Track every object of `state` into `frame`, after carrying out `commands`.

    The old state is given up: its memory is written in place. What cannot be carried out is told in the
    result's refusals; nothing a user commands raises. A frame without objects is not looked at: a stream on
    which nothing is tracked costs nothing. When the model's input size changes with the frame's, the memory
    is stretched onto the new grid and every visible object is shown to the model again by its last mask, so
    that identities go on.
    """
    watch = Stopwatch()
    plan = carry_out(state, frame, commands)
    if not plan.occupied:
        return _rest(state, plan, frame, watch)

    scene = _scene(model, state, plan, frame, settings)
    encode = watch.lap()
    seeds = _seeds(state, plan, scene, frame)
    propagated = propagate(scene, [slot for slot in plan.remembered if slot not in seeds])
    attention = watch.lap()
    found = merged(propagated, condition(scene, _asks(plan.asks, seeds)))
    looks = _looks(found, frame.size)
    masks = watch.lap()
    plan = _remember(scene, plan, found, looks, settings)
    memory = watch.lap()
    slots, tracks, events = _live(plan, found.slots, looks, frame, settings)

    after = TrackerState(
        slots=slots,
        next_id=plan.next_id,
        pending=plan.pending,
        memory=scene.memory,
        input_size=scene.input_size,
        previous=scene.features,
    )
    total = frame.decode_seconds + watch.total()
    timings = Timings(frame.decode_seconds, encode, attention, masks, memory, total)
    return after, Result(frame, tracks, (*plan.events, *events), plan.refusals, timings)


def _rest(state: TrackerState, plan: Plan, frame: Frame, watch: Stopwatch) -> tuple[TrackerState, Result]:
    """The step of a frame without objects. The memory is kept for those to come."""
    after = replace(state, slots=plan.slots, next_id=plan.next_id, pending=plan.pending, previous=None)
    timings = Timings(decode=frame.decode_seconds, total=frame.decode_seconds + watch.total())
    return after, Result(frame, events=plan.events, refusals=plan.refusals, timings=timings)


def _scene(
    model: VideoPredictor, state: TrackerState, plan: Plan, frame: Frame, settings: TrackerSettings
) -> Scene:
    """The frame encoded, beside a memory of the right size whose rows of new objects are empty."""
    size = model.input_size(frame.size)
    features = model.encode_image(to_image(frame.image, size, sample_of(model)))
    memory = _memory(model, state, features, size)
    if plan.fresh:
        forget(memory, torch.tensor(sorted(plan.fresh), device=memory.written.device))
    return Scene(
        model=model,
        features=features,
        previous=state.previous if size == state.input_size else None,
        memory=memory,
        index=frame.index,
        input_size=size,
        visible=logit(settings.visible_presence),
    )


def _memory(
    model: VideoPredictor, state: TrackerState, features: ImageFeatures, size: tuple[int, int]
) -> Memory:
    shape = model.memory_shape(size)
    if state.memory is None:
        return empty(len(state.slots), model.layout, shape, like=features.levels[-1])
    return state.memory if size == state.input_size else resized(state.memory, shape)


def _seeds(state: TrackerState, plan: Plan, scene: Scene, frame: Frame) -> Mapping[int, Geometry]:
    """The last masks, by slot, of the visible objects if the input size has changed since; else none."""
    if state.memory is None or scene.input_size == state.input_size:
        return {}
    known = list(plan.remembered)
    masks, boxes = to_masks(state.memory.logits[known].float().cpu().numpy(), frame.size)
    return {slot: Geometry(mask=mask) for slot, mask, box in zip(known, masks, boxes, strict=True) if box}


def _asks(shown: Mapping[int, Geometry], seeds: Mapping[int, Geometry]) -> Mapping[int, Geometry]:
    """What users showed, added to what the seeds show."""
    both = {*shown, *seeds}
    return {slot: together(seeds.get(slot, NOTHING), shown.get(slot, NOTHING)) for slot in both}


def _looks(found: Found, size: tuple[int, int]) -> list[Look]:
    """Every object as numpy and numbers, in the order of `found`. Here an accelerator is waited for."""
    logits, iou, presence, _ = (field.float() for field in found.prediction)
    opinions = torch.stack((iou, presence.sigmoid(), stability(logits))).T.tolist()
    drawn = zip(*to_masks(logits.cpu().numpy(), size), opinions, strict=True)
    return [Look(mask, box, *numbers) for mask, box, numbers in drawn]


def _remember(scene: Scene, plan: Plan, found: Found, looks: list[Look], settings: TrackerSettings) -> Plan:
    """Write to the memory what is worth it; the plan's records with that noted."""
    due = [
        row
        for row, (slot, prompted, look) in enumerate(zip(found.slots, found.prompted, looks, strict=True))
        if prompted or _is_due(plan.slots[slot], look, scene, settings)
    ]
    remember(scene, found, due)
    written = {found.slots[row] for row in due}
    slots = (
        replace(record, remembered=scene.index) if record is not None and slot in written else record
        for slot, record in enumerate(plan.slots)
    )
    return replace(plan, slots=tuple(slots))


def _is_due(record: TrackRecord | None, look: Look, scene: Scene, settings: TrackerSettings) -> bool:
    """Whether a tracked frame goes to the ring: the last one is old enough and the mask can be trusted."""
    return (
        record is not None
        and scene.index - record.remembered >= scene.model.layout.recent_stride
        and look.presence >= settings.write_presence
        and look.iou >= settings.write_iou
    )


def _live(
    plan: Plan, order: tuple[int, ...], looks: list[Look], frame: Frame, settings: TrackerSettings
) -> tuple[tuple[TrackRecord | None, ...], tuple[Track, ...], tuple[Event, ...]]:
    """Records, tracks in the order of their ids, and events after this frame. `order`: each look's slot."""
    slots = list(plan.slots)
    tracks: list[Track] = []
    events: list[Event] = []
    for slot, look in zip(order, looks, strict=True):
        record = plan.slots[slot]
        assert record is not None
        observation = Observation(look.box, look.confidence, slot in plan.asks)
        slots[slot], news = advance(record, observation, frame, settings)
        events.extend(news)
        if after := slots[slot]:
            tracks.append(_track(after, look))
    return tuple(slots), tuple(sorted(tracks, key=lambda track: track.object_id)), tuple(events)


def _track(record: TrackRecord, look: Look) -> Track:
    return Track(
        object_id=record.object_id,
        label=record.label,
        mask=look.mask,
        box=look.box,
        state=record.state,
        confidence=look.confidence,
        iou=look.iou,
        presence=look.presence,
        stability=look.stability,
    )
