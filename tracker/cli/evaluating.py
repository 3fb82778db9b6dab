"""The work behind `keepsight eval`: methods are run, what is finished is told, also after Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import cv2

from keepsight.streams.types import Image

from ..evaluation import opencv_tracker, report, streaming, tracking_report
from ..evaluation.baselines import BASELINES, blank
from ..evaluation.box_methods import (
    BoxFollower,
    FirstBoxes,
    box_prompts,
    boxes_of,
    by_masks,
    follow_with_tracker,
    no_boxes,
)
from ..evaluation.contact_sheet import Worst, contact_sheet
from ..evaluation.evaluate import Progress, evaluate
from ..evaluation.labelled import Dataset
from ..evaluation.layouts import detect, find
from ..evaluation.mot import BoxDataset, Boxes
from ..evaluation.prompting import prompter
from ..evaluation.propagator import FirstMasks, IndexMap, PromptKind, Propagator, map_of, predict_with_tracker
from ..evaluation.streaming import Streaming
from ..evaluation.tracking_metrics import metrics
from ..evaluation.tracking_report import OVERALL
from ..evaluation.tracks import TrackTally, evaluate_boxes
from ..validation import ConfigError
from .console import complain, out
from .interrupts import Interrupts

if TYPE_CHECKING:
    from ..api import Tracker

Evaluate = Callable[["Tracker"], int]
"""Runs an evaluation whose dataset was found; its exit code."""

SHEETS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """What is scored. `streaming`: frames/s, 0 for what the dataset states, None for not at all."""

    model: str
    streaming: float | None
    baselines: bool
    opencv: bool

    @property
    def streamed(self) -> str:
        """The name of the model where it is scored while the file plays."""
        return f"{self.model} streaming"

    def names(self, baselines: tuple[str, ...]) -> tuple[str, ...]:
        """The methods that are asked for."""
        return (
            self.model,
            *((self.streamed,) if self.streaming is not None else ()),
            *(baselines if self.baselines else ()),
            *((opencv_tracker.NAME,) if self.opencv else ()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What is written, None for what is not. `worst_count`: moments on the sheet of the worst."""

    csv: Path | None
    json: Path | None
    worst: Path | None
    worst_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is asked for. `objects`: a table of every object, too."""

    dataset: Path
    sequences: tuple[str, ...]
    layout: str | None
    prompt: str | None
    methods: Methods
    objects: bool
    files: Files


def begin(task: Task) -> Evaluate:
    """Find the dataset, and with it what is to be run. Raises ConfigError for all that cannot work, before
    the model is loaded."""
    check_outputs(task.files)
    with mistakes_told():
        layout = task.layout or detect(task.dataset)
        found = find(task.dataset, layout, task.sequences)
        if layout in ("mot", "mots"):
            metrics()
    kinds = ("box",) if isinstance(found, BoxDataset) else get_args(PromptKind)
    if task.prompt is not None and task.prompt not in kinds:
        raise ConfigError(f"--prompt {task.prompt}: with the layout {layout} it is {', '.join(kinds)}")
    if isinstance(found, BoxDataset):
        return lambda tracker: score_boxes(task, found, tracker)
    return lambda tracker: score_masks(task, layout, found, tracker)


def check_outputs(files: Files) -> None:
    """Raises ConfigError for a file that could not be written in the end."""
    for name, file in (("--csv", files.csv), ("--json", files.json), ("--worst", files.worst)):
        if file is not None and not file.absolute().parent.is_dir():
            raise ConfigError(f"{name} {file}: there is no folder {file.parent}")
    if files.worst is not None and files.worst.suffix.lower() not in SHEETS:
        raise ConfigError(f"--worst {files.worst}: must end in {', '.join(SHEETS)}")


def score_masks(task: Task, layout: str, found: Dataset, tracker: Tracker) -> int:
    """Score masks: J and F, and tracks, too, where the layout is MOTS."""
    prompt = task.prompt or "mask"
    methods, player = mask_methods(task.methods, prompt, tracker)
    told = report.Report.begin(str(task.dataset), methods, found.without_masks, prompt)
    tracked = tracking_report.TrackingReport(str(task.dataset), tuple(methods)) if layout == "mots" else None
    worst, tally = Worst(task.methods.model, task.files.worst_count), TrackTally()
    watching = (*((worst.masks,) if task.files.worst else ()), *((tally,) if tracked else ()))
    with until_interrupted(len(methods) * len(found.sequences)) as run, progress_bar() as show:
        for one in evaluate(found, methods, show, watching):
            told = told.with_run(one)
            if tracked:
                tracked = tracked.with_run(tally.run(one.method, one.objects[0].sequence))
            run.finished += 1
    if run.finished:
        tell_masks(task, told, tracked, player)
        further = {"layout": layout, **(tracking_report.rows(tracked) if tracked else {}), **played(player)}
        write(task.files, report.as_csv(told, tracked), report.as_json(told, further), sheet_of(task, worst))
    return run.exit_code


def tell_masks(
    task: Task,
    told: report.Report,
    tracked: tracking_report.TrackingReport | None,
    player: Streaming[FirstMasks, IndexMap] | None,
) -> None:
    """The tables."""
    out.print(report.table(told))
    if tracked:
        out.print(tracking_report.tracking_table(tracked))
    if task.objects:
        out.print(report.object_table(told))
    if player:
        offline, live = (report.overall(told, name) for name in (task.methods.model, task.methods.streamed))
        tell_playback(player, f"J&F offline {offline}, streaming {live}")


def score_boxes(task: Task, found: BoxDataset, tracker: Tracker) -> int:
    """Score boxes: HOTA and its like, success and precision."""
    methods, player = box_methods(task.methods, tracker)
    told = tracking_report.TrackingReport(
        str(task.dataset), tuple(methods), (), found.without_boxes, ", first boxes given"
    )
    worst = Worst(task.methods.model, task.files.worst_count)
    watching = (worst.boxes,) if task.files.worst else ()
    with until_interrupted(len(methods) * len(found.sequences)) as run, progress_bar() as show:
        for one in evaluate_boxes(found, methods, show, watching):
            told = told.with_run(one)
            run.finished += 1
    if run.finished:
        out.print(tracking_report.tracking_table(told))
        if player:
            offline, live = (
                told.cells(name, OVERALL)[0] for name in (task.methods.model, task.methods.streamed)
            )
            tell_playback(player, f"HOTA offline {offline}, streaming {live}")
        further = {"layout": "mot", "prompt": "box", **played(player)}
        write(
            task.files,
            tracking_report.as_csv(told),
            tracking_report.as_json(told, further),
            sheet_of(task, worst),
        )
    return run.exit_code


def mask_methods(
    asked: Methods, prompt: str, tracker: Tracker
) -> tuple[dict[str, Propagator], Streaming[FirstMasks, IndexMap] | None]:
    """What is run over masks, by name; the one that plays the file apart, too."""
    from ..evaluation.stepping import (  # torch, which a mistyped folder need not wait for
        one_slot_each,
        stepped,
    )

    track = one_slot_each(tracker)
    show = prompter(prompt, track)

    def offline(images: Any, first_masks: FirstMasks) -> Iterator[IndexMap]:
        return predict_with_tracker(track, images, first_masks, show)

    player = None
    if asked.streaming is not None:
        player = Streaming(stepped(tracker), show, (map_of, blank), asked.streaming or None)
    all_methods: dict[str, Propagator] = {
        asked.model: offline,
        **BASELINES,
        opencv_tracker.NAME: opencv_tracker.propagate,
    }
    if player:
        all_methods[asked.streamed] = player
    return {name: all_methods[name] for name in asked.names(tuple(BASELINES))}, player


def box_methods(
    asked: Methods, tracker: Tracker
) -> tuple[dict[str, BoxFollower], Streaming[FirstBoxes, Boxes] | None]:
    """What is run over boxes, by name; the one that plays the file apart, too."""
    from ..evaluation.stepping import (  # torch, which a mistyped folder need not wait for
        one_slot_each,
        stepped,
    )

    track = one_slot_each(tracker)

    def offline(images: Any, first_boxes: FirstBoxes) -> Iterator[Boxes]:
        return follow_with_tracker(track, images, first_boxes)

    player = None
    if asked.streaming is not None:
        player = Streaming(stepped(tracker), box_prompts, (boxes_of, no_boxes), asked.streaming or None)
    baselines = {name: by_masks(method) for name, method in BASELINES.items()}
    all_methods: dict[str, BoxFollower] = {
        asked.model: offline,
        **baselines,
        opencv_tracker.NAME: opencv_tracker.follow,
    }
    if player:
        all_methods[asked.streamed] = player
    return {name: all_methods[name] for name in asked.names(tuple(BASELINES))}, player


def tell_playback(player: Streaming[Any, Any], scores: str) -> None:
    playback = player.playback
    rate = (
        f"{player.rate:g} frames/s"
        if player.rate
        else f"the dataset's rate, {streaming.RATE:g} frames/s if unknown"
    )
    seen = f"{playback.seen} frames seen, {playback.missed} missed"
    latency = f"median latency {1e3 * playback.latency:.0f} ms"
    out.print(f"At {rate}: {scores}; {seen}; {latency}", soft_wrap=True)


def played(player: Streaming[Any, Any] | None) -> dict[str, Any]:
    """What the JSON says of the playback."""
    return {"streaming": {"rate": player.rate, **streaming.as_json(player.playback)}} if player else {}


def sheet_of(task: Task, worst: Worst) -> Image | None:
    """The sheet of the worst cases; None where there are none, or it is not asked for."""
    if task.files.worst is None or not worst.cases:
        return None
    return contact_sheet(f"{task.methods.model}: the worst of {task.dataset.resolve().name}", worst.cases)


def write(files: Files, csv: str, json: bytes, sheet: Image | None) -> None:
    """The files that are asked for. Raises ConfigError for one that cannot be written."""
    try:
        if files.csv is not None:
            files.csv.write_text(csv, encoding="utf-8")
        if files.json is not None:
            files.json.write_bytes(json)
        if files.worst is not None and sheet is not None:
            files.worst.write_bytes(encoded(sheet, files.worst.suffix.lower()))
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written: {error.strerror or error}") from None


def encoded(sheet: Image, ending: str) -> bytes:
    """A picture as a file; a JPEG keeps the colour of every pixel, since lines are thin."""
    full_colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    options = [] if ending == ".png" else full_colour
    return cv2.imencode(ending, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), options)[1].tobytes()


@dataclass(slots=True)
class Finished:
    """How many runs of a method on a sequence are finished, and with what code the command ends."""

    finished: int = 0
    exit_code: int = 0


@contextmanager
def until_interrupted(total: int) -> Iterator[Finished]:
    """Ends the block at Ctrl-C and says how far it came.

    So does what is wrong with a sequence; before anything is finished it is raised as ConfigError.
    """
    interrupts, run = Interrupts(), Finished()
    try:
        with interrupts.heard():
            yield run
    except ValueError as error:
        if not run.finished:
            raise ConfigError(str(error)) from error
        complain(f"{error}; {run.finished} of {total} runs (a method on a sequence) were finished before")
        run.exit_code = 2
    except KeyboardInterrupt:
        complain(f"interrupted: {run.finished} of {total} runs (a method on a sequence) are finished")
        run.exit_code = 128 + (interrupts.signal or 2)


@contextmanager
def mistakes_told() -> Iterator[None]:
    """What is wrong with a dataset, as the ConfigError that ends the command with 2."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from .console import description, err

    columns = description(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("reading", total=None)

        def show(at: Progress) -> None:
            told = f"{at.sequence}: {at.method}"
            bar.update(task, description=told, completed=at.done, total=at.total)

        yield show
