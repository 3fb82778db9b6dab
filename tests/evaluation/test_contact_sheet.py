"""The sheet of the worst moments: which are kept, and what is drawn."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from keepsight.streams.types import Mask
from keepsight.tracker.evaluation import contact_sheet as sheets
from keepsight.tracker.evaluation.contact_sheet import Case, Worst, contact_sheet, crop_of, remark
from keepsight.tracker.evaluation.evaluate import ScoredFrame
from keepsight.tracker.evaluation.labelled import LabelledSequence
from keepsight.tracker.evaluation.mot import BoxSequence
from keepsight.tracker.evaluation.report import FrameScore
from keepsight.tracker.evaluation.tracks import ScoredBoxes

SIZE = (120, 200)
NOWHERE = tuple(Path(f"{frame:05}.png") for frame in range(100))


def scored(frame: int, method: str = "nano", **j: float) -> ScoredFrame:
    """A frame of a sequence with the J of its objects o1, o2, …"""
    scores = {int(name[1:]): FrameScore(frame, value, 0.0) for name, value in j.items()}
    blank = np.zeros((4, 6), np.uint8)
    sequence = LabelledSequence("cat", NOWHERE, (None,) * 100)
    return ScoredFrame(method, sequence, frame, blank, blank, scores)


def kept(worst: Worst) -> list[tuple[int, int, float]]:
    return [(case.object_id, case.frame, case.j) for case in worst.cases]


def test_the_worst_of_all_objects_and_frames_are_kept_worst_first() -> None:
    worst = Worst("nano", 3)
    for frame, first, second in ((0, 0.5, 0.9), (20, 0.1, 0.8), (40, 0.7, 0.3), (60, 0.6, 0.95)):
        worst.masks(scored(frame, o1=first, o2=second))
    assert kept(worst) == [(1, 20, 0.1), (2, 40, 0.3), (1, 0, 0.5)]


def test_neighbouring_frames_of_an_object_are_shown_once_by_their_worst() -> None:
    worst = Worst("nano", 9)
    for frame, j in ((0, 0.4), (5, 0.2), (9, 0.3), (30, 0.5)):
        worst.masks(scored(frame, o1=j, o2=j))
    assert kept(worst) == [(1, 5, 0.2), (2, 5, 0.2), (1, 30, 0.5), (2, 30, 0.5)]


def test_other_methods_and_perfect_masks_are_not_shown() -> None:
    worst = Worst("nano", 9)
    worst.masks(scored(0, "first mask kept", o1=0.0))
    worst.masks(scored(1, o1=1.0))
    assert not worst.cases


def test_boxes_are_judged_by_their_overlap_and_a_claim_without_truth_is_wrong() -> None:
    truth = {1: (0.0, 0.0, 10.0, 10.0)}
    sequence = BoxSequence("cat", NOWHERE, (truth,) * 100, SIZE, {1: 0, 2: 0})
    worst = Worst("nano", 9)
    worst.boxes(
        ScoredBoxes("nano", sequence, 3, {1: (5.0, 0.0, 15.0, 10.0), 2: (50.0, 50.0, 60.0, 60.0)}, truth)
    )
    assert kept(worst) == [(2, 3, 0.0), (1, 3, pytest.approx(1 / 3))]
    assert worst.cases[0].predicted.sum() == 100
    assert not worst.cases[0].truth.any()


def test_a_missing_contour_is_explained() -> None:
    something, nothing = np.ones(SIZE, np.bool_), np.zeros(SIZE, np.bool_)

    def said(predicted: Mask, truth: Mask) -> str:
        return remark(Case(0.0, "cat", 1, 0, Path("x"), predicted, truth)).strip()

    assert said(nothing, something) == "nothing found"
    assert said(something, nothing) == "should be empty"
    assert said(something, something) == ""


@pytest.mark.parametrize("left", [0, 90, 190])
def test_a_crop_holds_the_object_and_has_the_shape_of_a_cell(left: int) -> None:
    mask = np.zeros(SIZE, np.bool_)
    mask[50:80, left : left + 10] = True
    rows, columns = crop_of(mask)
    assert mask[rows, columns].sum() == mask.sum()
    assert (columns.stop - columns.start) / (rows.stop - rows.start) == pytest.approx(4 / 3, rel=0.03)
    assert rows.start >= 0
    assert columns.stop <= SIZE[1]


def test_an_object_as_large_as_the_picture_is_shown_whole_as_far_as_the_cell_allows() -> None:
    rows, columns = crop_of(np.ones(SIZE, np.bool_))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (120, 160)


def test_both_contours_are_drawn_in_their_colours_and_cells_do_not_overlap(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((*SIZE, 3), 128, np.uint8))
    predicted, truth = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    predicted[40:70, 60:90], truth[50:80, 70:100] = True, True
    cases = [Case(0.2, "cat", 1, 7, tmp_path / "grey.png", predicted, truth)] * 5
    sheet = contact_sheet("nano", cases)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] > 2 * sheets.CELL[0]
    for colour in (sheets.PREDICTED, sheets.TRUE):
        drawn = np.abs(sheet.astype(int) - colour).sum(axis=-1) < 60
        assert drawn[sheets.HEADING :].sum() > 5 * 100
