"""One step of the fold: a frame and commands in, a result out, and the state to step the next frame with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from keepsight.model.memory import Memory, empty, forget
from keepsight.model.stability import stability
from keepsight.model.video_predictor import ImageFeatures, VideoPredictor
from keepsight.streams.types import Box, Command, Event, Frame, Mask, Result, Timings, Track

from .batch import (
    Found,
    Scene,
    condition,
    logit,
    merged,
    part,
    propagate,
    redrawn,
    remember_prompted,
    remember_tracked,
)
from .commands import Plan, carry_out
from .confidence import STABILITY_MARGIN, Opinions, agreement, confidence, margin, probability
from .crossing import untangle
from .events import Observation, advance
from .settings import TrackerSettings
from .state import TrackerState, TrackRecord
from .stopwatch import Stopwatch
from .transforms import sample_of, shrunk, to_image, to_masks
from .worth import worth

DEFAULTS = TrackerSettings()


@dataclass(frozen=True, slots=True)
class Look:
    """How one object looks in one frame. mask: (H, W) bool at its size; confidence: in [0, 1]."""

    mask: Mask
    box: Box | None
    opinions: Opinions
    confidence: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame as the model sees it. size: the (H, W) it was encoded at; seconds: what that took; since: the
    features of the frame before, if the two have been related."""

    features: ImageFeatures
    size: tuple[int, int]
    seconds: float
    since: ImageFeatures | None = None

    def after(self, previous: ImageFeatures | None) -> ImageFeatures:
        """The features for a step after `previous`: without how they moved since another frame.

        Whether it is another is told by the levels, the same tuple however the features were passed on: what
        this gives may be a copy, which the next frame is not to take for another frame's.
        """
        if self.since is not None and previous is not None and self.since.levels is previous.levels:
            return self.features
        return self.features._replace(motion=None)


@torch.inference_mode()
def encode(
    model: VideoPredictor, frame: Frame, before: Encoded | None = None, size: tuple[int, int] | None = None
) -> Encoded:
    """What can be done with a frame before the one before it has been stepped. `before`: that frame, if the
    two are to be related; `size`: the (H, W) to encode it at, the model's own for this frame where None."""
    watch = Stopwatch()
    size = size or model.input_size(frame.size)
    features = model.encode_image(to_image(frame.image, size, sample_of(model)))
    if before is None or before.size != size:
        return Encoded(features, size, watch.total())
    features = model.relate(features, before.features)
    return Encoded(features, size, watch.total(), since=before.features)


@torch.inference_mode()
def step(
    model: VideoPredictor,
    state: TrackerState,
    frame: Frame,
    commands: Iterable[Command] = (),
    settings: TrackerSettings = DEFAULTS,
    encoded: Encoded | None = None,
) -> tuple[TrackerState, Result]:
    """Track every object of `state` into `frame`, after carrying out `commands`.

    The old state is given up: its memory is written in place. What was carried out is told in the result's
    `applied`, what cannot be in its `refusals`; nothing a user commands raises. A frame without objects is
    not looked at: a stream on which nothing is tracked costs nothing. `encoded`: the frame, if it has been
    encoded already.
    """
    watch = Stopwatch()
    plan = carry_out(state, frame, commands)
    if not plan.occupied:
        return _rest(state, plan, frame, watch)

    ahead = encoded.seconds if encoded else 0.0
    size = kept_size(state)
    if encoded is None or size not in (None, encoded.size):
        encoded = encode(model, frame, size=size)
    scene = _scene(model, state, plan, encoded, frame.index, settings)
    encoding = ahead + watch.lap()
    shaken = _shaken(scene, [slot for slot in plan.remembered if slot not in plan.asks], frame, settings)
    propagated, plan = _untangled(scene, plan, propagate(scene, plan.remembered), frame, settings)
    attention = watch.lap()
    found = merged(propagated, condition(scene, plan.asks))
    looks = _looks(found, _without(shaken, plan.redrawn), frame.size, settings)
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
        previous=scene.features._replace(images=None),
    )
    total = frame.decode_seconds + ahead + watch.total()
    timings = Timings(frame.decode_seconds, encoding, attention, masks, memory, total)
    return after, Result(frame, tracks, (*plan.events, *events), plan.applied, plan.refusals, timings)


def kept_size(state: TrackerState) -> tuple[int, int] | None:
    """The (H, W) that frames are to be encoded at while something is tracked, None where nothing is. What is
    remembered was seen at that size, and is found again where a camera comes back with another one."""
    return state.input_size if state.records else None


def _rest(state: TrackerState, plan: Plan, frame: Frame, watch: Stopwatch) -> tuple[TrackerState, Result]:
    """The step of a frame without objects. The memory is kept for those to come."""
    after = replace(state, slots=plan.slots, next_id=plan.next_id, pending=plan.pending, previous=None)
    timings = Timings(decode=frame.decode_seconds, total=frame.decode_seconds + watch.total())
    return after, Result(
        frame, events=plan.events, applied=plan.applied, refusals=plan.refusals, timings=timings
    )


def _scene(
    model: VideoPredictor,
    state: TrackerState,
    plan: Plan,
    encoded: Encoded,
    index: int,
    settings: TrackerSettings,
) -> Scene:
    """The encoded frame beside a memory of the right size whose rows of new objects are empty."""
    size = encoded.size
    previous = state.previous if size == state.input_size else None
    memory = _memory(model, state, encoded.features, size)
    if plan.fresh:
        forget(memory, torch.tensor(sorted(plan.fresh), device=memory.written.device))
    return Scene(
        model=model,
        features=encoded.after(previous),
        previous=previous,
        memory=memory,
        index=index,
        input_size=size,
        visible=logit(settings.visible),
    )


