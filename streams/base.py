"""What a source and a sink are, and how they fail."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

from .types import Command, EventKind, Frame, Result, SourceStatus, Switch

HARDWARE = ("auto", "cuda", "vaapi", "videotoolbox", "d3d11va")
"""What may be asked to decode video: a kind of device, as FFmpeg calls it, or the first that there is."""


class SourceError(Exception):
    """A source cannot be opened or read. The message is one line, names the cause and holds no password."""


class DeniedError(SourceError):
    """The server wants another user or password. Who asks too often may be shut out for longer."""


class SinkError(Exception):
    """A sink cannot be opened or written. The message is one line, names the cause and holds no password."""


class Source(Protocol):
    """A stream of frames. Constructing opens nothing: `async with source: async for frame in source: ...`.

    `live` decides what happens to frames nobody had time for: a live source drops them, a file waits. `url`
    has its password masked. `frame_count` and `rate` (frames/s) are None where unknown, and settled once
    the source is open. `dropped` counts the frames of a live source that nobody had time for. The end of a
    file ends the iteration; on a live source nothing but an error does.
    """

    live: bool

    @property
    def url(self) -> str: ...

    @property
    def frame_count(self) -> int | None: ...

    @property
    def rate(self) -> float | None: ...

    @property
    def dropped(self) -> int: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> AsyncIterator[Frame]: ...


class Sink(Protocol):
    """Where results go. Constructing opens nothing: `async with sink: await sink.write(result)`.

    Leaving the block finishes the output, also after an error or Ctrl-C. Blocking work runs in the sink's own
    thread, never on the event loop.
    """

    @property
    def url(self) -> str: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def write(self, result: Result) -> None: ...


@runtime_checkable
class SourceListener(Protocol):
    """A sink that also tells how a live source is doing, most of all while no frames come."""

    def hear_of_source(self, status: SourceStatus) -> None:
        """Called on the event loop at each change of state or reason. Never waits."""
        ...


Ending = Literal["finished", "interrupted", "failed"]
"""How a run ended: its source did, somebody stopped it, or something broke."""


@runtime_checkable
class EndListener(Protocol):
    """A sink that also tells how the run ended."""

    def hear_of_end(self, ending: Ending) -> None:
        """Called on the event loop, before the sink is left. Never waits."""
        ...


def ending_with(error: BaseException | None) -> Ending:
    """How a run ended that says nothing of it, by what a sink is left with."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
        return "interrupted"
    return "failed" if error else "finished"


@runtime_checkable
class Commander(Protocol):
    """A sink through which commands come back: whoever sees the results may say what is to be tracked."""

    def take_commands(self) -> tuple[Command, ...]:
        """The commands that came since this was last asked, oldest first, each with its `request`.

        Called on the event loop before each step. Never waits. What became of them is told by the results.
        """
        ...


@dataclass(frozen=True, slots=True)
class Recordings:
    """A folder with clips of a camera's events, and the kinds of events that are recorded there."""

    folder: Path
    kinds: tuple[EventKind, ...]


@runtime_checkable
class Page(Protocol):
    """A sink that is looked at in a browser."""

    @property
    def address(self) -> str:
        """What to type there."""
        ...

    async def shown(self) -> None:
        """Waits until the camera can be looked at there."""
        ...

    def offer_clips(self, recordings: Recordings) -> None:
        """Clips of the camera's events can be looked at, too."""
        ...


@runtime_checkable
class Switched(Protocol):
    """A sink through which a stream's parts are switched off and on."""

    def is_on(self, switch: Switch) -> bool:
        """Whether a part is on, as everything is at the begin. Called on the event loop. Never waits."""
        ...


@runtime_checkable
class PauseListener(Protocol):
    """A sink that also tells whether its camera is switched off."""

    def hear_of_pause(self, paused: bool) -> None:
        """Called on the event loop after a switch of the stream was turned, through whichever of its sinks.
        Never waits."""
        ...


_AFTER_USER = re.compile(r"[/@:\s\[]")
_STREAM_KEY = re.compile(r"(?i)(rtmps?://[^/\s,'\"]*/[^\s?#,'\"]*/)[^/\s?#,'\"]+")
_PARAMETER = re.compile(r"([?&;#])([^=&;#?\s]*)=[^&;#\s]*")
_IN_PATH = re.compile(
    r"(?i)((?:password|passwd|pass|pwd|psw|pw)(?:=|%3d))"
    r"(?:\S{0,100}?(?=_(?:channel|stream)=)|[^&;#/?\s]*)"
)
"""As cameras of Xiongmai (XMEye) have it: user=…_password=…_channel=1_stream=0.sdp. A password may hold a _:
it ends only where what they write behind it follows. The 100 bounds the time."""
_SHOWN = frozenset(
    (
        *("ca", "camera", "cert", "discovery", "fps", "frames", "frames_per_second", "live", "masks", "node"),
        *("objects", "path", "seed", "size", "spool"),
        *("audio", "channel", "codec", "compression", "height", "profile", "quality", "resolution"),
        *("streamtype", "subtype", "transport", "user", "username", "videocodec", "width"),
    )
)
"""Parameters of our own URLs, and of cameras, that are no secrets. Of all others nobody knows."""


def redact(text: str) -> str:
    """URLs, or a text with some, with what may be secret replaced by ***: passwords, those in a path too, the
    values of all parameters but a few, and the end of RTMP addresses, the key of whoever publishes there.

    A password may hold a slash that should have been percent-encoded; digits before a slash are a port.
    Texts come from anybody: the time this takes grows with the length alone.
    """
    words = (_without_passwords(word) for word in re.split(r"(\s+)", text))
    shown = _IN_PATH.sub(r"\1***", _STREAM_KEY.sub(r"\1***", "".join(words)))
    return _PARAMETER.sub(_without_value, shown)


def _without_value(found: re.Match[str]) -> str:
    return found[0] if found[2].lower() in _SHOWN else f"{found[1]}{found[2]}=***"


def _without_passwords(word: str) -> str:
    """Each `://user:password@` in a word as `://user:***@`."""
    shown, done, last = [], 0, word.rfind("@")
    while 0 <= (mark := word.find("://", done)) < last:
        user = _AFTER_USER.search(word, mark + 3)
        begin = mark + 3 if user is None else user.end()
        end = _end_of_password(word, begin, last) if user and user[0] == ":" else None
        shown.append(word[done:begin] if end is None else f"{word[done:begin]}***")
        done = begin if end is None else end
    return "".join((*shown, word[done:]))


def _end_of_password(word: str, begin: int, last: int) -> int | None:
    """Where the @ behind the password is that would begin there; None where none does. `last`: the word's
    last @."""
    slash = word.find("/", begin)
    at = word.rfind("@", begin, slash if slash >= 0 else len(word))
    if at >= 0:
        return at
    is_port = slash > begin and word[begin:slash].isdecimal()
    return last if last >= begin and not is_port else None
