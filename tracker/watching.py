"""From results to results with the events of rules: a fold that knows nothing but results and rules.

The same results give the same events, whether they come from a camera or from a file of what a camera gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from keepsight.streams.types import Event, Result, Side, Track, Watched

from . import lines, motion, zones
from .lines import Passage
from .motion import Motion
from .rules import MotionRule, Rules
from .sightings import Moment, Sighting, moment, sighting
from .zones import Stay, Told


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the rules know of one object. track: as it was last seen; stays, passages: in the rules' order."""

    track: Track
    stays: tuple[Stay, ...]
    passages: tuple[Passage, ...]
    motion: Motion


@dataclass(frozen=True, slots=True)
class Watch:
    """The fold's accumulator: one record for each tracked object. rules: of the last result; crossed: how
    many crossed each line to the left and to the right."""

    rules: Rules
    objects: Mapping[int, Guarded]
    crossed: tuple[tuple[int, int], ...]
    last: Moment | None = None


def begin(rules: Rules) -> Watch:
    """Before the first result."""
    return Watch(rules, {}, ((0, 0),) * len(rules.lines))


def watch_all(results: Iterable[Result], rules: Rules) -> Iterator[Result]:
    """The results of one stream, in order, with the events and counts of the rules, and how objects move."""
    watch = begin(rules)
    for result in results:
        watch, result = step(watch, rules, result)
        yield result


def step(watch: Watch, rules: Rules, result: Result) -> tuple[Watch, Result]:
    """One result with what the rules say of it, and what is known after it.

    The events of rules come after those of the life cycle, but before an object's end. The end of an object,
    its loss, and its absence from the tracks end its stays. One that is `closing` tells of ends alone. The
    rules may be others than those of the last result.
    """
    if result.closing:
        return _finished(watch, watch.rules, result, (), result.events)
    now = moment(result.frame, watch.last)
    cut = _begin_of_ends(result.events)
    watch, over = _turn_to(replace(watch, last=now), rules, result, now)
    watch, before = _close(watch, rules, result, result.events[:cut])
    before = (*over, *before)
    gone = sorted(watch.objects.keys() - {track.object_id for track in result.tracks})
    ending = {event.object_id for event in result.events[cut:]}
    for number in (one for one in gone if one not in ending):
        watch, events = _drop(watch, rules, result, number, "tracked no more")
        before += events
    watch, news = _see(watch, rules, result, now)
    return _finished(watch, rules, result, (*before, *news), result.events[cut:])


def _turn_to(watch: Watch, rules: Rules, result: Result, now: Moment) -> tuple[Watch, tuple[Event, ...]]:
    """The watch by these rules. What they share with those before goes on; stays in other zones end."""
    old = watch.rules
    if rules is old:
        return watch, ()
    zones_kept = [name for name, zone in rules.zones.items() if old.zones.get(name) == zone]
    lines_kept = [name for name, line in rules.lines.items() if old.lines.get(name) == line]
    told: tuple[Event, ...] = ()
    objects = {}
    for number, known in watch.objects.items():
        _, left = _leave_all(known, old, result, now, "the zone was changed")
        told += tuple(event for event in left if event.rule not in zones_kept)
        stays, passages = (
            dict(zip(old.zones, known.stays, strict=True)),
            dict(zip(old.lines, known.passages, strict=True)),
        )
        objects[number] = replace(
            known,
            stays=tuple(stays[name] if name in zones_kept else Stay() for name in rules.zones),
            passages=tuple(passages[name] if name in lines_kept else Passage() for name in rules.lines),
        )
    counts = dict(zip(old.lines, watch.crossed, strict=True))
    crossed = tuple(counts[name] if name in lines_kept else (0, 0) for name in rules.lines)
    return replace(watch, rules=rules, objects=objects, crossed=crossed), told


def _begin_of_ends(events: tuple[Event, ...]) -> int:
    """Where the `end` events that close a result begin."""
    return max((at for at, event in enumerate(events, 1) if event.kind != "end"), default=0)


