"""Nano keeps the family's promises. Random weights: nothing here depends on what it has learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from keepsight.model.memory import Memory, empty, rows, write_conditioning, write_recent
from keepsight.model.nano import CLEARLY, Nano, draw
from keepsight.model.nano_config import NANO
from keepsight.model.nano_decoder import Decoded, Evidence
from keepsight.model.nano_memory import NOTHING_ALIKE, LocalRead
from keepsight.model.nano_zoom import Squares
from keepsight.model.video_predictor import ImageFeatures, Prompts

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""float32 sums in another order."""
SIZE = (64, 96)


@pytest.fixture(scope="module")
def model() -> Nano:
    torch.manual_seed(0)
    network = Nano(NANO).eval().requires_grad_(False)
    network.decoder.scores[-1].bias[1] = 5  # it thinks that its objects are there
    return network


def features_of(model: Nano, seed: int) -> ImageFeatures:
    return model.encode_image(torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed)))


def image_of(objects: int) -> Tensor:
    return torch.zeros(objects, dtype=torch.int64)


def nothing(objects: int) -> Prompts:
    """Prompts that say nothing."""
    return Prompts(
        points=torch.zeros(objects, 2, 2),
        labels=torch.full((objects, 2), -1),
        masks=torch.zeros(objects, *SIZE),
        has_mask=torch.zeros(objects, dtype=torch.bool),
    )


def squares(objects: int) -> Prompts:
    """A mask prompt for each object: a square, each further to the right."""
    masks = torch.zeros(objects, *SIZE)
    for i in range(objects):
        masks[i, 16:48, 8 * i : 8 * i + 32] = 1
    return nothing(objects)._replace(masks=masks, has_mask=torch.ones(objects, dtype=torch.bool))


def remembered(model: Nano, objects: int, recent: int = 2) -> Memory:
    """A memory of `objects` squares, seen in frame 0 and written to the ring `recent` times."""
    features = features_of(model, 0)
    memory = empty(objects, model.layout, model.memory_shape(SIZE), features.levels[0])
    every = torch.arange(objects)
    found = model.condition(features, image_of(objects), 0, memory, squares(objects))
    entry = model.remember(features, image_of(objects), found, torch.ones(objects, dtype=torch.bool))
    write_conditioning(memory, model.layout, every, 0, entry)
    for frame in range(1, recent + 1):
        write_recent(memory, model.layout, every, frame, entry)
    memory.logits.copy_(found.logits)
    return memory


@pytest.mark.parametrize("frame", [(720, 1280), (1280, 720), (1, 1), (6000, 8000), (100, 4000)])
def test_the_input_keeps_the_aspect_ratio_in_multiples_of_32(model: Nano, frame: tuple[int, int]) -> None:
    height, width = model.input_size(frame)

    assert height % 32 == width % 32 == 0
    assert 0.5 < height * width / NANO.image_side**2 < 1.5
    wanted = min(max(frame[1] / frame[0], 0.25), 4)
    assert width / height == pytest.approx(wanted, rel=0.25)


def test_a_mask_prompt_alone_is_the_mask(model: Nano) -> None:
    prompts = squares(2)
    memory = empty(2, model.layout, model.memory_shape(SIZE), torch.zeros(1))

    found = model.condition(features_of(model, 0), image_of(2), 0, memory, prompts)

    assert torch.equal(found.logits > 0, prompts.masks[:, ::2, ::2] > 0)
    assert (found.presence > 0).all()


