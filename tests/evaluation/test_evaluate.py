"""Scoring methods over sequences on disk, and what the report says."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from rich.console import Console
from rich.table import Table

from keepsight.streams.types import Image
from keepsight.tracker.evaluation import report as reports
from keepsight.tracker.evaluation.davis import find_sequences
from keepsight.tracker.evaluation.evaluate import Observer, Progress, ScoredFrame, silent
from keepsight.tracker.evaluation.evaluate import evaluate as runs
from keepsight.tracker.evaluation.propagator import FirstMasks, IndexMap, Propagator

SIZE = (40, 60)
LENGTH = 8


def square(object_id: int, left: int) -> IndexMap:
    made = np.zeros(SIZE, np.uint8)
    made[10:30, left : left + 20] = object_id
    return made


def write_sequence(folder: Path, maps: Iterable[IndexMap | None]) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for frame, index_map in enumerate(maps):
        cv2.imwrite(str(folder / f"images/{frame:03}.png"), np.full((*SIZE, 3), frame, np.uint8))
        if index_map is not None:
            cv2.imwrite(str(folder / f"masks/{frame:03}.png"), index_map)


def saying(maps: Iterable[IndexMap]) -> Propagator:
    def method(images: Sequence[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
        return iter(list(maps))

    return method


def evaluate(
    folder: Path,
    methods: Mapping[str, Propagator],
    progress: Callable[[Progress], None] = silent,
    observers: Sequence[Observer] = (),
) -> reports.Report:
    """The report once all runs are finished."""
    dataset = find_sequences(folder)
    report = reports.Report.begin(str(folder), methods, dataset.without_masks, "mask")
    for run in runs(dataset, methods, progress, observers):
        report = report.with_run(run)
    return report


def printed(table: Table) -> str:
    console = Console(width=120, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def test_the_truth_scores_100_and_nothing_scores_0(tmp_path: Path) -> None:
    truth = [square(1, 5)] * LENGTH
    write_sequence(tmp_path / "still", truth)
    methods = {"truth": saying(truth), "nothing": saying([square(0, 0)] * LENGTH)}
    report = evaluate(tmp_path, methods)
    scores = {method.name: reports.mean_score(method.objects) for method in report.methods}
    assert scores["truth"] == (1, 1)
    assert scores["nothing"] == (0, 0)
    assert report.sequences == ("still",)


def test_the_first_and_the_last_frame_are_not_scored(tmp_path: Path) -> None:
    truth = [square(1, 5)] * LENGTH
    write_sequence(tmp_path / "still", truth)
    blank = square(0, 0)
    report = evaluate(tmp_path, {"method": saying([blank, *truth[1:-1], blank])})
    (scores,) = report.methods[0].objects
    assert [score.frame for score in scores.frames] == [1, 2, 3, 4, 5, 6]
    assert reports.mean_score([scores]).jf == 1


def test_frames_without_annotation_are_not_scored(tmp_path: Path) -> None:
    write_sequence(tmp_path, [square(1, 5) if frame % 3 == 0 else None for frame in range(LENGTH)])
    report = evaluate(tmp_path, {"method": saying([square(1, 5)] * LENGTH)})
    assert [score.frame for score in report.methods[0].objects[0].frames] == [3, 6]


def test_a_late_object_is_scored_after_the_frame_of_its_first_mask(tmp_path: Path) -> None:
    late = square(1, 5) + square(2, 30)
    write_sequence(tmp_path, [square(1, 5)] * 4 + [late] * 4)
    given: dict[int, IndexMap] = {}

    def method(images: Sequence[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
        given.update(first_masks)
        return iter([square(1, 5)] * LENGTH)

    report = evaluate(tmp_path, {"method": method})
    assert np.array_equal(given[4], square(2, 30))
    second = report.methods[0].objects[1]
    assert [(score.frame, score.j) for score in second.frames] == [(5, 0), (6, 0)]


def test_an_object_that_is_hidden_scores_1_where_nothing_is_claimed(tmp_path: Path) -> None:
    truth = [square(1, 5), square(0, 0), square(0, 0), square(1, 5)]
    write_sequence(tmp_path, truth)
    report = evaluate(tmp_path, {"honest": saying(truth), "stubborn": saying([square(1, 5)] * 4)})
    honest, stubborn = (reports.mean_score(method.objects) for method in report.methods)
    assert (honest.jf, stubborn.jf) == (1, 0)


def test_quarters_say_when_a_method_loses_its_object(tmp_path: Path) -> None:
    write_sequence(tmp_path, [square(1, 5)] * LENGTH)
    report = evaluate(tmp_path, {"short": saying([square(1, 5)] * 4 + [square(0, 0)] * 4)})
    objects = report.methods[0].objects
    assert [reports.quarter_score(objects, quarter).j for quarter in range(4)] == [1, 1, 0, 0]


def test_the_overall_score_is_a_mean_over_objects_not_over_frames_or_sequences(tmp_path: Path) -> None:
    pair = square(1, 0) + square(2, 30)
    write_sequence(tmp_path / "pair", [pair] * 4)
    write_sequence(tmp_path / "single", [square(1, 5)] * 12)

    def right_on_pairs(images: Iterable[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
        known = first_masks[0]
        return (known if known.max() == 2 else np.zeros_like(known) for _ in images)

    report = evaluate(tmp_path, {"method": right_on_pairs})
    assert reports.mean_score(report.methods[0].objects).j == pytest.approx(2 / 3)


@pytest.mark.parametrize("count", [LENGTH - 1, LENGTH + 1])
def test_a_method_must_give_one_map_per_frame(tmp_path: Path, count: int) -> None:
    write_sequence(tmp_path, [square(1, 5)] * LENGTH)
    with pytest.raises(ValueError, match=f"8 frames, but the method gave {count} maps"):
        evaluate(tmp_path, {"method": saying([square(1, 5)] * count)})


def test_a_map_of_another_size_is_an_error_that_names_the_frame(tmp_path: Path) -> None:
    write_sequence(tmp_path, [square(1, 5)] * LENGTH)
    with pytest.raises(ValueError, match="frame 1 has a map of"):
        evaluate(tmp_path, {"method": saying([np.zeros((4, 4), np.uint8)] * LENGTH)})


def test_a_sequence_with_nothing_between_its_first_masks_and_its_end_cannot_be_scored(tmp_path: Path) -> None:
    write_sequence(tmp_path, [square(1, 5), None, None, square(1, 5)])
    with pytest.raises(ValueError, match="no annotated frame to score"):
        evaluate(tmp_path, {"method": saying([square(1, 5)] * 4)})


def test_progress_counts_every_frame_of_every_method_and_sequence(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sequence(tmp_path / name, [square(1, 5)] * 3)
    told: list[Progress] = []
    evaluate(tmp_path, {name: saying([square(1, 5)] * 3) for name in ("x", "y")}, told.append)
    assert [one.done for one in told] == list(range(1, 13))
    assert {one.total for one in told} == {12}
    assert told[0] == Progress("x", "a", 1, 12)


@pytest.fixture
def report(tmp_path: Path) -> reports.Report:
    write_sequence(tmp_path / "still", [square(1, 5)] * LENGTH)
    (tmp_path / "bare/images").mkdir(parents=True)
    half = saying([square(1, 5)] * 4 + [square(0, 0)] * 4)
    return evaluate(tmp_path, {"nano": saying([square(1, 5)] * LENGTH), "half": half})


def test_the_table_has_the_methods_of_a_sequence_under_each_other_and_then_of_all(
    report: reports.Report,
) -> None:
    text = printed(reports.table(report))
    rows = [line.replace("│", " ").split() for line in text.splitlines() if "nano" in line or "half" in line]
    assert rows[0] == ["still", "nano", *["100.0"] * 7]
    assert rows[1] == ["half", "50.0", "50.0", "50.0", "100.0", "100.0", "0.0", "0.0"]
    assert rows[2][:3] == ["all", "nano", "100.0"]
    assert "not scored, for want of masks: bare" in text


def test_the_object_table_has_the_methods_side_by_side(report: reports.Report) -> None:
    assert ["still", "1", "100.0", "50.0"] in [
        line.replace("│", " ").split() for line in printed(reports.object_table(report)).splitlines()
    ]


def test_the_csv_and_the_json_hold_all_sequences_and_objects(report: reports.Report) -> None:
    rows = list(csv.DictReader(StringIO(reports.as_csv(report))))
    assert [(row["method"], row["sequence"], row["object"]) for row in rows[3:]] == [
        ("half", "all", "all"),
        ("half", "still", "all"),
        ("half", "still", "1"),
    ]
    assert (rows[5]["J&F"], rows[5]["frames"], rows[5]["Q4"]) == ("50.0", "6", "0.0")
    parsed = orjson.loads(reports.as_json(report, {}))
    assert parsed["methods"][1]["scores"][2]["J"] == 50
    assert parsed["methods"][1]["scores"][2]["quarters"][3] == {"J&F": 0, "J": 0, "F": 0}


def test_a_quarter_without_scored_frames_is_a_dash_and_null(tmp_path: Path) -> None:
    write_sequence(tmp_path, [square(1, 5)] * 3)
    short = evaluate(tmp_path, {"method": saying([square(1, 5)] * 3)})
    assert reports.as_csv(short).splitlines()[1].endswith("-,100.0,-,-")
    assert orjson.loads(reports.as_json(short, {}))["methods"][0]["scores"][0]["quarters"][0]["J"] is None


def test_what_is_finished_is_told_though_a_later_sequence_is_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sequence(tmp_path / name, [square(1, 5)] * 4)
    methods = {name: saying([square(1, 5)] * 4) for name in ("x", "y")}
    coming = runs(find_sequences(tmp_path), methods)
    report = reports.Report.begin("", methods, (), "mask")
    for _ in range(3):
        report = report.with_run(next(coming))
    rows = [line.replace("│", " ").split() for line in printed(reports.object_table(report)).splitlines()]
    assert ["a", "1", "100.0", "100.0"] in rows
    assert ["b", "1", "100.0", "-"] in rows
    assert ",b,all,0,-" in reports.as_csv(report)


def test_observers_see_every_scored_frame_with_what_was_said_and_what_is_true(tmp_path: Path) -> None:
    write_sequence(tmp_path / "still", [square(3, 5)] * 4)
    seen: list[ScoredFrame] = []
    evaluate(tmp_path, {"half": saying([square(3, 15)] * 4)}, observers=[seen.append])
    assert [(one.method, one.sequence.name, one.frame) for one in seen] == [
        ("half", "still", n) for n in (1, 2)
    ]
    assert seen[0].scores[3].j == pytest.approx(1 / 3)
    assert np.array_equal(seen[0].truth, square(3, 5))
    assert np.array_equal(seen[0].predicted, square(3, 15))


def test_a_later_mask_of_another_size_than_its_picture_is_an_error_that_names_the_file(
    tmp_path: Path,
) -> None:
    write_sequence(tmp_path, [square(1, 5)] * 4)
    cv2.imwrite(str(tmp_path / "masks/002.png"), np.ones((4, 6), np.uint8))
    with pytest.raises(ValueError, match=r"002\.png: the mask is 6x4, its picture 60x40"):
        evaluate(tmp_path, {"method": saying([square(1, 5)] * 4)})
