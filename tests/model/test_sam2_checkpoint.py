"""Official and Hugging Face checkpoints load strictly: every key is used and none is missing."""

from __future__ import annotations

import pytest
import torch

from keepsight.model.checkpoint import State, convert, name_of
from keepsight.model.models import MODELS, outline
from tests.model import shapes

EVERY_MODEL = pytest.mark.parametrize("model", shapes.names())
EVERY_LAYOUT = pytest.mark.parametrize("layout", shapes.LAYOUTS)
PUBLISHED_MILLIONS = {
    "sam2-tiny": 38.9,
    "sam2-small": 46.0,
    "sam2-base-plus": 80.8,
    "sam2-large": 224.4,
    "sam2.1-tiny": 38.9,
    "sam2.1-small": 46.0,
    "sam2.1-base-plus": 80.8,
    "sam2.1-large": 224.4,
    "edgetam": 13.9,
}


def official_tiny() -> State:
    return shapes.checkpoint("official", "sam2.1-tiny")


@EVERY_LAYOUT
@EVERY_MODEL
def test_a_checkpoint_fits_without_a_key_too_few_or_too_many(model: str, layout: str) -> None:
    converted = convert(shapes.checkpoint(layout, model))
    wanted = {key: value.shape for key, value in outline(MODELS[model]).state_dict().items()}
    assert {key: value.shape for key, value in converted.state.items()} == wanted
    assert name_of(converted) == model


@pytest.mark.parametrize("model", PUBLISHED_MILLIONS)
def test_a_network_has_as_many_parameters_as_published(model: str) -> None:
    count = sum(parameter.numel() for parameter in outline(MODELS[model]).parameters())
    assert count / 1e6 == pytest.approx(PUBLISHED_MILLIONS[model], abs=0.1)


def test_the_lists_are_of_the_checkpoints_that_were_published() -> None:
    """Sizes in bytes of files on the Hugging Face Hub: four for each number, and a header of names."""
    for model, size in (("sam2-large", 897_831_024), ("sam2.1-tiny", 155_908_064), ("edgetam", 55_912_824)):
        weights = shapes.checkpoint("hugging_face", model)
        payload = sum(value.numel() * (4 if floats(key) else 8) for key, value in weights.items())
        assert 0 < size - payload < 200 * len(weights)


def floats(key: str) -> bool:
    return not key.endswith("num_batches_tracked")


@EVERY_LAYOUT
def test_a_missing_key_is_missed(layout: str) -> None:
    weights = shapes.checkpoint(layout, "edgetam")
    wanted = outline(MODELS["edgetam"]).state_dict().keys()
    for key in list(weights)[::97]:
        rest = {other: value for other, value in weights.items() if other != key}
        if not key.startswith(("no_mem_pos_enc", "no_memory_positional", "shared_image_embedding")):
            assert convert(rest).state.keys() != wanted


def test_our_own_layout_is_taken_as_it_is() -> None:
    state = outline(MODELS["sam2-tiny"]).state_dict()
    converted = convert(state)
    assert converted.state == state
    assert name_of(converted) == "sam2-tiny"


def test_tensors_that_are_joined_keep_their_order() -> None:
    weights = official_tiny()
    for label in range(4):
        weights[f"sam_prompt_encoder.point_embeddings.{label}.weight"] = torch.full((1, 256), float(label))
    weights["sam_mask_decoder.obj_score_token.weight"] = torch.full((1, 256), 0.0)
    weights["sam_mask_decoder.iou_token.weight"] = torch.full((1, 256), 1.0)
    weights["sam_mask_decoder.mask_tokens.weight"] = torch.arange(2.0, 6.0)[:, None].expand(4, 256)
    state = convert(weights).state
    assert state["prompt_encoder.point_embed"][:, 0].tolist() == [0, 1, 2, 3]
    assert state["mask_decoder.tokens"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_keys_and_values_of_the_perceiver_are_joined_keys_first() -> None:
    weights = shapes.checkpoint("hugging_face", "edgetam")
    for number, name in enumerate(("k_proj", "v_proj")):
        key = f"spatial_perceiver.layers.0.cross_attention.{name}.weight"
        weights[key] = torch.full((64, 64), float(number))
    joined = convert(weights).state["perceiver.layers.0.cross_attn.kv_proj.weight"]
    assert joined[:, 0].tolist() == 64 * [0] + 64 * [1]


def test_the_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"other names than any SAM 2 checkpoint: conv\.weight"):
        convert({"conv.weight": torch.zeros(1)})


def test_a_checkpoint_whose_two_frequency_tables_differ_is_refused() -> None:
    weights = shapes.checkpoint("hugging_face", "sam2.1-tiny")
    weights["shared_image_embedding.positional_embedding"] += 1
    with pytest.raises(ValueError, match="frequencies differ"):
        convert(weights)


def test_a_size_that_was_never_published_has_no_name() -> None:
    weights = {key: value for key, value in official_tiny().items() if ".blocks.11." not in key}
    with pytest.raises(
        ValueError, match=r"no published sam2\.1 has an image trunk of width 96 and 11 blocks"
    ):
        name_of(convert(weights))
