"""From a name to a network ready to track: weights read, device and dtype chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from keepsight.model.int8 import quantise
from keepsight.model.models import MODELS, ModelConfig, build
from keepsight.model.nano import PRESENT, Nano
from keepsight.model.nano_config import NanoConfig
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import Sam2Config
from keepsight.streams.wording import unknown

from .backend import encode_with
from .calibration import find_calibration
from .confidence import probability
from .config import Engine
from .engine import TwoAtOnce
from .settings import TrackerSettings
from .validation import ConfigError
from .weight_file import load_weights
from .weights import find_weights

SEED = 0
"""Of the weights of a model that has none of its own."""
INT8 = "int8"
"""Weights of the heavy parts in int8, everything else in float32."""
NANO_STEP = 32
"""Both sides of Nano's input are multiples of this, the stride of its coarsest features."""


def load_predictor(engine: Engine) -> Nano | Sam2:
    """The network `engine` names, for inference. Raises ConfigError for what cannot be had."""
    return ready(engine, weights_of)


def random_predictor(engine: Engine) -> Nano | Sam2:
    """As `load_predictor`, but of random weights that are the same each time, whatever the model."""
    return ready(engine, lambda engine: None)


def ready(engine: Engine, find: Callable[[Engine], Path | None]) -> Nano | Sam2:
    """The network for inference, of the weights that `find` finds; it is asked once all else can be had."""
    device = choose_device(engine.device)
    dtype = choose_dtype(engine.dtype, device)
    config = sized(configuration(engine.model), engine.size)
    network = with_weights(engine.model, config, find(engine))
    network.eval().requires_grad_(False)
    network.fuse()
    if engine.dtype == INT8:
        quantise(network)
    network = network.to(device=device, dtype=dtype)
    network.share_work(TwoAtOnce())
    encode_with(engine.backend, network)
    return network


def weights_of(engine: Engine) -> Path | None:
    """The file with the weights that `engine` names; None for the model that needs none."""
    return find_weights(engine.model, engine.weights)


def suited(settings: TrackerSettings, engine: Engine) -> TrackerSettings:
    """The settings with what they leave open: the calibration that belongs to the engine's weights, and for
    nano that objects are untangled and from which presence on one is visible."""
    if settings.calibration is None:
        settings = replace(settings, calibration=find_calibration(weights_of(engine)))
    is_nano = isinstance(configuration(engine.model), NanoConfig)
    if settings.untangle is None:
        settings = replace(settings, untangle=is_nano)
    if settings.visible_presence is None and is_nano:
        settings = replace(settings, visible_presence=probability(PRESENT))
    return settings


def configuration(name: str) -> ModelConfig:
    if name not in MODELS:
        raise ConfigError(f"--model: {unknown(name, 'model', MODELS)}")
    return MODELS[name]


def sized(config: ModelConfig, side: int | None) -> ModelConfig:
    """`config` for an input of `side`² pixels; as it is where None. Nano, which gives each frame sides of its
    own, takes any; raises ConfigError where SAM 2's grids would not fit."""
    if side is None:
        return config
    match config:
        case NanoConfig():
            return replace(config, image_side=side)
        case Sam2Config():
            if side % config.size_step:
                raise ConfigError(f"--size {side}: {fitting(config, side)}")
            return replace(config, image_size=side)


def fitting(config: Sam2Config, side: int) -> str:
    """Which sides are allowed, with those next to `side`."""
    step, usual = config.size_step, config.image_size
    below = side // step * step
    near = f"{below} or {below + step}" if below >= step else f"{step}"
    return f"this model takes multiples of {step}, for example {near}; {usual} is its own"


def with_weights(name: str, config: ModelConfig, path: Path | None) -> Nano | Sam2:
    """The network with its weights: those of a file, or random ones that are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build(config)
    if path is not None:
        load_weights(network, path, name)
    return network


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first GPU, or the CPU. Raises ConfigError for a GPU that is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ConfigError(f"--device {wanted}: PyTorch finds {found or 'no'} GPU here; use --device cpu")
    return device


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """What is not quantised is in this. `auto` is bfloat16 on a GPU and float32 on a CPU. Raises ConfigError
    where int8 cannot be."""
    if wanted == "auto":
        wanted = "bfloat16" if device.type == "cuda" else "float32"
    if wanted == INT8:
        check_int8(device)
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def check_int8(device: torch.device) -> None:
    if device.type != "cpu":
        raise ConfigError(f"--dtype {INT8}: only on a CPU: use --dtype bfloat16, or --device cpu")
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise ConfigError(f"--dtype {INT8}: this build of PyTorch lacks oneDNN: use --dtype float32")
