"""What is wrong with what a user typed, configured or sent, in one line that teaches."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .base import redact

if TYPE_CHECKING:
    from av import FFmpegError
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


_READ = 2_000
"""Characters of a value, of which 60 are shown: no password in those ends behind them."""


def first_error(error: ValidationError, known: Iterable[str]) -> str:
    """The first of pydantic's complaints as `key: what is allowed`; for an unknown key, the `known` ones."""
    complaint = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    path = [cut(str(part)) for part in complaint["loc"]]
    where = ".".join(path)
    if complaint["type"] == "extra_forbidden":
        return f"{one_line(where)}: {unknown(path[-1], 'key', known)}"
    return one_line(f"{where}: {words(complaint)}" if where else words(complaint))


def words(complaint: ErrorDetails) -> str:
    """One complaint without pydantic's jargon, with the value that was given."""
    match complaint["type"]:
        case "missing":
            return "is required"
        case "value_error":
            return str(complaint["ctx"]["error"])
        case "union_tag_not_found":
            return f"{complaint['ctx']['discriminator'].strip(chr(39))} is required"
        case "union_tag_invalid":
            named, expected = complaint["ctx"]["discriminator"].strip("'"), complaint["ctx"]["expected_tags"]
            return f"{named} {shortened(complaint['ctx']['tag'])} is not one of {expected}"
        case "json_invalid":
            return f"is not JSON: {complaint['ctx']['error']}"
        case "literal_error":
            return f"{shortened(complaint['input'])} is not one of {complaint['ctx']['expected']}"
    said = re.sub(r"^\w+ should ", "must ", complaint["msg"])
    return f"{said}, not {shortened(complaint['input'])}"


def shortened(value: object) -> str:
    """The value as Python writes it, without passwords, cut. What is far beyond that is not looked at."""
    return cut(redact(repr(value)[:_READ]))


def one_line(text: str) -> str:
    """The text with what would end lines, or cannot be seen, as Python writes it."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def cut(text: str, limit: int = 60) -> str:
    """The first `limit` characters of a text, which may come from anybody."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def refusal(error: OSError | FFmpegError) -> str:
    """Why a file or folder was refused, in the system's words; but where one is that must be a folder, which
    file that is."""
    if isinstance(error, FileExistsError) and error.filename:
        return f"{error.filename} is a file, not a folder"
    return (error.strerror or str(error)).splitlines()[0]


def unknown(name: str, kind: str, known: Iterable[str]) -> str:
    """`unknown key 'modle', did you mean 'model'? Known: …`."""
    names = sorted(known)
    near = difflib.get_close_matches(name.replace("-", "_"), names, n=1)
    meant = f", did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{meant} Known: {', '.join(names)}"