def _finished(
    watch: Watch, rules: Rules, result: Result, told: tuple[Event, ...], ends: tuple[Event, ...]
) -> tuple[Watch, Result]:
    """The result with the events told already and those that end it."""
    watch, closing = _close(watch, rules, result, ends)
    events = (*told, *closing)
    tracks = tuple(_in_motion(track, watch.objects.get(track.object_id), rules) for track in result.tracks)
    done = replace(result, tracks=tracks, events=events, watched=watched(watch, rules))
    return watch, done


def _close(
    watch: Watch, rules: Rules, result: Result, events: Iterable[Event]
) -> tuple[Watch, tuple[Event, ...]]:
    """The events, and before each `end` the ends of the object's stays."""
    told: tuple[Event, ...] = ()
    for event in events:
        if event.kind == "end":
            watch, left = _drop(watch, rules, result, event.object_id, event.reason)
            told += left
        told += (event,)
    return watch, told


def _drop(
    watch: Watch, rules: Rules, result: Result, object_id: int, reason: str
) -> tuple[Watch, tuple[Event, ...]]:
    """Without an object, whose stays end."""
    if object_id not in watch.objects or watch.last is None:
        return watch, ()
    _, events = _leave_all(watch.objects[object_id], rules, result, watch.last, reason)
    rest = {number: known for number, known in watch.objects.items() if number != object_id}
    return replace(watch, objects=rest), events


def _see(watch: Watch, rules: Rules, result: Result, now: Moment) -> tuple[Watch, tuple[Event, ...]]:
    """Every track of the result, in their order."""
    objects, crossed = dict(watch.objects), list(watch.crossed)
    told: list[Event] = []
    for track in result.tracks:
        fresh = Guarded(track, (Stay(),) * len(rules.zones), (Passage(),) * len(rules.lines), Motion())
        known = objects.get(track.object_id, fresh)
        known, events = _look(known, track, rules, result, now)
        objects[track.object_id] = known
        told += events
    for number, name in enumerate(rules.lines):
        sides = [event.side for event in told if event.kind == "line_cross" and event.rule == name]
        left, right = crossed[number]
        crossed[number] = left + sides.count("left"), right + sides.count("right")
    return replace(watch, objects=objects, crossed=tuple(crossed)), tuple(told)


def _look(
    known: Guarded, track: Track, rules: Rules, result: Result, now: Moment
) -> tuple[Guarded, tuple[Event, ...]]:
    """One object after one more frame. Of one that is hidden, the last box is kept."""
    seen = sighting(track, result.frame, now.clock)
    known = replace(known, track=track if seen else replace(track, box=known.track.box))
    if track.state == "lost":
        known, events = _leave_all(known, rules, result, now, "lost")
        moved = motion.unseen(known.motion, _motion_rule(rules), now.clock)
        return replace(known, passages=(Passage(),) * len(rules.lines), motion=moved), events
    known, moved_events = _look_at_motion(known, seen, rules, result, now)
    known, stayed = _look_at_zones(known, seen, rules, result, now)
    known, crossed = _look_at_lines(known, seen, rules, result, now)
    return known, (*moved_events, *stayed, *crossed)


def _look_at_zones(
    known: Guarded, seen: Sighting | None, rules: Rules, result: Result, now: Moment
) -> tuple[Guarded, tuple[Event, ...]]:
    stays, events = list(known.stays), []
    for number, (name, zone) in enumerate(rules.zones.items()):
        told: tuple[Told, ...] = ()
        if not zone.concerns(known.track.label):
            reason = f"is called {known.track.label!r} now"
            stays[number], told = zones.leave(stays[number], now.clock, reason)
        elif seen is not None and known.track.confidence >= zone.min_confidence:
            stays[number], told = zones.follow(stays[number], zone, seen)
        events += [_stay_event(one, name, known, rules, result) for one in told]
    return replace(known, stays=tuple(stays)), tuple(events)


