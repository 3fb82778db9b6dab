"""What a caller of an image predictor relies on: order says nothing, candidates are ranked, nano joins in."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from keepsight.model import memory as memories
from keepsight.model.image_predictor import ImagePrediction, ImagePredictor, ImagePrompts, ranked, surest
from keepsight.model.memory import NO_OBJECT_LOGIT
from keepsight.model.nano import Nano
from keepsight.model.nano_config import NANO
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import TEST
from keepsight.model.video_predictor import ImageFeatures, Prompts

ATOL, RTOL = 2e-5, 1e-4
"""The same sums in another order, which is all that batching may change in float32."""
SMALL_NANO = replace(NANO, image_side=96, widths=(16, 16, 32, 32), depths=(1, 1, 1, 1))


@pytest.fixture(scope="module", params=["sam2", "nano"])
def model(request: pytest.FixtureRequest) -> Sam2 | Nano:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = Sam2(TEST) if request.param == "sam2" else Nano(SMALL_NANO)
    return network.eval().requires_grad_(False)


def encoded(model: ImagePredictor, count: int = 1) -> ImageFeatures:
    size = model.input_size((96, 96))
    return model.encode_image(torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1)))


def mask_size(model: ImagePredictor) -> tuple[int, int]:
    return model.memory_shape(model.input_size((96, 96))).mask


def prompts_of(model: ImagePredictor, marks: list[list[tuple[float, float, int]]]) -> ImagePrompts:
    """One prompt for each list of (x, y, label); every second one has an earlier mask, too."""
    longest = max(1, *map(len, marks))
    points, labels = torch.zeros(len(marks), longest, 2), torch.full((len(marks), longest), -1)
    for row, shown in enumerate(marks):
        for column, (x, y, label) in enumerate(shown):
            points[row, column] = torch.tensor((x, y))
            labels[row, column] = label
    prior = torch.randn(len(marks), *mask_size(model), generator=torch.Generator().manual_seed(2)) * 5
    return ImagePrompts(points, labels, prior, torch.arange(len(marks)) % 2 == 1)


def rows(prompts: ImagePrompts, index: Tensor) -> ImagePrompts:
    return ImagePrompts(*(field[index] for field in prompts))


def ask(model: ImagePredictor, prompts: ImagePrompts) -> ImagePrediction:
    return model.candidates(encoded(model), torch.zeros(len(prompts.labels), dtype=torch.int64), prompts)


def assert_close(found: ImagePrediction, expected: ImagePrediction) -> None:
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, atol=ATOL, rtol=RTOL)


PLACE = st.floats(0, 1, width=32)
MARK = st.tuples(PLACE, PLACE, st.sampled_from([0, 1]))
BOX = st.just([(0.25, 0.25, 2), (0.75, 0.5, 3)])
SHOWN = st.one_of(
    st.lists(MARK, min_size=1, max_size=4),
    BOX,
    st.tuples(BOX, st.lists(MARK, max_size=2)).map(lambda both: both[0] + both[1]),
)


@given(data=st.data(), marks=st.lists(SHOWN, min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
@torch.inference_mode()
def test_prompts_in_any_order_give_the_same_masks(
    model: Sam2 | Nano, data: st.DataObject, marks: list[list[tuple[float, float, int]]]
) -> None:
    prompts = prompts_of(model, marks)
    order = torch.tensor(data.draw(st.permutations(range(len(marks)))))
    expected = ImagePrediction(*(field[order] for field in ask(model, prompts)))
    assert_close(ask(model, rows(prompts, order)), expected)


@given(data=st.data(), marks=st.lists(MARK, min_size=2, max_size=5))
@settings(max_examples=15, deadline=None)
@torch.inference_mode()
def test_points_in_any_order_give_the_same_mask(
    model: Sam2 | Nano, data: st.DataObject, marks: list[tuple[float, float, int]]
) -> None:
    mixed = data.draw(st.permutations(marks))
    assert_close(ask(model, prompts_of(model, [mixed])), ask(model, prompts_of(model, [marks])))


@torch.inference_mode()
def test_prompts_on_several_images_share_a_batch(model: Sam2 | Nano) -> None:
    features, image_of = encoded(model, 2), torch.tensor([1, 0, 1])
    prompts = prompts_of(
        model, [[(0.3, 0.3, 1)], [(0.1, 0.2, 2), (0.8, 0.9, 3)], [(0.6, 0.5, 1), (0.1, 0.1, 0)]]
    )
    together = model.candidates(features, image_of, prompts)
    for row, image in enumerate(image_of.tolist()):
        alone = model.candidates(
            features.of_image(image), torch.zeros(1, dtype=torch.int64), rows(prompts, torch.tensor([row]))
        )
        assert_close(ImagePrediction(*(field[row : row + 1] for field in together)), alone)


@torch.inference_mode()
def test_an_earlier_mask_changes_the_answer_and_one_that_is_not_there_does_not(model: Sam2 | Nano) -> None:
    prompts = prompts_of(model, [[(0.3, 0.3, 1)], [(0.3, 0.3, 1)]])
    other = prompts._replace(prior=-prompts.prior)
    first, second = ask(model, prompts).logits, ask(model, other).logits
    torch.testing.assert_close(second[0], first[0], atol=ATOL, rtol=RTOL)
    assert (second[1] - first[1]).abs().max() > 1e-3


def test_how_many_masks_a_prompt_gets(model: Sam2 | Nano) -> None:
    found = ask(model, prompts_of(model, [[(0.3, 0.3, 1)], [(0.5, 0.5, 1)]]))
    several = 3 if isinstance(model, Sam2) else 1
    assert surest(found).logits.shape == (2, 1, *mask_size(model))
    assert ranked(found).logits.shape == (2, several, *mask_size(model))
    assert found.presence.shape == (2,)
    assert ((found.iou >= 0) & (found.iou <= 1)).all()


@torch.inference_mode()
def test_it_answers_in_bfloat16(model: Sam2 | Nano) -> None:
    half = deepcopy(model).bfloat16()
    features = ImageFeatures(tuple(level.bfloat16() for level in encoded(model).levels))
    prompts = prompts_of(half, [[(0.3, 0.3, 1)], [(0.1, 0.2, 2), (0.8, 0.9, 3)], []])
    found = half.candidates(features, torch.zeros(3, dtype=torch.int64), prompts)
    assert found.logits.dtype == torch.bfloat16
    assert all(field.isfinite().all() for field in found)


def test_candidates_are_ranked_by_predicted_iou() -> None:
    numbers = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    found = ImagePrediction(numbers, torch.tensor([[0.9, 0.2, 0.7, 0.5]]), torch.zeros(1))
    best_first = ranked(found)
    assert best_first.logits[0, :, 0, 0].tolist() == [2, 3, 1]
    assert best_first.iou[0].tolist() == pytest.approx([0.7, 0.5, 0.2])
    assert surest(found).logits[0, 0, 0, 0] == 0


@torch.inference_mode()
def test_nano_answers_an_image_as_it_conditions_a_new_object() -> None:
    """A click on a frame without a past and a click on a picture are the same question."""
    torch.manual_seed(0)
    nano = Nano(SMALL_NANO).eval()
    asked = prompts_of(nano, [[(0.4, 0.6, 1)]])
    features, image_of = encoded(nano), torch.zeros(1, dtype=torch.int64)
    size = nano.input_size((96, 96))
    nothing = memories.empty(1, nano.layout, nano.memory_shape(size), torch.zeros(()))
    assert (nothing.logits == NO_OBJECT_LOGIT).all()
    shown = Prompts(asked.points, asked.labels, torch.zeros(1, *size), torch.zeros(1, dtype=torch.bool))
    tracked = nano.condition(features, image_of, 0, nothing, shown)
    found = nano.candidates(features, image_of, asked)
    torch.testing.assert_close(found.logits[:, 0], tracked.logits, atol=ATOL, rtol=RTOL)
    torch.testing.assert_close(found.iou[:, 0], tracked.iou, atol=ATOL, rtol=RTOL)
