"""Fine-tuning any model of the family: it learns, only where it should, and what it wrote can be used."""

from __future__ import annotations

import csv
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import keepsight.tracker as ks
from keepsight.model.memory import EMPTY, Entry, MemoryLayout
from keepsight.model.models import MODELS, build, outline
from keepsight.model.sam2_config import TEST
from keepsight.tracker.cli.main import execute
from keepsight.tracker.training.batches import make_batch
from keepsight.tracker.training.checkpoint import write_whole
from keepsight.tracker.training.learner import learner_of
from keepsight.tracker.training.library import open_library
from keepsight.tracker.training.parts import part_of, train_only
from keepsight.tracker.training.prompting import draw_prompts
from keepsight.tracker.training.recipe import PromptMix, Recipe, read_recipe
from keepsight.tracker.training.reports import Progress, csv_log, tensorboard_log
from keepsight.tracker.training.train import train
from keepsight.tracker.training.unroll import joined, unroll
from tests.training.pictures import disc, recipe_for, write_photos


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("pictures") / "discs").parent


def small_recipe(root: Path, output: Path, steps: int = 2, **changes: object) -> Recipe:
    """A recipe for the reduced SAM 2 network."""
    stages = [{"steps": steps, "clips": 1, "frames": 3, "objects": 1}]
    return recipe_for(root, output, **{"model": "test", "stages": stages} | changes)


def losses_of(recipe: Recipe) -> list[float]:
    seen: list[Progress] = []
    train(recipe, seen.append)
    return [progress.loss for progress in seen]


def test_the_loss_of_sam_2_falls_when_it_sees_a_clip_again(discs: Path, tmp_path: Path) -> None:
    recipe = small_recipe(discs, tmp_path, prompts=PromptMix(mask=0, box=1, points=0, corrected=1))
    torch.manual_seed(0)
    learner = learner_of(TEST)
    optimizer = torch.optim.AdamW(learner.network.parameters(), lr=3e-3)
    batch = make_batch(open_library(recipe.data, tmp_path / "i", tmp_path), recipe, 0, 0)
    losses = []
    for _ in range(24):
        optimizer.zero_grad()
        outcome = unroll(learner, batch, recipe, torch.Generator().manual_seed(0))
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(outcome.loss.detach()))

    assert min(losses[12:]) < 0.8 * losses[0]


def test_gradients_reach_all_that_a_clip_uses_of_sam_2(discs: Path, tmp_path: Path) -> None:
    mix = PromptMix(mask=0.5, box=0.25, points=0.25, corrected=1, remembered_truth=0)
    recipe = small_recipe(discs, tmp_path, prompts=mix)
    torch.manual_seed(0)
    learner = learner_of(TEST)
    batch = make_batch(open_library(recipe.data, tmp_path / "i", tmp_path), recipe, 1, 0)

    unroll(learner, batch, recipe, torch.Generator().manual_seed(3)).loss.backward()  # type: ignore[no-untyped-call]

    reached = {name.split(".")[0] for name, p in learner.network.named_parameters() if p.grad is not None}
    assert reached >= {"image_encoder", "mask_decoder", "memory_encoder", "memory_attention", "pointer_head"}


def test_sam_2_remembers_a_clip_in_the_slots_it_has() -> None:
    entries = [Entry(torch.full((1, 1, 1, 1), float(t)), torch.full((1, 1), float(t))) for t in range(6)]
    layout = MemoryLayout(conditioning=2, recent=3, pointers=4)

    memory = joined(entries, torch.zeros(1, 2, 2), layout)

    assert memory.written.tolist() == [[0, EMPTY, 3, 4, 5]]
    assert memory.features.flatten().tolist() == [0, 0, 3, 4, 5]
    assert memory.pointed.tolist() == [[0, EMPTY, 4, 5]]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_every_part(name: str) -> None:
    parts = {part_of(weight) for weight, _ in outline(MODELS[name]).named_parameters()}
    assert parts == {"image", "prompts", "decoder", "memory"}


