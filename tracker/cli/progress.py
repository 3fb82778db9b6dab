"""How a run is doing while it runs: a bar for files, a status line for live streams, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from ..pipeline import Stream
from ..summary import Meter
from .console import description, err

REDRAW_SECONDS = 0.2
LINE_SECONDS = 10.0
NEWS = 0.3
"""How much of the rate shown is the latest."""


class Display(Protocol):
    """Is told of each result, and shows it when it is time to."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def observe(self, stream: Stream, meter: Meter) -> None: ...

    def leave(self, stream: Stream) -> None:
        """The stream is there no more; another of its name may come."""
        ...


def display(streams: Sequence[Stream]) -> Display:
    return Bars(streams) if err.is_terminal else Lines()


class Pace:
    """Says when it is time again, and how many frames a second come."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._frames = 0
        self._rate: float | None = None

    def rate(self, frames: int) -> float | None:
        """Frames/s, smoothed; None where it is not time yet."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return None
        rate = (frames - self._frames) / (now - self._last)
        self._last, self._frames = now, frames
        self._rate = rate if self._rate is None else self._rate + NEWS * (rate - self._rate)
        return self._rate


class Bar(ProgressColumn):
    """A bar where the end is known, else what is known."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=30)

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"live, {task.fields['dropped']} dropped" if task.fields["live"] else "")
        return self._bar.render(task)  # type: ignore[return-value]


class Bars:
    """One line per stream, redrawn in place."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._progress = Progress(
            description(),
            Bar(),
            TextColumn("{task.fields[frames]}"),
            TextColumn("{task.fields[rate]:5.1f} fps"),
            TextColumn("objects {task.fields[objects]}"),
            TextColumn("{task.fields[step]:4.0f} ms"),
            console=err,
            auto_refresh=False,
            transient=True,
        )
        self._tasks = {stream.name: self._add(stream) for stream in streams}
        self._paces = {stream.name: Pace(REDRAW_SECONDS) for stream in streams}

    def _add(self, stream: Stream) -> TaskID:
        live = stream.source.live
        return self._progress.add_task(
            stream.name, total=None, frames="opening", rate=0.0, objects=0, step=0.0, dropped=0, live=live
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def observe(self, stream: Stream, meter: Meter) -> None:
        if stream.name not in self._tasks:
            self._tasks[stream.name] = self._add(stream)
            self._paces[stream.name] = Pace(REDRAW_SECONDS)
        rate = self._paces[stream.name].rate(meter.frames)
        if rate is None:
            return
        total = stream.source.frame_count
        self._progress.update(
            self._tasks[stream.name],
            total=total,
            completed=meter.frames,
            frames=f"{meter.frames}/{total}" if total else f"frame {meter.frames}",
            rate=rate,
            objects=meter.objects,
            step=1e3 * meter.step.quantile(0.5),
            dropped=meter.dropped,
        )
        self._progress.refresh()

    def leave(self, stream: Stream) -> None:
        if stream.name in self._tasks:
            self._progress.remove_task(self._tasks.pop(stream.name))
            del self._paces[stream.name]


class Lines:
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def observe(self, stream: Stream, meter: Meter) -> None:
        rate = self._paces.setdefault(stream.name, Pace(LINE_SECONDS)).rate(meter.frames)
        if rate is None:
            return
        total = stream.source.frame_count
        dropped = f", {meter.dropped} dropped" if stream.source.live else ""
        err.print(
            f"{stream.name}: frame {meter.frames}{f' of {total}' if total else ''}, {rate:.1f} fps, "
            f"objects {meter.objects}, {1e3 * meter.step.quantile(0.5):.0f} ms a step{dropped}",
            soft_wrap=True,
        )

    def leave(self, stream: Stream) -> None:
        self._paces.pop(stream.name, None)
