"""`keepsight eval --identity`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import csv
import signal
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import cv2
import orjson
import pytest

from keepsight.tracker.cli import identity
from keepsight.tracker.evaluation.evaluate import Progress
from keepsight.tracker.evaluation.identity import Film, Subject, follow_scenes
from tests.tracker.command_line import Keepsight

ASKED = ("eval", "--identity", "--model", "test", "--size", "64", "--seeds", "1")


def test_it_prints_a_row_for_each_kind_of_scene_and_writes_what_it_is_told(
    keepsight: Keepsight, tmp_path: Path
) -> None:
    done = keepsight(*ASKED, "--prompt", "box", "--csv", "x.csv", "--json", "x.json", "--worst", "x.jpg")
    assert (done.code, done.err) == (0, "")
    assert "Identities kept by test, shown a box" in done.out
    rows = [line.split()[:4] for line in done.out.splitlines()]
    for kind in ("crossing", "occlusion", "exit"):
        assert [kind, "0", "of", "1"] in rows
    written = list(csv.DictReader(StringIO((tmp_path / "x.csv").read_text())))
    assert [row["scene"] for row in written] == ["crossing", "occlusion", "exit"]
    assert orjson.loads((tmp_path / "x.json").read_bytes())["prompt"] == "box"
    sheet = cv2.imread(str(tmp_path / "x.jpg"))
    assert sheet is not None
    assert sheet.shape[0] > 3 * 240


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval"], "Invalid value for DATASET: give a folder of labelled videos, or --identity"),
        ([*ASKED, "set"], "DATASET does not go with --identity, which draws its own scenes"),
        ([*ASKED, "--layout", "davis"], "--layout does not go with --identity"),
        ([*ASKED, "--streaming"], "--streaming does not go with --identity"),
        ([*ASKED, "--opencv"], "--opencv does not go with --identity"),
        ([*ASKED, "--calibrate", "x.json"], "--calibrate does not go with --identity"),
        ([*ASKED, "--prompt", "word"], "--prompt word: with --identity it is mask, box, click, clicks"),
        ([*ASKED, "--worst", "x.gif"], "--worst x.gif: must end in .jpg, .jpeg, .png"),
        ([*ASKED, "--seeds", "0"], "Invalid value for '--seeds'"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_a_mistake_is_answered_in_one_line(keepsight: Keepsight, arguments: list[str], said: str) -> None:
    done = keepsight(*arguments)
    assert done.code == 2
    assert said in done.complaint


def test_what_is_finished_is_told_when_it_is_interrupted(
    keepsight: Keepsight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(subject: Subject, seeds: int, progress: Callable[[Progress], None]) -> Iterator[Film]:
        yield next(follow_scenes(subject, seeds, progress))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(identity, "follow_scenes", interrupted)
    done = keepsight(*ASKED, "--csv", "x.csv")
    assert done.code == 130
    assert done.complaint == "interrupted: 1 of 3 runs (a method on a sequence) are finished"
    assert "crossing" in done.out
    assert "occlusion" not in done.out
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 2