def _memory(
    model: VideoPredictor, state: TrackerState, features: ImageFeatures, size: tuple[int, int]
) -> Memory:
    if state.memory is None or size != state.input_size:
        return empty(len(state.slots), model.layout, model.memory_shape(size), like=features.levels[-1])
    return state.memory


def _shaken(scene: Scene, slots: Sequence[int], frame: Frame, settings: TrackerSettings) -> Found | None:
    """What is found of the objects in `slots` with noise on the image; None where that is not asked for.

    The noise is the same for the same frame, and leaves no trace in the memory.
    """
    if not settings.noise:
        return None
    image = to_image(frame.image, scene.input_size, sample_of(scene.model))
    random = torch.Generator().manual_seed(frame.index)
    noise = settings.noise * torch.randn(image.shape, generator=random).to(image)
    features = scene.model.encode_image((image + noise).clamp_(0, 1))
    memory = scene.memory._replace(logits=scene.memory.logits.clone())
    return propagate(replace(scene, features=features, memory=memory), slots)


def _untangled(
    scene: Scene, plan: Plan, found: Found | None, frame: Frame, settings: TrackerSettings
) -> tuple[Found | None, Plan]:
    """What was found with each object's own pieces, and the records with their courses. Who is shown anew
    begins a new one, and who is alone needs none."""
    if found is None or not settings.untangle:
        return found, plan
    if len(found.slots) < 2:
        return found, replace(
            plan, slots=tuple(record and replace(record, course=None) for record in plan.slots)
        )
    records = {record.object_id: record for slot in found.slots if (record := plan.slots[slot]) is not None}
    logits = found.prediction.logits.float().cpu().numpy()
    image = shrunk(frame.image, (logits.shape[1], logits.shape[2]))
    courses = {one: record.course for one, record in records.items() if record.course is not None}
    done = untangle(tuple(records), logits, image, frame.time, courses)
    slots = list(plan.slots)
    for slot, record in zip(found.slots, records.values(), strict=True):
        known = None if slot in plan.asks else done.courses.get(record.object_id)
        slots[slot] = replace(record, course=known)
    found = redrawn(scene, found, done.logits, done.changed) if done.changed else found
    changed = frozenset(found.slots[row] for row in done.changed)
    return found, replace(plan, slots=tuple(slots), redrawn=changed)


def _without(found: Found | None, slots: frozenset[int]) -> Found | None:
    """The finding without the objects in `slots`; None where nothing is left."""
    kept = [] if found is None else [row for row, slot in enumerate(found.slots) if slot not in slots]
    return part(found, kept) if found is not None and kept else None


def _looks(
    found: Found, shaken: Found | None, size: tuple[int, int], settings: TrackerSettings
) -> list[Look]:
    """Every object as numpy and numbers, in the order of `found`. Here an accelerator is waited for, if not
    before for untangling."""
    logits, iou, presence, _ = (field.float() for field in found.prediction)
    stable = stability(logits, STABILITY_MARGIN)
    if shaken is not None:
        rows = [found.slots.index(slot) for slot in shaken.slots]
        stable[rows] = torch.minimum(stable[rows], agreement(logits[rows], shaken.prediction.logits.float()))
    numbers = torch.stack((iou, presence, stable)).T.tolist()
    maps = logits.cpu().numpy()
    drawn = zip(maps, *to_masks(maps, size), numbers, strict=True)
    return [
        _look(mask, box, Opinions(sure, probability(there), steady, margin(one)), settings)
        for one, mask, box, (sure, there, steady) in drawn
    ]


def _look(mask: Mask, box: Box | None, opinions: Opinions, settings: TrackerSettings) -> Look:
    """An object without a mask is not seen at all, whatever the opinions."""
    judged = settings.calibration or confidence
    return Look(mask, box, opinions, 0.0 if box is None else judged(opinions))


def _remember(scene: Scene, plan: Plan, found: Found, looks: list[Look], settings: TrackerSettings) -> Plan:
    """Write to the memory what is worth it; the plan's records with that noted."""
    tracked = [
        row
        for row, (slot, shown, look) in enumerate(zip(found.slots, found.prompted, looks, strict=True))
        if shown is None and slot not in plan.redrawn and _is_due(plan.slots[slot], look, scene, settings)
    ]
    worths = [_worth(plan.slots[found.slots[row]], looks[row]) for row in tracked]
    remember_prompted(scene, found)
    remember_tracked(scene, found, tracked, worths if settings.memory == "selective" else None)
    prompted = {slot for slot, shown in zip(found.slots, found.prompted, strict=True) if shown is not None}
    written = prompted | {found.slots[row] for row in tracked}
    slots = (
        replace(record, remembered=scene.index) if record is not None and slot in written else record
        for slot, record in enumerate(plan.slots)
    )
    return replace(plan, slots=tuple(slots))


def _is_due(record: TrackRecord | None, look: Look, scene: Scene, settings: TrackerSettings) -> bool:
    """Whether a tracked frame goes to the ring: the last one is old enough and the mask can be trusted:
    it touches nobody from whom it will be told apart."""
    return (
        record is not None
        and (record.course is None or record.course.since is None)
        and scene.index - record.remembered >= scene.model.layout.recent_stride
        and look.opinions.presence >= settings.write_presence
        and look.opinions.iou >= settings.write_iou
    )


def _worth(record: TrackRecord | None, look: Look) -> float:
    return worth(look.confidence, look.mask, look.box, record.box if record else None)


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
        iou=look.opinions.iou,
        presence=look.opinions.presence,
        stability=look.opinions.stability,
        margin=look.opinions.margin,
    )
