"""The comparison of dtypes: what it says of networks whose differences are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from keepsight.model.video_predictor import Prediction
from keepsight.tracker.bench import Drawn, draw
from keepsight.tracker.bench_dtypes import compare, dtypes_of
from keepsight.tracker.build import choose_dtype
from keepsight.tracker.validation import ConfigError
from tests.tracker.networks import network


class Raised:
    """A network whose masks are all larger: 5 is added to their logits."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def condition(self, *given: Any) -> Prediction:
        return larger(self._model.condition(*given))

    def propagate(self, *given: Any) -> Prediction:
        return larger(self._model.propagate(*given))


def larger(prediction: Prediction) -> Prediction:
    return prediction._replace(logits=prediction.logits + 5)


@pytest.fixture(scope="module")
def scene() -> Drawn:
    return draw((64, 64), 2, 8)


def test_a_network_beside_itself_has_no_error(scene: Drawn) -> None:
    alone, twin = compare({"float32": network("sam2"), "twin": network("sam2")}, scene)
    assert (alone.dtype, alone.iou, alone.largest, alone.mean, alone.ratio) == ("float32", 1.0, 0.0, 0.0, 1.0)
    assert (twin.dtype, twin.iou, twin.largest, twin.mean) == ("twin", 1.0, 0.0, 0.0)
    assert twin.seconds > 0


def test_other_masks_are_an_error(scene: Drawn) -> None:
    _, other = compare({"float32": network("nano"), "bfloat16": Raised(network("nano"))}, scene)
    assert other.largest >= 4.9
    assert other.mean > 0
    assert other.iou < 1


def test_a_gpu_is_not_asked_for_int8_and_refuses_it() -> None:
    assert dtypes_of(torch.device("cpu")) == ("float32", "bfloat16", "int8")
    assert dtypes_of(torch.device("cuda")) == ("float32", "bfloat16")
    with pytest.raises(ConfigError, match="--dtype int8: only on a CPU"):
        choose_dtype("int8", torch.device("cuda"))
