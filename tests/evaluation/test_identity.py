"""Whether identities are kept in hard scenes, judged of trackers that the test makes up."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from io import StringIO
from math import inf

import numpy as np
import orjson
import pytest
from rich.console import Console

from keepsight.streams.sources.hard_scenes import AWAY, FRAMES, KINDS, HardKind, HardScene, make_hard_scene
from keepsight.streams.types import Frame, Image, Mask, Prompt, Result, Track
from keepsight.tracker.evaluation import identity_report as reports
from keepsight.tracker.evaluation.evaluate import Progress
from keepsight.tracker.evaluation.film import WorstScenes, film_sheet, remark
from keepsight.tracker.evaluation.identity import (
    FILMED,
    Delays,
    Film,
    Outcome,
    Subject,
    delays,
    first_mask,
    follow_scenes,
    judge,
)
from keepsight.tracker.evaluation.propagator import IndexMap, show_masks

VISIBLE = 0.5
Claim = tuple[Mask, float]
"""A mask and a presence."""
Tracker = Callable[[int, IndexMap], dict[int, Claim]]
"""What is said of each object, from a frame's index and its truth."""


def perfect(index: int, truth: IndexMap) -> dict[int, Claim]:
    return {one: (truth == one, float((truth == one).any())) for one in (1, 2)}


def swapping(index: int, truth: IndexMap) -> dict[int, Claim]:
    """Right until the middle of the scene, then each id on the other object."""
    said = perfect(index, truth)
    return {1: said[2], 2: said[1]} if index >= FRAMES // 2 else said


def stubborn(index: int, truth: IndexMap) -> dict[int, Claim]:
    """Right where there is something to see, and sure of it where there is nothing."""
    return {one: (mask, 1.0) for one, (mask, _) in perfect(index, truth).items()}


def late(by: int, seed: int = 0) -> Tracker:
    """Sees what was `by` frames ago."""
    scene = made("occlusion", seed)
    return lambda index, truth: perfect(index, scene.truth(max(0, index - by)))


@lru_cache(maxsize=9)
def made(kind: HardKind, seed: int) -> HardScene:
    return make_hard_scene(kind, seed)


def result(index: int, said: dict[int, Claim], image: Image) -> Result:
    frame = Frame(image, index, 0, index / 25, 0.0, "generated", 0.0)
    tracks = (
        Track(one, "", mask, None, "tracked", 1.0, 1.0, presence, 1.0, 1.0)
        for one, (mask, presence) in said.items()
    )
    return Result(frame, tuple(tracks))


