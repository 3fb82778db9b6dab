"""Training on a handful of pictures made here: what it draws, that it repeats, and that it can be resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from keepsight.model.nano_config import NANO
from keepsight.tracker.training.batches import make_batch
from keepsight.tracker.training.clips import SMALLEST, Clip, ClipSettings, make_clip, target_masks
from keepsight.tracker.training.learner import learner_of
from keepsight.tracker.training.library import Library, open_library
from keepsight.tracker.training.prompting import corrections, draw_prompts
from keepsight.tracker.training.recipe import PromptMix, Recipe, read_recipe
from keepsight.tracker.training.reports import Progress
from keepsight.tracker.training.train import train
from keepsight.tracker.training.unroll import unroll
from tests.training.pictures import recipe_for, write_photos


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos of a bright disc on a dark, uneven ground, with their masks: the set `discs`."""
    root = tmp_path_factory.mktemp("pictures")
    write_photos(root / "discs")
    return root


def library_of(pictures: Path, folder: Path) -> Library:
    return open_library(recipe_for(pictures, folder).data, folder / "index.json", folder / "labels")


def a_clip(pictures: Path, folder: Path, seed: int) -> Clip:
    settings = ClipSettings(frames=4, size=(64, 96), objects=3)
    return make_clip(library_of(pictures, folder), settings, np.random.default_rng(seed))


def test_every_target_of_a_clip_is_visible_in_its_first_frame(pictures: Path, tmp_path: Path) -> None:
    for seed in range(10):
        clip = a_clip(pictures, tmp_path, seed)

        assert clip.images.shape == (4, 64, 96, 3)
        assert 1 <= len(clip.targets) <= 3
        assert all((clip.ids[0] == target).mean() >= SMALLEST for target in clip.targets)


def test_target_masks_are_the_area_of_each_target(pictures: Path, tmp_path: Path) -> None:
    clip = a_clip(pictures, tmp_path, 3)

    masks = target_masks(clip)

    assert masks.shape == (len(clip.targets), 4, 32, 48)
    for mask, target in zip(masks, clip.targets, strict=True):
        assert mask.mean() == pytest.approx((clip.ids == target).mean(), abs=1e-6)


def test_the_same_seed_step_and_process_draw_the_same_batch(pictures: Path, tmp_path: Path) -> None:
    recipe, library = recipe_for(pictures, tmp_path), library_of(pictures, tmp_path)

    one, same = make_batch(library, recipe, 7, 0), make_batch(library, recipe, 7, 0)
    other_process = make_batch(library, recipe, 7, 1)

    assert torch.equal(one.images, same.images)
    assert torch.equal(one.targets, same.targets)
    assert not torch.equal(one.images, other_process.images)


def test_drawn_clicks_lie_on_their_objects_and_boxes_around_them() -> None:
    truth = torch.zeros(40, 32, 32)
    truth[:, 8:20, 10:26] = 1
    random = torch.Generator().manual_seed(0)

    clicks = draw_prompts(truth, PromptMix(mask=0, box=0, points=1), random)
    boxes = draw_prompts(truth, PromptMix(mask=0, box=1, points=0), random)

    x, y = (clicks.points[clicks.labels == 1] * 32).long().T
    assert ((x >= 10) & (x < 26) & (y >= 8) & (y < 20)).all()
    corners = boxes.points[:, :2].flatten(1) * 32
    torch.testing.assert_close(corners, torch.tensor([10.0, 8, 26, 20]).expand(40, 4), atol=2, rtol=0)
    assert (boxes.labels == torch.tensor([2, 3, -1])).all()


def test_a_correction_clicks_where_the_mask_is_most_wrong() -> None:
    truth = torch.zeros(2, 32, 32)
    truth[:, 8:24, 8:24] = 1
    logits = truth * 20 - 10
    logits[0, 12:20, 12:20] = -10  # a hole
    logits[1, 26:31, 2:30] = 10  # a stripe too much

    prompts = corrections(truth, logits, torch.Generator().manual_seed(0))

    assert prompts.labels[:, 0].tolist() == [1, 0]
    (hole_x, hole_y), (_, stripe_y) = (prompts.points[:, 0] * 32).tolist()
    assert 12 <= hole_x < 20
    assert 12 <= hole_y < 20
    assert 26 <= stripe_y < 31


def test_the_loss_reaches_every_weight(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures, tmp_path)
    mix = PromptMix(mask=0.5, box=0.25, points=0.25, corrected=1)
    learner = learner_of(NANO)
    batch = make_batch(library_of(pictures, tmp_path), recipe, 0, 0)

    outcome = unroll(
        learner, batch, recipe.model_copy(update={"prompts": mix}), torch.Generator().manual_seed(0)
    )
    outcome.loss.backward()

    unreached = {name for name, p in learner.network.named_parameters() if p.grad is None}
    assert unreached == set()


def losses_of(recipe: Recipe) -> list[float]:
    seen: list[Progress] = []
    train(recipe, seen.append)
    return [progress.loss for progress in seen]


def test_two_runs_of_one_seed_have_the_same_losses(pictures: Path, tmp_path: Path) -> None:
    first = losses_of(recipe_for(pictures, tmp_path / "a"))
    second = losses_of(recipe_for(pictures, tmp_path / "b"))

    assert first == second


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(pictures: Path, tmp_path: Path) -> None:
    whole = recipe_for(pictures, tmp_path / "whole")
    all_losses = losses_of(whole)

    class StopError(Exception):
        """Somebody pulls the plug."""

    def until_the_third(progress: Progress) -> None:
        if progress.step == 2:
            raise StopError

    stopped = recipe_for(pictures, tmp_path / "stopped")
    with pytest.raises(StopError):
        train(stopped, until_the_third)

    assert losses_of(stopped) == all_losses[2:]  # the last checkpoint was after two steps
    one = load_file(whole.output / "weights.safetensors")
    other = load_file(stopped.output / "weights.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_mistake_in_a_recipe_is_told_in_one_line(pictures: Path, tmp_path: Path) -> None:
    good = yaml.safe_load(recipe_for(pictures, tmp_path).model_dump_json())
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**good, "learning_rat": 1}))

    with pytest.raises(
        ValueError, match=r"unknown key 'learning_rat', did you mean 'learning_rate'"
    ) as error:
        read_recipe(path)

    assert "\n" not in str(error.value)


def test_pictures_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="discs: no such folder"):
        library_of(tmp_path, tmp_path)
