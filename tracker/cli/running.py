"""Streams run side by side with one model, until they end or the user has seen enough."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from keepsight.streams.base import Page
from keepsight.streams.threads import run_loop

from ..auto import parse_auto, points_back
from ..config import Deployment, Engine
from ..engine import ModelThreads, model_threads
from ..fleet import Fleet, Servers
from ..pipeline import Report, Session, Stream
from ..private import PrivateSession
from ..prompts import first_free_id
from ..summary import Summary
from .console import complain, err, out
from .following import following
from .progress import Display, display

if TYPE_CHECKING:
    from keepsight.model.nano import Nano
    from keepsight.model.sam2 import Sam2

    from ..settings import TrackerSettings

MODEL_STOP_SECONDS = 0.2


@dataclass(slots=True)
class Stop:
    """Set by the first Ctrl-C or SIGTERM; `signal` says which. The second Ctrl-C is Python's own."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    signal: int = 0

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            self._let_go()

    def _stop(self, number: int) -> None:
        self.signal = number
        self.event.set()
        self._let_go()

    def _let_go(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)


class SharedModel:
    """The model that all streams share, loaded when the first of them needs it."""

    def __init__(self, threads: ModelThreads, engine: Engine) -> None:
        self._threads = threads
        self._engine = engine
        self._loading: asyncio.Task[tuple[Nano | Sam2, TrackerSettings]] | None = None

    async def session(self, stream: Stream, max_objects: int) -> Session:
        """A fold of a stream, with room for so many objects."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._threads.tracker.run(load, self._engine))
        model, settings = await asyncio.shield(self._loading)
        settings = replace(settings, memory=stream.memory, noise=stream.noise)
        from ..session import TrackerSession

        await self._threads.share_cores()
        rewinds = points_back(stream)
        first_id = first_free_id(stream.cues)
        session: Session = TrackerSession(
            self._threads, model, max_objects, settings, rewinds=rewinds, first_id=first_id
        )
        if stream.record is not None:
            session = await self._taped(session, stream, stream.record, max_objects)
        if stream.auto != "off":
            from ..finding import finding

            is_on = partial(stream.is_on, "auto")
            auto = parse_auto(stream.auto)
            session = await finding(session, auto, self._threads, model, is_on, max_objects)
        if stream.privacy:
            session = PrivateSession(session, stream.privacy, self._threads.tracker.run)
        return session

    async def _taped(self, session: Session, stream: Stream, folder: Path, max_objects: int) -> Session:
        from ..tape import TapeWriter, fresh_folder, header_of
        from ..taping import TapedSession

        header = await self._threads.tracker.run(header_of, stream, self._engine, max_objects)
        tape = TapeWriter(fresh_folder(folder), header)
        return TapedSession(session, tape, stream.rulebook, self._threads.encoder.run)


def load(engine: Engine) -> tuple[Nano | Sam2, TrackerSettings]:
    """In the model's thread, since importing torch takes seconds and the streams are open by now."""
    from ..build import load_predictor, suited
    from ..settings import TrackerSettings

    return load_predictor(engine), suited(TrackerSettings(), engine)


def run_streams(
    streams: Sequence[Stream],
    deployment: Deployment,
    servers: Servers | None = None,
    file: Path | None = None,
) -> tuple[list[Report], int]:
    """Run all streams, whose pages are on `servers`; the reports and the exit code. Where they are those of a
    file, they become what it says later."""
    servers = {} if servers is None else servers
    for address in dict.fromkeys(sink.address for stream in streams for sink in pages(stream)):
        err.print(f"open {address} and click on a thing", soft_wrap=True)
    with display(streams) as shown:
        reports, stopped_by = run_loop(_run_all(streams, servers, deployment, shown, file))
    return reports, 128 + stopped_by if stopped_by else max(report.exit_code for report in reports)


def pages(stream: Stream) -> tuple[Page, ...]:
    return tuple(sink for sink in stream.sinks if isinstance(sink, Page))


async def _run_all(
    streams: Sequence[Stream], servers: Servers, deployment: Deployment, shown: Display, file: Path | None
) -> tuple[list[Report], int]:
    stop = Stop()
    with stop.on_signals():
        async with model_threads(MODEL_STOP_SECONDS) as threads, asyncio.TaskGroup() as tasks:
            fleet = Fleet(deployment, servers, SharedModel(threads, deployment).session, shown, tasks)
            if servers:
                from ..changes import Changes  # of the page, which not every run has

                fleet.deployer = Changes(fleet, file)
            fleet.begin(streams)
            async with following(fleet, file):
                reports = await fleet.until_over(stop.event)
    return reports, stop.signal


def tell(reports: Sequence[Report]) -> None:
    """What happened: a summary per stream on stdout, and what failed on stderr."""
    for report in reports:
        if report.summary.frames:
            out.print(summary_line(report.stream, report.summary), soft_wrap=True)
            out.print(stage_table(report.summary))
        for url, count in report.summary.left_out:
            out.print(f"{url}: {count} of {report.summary.frames} frames left out", soft_wrap=True)
    for fault in dict.fromkeys(fault for report in reports for fault in report.faults):
        complain(fault)


def summary_line(name: str, summary: Summary) -> str:
    return (
        f"{name}: {summary.frames} frames in {summary.seconds:.1f} s, {summary.fps:.1f} frames/s, "
        f"{summary.dropped} dropped, at most {summary.peak_memory / 2**20:.0f} MiB resident"
    )


def stage_table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("ms a frame")
    for stage in (*summary.stages, summary.step):
        table.add_column(stage.name, justify="right")
    for name in ("median", "p95"):
        values = (getattr(stage, name) for stage in (*summary.stages, summary.step))
        table.add_row(name, *(f"{1e3 * value:.1f}" for value in values))
    return table
