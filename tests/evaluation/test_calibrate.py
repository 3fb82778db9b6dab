"""Fitting a confidence, and judging it on what it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from keepsight.streams.types import Frame, Image, Prompt, Result, Track
from keepsight.tracker.confidence import Opinions
from keepsight.tracker.evaluation.calibrate import (
    Observation,
    bins_of,
    brier,
    calibration_error,
    fit,
    held_out,
    observe,
    right_of,
)
from keepsight.tracker.evaluation.reliability import reliability_plot


def observations(seed: int = 0, count: int = 3000) -> list[Observation]:
    """Masks of two sequences that are right as often as the predicted IoU says, squared; the presence knows
    nothing and the stability says the contrary. Confidence: the IoU."""
    random = np.random.default_rng(seed)
    made = []
    for row in range(count):
        iou, presence = random.random(2).tolist()
        right = bool(random.random() < iou**2)
        opinions = Opinions(iou, presence, stability=0.3 if right else 0.6, margin=0.5)
        made.append(Observation("ab"[row % 2], opinions, iou, right))
    return made


def test_an_opinion_that_knows_counts_and_one_that_knows_nothing_or_lies_does_not() -> None:
    fitted = fit(observations())
    assert fitted.iou > 0.5
    assert fitted.presence < 0.1
    assert fitted.stability == 0.0


def test_calibration_lowers_the_error_on_sequences_it_has_not_seen() -> None:
    seen = observations()
    right, before = right_of(seen), np.array([one.confidence for one in seen])
    after = held_out(seen)
    assert calibration_error(bins_of(before, right)) > 0.14  # iou - iou**2 is 1/6 on average
    assert calibration_error(bins_of(after, right)) < 0.06
    assert brier(after, right) < brier(before, right)


def test_no_sequence_judges_what_was_fitted_on_it() -> None:
    """Where two sequences contradict each other, each is judged wrongly by the other's calibration."""
    sure, unsure = Opinions(0.9, 0.9, 0.9, 0.9), Opinions(0.1, 0.1, 0.1, 0.1)
    seen = [Observation("a", sure, 0.9, True), Observation("a", unsure, 0.1, False)] * 50
    seen += [Observation("b", sure, 0.9, False), Observation("b", unsure, 0.1, True)] * 50
    said = held_out(seen)
    assert said[100] > 0.9 > 0.1 > said[101]
    assert said[0] == said[1] == pytest.approx(0.5, abs=0.05)


def test_what_was_never_wrong_judges_nobody() -> None:
    seen = [one for one in observations(count=400) if one.sequence == "a" or one.right]
    said = held_out(seen)
    assert all(np.isnan(value) == (one.sequence == "a") for value, one in zip(said, seen, strict=True))


def test_the_error_is_the_distance_of_what_was_said_from_what_was() -> None:
    said = np.array([0.95] * 10 + [0.25] * 10)
    right = np.array([1.0] * 7 + [0.0] * 3 + [1.0] * 2 + [0.0] * 8)
    bins = bins_of(said, right)
    assert [one.masks for one in bins] == [10, 10]
    assert calibration_error(bins) == pytest.approx((0.25 + 0.05) / 2)
    assert brier(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == 0.5


def test_the_plot_shows_before_and_after() -> None:
    one, other = (bins_of(np.array(said), np.array([1.0, 0.0])) for said in ([0.9, 0.1], [0.6, 0.5]))
    plot = reliability_plot("nano", one, other)
    assert plot.dtype == np.uint8
    assert not np.array_equal(plot, reliability_plot("nano", other, one))


def write_sequence(folder: Path, frames: int = 5) -> None:
    truth = np.zeros((20, 30), np.uint8)
    truth[5:15, 5:15] = 1
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for frame in range(frames):
        cv2.imwrite(str(folder / f"images/{frame}.png"), np.zeros((20, 30, 3), np.uint8))
        if frame != 2:
            cv2.imwrite(str(folder / f"masks/{frame}.png"), truth * (frame < 4))


def drifting(images: Iterable[Image], prompts: Sequence[Prompt]) -> Iterator[Result]:
    """Follows for two frames, then is 8 pixels beside the object of 10."""
    for index, image in enumerate(images):
        mask = np.roll(prompts[0].mask, 0 if index < 2 else 8, axis=1)
        track = Track(1, "", mask, (0, 0, 1, 1), "tracked", 0.9, 0.8, 0.7, 0.6, 0.5)
        yield Result(Frame(image, index, 0, index, index, "file", index), (track,))


def test_every_annotated_frame_after_the_first_mask_is_an_observation(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_sequence(tmp_path / name)
    told: list[int] = []
    seen = observe(drifting, tmp_path, lambda at: told.append(at.done))
    assert told == list(range(1, 11))
    assert [(one.sequence, one.right) for one in seen[:3]] == [("one", True), ("one", False), ("one", False)]
    assert len(seen) == 6
    assert seen[0].opinions == Opinions(iou=0.8, presence=0.7, stability=0.6, margin=0.5)
    assert seen[0].confidence == 0.9


def test_one_sequence_cannot_judge_itself(tmp_path: Path) -> None:
    write_sequence(tmp_path)
    with pytest.raises(ValueError, match="takes two labelled sequences"):
        observe(drifting, tmp_path, lambda at: None)
