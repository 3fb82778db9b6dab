"""Where the weights of each model are: given, bundled, in the cache, or on the Hugging Face Hub."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from keepsight.streams.wording import unknown

from .hub import HubError, HubFile, fetch, fetched
from .validation import ConfigError

SEEDED = "test"
"""The model of random weights, the same each time: for tests."""
ON_THE_HUB = "hf:"
"""What --weights begins with where it names a file on the Hub: hf:owner/name[@revision][/file]."""

PUBLISHED = {
    "sam2.1-tiny": HubFile(
        "facebook/sam2.1-hiera-tiny",
        "sam2.1_hiera_tiny.pt",
        "de431c4043854a71d8101e17995dfe596bf101a5",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
    "sam2.1-small": HubFile(
        "facebook/sam2.1-hiera-small",
        "sam2.1_hiera_small.pt",
        "ee5bba1d82bb8749febdf90f45e84b687142ba03",
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    "sam2.1-base-plus": HubFile(
        "facebook/sam2.1-hiera-base-plus",
        "sam2.1_hiera_base_plus.pt",
        "b7320756a13354e7530a63935656d35b2f91a290",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    "sam2.1-large": HubFile(
        "facebook/sam2.1-hiera-large",
        "sam2.1_hiera_large.pt",
        "665f8e2ad61cf5f53d65644ff27c8ee525124610",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
    "sam2-tiny": HubFile(
        "facebook/sam2-hiera-tiny",
        "sam2_hiera_tiny.pt",
        "7c218beaf0bb87874785f32b582f640134fc1c09",
        "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
    ),
    "sam2-small": HubFile(
        "facebook/sam2-hiera-small",
        "sam2_hiera_small.pt",
        "e080ada8afd19df5e165abe71b006edc7f4c3d4e",
        "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
    ),
    "sam2-base-plus": HubFile(  # its commit is not known here: what is on main is checked all the same
        "facebook/sam2-hiera-base-plus",
        "sam2_hiera_base_plus.pt",
        sha256="d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
    ),
    "sam2-large": HubFile(
        "facebook/sam2-hiera-large",
        "sam2_hiera_large.pt",
        "e6a8e8809b8f1bfa2238b6d080f3d05cc76bd251",
        "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
    ),
    "edgetam": HubFile(
        "facebook/EdgeTAM",
        "edgetam.pt",
        "14d7ecc48c656b94e5184519f698cd5386c5a2bf",
        "ed2d4850b8792c239689b043c47046ec239b6e808a3d9b6ae676c803fd8780df",
    ),
}
"""The authors' own checkpoints."""
LICENCE = "Apache-2.0"
"""Of all of these, as their authors say, and of the bundled ones."""


def find_weights(name: str, given: Path | None) -> Path | None:
    """The file of a model's weights: the one given, bundled, in the cache, or on the Hugging Face Hub.

    None where the model needs none. Raises ConfigError that says where to get it and where to put it.
    """
    if given is not None:
        return given_weights(given)
    if name == SEEDED:
        return None
    if (place := here(name)) is not None:
        return place
    if name not in PUBLISHED:
        raise ConfigError(missing(name))
    try:
        return fetch(PUBLISHED[name], hub_cache())
    except HubError as error:
        raise ConfigError(f"{missing(name)} ({error})") from None


def given_weights(given: Path) -> Path:
    """The file that --weights names, on this machine or on the Hub."""
    if given.as_posix().startswith(ON_THE_HUB):
        try:
            return fetch(hub_file(given.as_posix()), hub_cache())
        except HubError as error:
            raise ConfigError(f"--weights {given}: {error}") from None
    if not given.is_file():
        raise ConfigError(f"--weights {given}: no such file")
    return given


def hub_file(name: str) -> HubFile:
    """hf:owner/name[@revision][/file] as what it names: a revision is a commit, a tag or a branch, main where
    none is named; without a file, the safetensors file that repositories have."""
    owner, _, rest = name.removeprefix(ON_THE_HUB).partition("/")
    place, _, file = rest.partition("/")
    repository, at, revision = place.partition("@")
    if not owner or not repository or (at and not revision):
        raise ConfigError(
            f"--weights {name}: write {ON_THE_HUB}owner/name, or {ON_THE_HUB}owner/name@revision/file"
        )
    return HubFile(f"{owner}/{repository}", file or "model.safetensors", revision or "main")


def whereabouts(name: str, given: Path | None = None) -> str:
    """Where a model's weights are: a path, or hf:owner/name where they are fetched from when first used.

    Raises ConfigError where they cannot be had.
    """
    if given is not None and given.as_posix().startswith(ON_THE_HUB):
        return given.as_posix()
    if given is not None:
        return str(given_weights(given))
    if name == SEEDED:
        return "random, always the same"
    if (place := here(name)) is not None:
        return "bundled" if place == places(name)[0] else str(place)
    if name not in PUBLISHED:
        raise ConfigError(missing(name))
    if (place := fetched(PUBLISHED[name], hub_cache())) is not None:
        return str(place)
    return f"{ON_THE_HUB}{PUBLISHED[name].repository}"


def at_hand(name: str) -> bool:
    """Whether a model's own weights are on this machine, or it needs none."""
    fetched_before = name in PUBLISHED and fetched(PUBLISHED[name], hub_cache()) is not None
    return name == SEEDED or here(name) is not None or fetched_before


def places(name: str) -> tuple[Path, ...]:
    """Where the weights of a model may lie, in the order of search."""
    bundled = Path(str(files("keepsight.model"))) / "weights" / f"{name}.safetensors"
    return bundled, cache() / f"{name}.safetensors", cache() / f"{name}.pt"


def cache() -> Path:
    """The folder for weights that are not bundled: KEEPSIGHT_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("KEEPSIGHT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "keepsight"


def hub_cache() -> Path:
    """The folder for what was fetched from the Hub."""
    return cache() / "hub"


def here(name: str) -> Path | None:
    """The file of a model's weights that is bundled or was put into the cache, None where there is none."""
    return next((place for place in places(name) if place.is_file()), None)


def missing(name: str) -> str:
    """What to do about weights that are nowhere."""
    place = cache() / name
    if name in PUBLISHED:
        return f"{name}: no weights: save {PUBLISHED[name].url} as {place}.pt, or give --weights FILE"
    from keepsight.model.models import MODELS  # imports torch: only where nothing else can be said

    if name not in MODELS:
        return f"--model: {unknown(name, 'model', MODELS)}"
    return f"{name}: no weights: put them at {place}.safetensors, or give --weights FILE"
