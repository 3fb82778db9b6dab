"""The training loop: batches in, checkpoints and averaged weights out. One process, or several under
torchrun."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from keepsight.model.memory import MemoryLayout
from keepsight.model.nano import Nano
from keepsight.model.nano_config import NANO

from .batches import load
from .library import open_library
from .recipe import Recipe
from .unroll import Outcome, unroll

log = logging.getLogger(__name__)
COLUMNS = ("step", "loss", "iou", "prompted_iou", "learning_rate", "clips", "seconds")


@dataclass(frozen=True, slots=True)
class Progress:
    """What one step reports. `clips`: seen by all processes so far; `seconds`: since this process started."""

    step: int
    loss: float
    iou: float
    prompted_iou: float
    learning_rate: float
    clips: int
    seconds: float


def train(recipe: Recipe, report: Callable[[Progress], None]) -> Path:
    """Train from the newest checkpoint in `recipe.output`, or from the start; returns the file of the
    weights.

    Under torchrun every process calls this; the first one writes. Raises ValueError for data that is missing.
    """
    rank, world = join_processes()
    torch.manual_seed(recipe.seed)
    model = Nano(NANO, MemoryLayout(conditioning=1, recent=64, pointers=65)).train()
    optimizer = torch.optim.AdamW(
        grouped(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98)
    )
    if recipe.start_from is not None:
        begin_with(model, load_file(recipe.start_from))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    recipe.output.mkdir(parents=True, exist_ok=True)
    first = resume(recipe.output / "checkpoint.pt", model, optimizer, average)
    index = recipe.output / f"index{rank}.json"
    library = open_library(
        recipe.data.root, recipe.data.sets, recipe.data.outlines, recipe.data.backgrounds, index
    )
    started = time.monotonic()
    for step, batch in enumerate(load(library, recipe, rank, first), first):
        random = torch.Generator().manual_seed(hash((recipe.seed, step, rank)) % 2**63)
        rate = recipe.learning_rate_at(step)
        outcome = update(model, optimizer, rate, recipe, unroll(model, batch, recipe, random))
        blend(average, model, min(recipe.average, (step + 1) / (step + 10)))
        if rank == 0:
            seen = (step + 1) * len(batch.images) * world
            report(summarised(step, outcome, rate, seen, time.monotonic() - started))
            if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
                save(recipe.output, step + 1, model, optimizer, average)
    return recipe.output / "weights.safetensors"


def join_processes() -> tuple[int, int]:
    """This process's rank and how many there are, from torchrun's environment."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")
    return int(os.environ.get("RANK", "0")), world


def begin_with(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Take over the weights whose names and shapes fit; the rest keep their random start."""
    own = model.state_dict()
    fitting = {
        name: value for name, value in weights.items() if name in own and own[name].shape == value.shape
    }
    model.load_state_dict(fitting, strict=False)
    log.info("%d of %d tensors taken over, the others start at random", len(fitting), len(own))


def grouped(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for norms and biases; scalars (logarithms of how sharply
    keys match) have far to go and learn ten times as fast."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay, "pace": 1.0},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0, "pace": 1.0},
        {"params": [p for p in parameters if p.ndim == 0], "weight_decay": 0.0, "pace": 10.0},
    ]


def update(
    model: nn.Module, optimizer: torch.optim.Optimizer, rate: float, recipe: Recipe, outcome: Outcome
) -> Outcome:
    optimizer.zero_grad(set_to_none=True)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    share_gradients(model.parameters())
    norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_gradient)
    if not bool(torch.isfinite(norm)):
        log.warning("a step was left out: its gradient was not finite")
        return outcome
    for group in optimizer.param_groups:
        group["lr"] = rate * group["pace"]
    optimizer.step()
    return outcome


def share_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients over all processes, in one message."""
    if not dist.is_initialized():
        return
    parameters = list(parameters)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    nn.utils.vector_to_parameters(flat, [p.grad for p in parameters if p.grad is not None])


@torch.no_grad()
def blend(average: dict[str, Tensor], model: nn.Module, keep: float) -> None:
    """Move the averaged weights towards the model's."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - keep)
        else:
            average[name].copy_(value)


def save(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
) -> None:
    """A checkpoint to resume from and the averaged weights, each written whole or not at all."""
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average,
    }
    torch.save(state, folder / "checkpoint.part")
    (folder / "checkpoint.part").replace(folder / "checkpoint.pt")
    save_file({name: value.contiguous() for name, value in average.items()}, folder / "weights.part")
    (folder / "weights.part").replace(folder / "weights.safetensors")


def resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
    """Load a checkpoint where there is one; the step to go on with."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    average.update(state["average"])
    return int(state["step"])


def summarised(step: int, outcome: Outcome, rate: float, clips: int, seconds: float) -> Progress:
    loss, iou, prompted = (float(value.detach()) for value in outcome)
    return Progress(step, loss, iou, prompted, rate, clips, seconds)


def csv_log(path: Path, every: int = 20) -> Callable[[Progress], None]:
    """A reporter that appends the mean of every `every` steps to a CSV file."""
    pending: list[Progress] = []

    def report(progress: Progress) -> None:
        pending.append(progress)
        if len(pending) < every:
            return
        means = [sum(getattr(p, column) for p in pending) / every for column in COLUMNS[1:4]]
        row = (progress.step, *means, progress.learning_rate, progress.clips, progress.seconds)
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(COLUMNS)
            writer.writerow([f"{value:.5g}" if isinstance(value, float) else value for value in row])
        pending.clear()

    return report
