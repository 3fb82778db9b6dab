"""`keepsight segment`: masks of what is shown in still pictures, or of everything in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .interrupts import Interrupts
from .options import DEVICE, DTYPE, MODEL, SIZE, VOID, WEIGHTS

if TYPE_CHECKING:
    from keepsight.streams.segments import Segmented
    from keepsight.streams.sinks.pictures import PictureWriter
    from keepsight.streams.types import Prompt

    from ..api import Tracker
    from ..segment import Outcome, Task

EXAMPLES = """
Examples:

`keepsight segment truck.jpg --prompt "point=0.4,0.6" -o truck_overlay.jpg`

`keepsight segment truck.jpg --prompt "box=0.1,0.2,0.9,0.8 point=0.5,0.5,-" -o masks:out -o out.json`

`keepsight segment truck.jpg --prompt "point=0.4,0.6" --multimask -o overlay:candidates`

`keepsight segment truck.jpg --prompt-mask rough.png --prompt "point=0.3,0.3 id=1" -o masks:refined`

`keepsight segment photos --auto -o overlay:seen -o photos.json`
"""


SOURCE = typer.Argument(metavar="IMAGE|FOLDER", help="A picture, or a folder of them")
OUTPUT = typer.Option(
    "--output",
    "-o",
    help="FILE.jpg (overlay), overlay:DIR, masks:DIR (indexed PNG), FILE.json (COCO, masks as RLE); "
    "repeatable",
)
PROMPT = typer.Option(
    help='One object: "box=x0,y0,x1,y1 label=NAME" or "point=x,y point=x,y,-", 0 to 1; repeatable'
)
PROMPT_MASK = typer.Option(
    metavar="FILE.png",
    help=f"Indexed PNG of rough masks to refine: a pixel's value is its object's id, {VOID}; repeatable",
)
AUTO = typer.Option("--auto", help="Everything there is, without prompts")
MULTIMASK = typer.Option(
    "--multimask", help="Every candidate mask of a prompt, best first, not only the best"
)
GRID = typer.Option(min=1, max=128, help="With --auto: clicks along each side; by model")
CROPS = typer.Option(min=0, max=4, help="With --auto: layers of crops, which find smaller things")


def segment(
    source: Annotated[Path, SOURCE],
    output: Annotated[list[str] | None, OUTPUT] = None,
    prompt: Annotated[list[str] | None, PROMPT] = None,
    prompt_mask: Annotated[list[str] | None, PROMPT_MASK] = None,
    auto: Annotated[bool, AUTO] = False,
    multimask: Annotated[bool, MULTIMASK] = False,
    grid: Annotated[int | None, GRID] = None,
    crops: Annotated[int, CROPS] = 0,
    model: Annotated[str, MODEL] = "nano",
    weights: Annotated[Path | None, WEIGHTS] = None,
    device: Annotated[str, DEVICE] = "auto",
    dtype: Annotated[str, DTYPE] = "auto",
    size: Annotated[int | None, SIZE] = None,
) -> int:
    """Segment what you show in a picture, or everything in it; for a folder, the same in each picture.

    Coordinates are fractions of the picture; a point that ends in `,-` is not on the object. A click may mean
    several things, a shirt or its wearer: --multimask shows them all, where the model has more than one.
    """
    from cv2.utils import logging as opencv

    from ..api import load
    from ..segment import all_there_is, as_shown, pictures_of, writers_for
    from ..validation import ConfigError

    opencv.setLogLevel(opencv.LOG_LEVEL_SILENT)  # of a damaged picture one line is enough, and that is ours
    paths = pictures_of(source)
    prompts = read_prompts(prompt or [], prompt_mask or [], auto=auto)
    if (multimask and auto) or ((grid or crops) and not auto):
        raise ConfigError("--multimask is for prompts, --grid and --crops are for --auto")
    task = all_there_is(grid, crops) if auto else as_shown(prompts, multimask=multimask)
    writers = writers_for(output or [], source)
    tracker = load(model, weights=weights, device=device, dtype=dtype, size=size)
    outcomes = Tally(single=not source.is_dir())
    try:
        return segment_all(tracker, paths, task, writers, outcomes)
    finally:
        outcomes.tell(source)


def segment_all(
    tracker: Tracker, paths: Sequence[Path], task: Task, writers: Sequence[PictureWriter], outcomes: Tally
) -> int:
    """Segment every picture and write what is found; the exit code."""
    from ..segment import opened, segment_pictures
    from .console import complain

    interrupts = Interrupts()
    try:
        with interrupts.heard(), opened(writers, interrupts.held) as write, progress(len(paths)) as advance:
            for outcome in segment_pictures(tracker, paths, task, write):
                advance(outcome)
                outcomes.add(outcome)
    except KeyboardInterrupt:
        complain(f"interrupted after {outcomes.pictures} of {len(paths)} pictures")
        return 128 + (interrupts.signal or 2)
    except OSError as error:
        complain(f"{error.filename or 'an output'}: cannot be finished: {error.strerror or error}")
        return 1
    return outcomes.exit_code


def read_prompts(prompts: Sequence[str], masks: Sequence[str], *, auto: bool) -> tuple[Prompt, ...]:
    """What is to be segmented, by object. Raises ConfigError where that is nothing, or said twice."""
    from ..prompts import parse_prompt, read_prompt_mask
    from ..segment import shown
    from ..validation import ConfigError

    if auto and (prompts or masks):
        raise ConfigError("--auto finds everything without prompts: leave out --prompt and --prompt-mask")
    if not (auto or prompts or masks):
        raise ConfigError('nothing to segment: give --prompt "point=x,y", --prompt-mask FILE.png, or --auto')
    cues = [parse_prompt(text) for text in prompts]
    return shown([*cues, *(cue for text in masks for cue in read_prompt_mask(text))])


@contextmanager
def progress(total: int) -> Iterator[Callable[[Outcome], None]]:
    """A progress bar on a terminal; what fails is named at once, above it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from .console import description, err

    columns = description(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("segmenting", total=total)

        def advance(outcome: Outcome) -> None:
            if outcome.fault:
                err.print(f"keepsight: {' '.join(outcome.fault.split())}", soft_wrap=True)
            bar.update(task, advance=1, description=outcome.path.name)

        yield advance


@dataclass(slots=True)
class Tally:
    """What came of all pictures so far. `single`: there is one only, whose objects are shown in full."""

    single: bool
    pictures: int = 0
    failed: int = 0
    objects: int = 0
    exit_code: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        if outcome.found is None:
            self.failed += 1
            self.exit_code = outcome.exit_code if self.single else 1
            return
        self.pictures += 1
        self.objects += len(outcome.found.layers[0])
        if self.single:
            tell_objects(outcome.found)

    def tell(self, source: Path) -> None:
        from .console import out

        if not self.single and self.pictures + self.failed:
            seconds = time.monotonic() - self.started
            failed = f", {self.failed} failed" if self.failed else ""
            counts = f"{self.pictures} pictures, {self.objects} objects{failed}"
            rate = self.pictures / max(seconds, 1e-9)
            said = f"{source}: {counts}, {seconds:.1f} s, {rate:.3g} pictures/s"
            out.print(said, soft_wrap=True)


def tell_objects(found: Segmented) -> None:
    """One line for each mask: the objects of the best layer, then further candidates."""
    from rich.table import Table

    from .console import out

    if not any(found.layers):
        out.print("nothing was found")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("object", "candidate", "predicted IoU", "stability", "area", "box"):
        table.add_column(heading, justify="left" if heading == "box" else "right", no_wrap=True)
    pixels = found.image.shape[0] * found.image.shape[1]
    for candidate, layer in enumerate(found.layers, 1):
        for one in layer:
            name = f"{one.object_id} {one.label}".strip()
            box = ",".join(f"{side:.3f}" for side in one.box) if one.box else "empty"
            scores = f"{one.iou:.2f}", f"{one.stability:.2f}", f"{one.area / pixels:.1%}"
            table.add_row(name, str(candidate), *scores, box)
    out.print(table)