def _look_at_lines(
    known: Guarded, seen: Sighting | None, rules: Rules, result: Result, now: Moment
) -> tuple[Guarded, tuple[Event, ...]]:
    passages, events = list(known.passages), []
    for number, (name, line) in enumerate(rules.lines.items()):
        if not line.concerns(known.track.label):
            passages[number] = Passage()
            continue
        if seen is None or known.track.confidence < line.min_confidence:
            continue
        passages[number], side = lines.follow(passages[number], line, seen)
        if side is not None:
            event = _event(known, rules, result, f"crossed to the {side}")
            events.append(replace(event, kind="line_cross", rule=name, side=side))
    return replace(known, passages=tuple(passages)), tuple(events)


def _look_at_motion(
    known: Guarded, seen: Sighting | None, rules: Rules, result: Result, now: Moment
) -> tuple[Guarded, tuple[Event, ...]]:
    rule = _motion_rule(rules)
    sure = known.track.confidence >= rule.min_confidence
    if seen is None or not sure:
        return replace(known, motion=motion.unseen(known.motion, rule, now.clock)), ()
    after = motion.follow(known.motion, rule, seen)
    changed = after.moving != known.motion.moving
    known = replace(known, motion=after)
    if rules.motion is None or not changed or not rule.concerns(known.track.label):
        return known, ()
    event = _event(known, rules, result, "began to move" if after.moving else "stands still")
    return known, (replace(event, kind="moving" if after.moving else "stationary"),)


def _leave_all(
    known: Guarded, rules: Rules, result: Result, now: Moment, reason: str
) -> tuple[Guarded, tuple[Event, ...]]:
    left = [zones.leave(stay, now.clock, reason) for stay in known.stays]
    events = [
        _stay_event(one, name, known, rules, result)
        for name, (_, told) in zip(rules.zones, left, strict=True)
        for one in told
    ]
    return replace(known, stays=tuple(stay for stay, _ in left)), tuple(events)


def _stay_event(told: Told, zone: str, known: Guarded, rules: Rules, result: Result) -> Event:
    event = _event(known, rules, result, told.reason)
    return replace(event, kind=told.kind, rule=zone, seconds=told.seconds)


def _event(known: Guarded, rules: Rules, result: Result, reason: str) -> Event:
    """An event about an object as it is known; its kind is still to be said."""
    track = known.track
    speed, heading = _speed_and_heading(known, rules)
    return Event(
        kind="update",
        object_id=track.object_id,
        label=track.label,
        frame=result.frame.ref,
        time=result.frame.time,
        captured=result.frame.captured,
        clock=result.frame.clock,
        confidence=track.confidence,
        box=track.box,
        state=track.state,
        previous=track.state,
        reason=reason,
        speed=speed,
        heading=heading,
    )


def _in_motion(track: Track, known: Guarded | None, rules: Rules) -> Track:
    """The track with what is known of how it moves."""
    if known is None:
        return track
    speed, heading = _speed_and_heading(known, rules)
    return replace(track, speed=speed, heading=heading, moving=known.motion.moving)


def _speed_and_heading(known: Guarded, rules: Rules) -> tuple[float | None, float | None]:
    """No heading where the object stands still."""
    if known.motion.velocity is None:
        return None, None
    speed, heading = known.motion.velocity
    return speed, heading if speed > _motion_rule(rules).still_speed else None


def watched(watch: Watch, rules: Rules) -> tuple[Watched, ...]:
    """The zones and lines with what there is to count."""
    there = sorted(watch.objects.items())
    found = [
        Watched("zone", name, zone.points, _inside([known for _, known in there], number))
        for number, (name, zone) in enumerate(rules.zones.items())
    ]
    sides: tuple[Side, Side] = ("left", "right")
    for (name, line), crossed in zip(rules.lines.items(), watch.crossed, strict=True):
        counts = zip(sides, crossed, strict=True)
        kept = tuple(one for one in counts if line.direction in ("both", one[0]))
        found.append(Watched("line", name, line.points, kept))
    return tuple(found)


def _inside(objects: list[Guarded], zone: int) -> tuple[tuple[str, int], ...]:
    return zones.count([known.track.label for known in objects if known.stays[zone].inside])


def _motion_rule(rules: Rules) -> MotionRule:
    return rules.motion or MotionRule()
