"""Scoring tracks: methods that follow boxes, and instance masks, down to the report."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from rich.console import Console

from keepsight.streams.types import Frame, Image, Refusal, Result, Track
from keepsight.tracker.evaluation import tracking_report as reports
from keepsight.tracker.evaluation.baselines import keep_first_mask
from keepsight.tracker.evaluation.box_methods import (
    BoxFollower,
    FirstBoxes,
    boxes_around,
    by_masks,
    filled_map,
    follow_with_tracker,
)
from keepsight.tracker.evaluation.evaluate import Progress, ScoredFrame, evaluate
from keepsight.tracker.evaluation.labelled import LabelledSequence
from keepsight.tracker.evaluation.mot import BoxDataset, Boxes, find_boxes
from keepsight.tracker.evaluation.mots import find_instances
from keepsight.tracker.evaluation.propagator import FirstMasks, IndexMap
from keepsight.tracker.evaluation.report import FrameScore, ObjectScores, Report, Run
from keepsight.tracker.evaluation.report import as_csv as masks_csv
from keepsight.tracker.evaluation.tracks import ScoredBoxes, TrackTally, evaluate_boxes

pytest.importorskip("trackeval", reason="installed by make dev")

SIZE = (40, 60)


def box(left: float) -> tuple[float, float, float, float]:
    return (left, 10, left + 20, 30)


def write_mot(folder: Path, lines: Sequence[str], frames: int) -> BoxDataset:
    (folder / "img1").mkdir(parents=True)
    for frame in range(1, frames + 1):
        cv2.imwrite(str(folder / f"img1/{frame:06}.png"), np.full((*SIZE, 3), frame, np.uint8))
    (folder / "gt.txt").write_text("\n".join(lines) + "\n")
    return find_boxes(folder)


def single(folder: Path, frames: int = 5) -> BoxDataset:
    """One object that stays at box(10)."""
    return write_mot(folder, [f"{frame},1,11,11,20,20,1" for frame in range(1, frames + 1)], frames)


def saying(*boxes: Boxes) -> BoxFollower:
    def follow(images: Sequence[Image], first_boxes: FirstBoxes) -> Iterator[Boxes]:
        return iter(boxes)

    return follow


def report_of(dataset: BoxDataset, follower: BoxFollower) -> reports.TrackingReport:
    report = reports.TrackingReport("set", ("nano",), (), dataset.without_boxes)
    for run in evaluate_boxes(dataset, {"nano": follower}, lambda at: None):
        report = report.with_run(run)
    return report


def test_the_frame_of_the_first_box_is_not_scored_for_its_object(tmp_path: Path) -> None:
    """Of 5 frames 4 count: 3 right and 1 missed make DetA 3 / 4 and MOTA 3 / 4; success 3 / 4 of 20 / 21."""
    right = {1: box(10)}
    report = report_of(single(tmp_path), saying({}, right, right, right, {}))
    hota, deta, assa, idf1, mota, success, precision = report.values("nano", reports.OVERALL)
    assert (deta, mota, precision) == pytest.approx((0.75, 0.75, 0.75))
    assert assa == pytest.approx(0.75)
    assert hota == pytest.approx(0.75)
    assert idf1 == pytest.approx(6 / 7)
    assert success == pytest.approx(0.75 * 20 / 21)


def test_a_track_that_goes_on_where_its_object_is_gone_is_a_false_claim(tmp_path: Path) -> None:
    dataset = write_mot(tmp_path, ["1,1,11,11,20,20", "2,1,11,11,20,20"], 3)
    report = report_of(dataset, saying(*[{1: box(10)}] * 3))
    assert report.values("nano", reports.OVERALL)[4] == pytest.approx(0)  # 1 - 1 / 1
    assert len(report.runs[0].overlaps) == 2
    assert report.runs[0].success == (pytest.approx(20 / 21),)


def test_tracks_that_change_places_are_a_change_of_identity(tmp_path: Path) -> None:
    lines = [f"{frame},{one},{left},11,20,20" for frame in range(1, 6) for one, left in ((1, 1), (2, 36))]
    right, wrong = {1: box(0), 2: box(35)}, {1: box(35), 2: box(0)}
    report = report_of(write_mot(tmp_path, lines, 5), saying(right, right, right, wrong, wrong))
    hota, deta, assa, idf1, mota, *_ = report.values("nano", reports.OVERALL)
    assert deta == 1
    assert (idf1, mota) == pytest.approx((0.5, 1 - 2 / 8))
    assert assa == pytest.approx(1 / 3)  # 2 matches of 4 + 4 - 2 frames
    assert hota == pytest.approx(np.sqrt(1 / 3))


@pytest.mark.parametrize("count", [4, 6])
def test_a_method_must_give_boxes_for_every_frame(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match=f"5 frames, but the method gave {count}"):
        report_of(single(tmp_path), saying(*[{}] * count))


def test_progress_and_observers_hear_of_every_frame(tmp_path: Path) -> None:
    heard: list[Progress] = []
    seen: list[ScoredBoxes] = []
    methods = {"a": saying(*[{1: box(12)}] * 5)}
    list(evaluate_boxes(single(tmp_path), methods, heard.append, [seen.append]))
    assert [one.done for one in heard] == [1, 2, 3, 4, 5]
    assert [one.frame for one in seen] == [1, 2, 3, 4]
    assert (seen[0].predicted, seen[0].truth) == ({1: box(12)}, {1: box(10)})


def test_a_tracker_is_shown_boxes_in_fractions_and_its_boxes_are_in_pixels() -> None:
    images = [np.zeros((*SIZE, 3), np.uint8)] * 2
    mask = np.zeros(SIZE, np.bool_)

    def tracking(images: Sequence[Image], prompts: Sequence[object]) -> Iterator[Result]:
        for index, image in enumerate(images):
            seen = Track(7, "", mask, (0.5, 0.25, 1, 0.5), "tracked", *[1.0] * 5)
            hidden = Track(8, "", mask, None, "occluded", *[0.0] * 5)
            given.append(prompts)
            yield Result(Frame(image, index, 0, 0.0, 0.0, "generated", 0.0), (seen, hidden))

    given: list[object] = []
    boxes = list(follow_with_tracker(tracking, images, {1: {7: (30.0, 10.0, 60.0, 20.0)}}))
    (prompt,) = given[0]  # type: ignore[misc]
    assert (prompt.object_id, prompt.box, prompt.frame_ref) == (7, (0.5, 0.25, 1, 0.5), (0, 1))
    assert boxes == [{7: (30, 10, 60, 20)}] * 2


def test_a_refused_box_stops_the_evaluation() -> None:
    def full(images: Sequence[Image], prompts: Sequence[object]) -> Iterator[Result]:
        frame = Frame(images[0], 0, 0, 0.0, 0.0, "generated", 0.0)
        yield Result(frame, refusals=(Refusal(prompts[0], "no free slot"),))  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="no free slot"):
        list(follow_with_tracker(full, [np.zeros((*SIZE, 3), np.uint8)], {0: {1: box(0)}}))


def test_a_propagator_of_masks_follows_boxes_with_smaller_ones_on_top() -> None:
    small, large = (12.0, 12.0, 20.0, 20.0), box(10)
    assert boxes_around(filled_map({1: small, 300: large}, SIZE)) == {1: small, 300: large}
    images = [np.zeros((*SIZE, 3), np.uint8)] * 2
    assert (
        list(by_masks(keep_first_mask)(images, {0: {1: small, 300: large}})) == [{1: small, 300: large}] * 2
    )


def masks(sequence: str, frame: int, truth: IndexMap, said: IndexMap, *ids: int) -> ScoredFrame:
    found = LabelledSequence(sequence, (), ())
    return ScoredFrame("nano", found, frame, said, truth, {one: FrameScore(frame, 0, 0) for one in ids})


def test_instance_masks_are_tracks_of_the_objects_that_had_begun() -> None:
    truth, nothing = np.zeros(SIZE, np.uint16), np.zeros(SIZE, np.uint16)
    truth[:20], truth[20:] = 2001, 2002
    tally = TrackTally()
    tally(masks("a", 1, truth, truth, 2001))
    tally(masks("a", 2, truth, nothing, 2001, 2002))
    run = tally.run("nano", "a")
    assert [frame.truth for frame in run.overlaps] == [(2001,), (2001, 2002)]
    report = reports.TrackingReport("set", ("nano",), (run,))
    assert report.columns == ("HOTA", "DetA", "AssA", "IDF1", "MOTA")
    assert report.values("nano", "a")[1] == pytest.approx(1 / 3)


def test_what_is_claimed_on_pixels_that_do_not_count_is_not_held_against_a_method(tmp_path: Path) -> None:
    instances = np.zeros(SIZE, np.uint16)
    instances[:10], instances[30:] = 2001, 10000
    for folder in ("images", "instances"):
        (tmp_path / folder / "one").mkdir(parents=True)
    for frame in range(3):
        cv2.imwrite(str(tmp_path / f"images/one/{frame}.jpg"), np.zeros((*SIZE, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f"instances/one/{frame}.png"), instances)

    def greedy(images: Sequence[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
        return (np.where(instances > 0, np.uint16(2001), np.uint16(0)) for _ in images)

    (run,) = evaluate(find_instances(tmp_path), {"greedy": greedy})
    assert [(one.frame, one.j) for one in run.objects[0].frames] == [(1, 1), (2, 1)]


def test_the_csv_of_masks_has_the_tracks_where_they_are_means_and_is_even() -> None:
    truth = np.ones(SIZE, np.uint16)
    tally = TrackTally()
    tally(masks("a", 1, truth, truth, 1))
    tracking = reports.TrackingReport("set", ("nano",), (tally.run("nano", "a"),))
    run = Run("nano", (ObjectScores("a", 1, 3, (FrameScore(1, 1, 1),)),), 3, 1.0)
    report = Report.begin("set", ["nano"], (), "mask").with_run(run)
    header, *rows = csv.reader(StringIO(masks_csv(report, tracking)))
    assert header[-5:] == ["HOTA", "DetA", "AssA", "IDF1", "MOTA"]
    assert [(row[2], row[-5:]) for row in rows] == [
        ("all", ["100.0"] * 5),
        ("all", ["100.0"] * 5),
        ("1", [""] * 5),
    ]


def test_the_report_has_a_row_for_each_sequence_and_one_over_all(tmp_path: Path) -> None:
    report = report_of(single(tmp_path / "still"), saying(*[{1: box(10)}] * 5))
    console = Console(width=140, record=True, file=StringIO())
    console.print(reports.tracking_table(report))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["still", "nano", *["100.0"] * 5, "95.2", "100.0"] in lines
    rows = list(csv.DictReader(StringIO(reports.as_csv(report))))
    assert [(row["sequence"], row["frames"], row["HOTA"]) for row in rows] == [
        ("all", "4", "100.0"),
        ("still", "4", "100.0"),
    ]
    parsed = orjson.loads(reports.as_json(report, {"layout": "mot"}))
    assert parsed["layout"] == "mot"
    assert parsed["tracking"][1]["success"] == pytest.approx(100 * 20 / 21)


def test_a_method_that_was_interrupted_has_dashes_and_null(tmp_path: Path) -> None:
    report = reports.TrackingReport(
        "set", ("nano", "late"), report_of(single(tmp_path), saying(*[{}] * 5)).runs
    )
    assert report.cells("late", reports.OVERALL) == ["-"] * 7
    assert orjson.loads(reports.as_json(report, {}))["tracking"][-1]["HOTA"] is None