def test_only_the_parts_that_are_named_are_trained(discs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(build(TEST).state_dict(), tmp_path / "start.safetensors")
    recipe = small_recipe(
        discs,
        tmp_path,
        start_from=str(tmp_path / "start.safetensors"),
        parts=["decoder", "memory"],
        average=0,
    )

    train(recipe, lambda progress: None)

    before, after = load_file(tmp_path / "start.safetensors"), load_file(tmp_path / "weights.safetensors")
    changed = {part_of(name) for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "memory"}


def test_norms_that_are_kept_do_not_follow_a_few_pictures() -> None:
    network = learner_of(MODELS["nano"]).network
    train_only(network, (), keep_norms=True)
    before = {name: value.clone() for name, value in network.named_buffers()}

    network.image_encoder(torch.rand(2, 3, 64, 64))  # type: ignore[operator]

    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_accumulated_batches_make_one_step(discs: Path, tmp_path: Path) -> None:
    one_by_one = losses_of(small_recipe(discs, tmp_path / "a", 2, learning_rate=1e-12))
    together = losses_of(small_recipe(discs, tmp_path / "b", 1, accumulate=2))

    assert together == [pytest.approx(sum(one_by_one) / 2, rel=1e-5)]  # weights hardly moved in between


def test_bfloat16_trains_as_float32_does(discs: Path, tmp_path: Path) -> None:
    precise = losses_of(small_recipe(discs, tmp_path / "a", 1))
    rough = losses_of(small_recipe(discs, tmp_path / "b", 1, precision="bfloat16"))

    assert rough == pytest.approx(precise, rel=0.05)  # three significant digits of the activations
    assert rough != precise


def test_what_was_written_can_be_used_at_once(discs: Path, tmp_path: Path) -> None:
    train(small_recipe(discs, tmp_path, 1), lambda progress: None)

    tracker = ks.load("test", weights=tmp_path / "weights.safetensors")
    image = disc((60, 48), 0)[0]
    results = list(tracker.track([image, image], [ks.Prompt(box=(0.3, 0.2, 0.7, 0.8))]))

    assert len(results) == 2


def test_weights_of_another_network_are_refused_in_one_line(discs: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")

    with pytest.raises(ks.ConfigError, match=r"other.safetensors: not the weights of nano"):
        train(recipe_for(discs, tmp_path, start_from=str(tmp_path / "other.safetensors")), lambda _: None)


def test_a_run_of_another_network_is_not_gone_on_with(discs: Path, tmp_path: Path) -> None:
    train(small_recipe(discs, tmp_path, 1), lambda progress: None)

    with pytest.raises(ks.ConfigError, match=r"checkpoint.pt: cannot be gone on with") as told:
        train(recipe_for(discs, tmp_path), lambda progress: None)
    assert "\n" not in str(told.value)


@contextmanager
def interrupted_after_the_first() -> Iterator[None]:
    yield
    raise KeyboardInterrupt


def test_an_interrupted_run_has_written_what_it_did_and_goes_on(discs: Path, tmp_path: Path) -> None:
    whole = losses_of(small_recipe(discs, tmp_path / "whole"))
    seen: list[Progress] = []

    with pytest.raises(KeyboardInterrupt):
        train(
            small_recipe(discs, tmp_path / "cut", checkpoint_every=100),
            seen.append,
            interrupted_after_the_first,
        )
    rest = losses_of(small_recipe(discs, tmp_path / "cut", checkpoint_every=100))

    assert [*(progress.loss for progress in seen), *rest] == whole


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    def write(file: object) -> None:
        Path("/dev/full").write_bytes(b"0")

    (tmp_path / "weights.safetensors").write_bytes(b"earlier")
    with pytest.raises(OSError, match="No space left") as told:
        write_whole(tmp_path / "weights.safetensors", write)

    assert told.value.filename == str(tmp_path / "weights.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    assert (tmp_path / "weights.safetensors").read_bytes() == b"earlier"


def test_every_kind_of_prompt_is_drawn() -> None:
    truth = torch.zeros(400, 32, 32)
    truth[:, 8:20, 10:26] = 1
    prompts = draw_prompts(truth, PromptMix(mask=0.3, box=0.3, points=0.4), torch.Generator().manual_seed(0))

    masks, boxes = prompts.has_mask, (prompts.labels == 2).any(1)
    clicks = (prompts.labels == 1).sum(1)[~masks & ~boxes]
    assert not (masks & boxes).any()
    assert (prompts.labels[masks] == -1).all()
    assert masks.float().mean() == pytest.approx(0.3, abs=0.07)  # three standard deviations of 400 draws
    assert boxes.float().mean() == pytest.approx(0.3, abs=0.07)
    assert set(clicks.tolist()) == {1, 2, 3}


def progress(step: int, loss: float = 1.0) -> Progress:
    return Progress(step, loss, 0.5, 0.5, 1e-3, step, 1.0)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_a_run_that_goes_on_takes_back_the_rows_it_repeats(tmp_path: Path) -> None:
    first = csv_log(tmp_path / "log.csv", steps=50)
    for step in range(45):
        first(progress(step))
    second = csv_log(tmp_path / "log.csv", steps=50)
    for step in range(30, 50):
        second(progress(step, loss=2.0))

    assert [(row[0], row[1]) for row in rows_of(tmp_path / "log.csv")] == [
        ("19", "1"),
        ("39", "2"),
        ("49", "2"),
    ]


def test_tensorboard_is_written_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    report = tensorboard_log(tmp_path)
    assert report is not None
    report(progress(3, loss=2.0))
    assert ("loss", 2.0, 3) in written

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert tensorboard_log(tmp_path) is None


def written_recipe(path: Path, recipe: Recipe, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(recipe.model_dump_json()) | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "nani"}, "unknown model 'nani', did you mean 'nano'"),
        ({"parts": ["decodr"]}, "parts.0: 'decodr' is not one of 'image', 'prompts', 'decoder' or 'memory'"),
        ({"model": "test", "stages": [{"steps": 1, "clips": 1, "frames": 2, "sizes": [[64, 96]]}]}, "square"),
        ({"stages": [{"steps": 1, "clips": 1, "frames": 2, "sise": 1}]}, "stages.0.sise: unknown key"),
        ({"data": {"root": ".", "sets": {"a": {"layot": "coco"}}}}, "did you mean 'layout'"),
        ({"data": {"root": ".", "sets": {"a": -1}}}, "greater than 0"),
    ],
)
def test_mistakes_in_a_recipe_are_answered_where_they_are(
    changes: dict[str, object], said: str, discs: Path, tmp_path: Path
) -> None:
    path = written_recipe(tmp_path / "recipe.yaml", recipe_for(discs, tmp_path), **changes)

    with pytest.raises(ks.ConfigError) as told:
        read_recipe(path)

    assert str(told.value).startswith(f"{path}: ")
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_from_takes_a_model_by_its_name_and_sizes_follow(discs: Path, tmp_path: Path) -> None:
    stages = [{"steps": 1, "clips": 1, "frames": 2}]
    path = written_recipe(tmp_path / "recipe.yaml", recipe_for(discs, tmp_path), stages=stages)

    nano, sam = read_recipe(path), read_recipe(path, "sam2.1-tiny")

    assert (sam.model, sam.start_from) == ("sam2.1-tiny", "sam2.1-tiny")
    assert sam.sizes_of(sam.stages[0]) == ((1024, 1024),)
    assert nano.sizes_of(nano.stages[0]) == ((320, 320), (384, 256), (256, 384))


def test_the_ready_recipe_can_be_read() -> None:
    recipe = read_recipe(Path(__file__).parents[2] / "configs" / "finetune.yaml")
    assert recipe.start_from == "nano"


def test_the_command_line_answers_what_is_missing_and_what_cannot_be_written(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    missing = written_recipe(tmp_path / "a.yaml", recipe_for(tmp_path, tmp_path / "out"))
    full = written_recipe(tmp_path / "b.yaml", small_recipe(discs, tmp_path / "file" / "out", 1))

    assert execute(["train", str(missing)]) == 2
    assert f"{tmp_path / 'discs'}: no such folder" in capsys.readouterr().err
    assert execute(["train", str(full)]) == 1
    assert f"{tmp_path / 'file' / 'out'}: Not a directory" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_after_a_checkpoint(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(path: Path, steps: int) -> object:
        return lambda progress: signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("keepsight.tracker.training.reports.csv_log", press)
    path = written_recipe(
        tmp_path / "recipe.yaml", small_recipe(discs, tmp_path / "out", checkpoint_every=100)
    )

    assert execute(["train", str(path)]) == 130
    assert (tmp_path / "out" / "checkpoint.pt").is_file()
    assert "interrupted: called again, it goes on" in capsys.readouterr().err
