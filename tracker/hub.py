"""Files on the Hugging Face Hub: fetched once, at a pinned revision, and checked before they are used."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

INSTALL = "pip install 'keepsight[hub]'"


class HubError(Exception):
    """A file that cannot be had from the Hub. The message is one line that says why."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """`file` of `repository` (owner/name). `revision` is best a commit, so that the file stays the same;
    `sha256` is what it must hash to, None where that is not known."""

    repository: str
    file: str
    revision: str = "main"
    sha256: str | None = None

    @property
    def url(self) -> str:
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{self.file}"


def fetch(wanted: HubFile, folder: Path, endpoint: str | None = None) -> Path:
    """The file in `folder`; from the Hub with a progress bar where it is not there yet.

    An interrupted download goes on where it stopped. With HF_HUB_OFFLINE set nothing is asked. `endpoint`
    stands in for HF_ENDPOINT. Raises HubError.
    """
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError:
        raise HubError(f"to have it fetched: {INSTALL}") from None
    try:
        path = hf_hub_download(
            wanted.repository,
            wanted.file,
            revision=wanted.revision,
            cache_dir=folder,
            endpoint=endpoint,
            local_files_only=is_offline(),
        )
    except (OSError, ValueError, errors.HTTPError) as error:  # type: ignore[attr-defined]
        raise HubError(reason(error)) from None
    check(Path(path), wanted)
    return Path(path)


def fetched(wanted: HubFile, folder: Path) -> Path | None:
    """The file in `folder`, None where it was not fetched yet."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    path = try_to_load_from_cache(wanted.repository, wanted.file, folder, wanted.revision)
    return Path(path) if isinstance(path, str) else None


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the Hub, as its own library reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def reason(error: Exception) -> str:
    """Why the Hub's library failed, in a few words."""
    if is_offline():
        return "HF_HUB_OFFLINE is set, so it was not fetched"
    said = (str(error) or type(error).__name__).splitlines()[0]
    return f"the Hugging Face Hub: {said}"


def check(path: Path, wanted: HubFile) -> None:
    """Raises HubError where the file is not the published one, and removes it, so that it is fetched anew."""
    if wanted.sha256 is None:
        return
    about = path.stat()
    found = _digest(path.resolve(), about.st_size, about.st_mtime_ns)
    if found != wanted.sha256:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise HubError(
            f"{wanted.file}: what came has the SHA-256 {found[:12]}…, not {wanted.sha256[:12]}… as published"
        )


@lru_cache(maxsize=16)
def _digest(path: Path, size: int, modified: int) -> str:
    """The SHA-256 of a file, in hexadecimal, read once as long as its size and time (ns) are the same: a
    start asks several times for one that may have 900 MB."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
