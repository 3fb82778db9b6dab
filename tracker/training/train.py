"""The training loop: batches in, checkpoints and averaged weights out. One process, or several under
torchrun."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..build import choose_device
from .batches import Batch, load
from .checkpoint import WEIGHTS, Run, begin_with, starting_weights
from .learner import learner_of
from .library import open_library
from .parts import train_only
from .recipe import Recipe
from .reports import Progress, Report
from .unroll import Outcome, unroll

log = logging.getLogger(__name__)
LABELS = "labels"
"""The folder in a run's output with what the model labelled itself."""

Held = Callable[[], AbstractContextManager[None]]
"""Inside its block Ctrl-C waits, so that a step is done whole."""


def train(recipe: Recipe, report: Report, held: Held = nullcontext) -> Path:
    """Train from the newest checkpoint in `recipe.output`, or from the start; returns the file of the
    weights.

    Under torchrun every process calls this; the first one writes, also when it is interrupted. Raises
    ValueError, in one line, for data that is missing, and OSError where nothing can be written.
    """
    device = own_device(recipe.device)
    rank, world = join_processes(device)
    recipe.output.mkdir(parents=True, exist_ok=True)
    run = begin(recipe, device)
    index = recipe.output / f"index{rank}.json"
    library = open_library(recipe.data, index, recipe.output / LABELS)
    batches = iter(load(library, recipe, rank, run.step))
    started = time.monotonic()
    try:
        while run.step < recipe.steps:
            with held():
                step, rate = run.step, recipe.learning_rate_at(run.step)
                outcome = take_step(run, recipe, batches, device, rank)
                if rank == 0:
                    clips = run.step * recipe.accumulate * recipe.stage_at(step).clips * world
                    report(summarised(step, outcome, rate, clips, time.monotonic() - started))
                    if run.step % recipe.checkpoint_every == 0 or run.step == recipe.steps:
                        run.save(recipe.output)
    except KeyboardInterrupt:
        if rank == 0:
            run.save(recipe.output)
        raise
    except ValueError as error:
        raise ValueError(in_one_line(error)) from error
    return recipe.output / WEIGHTS


def begin(recipe: Recipe, device: torch.device) -> Run:
    """The run of a recipe where it was left, or before its first step."""
    torch.manual_seed(recipe.seed)
    learner = learner_of(recipe.configuration, recipe.reads)
    if (file := starting_weights(recipe)) is not None:
        begin_with(learner.network, file, recipe.model)
    train_only(learner.network, recipe.parts, keep_norms=recipe.keep_norms)
    learner.network.to(device)
    groups = grouped(learner.network, recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    average = {name: value.detach().clone() for name, value in learner.network.state_dict().items()}
    run = Run(learner, optimizer, average)
    run.resume(recipe.output)
    return run


def own_device(wanted: str) -> torch.device:
    """Under torchrun, each process its own GPU where there are any."""
    device = choose_device(wanted)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device


def join_processes(device: torch.device) -> tuple[int, int]:
    """This process's rank and how many there are, from torchrun's environment."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif world > 1:
        torch.set_num_threads(1)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return int(os.environ.get("RANK", "0")), world


def grouped(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for norms and biases; scalars (logarithms of how sharply
    keys match) have far to go and learn ten times as fast."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay, "pace": 1.0},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0, "pace": 1.0},
        {"params": [p for p in parameters if p.ndim == 0], "weight_decay": 0.0, "pace": 10.0},
    ]


def take_step(run: Run, recipe: Recipe, batches: Iterator[Batch], device: torch.device, rank: int) -> Outcome:
    """One change of the weights, by the mean gradient of as many batches as the recipe accumulates."""
    run.optimizer.zero_grad(set_to_none=True)
    outcomes = []
    for index in range(run.step * recipe.accumulate, (run.step + 1) * recipe.accumulate):
        random = torch.Generator().manual_seed(hash((recipe.seed, index, rank)) % 2**63)
        batch = next(batches).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            outcome = unroll(run.learner, batch, recipe, random)
        (outcome.loss / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        outcomes.append(Outcome(*(value.detach() for value in outcome)))
    update(run, recipe)
    run.step += 1
    return Outcome(*(torch.stack(values).mean() for values in zip(*outcomes, strict=True)))


def update(run: Run, recipe: Recipe) -> None:
    """Follow the gradient, and let the averaged weights follow the weights."""
    share_gradients(p for p in run.network.parameters() if p.requires_grad)
    norm = nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip_gradient)
    if bool(torch.isfinite(norm)):
        rate = recipe.learning_rate_at(run.step)
        for group in run.optimizer.param_groups:
            group["lr"] = rate * group["pace"]
        run.optimizer.step()
    else:
        log.warning("a step was left out: its gradient was not finite")
    blend(run.average, run.network, min(recipe.average, (run.step + 1) / (run.step + 10)))


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


def summarised(step: int, outcome: Outcome, rate: float, clips: int, seconds: float) -> Progress:
    loss, iou, prompted = (float(value) for value in outcome)
    return Progress(step, loss, iou, prompted, rate, clips, seconds)


def in_one_line(error: ValueError) -> str:
    """What is wrong, without the trace that a loader's process adds."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].removeprefix("ValueError: ")
