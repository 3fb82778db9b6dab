"""What a run starts from, goes on with, and leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save as serialised
from torch import Tensor, nn

from keepsight.model.models import MODELS

from ..validation import ConfigError
from ..weight_file import read_weights, under_keys_of
from ..weights import find_weights
from .learner import Learner
from .recipe import Recipe

log = logging.getLogger(__name__)
CHECKPOINT, WEIGHTS = "checkpoint.pt", "weights.safetensors"


@dataclass(slots=True)
class Run:
    """A training run between two steps. `average`: the weights averaged over steps; `step`: the next one."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    step: int = 0

    @property
    def network(self) -> nn.Module:
        return self.learner.network

    def save(self, folder: Path) -> None:
        """A checkpoint to resume from and the averaged weights, each written whole or not at all. Raises
        OSError, with the file's name, where it cannot be."""
        state = {
            "step": self.step,
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
        }
        write_whole(folder / CHECKPOINT, lambda file: torch.save(state, file))
        weights = {name: value.contiguous().cpu() for name, value in self.average.items()}
        write_whole(folder / WEIGHTS, lambda file: file.write(serialised(weights)))

    def resume(self, folder: Path) -> None:
        """Go on with the checkpoint in a folder where there is one. Raises ConfigError where it is of another
        network, or cannot be read."""
        path = folder / CHECKPOINT
        if not path.is_file():
            return
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            self.network.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError, EOFError) as error:
            why = str(error).splitlines()[0]
            raise ConfigError(
                f"{path}: cannot be gone on with: {why} Name another `output`, or remove it"
            ) from None
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        self.step = int(state["step"])


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside `path` and put it in its place when it is whole. Raises OSError that names it."""
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            write(file)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def starting_weights(recipe: Recipe) -> Path | None:
    """The file that a recipe starts from, None where it starts at random. Raises ConfigError."""
    if recipe.start_from is None:
        return None
    if recipe.start_from not in MODELS:
        return find_weights(recipe.model, Path(recipe.start_from))
    if recipe.start_from != recipe.model:
        raise ConfigError(
            f"start_from: {recipe.start_from}: a {recipe.model} cannot start from its weights: "
            f"set `model: {recipe.start_from}`"
        )
    return find_weights(recipe.model, None)


def begin_with(network: nn.Module, file: Path, name: str) -> None:
    """Take over the weights of a file whose names and shapes fit; the rest keep their random start. Raises
    ConfigError where none does."""
    weights = under_keys_of(network, read_weights(file), file, name)
    own = network.state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise ConfigError(f"{file}: not the weights of {name}: none of its {len(weights)} tensors fits")
    network.load_state_dict(fitting, strict=False)
    if len(fitting) < len(own):
        log.warning(
            "%d of %d tensors taken over from %s, the others start at random", len(fitting), len(own), file
        )
