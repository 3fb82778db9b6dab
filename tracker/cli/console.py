"""What the user reads: results on stdout; progress, logs and errors on stderr."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import TextColumn

# What is printed may be a user's: rich shall not take [/x] in a label, or [fe80::1] in a URL, for its markup.
out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


def description() -> TextColumn:
    """The column of a progress bar that says, as it is, what it is at."""
    from rich.progress import TextColumn

    return TextColumn("{task.description}", markup=False)


def complain(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"keepsight: {' '.join(message.split())}\n")


def is_debugging() -> bool:
    """Whether the user asked for traces."""
    return os.environ.get("KEEPSIGHT_DEBUG", "") not in ("", "0")


def configure_logging() -> None:
    """Log lines above the progress bar: warnings and worse, everything when debugging."""
    import structlog

    level = 10 if is_debugging() else 30
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=err.is_terminal, pad_event_to=0, pad_level=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _AboveProgress())),
        cache_logger_on_first_use=False,
    )


class _AboveProgress(io.TextIOBase):
    """A text file that writes through the console that also draws the progress bar."""

    def write(self, text: str) -> int:
        if text.strip():
            err.print(text.rstrip("\n"), soft_wrap=True)
        return len(text)
