"""Where the weights of each model are: bundled, in the cache, or to be had elsewhere."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from .validation import ConfigError, unknown

SEEDED = "test"
"""The model of random weights, the same each time: for tests."""

PUBLISHED = {
    "sam2.1-tiny": "https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt",
}
"""Where the authors offer a model's weights."""


def find_weights(name: str, given: Path | None) -> Path | None:
    """The file of a model's weights: the one given, the bundled one, or the one in the cache.

    None where the model needs none. Raises ConfigError that says where to get it and where to put it.
    """
    if given is not None:
        if not given.is_file():
            raise ConfigError(f"--weights {given}: no such file")
        return given
    if name == SEEDED:
        return None
    if (place := found(name)) is not None:
        return place
    raise ConfigError(missing(name))


def places(name: str) -> tuple[Path, ...]:
    """Where the weights of a model may lie, in the order of search."""
    bundled = Path(str(files("keepsight.model"))) / "weights" / f"{name}.safetensors"
    return bundled, cache() / f"{name}.safetensors", cache() / f"{name}.pt"


def cache() -> Path:
    """The folder for weights that are not bundled: KEEPSIGHT_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("KEEPSIGHT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "keepsight"


def found(name: str) -> Path | None:
    """The file of a model's weights, None where there is none here."""
    return next((place for place in places(name) if place.is_file()), None)


def missing(name: str) -> str:
    """What to do about weights that are nowhere."""
    from keepsight.model.models import MODELS  # imports torch: only where something is wrong anyway

    if name not in MODELS:
        return f"--model: {unknown(name, 'model', MODELS)}"
    wanted = cache() / f"{name}.pt"
    if name not in PUBLISHED:
        return f"{name}: no weights: put them at {wanted.with_suffix('.safetensors')}, or give --weights FILE"
    return f"{name}: no weights: save {PUBLISHED[name]} as {wanted}, or give --weights FILE"
