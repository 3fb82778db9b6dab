"""`keepsight bench`: what it prints."""

from __future__ import annotations

import pytest

from keepsight.model.models import MODELS
from tests.tracker.command_line import Keepsight
from tests.tracker.networks import EDGETAM


def test_bench_tells_the_speed_of_each_way(keepsight: Keepsight) -> None:
    done = keepsight("bench", "--model", "test", "--objects", "1", "--video", "64x64", "--frames", "10")
    assert done.code == 0
    assert "model only" in done.out
    assert "1: with overlay" in done.out


def test_bench_compares_dtypes(keepsight: Keepsight) -> None:
    asked = ("--model", "test", "--video", "64x64", "--frames", "10", "--device", "cpu")
    done = keepsight("bench", "--dtypes", *asked)
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["float32", "bfloat16", "int8"]
    assert rows[0][3:] == ["1.00", "1.0000", "0", "0"]


def test_bench_races_another_implementation(keepsight: Keepsight) -> None:
    pytest.importorskip("transformers", reason="is the peer")
    asked = ("--model", "sam2.1-tiny", "--size", "64", "--device", "cpu", "--objects", "1", "--frames", "10")
    done = keepsight("bench", "--peer", "transformers", *asked)
    assert done.code == 0
    first, second = done.out.splitlines()[-2:]
    assert first == "sam2.1-tiny at 64, float32, 10 frames each; s a frame, medians"
    assert second.startswith("1 objects: ")
    assert " times transformers's speed (" in second


@pytest.mark.parametrize(
    ("option", "value"), [("--weights", "x.pt"), ("--dtype", "bfloat16"), ("--backend", "openvino")]
)
def test_a_race_has_no_choice_of_what_both_must_share(keepsight: Keepsight, option: str, value: str) -> None:
    done = keepsight("bench", "--peer", "transformers", "--model", "sam2.1-tiny", option, value)
    assert done.code == 2
    assert done.complaint.endswith(f"in float32, with PyTorch: leave out {option}")


def test_bench_tells_what_batches_of_pictures_gain(keepsight: Keepsight) -> None:
    done = keepsight("bench", "--model", "test", "--pictures", "2")
    assert done.code == 0
    assert done.out.startswith("2 pictures of mixed sizes, a box each: ")


def test_no_object_at_all_is_refused(keepsight: Keepsight) -> None:
    done = keepsight("bench", "--model", "test", "--objects", "0")
    assert done.code == 2
    assert "--objects" in done.complaint


def test_without_a_file_of_weights_it_compares_dtypes_on_random_ones_and_says_so(
    keepsight: Keepsight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "edgetam", EDGETAM)
    asked = ("--model", "edgetam", "--video", "64x64", "--frames", "10", "--device", "cpu")
    done = keepsight("bench", "--dtypes", *asked)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("edgetam on random weights: only speeds tell")
    assert [line.split()[1] for line in done.out.splitlines()[-3:]] == ["float32", "bfloat16", "int8"]
