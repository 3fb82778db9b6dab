"""What a caller of SAM 2 relies on: rows do not touch each other, emptiness is data, corrections count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from keepsight.model import memory as memories
from keepsight.model.mask_decoder import Candidates, choose
from keepsight.model.memory import EMPTY, Memory
from keepsight.model.memory_attention import recent_slots
from keepsight.model.prompt_encoder import PADDING
from keepsight.model.sam2 import ABSENT_LOGIT, Sam2
from keepsight.model.sam2_config import SAM2_1_TINY, TEST, PerceiverConfig, RepVitConfig, Sam2Config
from keepsight.model.video_predictor import ImageFeatures, Prediction, Prompts, VideoPredictor

SIZE = TEST.image_size
TEST_EDGETAM = replace(
    TEST,
    trunk=RepVitConfig(widths=(8, 16, 24, 32), depths=(1, 1, 2, 1)),
    pointer_time=False,
    occlusion_embedding=False,
    perceiver=PerceiverConfig(side=4, depth=1),
)
ATOL, RTOL = 2e-5, 1e-4
"""The same sums in another order, which is all that batching and masking may change in float32."""


@pytest.fixture(scope="module", params=[TEST, TEST_EDGETAM], ids=["sam2", "edgetam"])
def model(request: pytest.FixtureRequest) -> Sam2:
    config: Sam2Config = request.param
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Sam2(config).eval()


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def picture(seed: int, count: int = 1) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def square() -> Tensor:
    mask = torch.zeros(SIZE, SIZE)
    mask[32:72, 48:100] = 1
    return mask


def prompts_of_four_kinds() -> Prompts:
    """A click, a box, a mask, and a mask with two clicks."""
    points = torch.rand(4, 2, 2, generator=torch.Generator().manual_seed(1)).sort(dim=1).values
    labels = torch.tensor([[1, PADDING], [2, 3], [PADDING, PADDING], [1, 0]])
    masks = torch.stack([torch.zeros(SIZE, SIZE), torch.zeros(SIZE, SIZE), square(), square()])
    return Prompts(points, labels, masks, torch.tensor([False, False, True, True]))


def row(prompts: Prompts, index: int) -> Prompts:
    return Prompts(*(field[index : index + 1] for field in prompts))


def nothing(model: Sam2, objects: int) -> Memory:
    return memories.empty(objects, model.layout, model.memory_shape((SIZE, SIZE)), torch.zeros(()))


def in_first_image(objects: int) -> Tensor:
    return torch.zeros(objects, dtype=torch.long)


def start(model: Sam2, prompts: Prompts, frame: int = 0) -> Memory:
    """A memory of objects prompted on one frame."""
    objects = len(prompts.labels)
    features, image_of = model.encode_image(picture(frame)), in_first_image(objects)
    prediction = model.condition(features, image_of, frame, nothing(model, objects), prompts)
    everyone = torch.ones(objects, dtype=torch.bool)
    entry = model.remember(features, image_of, prediction, everyone, prompts)
    memory = memories.write_conditioning(
        nothing(model, objects), model.layout, torch.arange(objects), frame, entry
    )
    return memory._replace(logits=prediction.logits)


def follow(model: Sam2, memory: Memory, frames: range) -> tuple[Memory, Prediction]:
    objects = len(memory.written)
    image_of, nobody = in_first_image(objects), torch.zeros(objects, dtype=torch.bool)
    for frame in frames:
        features = model.encode_image(picture(frame))
        prediction = model.propagate(features, image_of, frame, memory, None)
        entry = model.remember(features, image_of, prediction, nobody)
        memory = memories.write_recent(memory, model.layout, torch.arange(objects), frame, entry)
        memory = memory._replace(logits=prediction.logits)
    return memory, prediction


def assert_close(found: Prediction, expected: Prediction) -> None:
    for name, a, b in zip(Prediction._fields, found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=ATOL, rtol=RTOL, msg=f"{name} differs")


def stacked(*memory: Memory) -> Memory:
    return Memory(*(torch.cat(fields) for fields in zip(*memory, strict=True)))


def test_it_is_a_video_predictor_with_the_sizes_it_says(model: Sam2) -> None:
    predictor: VideoPredictor = model
    assert predictor.input_size((720, 1280)) == (SIZE, SIZE)
    prompts = prompts_of_four_kinds()
    features = predictor.encode_image(picture(0))
    prediction = predictor.condition(features, in_first_image(4), 0, nothing(model, 4), prompts)
    entry = predictor.remember(features, in_first_image(4), prediction, torch.ones(4, dtype=torch.bool))
    shape = predictor.memory_shape((SIZE, SIZE))
    assert prediction.logits.shape == (4, *shape.mask) == (4, SIZE // 4, SIZE // 4)
    assert prediction.iou.shape == prediction.presence.shape == (4,)
    assert entry.features.shape == (4, shape.channels, *shape.grid)
    assert entry.pointer.shape == (4, shape.pointer_dim)


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        tiny, test = Sam2(SAM2_1_TINY), Sam2(TEST)
    assert sum(p.numel() for p in tiny.parameters()) == pytest.approx(38.9e6, rel=2e-3)
    assert sum(p.numel() for p in test.parameters()) < 1e6
    shape = tiny.memory_shape((1024, 1024))
    assert (shape.channels, shape.grid, shape.mask) == (64, (64, 64), (256, 256))


def test_the_same_seed_gives_the_same_weights() -> None:
    torch.manual_seed(5)
    first = Sam2(TEST).state_dict()
    torch.manual_seed(5)
    second = Sam2(TEST).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("index", range(4), ids=["click", "box", "mask", "mask and clicks"])
def test_a_prompt_gives_the_same_alone_as_among_other_kinds(model: Sam2, index: int) -> None:
    prompts = prompts_of_four_kinds()
    features = model.encode_image(picture(0))
    together = model.condition(features, in_first_image(4), 0, nothing(model, 4), prompts)
    alone = model.condition(features, in_first_image(1), 0, nothing(model, 1), row(prompts, index))
    assert_close(Prediction(*(field[index : index + 1] for field in together)), alone)


def test_a_mask_alone_is_taken_as_the_answer(model: Sam2) -> None:
    prompts = row(prompts_of_four_kinds(), 2)
    features = model.encode_image(picture(0))
    prediction = model.condition(features, in_first_image(1), 0, nothing(model, 1), prompts)
    assert torch.equal(prediction.logits[0] > 0, square()[2::4, 2::4] > 0)
    assert prediction.iou.item() == 1
    assert prediction.presence.item() == 10


def test_objects_with_memories_of_different_age_share_a_batch(model: Sam2) -> None:
    prompts = prompts_of_four_kinds()
    old, _ = follow(model, start(model, row(prompts, 0), 0), range(1, 6))
    young, _ = follow(model, start(model, row(prompts, 1), 4), range(5, 6))
    new = start(model, row(prompts, 2), 5)
    features = model.encode_image(picture(6))
    together = model.propagate(features, in_first_image(3), 6, stacked(old, young, new), None)
    for index, memory in enumerate((old, young, new)):
        alone = model.propagate(features, in_first_image(1), 6, memory, None)
        assert_close(Prediction(*(field[index : index + 1] for field in together)), alone)


def test_what_empty_slots_contain_is_never_read(model: Sam2) -> None:
    prompts = prompts_of_four_kinds()
    old, _ = follow(model, start(model, row(prompts, 0), 0), range(1, 4))
    both = stacked(old, start(model, row(prompts, 1), 3))
    features = model.encode_image(picture(4))
    for memory in (old, both):
        expected = model.propagate(features, in_first_image(len(memory.written)), 4, memory, None)
        rubbish = memory._replace(
            features=memory.features.masked_fill((memory.written == EMPTY)[..., None, None, None], torch.nan),
            pointers=memory.pointers.masked_fill((memory.pointed == EMPTY)[..., None], torch.nan),
        )
        found = model.propagate(features, in_first_image(len(memory.written)), 4, rubbish, None)
        assert_close(found, expected)


def test_objects_of_two_streams_share_a_batch(model: Sam2) -> None:
    memory, _ = follow(model, start(model, prompts_of_four_kinds()), range(1, 3))
    images = picture(9, count=2)
    image_of = torch.tensor([1, 0, 1, 0])
    together = model.propagate(model.encode_image(images), image_of, 3, memory, None)
    for image in (0, 1):
        mine = image_of == image
        features = model.encode_image(images[image : image + 1])
        rows = Memory(*(field[mine] for field in memory))
        alone = model.propagate(features, in_first_image(2), 3, rows, None)
        assert_close(Prediction(*(field[mine] for field in together)), alone)


def test_a_correction_sees_the_memory_and_the_earlier_mask(model: Sam2) -> None:
    click = row(prompts_of_four_kinds(), 0)
    memory, _ = follow(model, start(model, click), range(1, 3))
    features = model.encode_image(picture(3))

    def corrected(memory: Memory) -> Prediction:
        return model.condition(features, in_first_image(len(memory.written)), 3, memory, click)

    fresh, known = corrected(nothing(model, 1)), corrected(memory)
    other_mask = corrected(memory._replace(logits=-memory.logits))
    other_past = corrected(memory._replace(features=-memory.features))
    for different in (fresh, other_mask, other_past):
        assert (different.logits - known.logits).abs().max() > 1e-4


def test_corrections_and_new_objects_share_a_batch(model: Sam2) -> None:
    prompts = prompts_of_four_kinds()
    known, _ = follow(model, start(model, prompts), range(1, 3))
    memory = stacked(
        *(Memory(*(f[i : i + 1] for f in (known if i % 2 else nothing(model, 4)))) for i in range(4))
    )
    features = model.encode_image(picture(3))
    together = model.condition(features, in_first_image(4), 3, memory, prompts)
    for index in range(4):
        mine = Memory(*(field[index : index + 1] for field in memory))
        alone = model.condition(features, in_first_image(1), 3, mine, row(prompts, index))
        assert_close(Prediction(*(field[index : index + 1] for field in together)), alone)


def test_a_frame_does_not_read_its_own_memory(model: Sam2) -> None:
    click = row(prompts_of_four_kinds(), 0)
    features = model.encode_image(picture(0))
    again = start(model, click)
    forgotten = again._replace(features=torch.full_like(again.features, torch.nan))
    found = model.condition(features, in_first_image(1), 0, forgotten, click)
    assert found.logits.isfinite().all()


def test_dropped_frames_do_not_make_recent_memories_old() -> None:
    """Conditioning frame 0, then a ring of three; one stream drops nine frames of ten."""
    steady = recent_slots(torch.tensor([[0, EMPTY, 4, 2, 3]]), 2, 5)
    dropping = recent_slots(torch.tensor([[0, EMPTY, 40, 20, 30]]), 2, 50)
    assert steady.keep.tolist() == dropping.keep.tolist() == [[True, False, True, True, True]]
    assert steady.ages[0, 2:].tolist() == dropping.ages[0, 2:].tolist() == [1, 3, 2]


def test_a_prompted_frame_takes_the_place_of_a_recent_one() -> None:
    """Frame 3 was corrected, so of a ring of three the oldest is four frames ago and no longer recent."""
    slots = recent_slots(torch.tensor([[0, 3, 4, 1, 2]]), 2, 5)
    assert slots.keep.tolist() == [[True, True, True, False, True]]
    assert slots.ages[0].tolist() == [5, 2, 1, 4, 3]


def test_an_absent_object_has_no_mask_and_the_pointer_of_absence() -> None:
    torch.manual_seed(0)
    model = Sam2(TEST).eval()
    last = model.mask_decoder.presence_head.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias.fill_(-5)
    _, prediction = follow(model, start(model, row(prompts_of_four_kinds(), 2)), range(1, 2))
    assert prediction.presence.item() < 0
    assert (prediction.logits == ABSENT_LOGIT).all()
    assert torch.equal(prediction.pointer, model.no_object_pointer)


def test_memory_keeps_its_size(model: Sam2) -> None:
    memory = start(model, prompts_of_four_kinds())
    size = memory.nbytes
    memory, _ = follow(model, memory, range(1, 12))
    assert memory.nbytes == size
    assert int((memory.written == EMPTY).sum()) == 4 * (TEST.layout.conditioning - 1)


def test_loaded_weights_place_the_image_by_their_own_frequencies(model: Sam2) -> None:
    torch.manual_seed(1)
    other = Sam2(model.config).eval()
    assert not torch.allclose(other.prompt_encoder.positions, model.prompt_encoder.positions)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.prompt_encoder.positions, model.prompt_encoder.positions)


def test_in_bfloat16_a_point_is_placed_as_the_cell_of_the_grid_that_it_is_in() -> None:
    """Up to one rounding of sines and cosines, 2^-8 of their size."""
    torch.manual_seed(0)
    exact, half = (Sam2(TEST).prompt_encoder for _ in range(2))
    half.load_state_dict(exact.state_dict())
    half.bfloat16()
    h, w = TEST.grid
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    points = half.fourier(torch.stack((x, y), dim=-1)).permute(2, 0, 1)
    assert points.dtype == half.positions.dtype == torch.bfloat16
    assert torch.equal(points, half.positions[0])
    torch.testing.assert_close(points.float(), exact.positions[0], atol=2**-9, rtol=2**-8)


def test_it_runs_in_bfloat16_and_remembers_in_it() -> None:
    torch.manual_seed(0)
    model = Sam2(TEST).eval().bfloat16()
    memory, prediction = follow(model, start(model, prompts_of_four_kinds()), range(1, 3))
    assert prediction.logits.dtype == torch.bfloat16
    assert prediction.logits.isfinite().all()
    assert memory.features.isfinite().all()


def test_training_reaches_every_parameter_that_a_clip_uses(model: Sam2) -> None:
    torch.manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad():
        model = Sam2(TEST)
        memory = nothing(model, 1)
        features = ImageFeatures(model.encode_image(picture(0)).levels)
        prediction = model.condition(features, in_first_image(1), 0, memory, row(prompts_of_four_kinds(), 3))
        entry = model.remember(features, in_first_image(1), prediction, torch.zeros(1, dtype=torch.bool))
        torch.autograd.backward(prediction.logits.sum() + entry.features.sum())
    assert all(p.grad is not None for p in model.image_encoder.parameters())
    assert all(p.grad is not None for p in model.memory_encoder.parameters())


def candidates(first: float, iou: list[float]) -> Candidates:
    """Four flat masks, the first of logit `first`, the others of their number."""
    masks = torch.tensor([first, 1.0, 2.0, 3.0]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    return Candidates(masks, torch.tensor([iou]), torch.arange(4.0).view(1, 4, 1), torch.zeros(1))


def test_an_ambiguous_prompt_takes_the_candidate_believed_best() -> None:
    choice = choose(candidates(9.0, [0.9, 0.1, 0.8, 0.2]), torch.tensor([True]))
    assert choice.logits[0, 0, 0] == 2
    assert choice.token.item() == 2
    assert choice.iou.item() == pytest.approx(0.8)


def test_a_clear_prompt_takes_the_first_candidate_unless_its_outline_is_unsure() -> None:
    sure = choose(candidates(9.0, [0.9, 0.1, 0.8, 0.2]), torch.tensor([False]))
    unsure = choose(candidates(0.01, [0.9, 0.1, 0.8, 0.2]), torch.tensor([False]))
    assert sure.logits[0, 0, 0] == 9
    assert unsure.logits[0, 0, 0] == 2
    assert sure.token.item() == unsure.token.item() == 0
