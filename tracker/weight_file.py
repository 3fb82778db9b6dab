"""Weights from a file into a network: read without running anything, and refused with a reason."""

from __future__ import annotations

import errno
import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from keepsight.model.checkpoint import Converted, State, convert, name_of
from keepsight.model.sam2 import Sam2

from .validation import ConfigError

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
COUNTER = "num_batches_tracked"
"""Ends the keys of the integers that batch normalisation keeps."""


def load_weights(network: nn.Module, path: Path, name: str) -> None:
    """Read `path` into the network called `name`: every tensor of the file is used, and none is missing.

    SAM 2 and EdgeTAM checkpoints may be official ones, their Hugging Face twins, or our own. Raises
    ConfigError for a file that cannot be read, that holds more than tensors, or that is of another network.
    """
    state = under_keys_of(network, read_weights(path), path, name)
    refuse_misfits(network, state, path, name)
    network.load_state_dict(state)


def under_keys_of(network: nn.Module, state: State, path: Path, name: str) -> State:
    """The tensors of a file by the keys of the network called `name`, whatever published layout they are in.

    Raises ConfigError for a checkpoint of another network, which it names where it was published.
    """
    try:
        converted = convert(state)
    except (ValueError, RuntimeError, IndexError) as error:
        if not isinstance(network, Sam2):
            return state
        raise ConfigError(f"{path}: not the weights of {name}: {first_line(error)}") from None
    other = published_name(converted)
    if other not in (None, name):
        raise ConfigError(f"{path}: not the weights of {name}, but those of {other}: use --model {other}")
    return converted.state


def published_name(converted: Converted) -> str | None:
    """None for a size that was never published."""
    try:
        return name_of(converted)
    except ValueError:
        return None


def refuse_misfits(network: nn.Module, state: State, path: Path, name: str) -> None:
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    missing, surplus = wanted.keys() - state.keys(), state.keys() - wanted.keys()
    shaped = [key for key, value in state.items() if key in wanted and value.shape != wanted[key]]
    if missing or surplus or shaped:
        raise ConfigError(
            f"{path}: not the weights of {name}: {len(missing)} tensors are missing, {len(surplus)} unknown "
            f"and {len(shaped)} of another shape, such as {min((*missing, *surplus, *shaped))}"
        )
    broken = [key for key, value in state.items() if not bool(value.isfinite().all())]
    if broken:
        raise ConfigError(f"{path}: damaged: {len(broken)} tensors are not finite, such as {min(broken)}")


def read_weights(path: Path) -> State:
    """The tensors of a .safetensors or .pt file, by name: dense, of floating-point numbers, on the CPU.

    Raises ConfigError for a file that holds anything else.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else read_pt(path)
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{path}: cannot be read as weights: {unsafe(error)}") from None
    except (SafetensorError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as weights: {first_line(error)}") from None
    except OSError as error:
        damaged = error.errno == errno.EINVAL  # what torch meets past the end of a file that was cut off
        why = "it was cut off" if damaged else error.strerror or str(error)
        raise ConfigError(f"{path}: cannot be read as weights: {why}") from None
    if odd := [key for key, value in state.items() if not can_be_weights(key, value)]:
        raise ConfigError(
            f"{path}: cannot be read as weights: {len(odd)} tensors are not dense floating-point numbers, "
            f"such as {min(odd)}"
        )
    return state


def can_be_weights(key: str, value: Tensor) -> bool:
    """Whether a tensor is of a kind that networks are saved in; only what counts batches may be integers."""
    kinds = (*FLOATS, torch.int64) if key.endswith(COUNTER) else FLOATS
    return value.dtype in kinds and value.layout == torch.strided and value.device.type == "cpu"


def read_pt(path: Path) -> State:
    """A pickle of tensors; anything else in it is refused before it can run."""
    content = unpickled(path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise ValueError("it does not hold tensors by name")
    return content


def unpickled(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError):
        raise
    except Exception as error:  # bytes that are wrong make the reader fail in whatever way they happen to
        raise ValueError(first_line(error)) from None


def unsafe(error: pickle.UnpicklingError) -> str:
    """What a pickle would have run, or that it is none."""
    called = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it would run {called[1]}, so it was not opened" if called else "it is not a file of tensors"


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