def outcome(tracker: Tracker, kind: HardKind = "occlusion", seed: int = 0) -> Outcome:
    scene = made(kind, seed)
    blank = np.zeros((*scene.scene.size, 3), np.uint8)
    told = (result(index, tracker(index, scene.truth(index)), blank) for index in range(FRAMES))
    return judge(scene, told, VISIBLE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_tracker_keeps_every_identity_in_time(kind: HardKind) -> None:
    one = outcome(perfect, kind)
    assert one.right
    assert one.mean_j == 1
    assert one.delays == (None if kind == "crossing" else Delays(1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_tracker_that_swaps_ids_is_wrong_though_every_object_has_a_mask(kind: HardKind) -> None:
    one = outcome(swapping, kind)
    assert not one.right
    assert [scores.mean_j for scores in one.settled] == [0, 0]
    assert all(scores.strayed for scores in one.settled)


def test_a_tracker_that_never_reports_absence_is_late_for_ever_though_its_masks_are_right() -> None:
    one = outcome(stubborn)
    assert one.right
    assert one.delays == Delays(inf, inf)


@pytest.mark.parametrize("by", [1, 2, 7])
def test_delays_count_the_first_frame_without_the_object_and_the_first_with_it_as_one(by: int) -> None:
    assert outcome(late(by)).delays == Delays(1 + by, 1 + by)


@pytest.mark.parametrize(("part", "right"), [(0.55, True), (0.45, False)])
def test_half_of_each_object_is_enough_and_less_is_not(part: float, right: bool) -> None:
    """The part of an object's pixels that is found is its IoU."""

    def partial(index: int, truth: IndexMap) -> dict[int, Claim]:
        said = perfect(index, truth)
        return {one: (part_of(mask, part), presence) for one, (mask, presence) in said.items()}

    assert outcome(partial, "exit").right == right


def part_of(mask: Mask, part: float) -> Mask:
    kept = np.zeros_like(mask)
    pixels = np.flatnonzero(mask)
    kept.ravel()[pixels[: round(part * len(pixels))]] = True
    return kept


def test_an_id_on_the_wall_in_the_end_is_on_another_object() -> None:
    """Its mask covers its own object, too, and most of it lies elsewhere."""

    def greedy(index: int, truth: IndexMap) -> dict[int, Claim]:
        said = perfect(index, truth)
        return {**said, 1: (np.isin(truth, (1, 3)), 1.0)}

    one = outcome(greedy)
    assert not one.right
    assert [bool(scores.strayed) for scores in one.settled] == [True, False]


def test_a_scene_that_was_not_followed_to_its_end_is_refused() -> None:
    scene = made("exit", 0)
    with pytest.raises(ValueError, match="exit 0: 100 frames, but the tracker gave 0 results"):
        judge(scene, (), VISIBLE)


@pytest.mark.parametrize(
    ("seen", "said", "expected"),
    [
        ("110011", "110011", Delays(1, 1)),
        ("110011", "100111", Delays(1, inf)),  # up again before there was anything to see
        ("11000011", "11110001", Delays(3, 2)),
        ("110011", "110000", Delays(1, inf)),
        ("110011", "111111", Delays(inf, inf)),
    ],
)
def test_delays_of_short_stories(seen: str, said: str, expected: Delays) -> None:
    assert delays([c == "1" for c in seen], [c == "1" for c in said]) == expected


def test_only_what_is_followed_is_shown() -> None:
    assert set(np.unique(made("occlusion", 0).truth(0))) == {0, 1, 2, 3}
    assert set(np.unique(first_mask(made("occlusion", 0)))) == {0, 1, 2}


def test_scenes_of_every_kind_and_seed_are_followed_and_each_frame_is_told() -> None:
    shown: list[Sequence[Prompt]] = []

    def track(images: Iterable[Image], prompts: Sequence[Prompt]) -> Iterator[Result]:
        scene = made(KINDS[len(shown) % 3], len(shown) // 3)
        shown.append(prompts)
        for index, image in enumerate(images):
            yield result(index, perfect(index, scene.truth(index)), image)

    told: list[Progress] = []
    films = list(follow_scenes(Subject("made up", track, show_masks, VISIBLE), 2, told.append))
    assert [(film.outcome.kind, film.outcome.seed) for film in films] == [
        (kind, seed) for seed in (0, 1) for kind in KINDS
    ]
    assert all(film.outcome.right for film in films)
    assert [still.frame.index for still in films[0].stills] == list(FILMED)
    assert [[prompt.object_id for prompt in prompts] for prompts in shown] == [[1, 2]] * 6
    assert [one.done for one in told] == list(range(1, 601))
    assert told[-1] == Progress("made up", "exit 1", 600, 600)


@pytest.fixture(scope="module")
def report() -> reports.IdentityReport:
    told = reports.IdentityReport("nano", "box")
    for seed, tracker in enumerate((perfect, stubborn, late(4, 2))):
        told = told.with_outcome(outcome(tracker, "occlusion", seed))
    for seed, tracker in enumerate((perfect, swapping)):
        told = told.with_outcome(outcome(tracker, "crossing", seed))
    return told


def test_the_table_has_a_row_for_each_kind_with_shares_and_medians(report: reports.IdentityReport) -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(reports.table(report))
    rows = [line.split() for line in console.export_text().splitlines()]
    (crossing,) = (row for row in rows if row[:1] == ["crossing"])
    (occlusion,) = (row for row in rows if row[:1] == ["occlusion"])
    assert crossing[1:9] == ["1", "of", "2", "(50%)", "-", "-", "-", "-"]
    assert occlusion[1:4] == ["3", "of", "3"]
    assert occlusion[5:9] == ["33%", "5", "67%", "5"]
    assert not any(row[:1] == ["exit"] for row in rows)


def test_the_csv_and_the_json_hold_every_scene(report: reports.IdentityReport) -> None:
    rows = list(csv.DictReader(StringIO(reports.as_csv(report))))
    assert [(row["scene"], row["seed"], row["right"], row["falls"], row["rises"]) for row in rows] == [
        ("occlusion", "0", "1", "1", "1"),
        ("occlusion", "1", "1", "never", "never"),
        ("occlusion", "2", "1", "5", "5"),
        ("crossing", "0", "1", "", ""),
        ("crossing", "1", "0", "", ""),
    ]
    assert (rows[0]["last J 1"], rows[4]["last J 2"]) == ("100.0", "0.0")
    told = orjson.loads(reports.as_json(report))
    assert [one["scene"] for one in told["kinds"]] == ["crossing", "occlusion"]
    assert told["kinds"][1]["falls in time"] == pytest.approx(100 / 3)
    assert told["kinds"][0]["falls median"] is None
    assert len(told["scenes"]) == 5


def test_a_report_of_nothing_is_empty() -> None:
    assert reports.as_csv(reports.IdentityReport("nano", "mask")).strip() == ""


def test_the_worst_scenes_are_those_that_ended_wrong_and_each_is_a_row_of_frames() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    stills = tuple(result(index, {AWAY: (image[..., 0] > 0, 0.0)}, image) for index in FILMED)
    worst = WorstScenes(2)
    for seed, tracker in enumerate((perfect, swapping, late(4, 2))):
        worst.see(Film(outcome(tracker, "occlusion", seed), stills))
    assert [film.outcome.seed for film in worst.films] == [1, 2]
    assert remark(worst.films[0].outcome).startswith("occlusion 1: wrong; J in the end: #1 0.0, #2 0.0")
    assert remark(worst.films[1].outcome).endswith("score of #1 falls: 5, rises: 5")
    sheet = film_sheet("nano: the worst scenes", worst.films)
    assert sheet.shape[1] == len(FILMED) * 320
    assert sheet.shape[0] > 2 * 240