def test_prompts_of_different_kinds_share_a_batch(model: Nano) -> None:
    features = features_of(model, 0)
    memory = empty(3, model.layout, model.memory_shape(SIZE), features.levels[0])
    prompts = squares(3)._replace(
        points=torch.tensor([[[0.2, 0.2], [0.6, 0.8]], [[0.5, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        labels=torch.tensor([[2, 3], [1, -1], [-1, -1]]),
        has_mask=torch.tensor([False, False, True]),
    )

    together = model.condition(features, image_of(3), 0, memory, prompts)

    for i in range(3):
        one = Prompts(*(field[i : i + 1] for field in prompts))
        alone = model.condition(features, image_of(1), 0, rows(memory, torch.tensor([i])), one)
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[i], **CLOSE)


def test_one_object_alone_equals_the_same_object_among_five(model: Nano) -> None:
    memory, before, now = remembered(model, 5), features_of(model, 0), features_of(model, 1)

    together = model.propagate(now, image_of(5), 3, memory, before)
    alone = model.propagate(now, image_of(1), 3, rows(memory, torch.tensor([3])), before)

    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a[0], b[3], **CLOSE)


def test_objects_of_two_streams_share_a_batch(model: Nano) -> None:
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    both = model.encode_image(images)
    memory = remembered(model, 2)

    together = model.track(both, torch.tensor([0, 1]), memory, both)

    for i in range(2):
        own = model.encode_image(images[i : i + 1])
        alone = model.track(own, image_of(1), rows(memory, torch.tensor([i])), own)
        torch.testing.assert_close(alone.logits[0], together.logits[i], **CLOSE)


def test_what_empty_slots_contain_is_never_read(model: Nano) -> None:
    memory, before, now = remembered(model, 2), features_of(model, 0), features_of(model, 1)
    dirty = Memory(*(field.clone() for field in memory))
    dirty.features[dirty.written == -1] = 1e3
    dirty.pointers[dirty.pointed == -1] = 1e3

    clean = model.propagate(now, image_of(2), 3, memory, before)
    found = model.propagate(now, image_of(2), 3, dirty, before)

    torch.testing.assert_close(found.logits, clean.logits, **CLOSE)
    torch.testing.assert_close(found.presence, clean.presence, **CLOSE)


def test_objects_that_remember_different_numbers_of_frames_share_a_batch(model: Nano) -> None:
    old, young = remembered(model, 1, recent=4), remembered(model, 1, recent=1)
    both = Memory(*(torch.cat(pair) for pair in zip(old, young, strict=True)))
    before, now = features_of(model, 0), features_of(model, 1)

    together = model.propagate(now, image_of(2), 5, both, before)

    for i, memory in enumerate((old, young)):
        alone = model.propagate(now, image_of(1), 5, memory, before)
        torch.testing.assert_close(alone.logits[0], together.logits[i], **CLOSE)


def test_folding_the_batch_norms_changes_nothing() -> None:
    torch.manual_seed(1)
    model = Nano(NANO)
    model.train().encode_image(torch.rand(4, 3, *SIZE))  # so that the norms have statistics to fold
    model.eval().requires_grad_(False)
    plain = features_of(model, 0)

    model.fuse()

    for before, after in zip(plain.levels, features_of(model, 0).levels, strict=True):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def test_a_correction_sees_the_earlier_mask(model: Nano) -> None:
    memory, features = remembered(model, 1), features_of(model, 1)
    click = nothing(1)._replace(
        points=torch.tensor([[[0.5, 0.5], [0.0, 0.0]]]), labels=torch.tensor([[1, -1]])
    )
    other = memory._replace(logits=torch.full_like(memory.logits, -10))

    with_mask = model.condition(features, image_of(1), 1, memory, click)
    without = model.condition(features, image_of(1), 1, other, click)

    assert not torch.allclose(with_mask.logits, without.logits, atol=1e-3)


def test_a_box_begins_anew_whatever_is_remembered(model: Nano) -> None:
    memory, features = remembered(model, 1), features_of(model, 1)
    box = nothing(1)._replace(points=torch.tensor([[[0.2, 0.2], [0.6, 0.8]]]), labels=torch.tensor([[2, 3]]))
    new = empty(1, model.layout, model.memory_shape(SIZE), features.levels[0])

    for one, other in zip(
        model.condition(features, image_of(1), 1, memory, box),
        model.condition(features, image_of(1), 1, new, box),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_what_is_in_a_box_is_looked_at_again_in_its_own_image(model: Nano) -> None:
    """Five objects in two images, each as it is alone; without the images there is one look."""
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(5))
    both, where = model.encode_image(images), torch.tensor([1, 0, 1, 1, 0])
    prompts = nothing(5)._replace(
        points=torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(1)).sort(dim=1).values,
        labels=torch.tensor([[2, 3], [-1, -1], [2, 3], [2, 3], [2, 3]]),
    )
    last = torch.full((5, SIZE[0] // 2, SIZE[1] // 2), -10.0)

    together = model.segment(both, where, last, prompts)
    roughly = model.segment(both._replace(images=None), where, last, prompts)

    for i in range(5):
        alone = model.encode_image(images[where[i]].unsqueeze(0))
        one = Prompts(*(field[i : i + 1] for field in prompts))
        torch.testing.assert_close(
            model.segment(alone, image_of(1), last[:1], one).logits[0], together.logits[i], **CLOSE
        )
    same = [torch.equal(one, other) for one, other in zip(together.logits, roughly.logits, strict=True)]
    assert same == [False, True, False, False, False]


@pytest.mark.parametrize(("lead", "taken"), [(CLEARLY / 2, False), (CLEARLY * 2, True)])
def test_of_a_click_the_closer_look_is_taken_where_it_is_clearly_better(lead: float, taken: bool) -> None:
    """A box says how large the object is, and a click does not: there the network must be sure."""
    features = features_of(looking := Looking(lead), 1)
    prompts = nothing(3)._replace(
        points=torch.tensor([[[0.4, 0.5], [0.0, 0.0]], [[0.2, 0.2], [0.6, 0.8]], [[0.4, 0.5], [0.0, 0.0]]]),
        labels=torch.tensor([[1, -1], [2, 3], [0, -1]]),
    )
    last = torch.full((3, SIZE[0] // 2, SIZE[1] // 2), -10.0)

    found = looking.segment(features, image_of(3), last, prompts)

    assert looking.asked == [2, 2], "of a click beside the object alone nobody knows where to look"
    assert [bool((logits == 3).all()) for logits in found.logits] == [taken, True, False]


class Looking(Nano):
    """What it sees closer is 3 everywhere, and thought better than what it saw in the frame by `lead`."""

    def __init__(self, lead: float) -> None:
        torch.manual_seed(0)
        super().__init__(NANO)
        self.eval().requires_grad_(False)
        self.lead = lead
        self.asked: list[int] = []

    def decode(self, features: ImageFeatures, image_of: Tensor, evidence: Evidence) -> Decoded:
        found = super().decode(features, image_of, evidence)
        return found._replace(iou=torch.full_like(found.iou, 0.5))

    def seen_closer(
        self, images: Tensor, image_of: Tensor, squares: Squares, masks: Sequence[Tensor], prompts: Prompts
    ) -> Decoded:
        self.asked.append(len(image_of))
        sure = torch.full((len(image_of),), 0.5 + self.lead)
        return Decoded(torch.full_like(masks[0], 3.0), sure, torch.ones_like(sure))


def test_what_was_encoded_does_not_change_with_the_room_it_came_in(model: Nano) -> None:
    images = torch.rand(1, 3, *SIZE).contiguous(memory_format=torch.channels_last)

    features = model.encode_image(images)
    before = images.clone()
    images.zero_()

    assert features.images is not None
    assert features.images.equal(before)


def test_prompts_are_drawn_where_they_are() -> None:
    prompts = nothing(2)._replace(
        points=torch.tensor([[[0.25, 0.5], [0.75, 0.5]], [[0.25, 0.25], [0.5, 1.0]]]),
        labels=torch.tensor([[1, 0], [2, 3]]),
    )

    _, on, off, box, before, given = draw(prompts, torch.full((2, 1, 64, 96), 0.25)).unbind(1)

    assert on[0, 32, 24] > 0.5 > on[0, 32, 72]
    assert off[0, 32, 72] > 0.5 > off[0, 32, 24]
    assert on[1].max() == off[1].max() == 0
    assert box[1].sum() == 48 * 24
    assert box[1, 16:, 24:48].all()
    assert box[0].max() == 0
    assert before.eq(0.25).all()
    assert given.min() == 1


def test_masks_move_as_the_keys_around_them_moved() -> None:
    before = torch.nn.functional.normalize(torch.randn(1, 8, 12, 12), dim=1) * 10
    masks = torch.rand(3, 4, 12, 12)

    read = LocalRead(5)
    weights, unlike = read.weights(before.roll((2, -1), (2, 3)), before)
    moved = read(weights, masks, image_of(3))

    inside = (..., slice(3, 10), slice(2, 10))  # away from what the roll brought in from the other side
    torch.testing.assert_close(moved[inside], masks.roll((2, -1), (2, 3))[inside], atol=1e-2, rtol=0)
    assert unlike[inside].max() < 1e-3
    assert unlike.max() > 1


def test_the_memory_of_a_stream_without_end_is_of_one_size(model: Nano) -> None:
    memory = remembered(model, 2, recent=1)
    size = memory.nbytes
    features = features_of(model, 0)
    entry = model.remember(
        features, image_of(2), model.propagate(features, image_of(2), 2, memory, None), torch.zeros(2) > 0
    )

    for frame in range(2, 200):
        memory = write_recent(memory, model.layout, torch.arange(2), frame, entry)

    assert memory.nbytes == size
    assert memory.written[:, 0].eq(0).all()  # the prompted frame is never evicted


def test_a_longer_ring_needs_no_other_weights(model: Nano) -> None:
    longer = Nano(NANO, replace(NANO.layout, recent=9))

    longer.load_state_dict(model.state_dict())


def test_what_two_frames_have_to_do_with_each_other_may_be_found_out_before(model: Nano) -> None:
    memory, before, now = remembered(model, 2), features_of(model, 1), features_of(model, 2)
    at_once = model.propagate(now, image_of(2), 3, memory, before)
    related = model.propagate(model.relate(now, before), image_of(2), 3, memory, before)
    for one, other in zip(at_once, related, strict=True):
        assert torch.equal(one, other)
    unmoved = model.propagate(model.relate(now, now), image_of(2), 3, memory, before)
    assert not torch.equal(unmoved.logits, at_once.logits)


def test_without_a_frame_before_nothing_is_known_of_motion(model: Nano) -> None:
    last = remembered(model, 1).logits.sigmoid().unsqueeze(1)
    assert bool((model.moved(None, last, image_of(1)).unlike == NOTHING_ALIKE).all())
