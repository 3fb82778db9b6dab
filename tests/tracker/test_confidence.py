"""Opinions, what is made of them, and the file that says how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from keepsight.tracker.calibration import (
    CalibrationFile,
    Errors,
    Weights,
    beside,
    find_calibration,
    sha256_of,
)
from keepsight.tracker.confidence import Calibration, Opinions, margin, probability
from keepsight.tracker.iou import box_iou
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.worth import wholeness, worth

from .fakes import ON_RED, RED, ColourPredictor, a_frame, follow

SURE = Opinions(iou=0.9, presence=0.95, stability=0.9, margin=0.9)


def test_margin_says_how_clear_the_pixels_of_a_mask_are() -> None:
    clear, doubtful = np.full((2, 2), 20.0, np.float32), np.full((2, 2), 0.1, np.float32)
    assert margin(clear) == pytest.approx(1.0)
    assert margin(doubtful) == pytest.approx(0.05, abs=1e-3)  # 2 sigmoid(0.1) - 1
    assert margin(-clear) == 0.0


def test_a_probability_is_one_for_any_logit() -> None:
    assert probability(0.0) == 0.5
    assert probability(-2000.0) == 0.0
    assert probability(2000.0) == 1.0


def test_a_better_opinion_never_lowers_a_calibrated_confidence() -> None:
    calibration = Calibration(bias=-1.0, iou=1.0, presence=0.5, stability=0.0, margin=0.2)
    grid = np.linspace(0, 1, 21).tolist()
    for name in ("iou", "presence", "stability", "margin"):
        said = [
            calibration(Opinions(**{"iou": 0.5, "presence": 0.5, "stability": 0.5, "margin": 0.5, name: x}))
            for x in grid
        ]
        assert said == sorted(said)


def test_the_tracker_says_the_calibrated_confidence_and_nothing_of_what_it_does_not_see() -> None:
    frames = [a_frame(0, (RED, 0, 0, 16)), a_frame(1)]
    calibration = Calibration(bias=0.25, iou=0.0, presence=0.0, stability=0.0, margin=0.0)
    _, results = follow(ColourPredictor(), frames, {0: [ON_RED]}, TrackerSettings(calibration=calibration))
    assert results[0].tracks[0].confidence == probability(0.25)
    assert results[1].tracks[0].confidence == 0.0


def test_noise_is_looked_at_only_where_asked_and_leaves_no_trace() -> None:
    frames = [a_frame(index, (RED, 4 * index, 0, 16)) for index in range(4)]
    plain_model, noisy_model = ColourPredictor(), ColourPredictor()
    plain_state, plain = follow(plain_model, frames, {0: [ON_RED]})
    noisy_state, noisy = follow(noisy_model, frames, {0: [ON_RED]}, TrackerSettings(noise=0.3))
    assert [call for call, _ in noisy_model.calls].count("encode") == 8
    assert [call for call, _ in plain_model.calls].count("encode") == 4
    for one, other in zip(plain, noisy, strict=True):
        assert np.array_equal(one.tracks[0].mask, other.tracks[0].mask)
    assert noisy[3].tracks[0].stability < plain[3].tracks[0].stability
    assert plain_state.memory is not None
    assert noisy_state.memory is not None
    assert all(bool((a == b).all()) for a, b in zip(plain_state.memory, noisy_state.memory, strict=True))


def calibration_file(weights: Path) -> CalibrationFile:
    return CalibrationFile(
        model="nano",
        weights_sha256=sha256_of(weights),
        bias=-0.5,
        weights=Weights(iou=1.0, presence=0.5, stability=0.0, margin=2.0),
        sequences=("a", "b"),
        observations=100,
        judged=("a", "b"),
        before=Errors(ece=0.2, brier=0.2),
        after=Errors(ece=0.1, brier=0.1),
    )


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "nano.safetensors"
    file.write_bytes(b"the weights")
    return file


def test_a_calibration_beside_its_weights_is_used(weights: Path) -> None:
    assert beside(weights).name == "nano.calibration.json"
    beside(weights).write_text(calibration_file(weights).model_dump_json())
    with capture_logs() as logs:
        found = find_calibration(weights)
    assert found == Calibration(bias=-0.5, iou=1.0, presence=0.5, stability=0.0, margin=2.0)
    assert logs == []


def test_a_calibration_of_other_weights_is_left_out_with_one_warning(weights: Path) -> None:
    beside(weights).write_text(calibration_file(weights).model_dump_json())
    weights.write_bytes(b"other weights")
    with capture_logs() as logs:
        assert find_calibration(weights) is None
    assert [line["event"] for line in logs] == ["calibration left out: it was made for other weights"]


@pytest.mark.parametrize("content", ["not json", "{}", '{"version": 2}'])
def test_a_calibration_that_cannot_be_read_is_left_out_with_one_warning(weights: Path, content: str) -> None:
    beside(weights).write_text(content)
    with capture_logs() as logs:
        assert find_calibration(weights) is None
    assert len(logs) == 1


def test_weights_without_a_calibration_are_no_reason_to_warn(weights: Path) -> None:
    with capture_logs() as logs:
        assert find_calibration(weights) is None
        assert find_calibration(None) is None
    assert logs == []


def test_a_frame_is_worth_remembering_where_the_mask_is_sure_whole_and_where_it_was() -> None:
    mask = np.zeros((10, 20), np.bool_)
    mask[2:6, 2:6] = True
    box = (0.1, 0.2, 0.3, 0.6)
    assert worth(0.8, mask, box, box) == pytest.approx(0.8)
    assert worth(0.8, mask, box, None) == pytest.approx(0.8)
    assert worth(0.8, mask, box, (0.5, 0.2, 0.7, 0.6)) == 0.0
    assert worth(0.8, np.zeros_like(mask), None, box) == 0.0
    assert box_iou(box, (0.1, 0.2, 0.2, 0.6)) == pytest.approx(0.5)
    mask[2:6, 12:16] = True
    assert wholeness(mask) == 0.5
