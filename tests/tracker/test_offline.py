"""A recording tracked in both directions: to the pixel by colour, to the bit with a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

import keepsight.tracker as ks
from keepsight.streams.recording import open_recording
from keepsight.streams.types import Correct, Prompt, Result, Track
from keepsight.tracker.offline import OfflineTracker, open_offline
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.snapshots import Snapshot, Snapshots

from .fakes import BLUE, GREEN, RED, ColourPredictor, Square, area, paint
from .networks import ALWAYS, NAMES, network

LENGTH = 12


def write_film(folder: Path, squares: Callable[[int], list[Square]], length: int = LENGTH) -> Path:
    folder.mkdir()
    for index in range(length):
        cv2.imwrite(str(folder / f"{index:03}.png"), paint(squares(index))[..., ::-1])
    return folder


def moving(index: int) -> list[Square]:
    """Red moves right, green down."""
    return [(RED, 4 * index, 0, 16), (GREEN, 80, 4 * index, 16)]


def on(colour: tuple[int, int, int], index: int) -> Prompt:
    """The box around a square of `moving`."""
    (left, top) = (4 * index, 0) if colour == RED else (80, 4 * index)
    return Prompt(box=(left / 96, top / 64, (left + 16) / 96, (top + 16) / 64))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film", moving)


@pytest.fixture
def recording(film: Path) -> Iterator[OfflineTracker]:
    with open_offline(ColourPredictor(), TrackerSettings(), open_recording(str(film))) as opened:
        yield opened


@pytest.mark.parametrize("frame", [0, 5, LENGTH - 1], ids=["first", "middle", "last"])
def test_an_object_shown_on_any_frame_is_tracked_in_all(recording: OfflineTracker, frame: int) -> None:
    assert recording.show(frame, on(RED, frame)) == 1
    results = list(recording.results())
    assert [result.frame.index for result in results] == list(range(LENGTH))
    for result in results:
        (track,) = result.tracks
        assert np.array_equal(track.mask, area(result.frame.image, RED))


def test_objects_shown_on_different_frames_are_merged(recording: OfflineTracker) -> None:
    recording.show(3, on(RED, 3))
    recording.show(8, replace(on(GREEN, 8), label="plant"))
    for result in recording.results(2, 10):
        assert [(track.object_id, track.label) for track in result.tracks] == [(1, ""), (2, "plant")]
        for track, colour in zip(result.tracks, (RED, GREEN), strict=True):
            assert np.array_equal(track.mask, area(result.frame.image, colour))


def test_nothing_is_tracked_that_is_not_wanted(recording: OfflineTracker) -> None:
    recording.show(0, on(RED, 0))
    assert recording.update() == LENGTH  # nothing lies before the first frame
    assert recording.update() == 0
    recording.show(5, on(GREEN, 5))
    assert recording.update() == (LENGTH - 5) + 6  # forwards from 5; backwards from 5 to 0
    recording.forget(2)
    assert recording.update() == 0
    assert [len(result.tracks) for result in recording.results()] == [1] * LENGTH


def test_a_correction_mends_both_sides_up_to_half_way(tmp_path: Path) -> None:
    """What is red turns green in frame 4; from 5 on a click on it in frame 9 is nearer than that on red."""

    def turning(index: int) -> list[Square]:
        return [(RED if index < 4 else GREEN, 32, 16, 16)]

    film = write_film(tmp_path / "turning", turning)
    with open_offline(ColourPredictor(), TrackerSettings(), open_recording(str(film))) as recording:
        click = ((0.4, 0.4),)
        recording.show(0, Prompt(points=click, labels=(True,)))
        assert [result.tracks[0].mask.any() for result in recording.results()] == [True] * 4 + [False] * 8
        recording.show(9, Correct(object_id=1, points=click, labels=(True,)))
        assert [result.tracks[0].mask.any() for result in recording.results()] == [True] * 4 + [False] + [
            True
        ] * 7


def test_a_correction_tracks_again_only_what_comes_after_it_in_each_direction(tmp_path: Path) -> None:
    film = write_film(tmp_path / "long", lambda index: [(RED, index % 60, 0, 16), (BLUE, 64, 32, 16)], 60)
    model = ColourPredictor()
    with open_offline(model, TrackerSettings(), open_recording(str(film))) as recording:
        recording.show(0, Prompt(points=((0.1, 0.1),), labels=(True,)))
        recording.show(0, Prompt(points=((0.75, 0.7),), labels=(True,)))
        assert recording.update() == 60
        model.calls.clear()
        recording.show(50, Correct(object_id=1, points=((54 / 96, 0.1),), labels=(True,)))
        stepped = recording.update()
        assert stepped == (60 - 48) + (50 - 26 + 1)  # from the snapshot before frame 48; from 50 back to 26
        assert max(count for verb, count in model.calls if verb == "propagate") == 1  # blue stays as it is


def test_what_only_says_no_is_no_beginning(recording: OfflineTracker) -> None:
    recording.show(6, on(RED, 6))
    recording.show(2, Correct(object_id=1, points=((0.99, 0.99),), labels=(False,)))
    assert len(list(recording.results())) == LENGTH


@pytest.mark.parametrize(
    ("frame", "shown", "said"),
    [
        (LENGTH, Prompt(box=(0, 0, 1, 1)), "there is no frame 12: the recording has 12"),
        (0, Correct(object_id=7, box=(0, 0, 1, 1)), "there is no object 7 to correct"),
        (0, Prompt(points=((0.5, 0.5),), labels=(False,)), "a new object needs a box"),
        (0, Prompt(mask=np.ones((3, 4), np.bool_)), "the mask is 4x3 but the frame is 96x64"),
        (0, Prompt(mask=np.zeros((64, 96), np.bool_)), "the mask is empty"),
        (0, Prompt(box=(0, 0, 1, 1), object_id=-1), "ids count from 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    recording: OfflineTracker, frame: int, shown: Prompt | Correct, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        recording.show(frame, shown)
    assert recording.update() == 0
    with pytest.raises(ValueError, match="there is no object 3"):
        recording.forget(3)


def test_an_update_that_is_interrupted_goes_on_where_it_stopped(recording: OfflineTracker) -> None:
    recording.show(4, on(RED, 4))

    def stop(stepped: int) -> None:
        if stepped == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recording.update(stop)
    assert [len(recording.tracks(frame)) for frame in (4, 10, 11, 0)] == [1, 1, 0, 0]
    recording.update()
    assert [len(recording.tracks(frame)) for frame in range(LENGTH)] == [1] * LENGTH


def test_what_is_shown_on_the_first_frame_is_tracked_as_in_a_stream(film: Path) -> None:
    tracker = ks.Tracker(network("nano"), settings=ALWAYS)
    prompt = Prompt(mask=area(paint(moving(0)), RED))
    with tracker.offline(film) as recording:
        recording.show(0, prompt)
        assert told(recording.results()) == told(tracker.track(film, [prompt]))


def told(results: Iterable[Result]) -> list[tuple[object, ...]]:
    """Everything that is said of every object."""

    def one(track: Track) -> tuple[object, ...]:
        scores = track.confidence, track.iou, track.presence, track.stability, track.margin
        return track.object_id, track.mask.tobytes(), track.box, track.state, scores

    return [tuple(one(track) for track in result.tracks) for result in results]


shown_somewhere = some.lists(
    some.tuples(
        some.integers(0, LENGTH - 1),
        some.integers(1, 2),
        some.sampled_from(
            [
                Prompt(box=(0.1, 0.1, 0.5, 0.6)),
                Prompt(points=((0.6, 0.6), (0.2, 0.9)), labels=(True, False)),
                Prompt(mask=np.tri(64, 96, dtype=np.bool_)),
            ]
        ),
    ),
    min_size=2,
    max_size=4,
)


@settings(max_examples=4, deadline=None)
@given(shown=shown_somewhere)
@pytest.mark.parametrize("name", NAMES)
def test_tracking_again_from_a_change_equals_a_run_from_scratch(
    name: str, shown: list[tuple[int, int, Prompt]]
) -> None:
    """Prompts given all at once, and one by one with tracking in between: the same to the bit."""
    model = network(name)
    film = open_recording(f"test://?frames={LENGTH}&size=96x64")
    with open_offline(model, ALWAYS, film) as at_once, open_offline(model, ALWAYS, film) as bit_by_bit:
        for sweep in bit_by_bit._sweeps:
            sweep.snapshots.spacing = 2
        for frame, object_id, prompt in shown:
            at_once.show(frame, replace(prompt, object_id=object_id))
            bit_by_bit.show(frame, replace(prompt, object_id=object_id))
            bit_by_bit.update()
        assert told(at_once.results()) == told(bit_by_bit.results())


def test_pictures_of_different_sizes_are_tracked_as_one_recording(tmp_path: Path) -> None:
    folder = tmp_path / "sizes"
    folder.mkdir()
    for index in range(40):
        size = (64, 96) if index < 12 else (96, 96)
        picture = paint([(RED, index % 20, 0, 16), (GREEN, 60, 40, 16)], size)
        cv2.imwrite(str(folder / f"{index:03}.png"), picture[..., ::-1])
    red = Prompt(object_id=1, points=((8 / 96, 8 / 64),), labels=(True,))
    green = Prompt(object_id=2, points=((68 / 96, 48 / 96),), labels=(True,))
    with open_offline(ColourPredictor(), TrackerSettings(), open_recording(str(folder))) as tracker:
        for frame, shown in ((0, [red]), (20, [green]), (36, [red, green])):
            for prompt in shown:
                tracker.show(frame, prompt)
            tracker.update()
        assert all(len(result.tracks) == 2 for result in tracker.results())


def test_a_snapshot_counts_all_the_tensors_that_it_holds() -> None:
    model = network("nano")
    first, second = (model.encode_image(torch.rand(1, 3, 64, 64)) for _ in range(2))
    related = model.relate(second, first)
    assert related.motion is not None
    parts = (*related.levels, *related.motion)
    snapshot = Snapshot({}, (64, 64), related._replace(images=None))
    assert snapshot.nbytes == sum(part.numel() * part.element_size() for part in parts)


def test_snapshots_are_bounded_in_number_and_in_bytes(film: Path) -> None:
    with open_offline(ColourPredictor(), TrackerSettings(), open_recording(str(film))) as recording:
        recording.show(0, on(RED, 0))
        recording.update()
        (row,) = recording._sweeps[0].snapshots.at.values()
    few = Snapshots(capacity=3 * row.nbytes, spacing=1)
    many = Snapshots(capacity=10**9, spacing=1)
    for snapshots in (few, many):
        for position in range(1, 500):
            if position % snapshots.spacing == 0:
                snapshots.at[position] = row
                snapshots.thin()
    assert 1 <= len(few.at) <= 3
    assert few.nbytes <= few.capacity
    assert 32 < len(many.at) <= 64
    gaps = np.diff(sorted(many.at))
    assert gaps.max() == gaps.min() == many.spacing
