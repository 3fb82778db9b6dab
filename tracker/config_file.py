"""A deployment file that is in use: read again when it changes, and written when the page changes it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .validation import ConfigError
from .yaml_edit import rewritten

LOOK_SECONDS = 0.5
"""Between two looks. A change counts once it looks the same twice: whoever writes may not have finished."""

_Look = tuple[int, int, int] | None


async def changes(path: Path) -> AsyncIterator[None]:
    """Gives something at once, and whenever the file has become another, by what the file system tells of
    it."""
    known = last = _look(path)
    yield
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = _look(path)
        if now is not None and now == last and now != known:
            known = now
            yield
        last = now


def _look(path: Path) -> _Look:
    """None while it is not there: some editors move a file away before they write it anew."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextmanager
def written(path: Path, content: Mapping[str, Any]) -> Iterator[bool]:
    """The file says `content`, at once or not at all; gives whether all its comments were kept. Where the
    block raises, it says again what it said before.

    Raises ConfigError where it cannot be written.
    """
    try:
        there = path.resolve()
        before = there.read_text(encoding="utf-8")
        text, kept = rewritten(before, content)
        _replace(there, text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
    try:
        yield kept
    except Exception:
        with suppress(OSError):
            _replace(there, before)
        raise


def _replace(path: Path, text: str) -> None:
    """Write beside it and rename; who reads finds the old text or the new one."""
    mode = path.stat().st_mode
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(mode & 0o7777)
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
