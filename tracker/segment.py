"""Still pictures, one after the other: read, segmented as asked, and written to every output."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from keepsight.streams import rle
from keepsight.streams.base import SinkError, SourceError
from keepsight.streams.pictures import pictures_in, read_picture
from keepsight.streams.segments import Layer, Segment, Segmented
from keepsight.streams.sinks.pictures import PictureWriter, open_picture_writer
from keepsight.streams.types import Image, Prompt

from .api import Tracker
from .commands import together
from .image import EncodedImage, Masks
from .prompts import Cue
from .proposals import everything, usual_settings
from .transforms import tight_box
from .validation import ConfigError

Task = Callable[[EncodedImage], tuple[Layer, ...]]
"""What is asked of every picture. Raises ValueError for a picture that it cannot be asked of."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of one picture: what was found and written, or the one line that says why not.

    exit_code: as promised: 0, 1 where an output failed, 2 where the picture or a prompt is at fault.
    """

    path: Path
    found: Segmented | None = None
    fault: str = ""
    exit_code: int = 0


def pictures_of(path: Path) -> list[Path]:
    """The picture at a path, or those in the folder there. Raises SourceError where there is none."""
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    return pictures_in(path) if path.is_dir() else [path]


def shown(cues: Sequence[Cue]) -> tuple[Prompt, ...]:
    """What users showed, by object: prompts of one id together. Raises ConfigError for a later frame."""
    if later := next((cue.frame for cue in cues if cue.frame), 0):
        raise ConfigError(f"frame {later}: a still picture has no frames; keepsight run is for videos")
    given = [cue.command for cue in cues if isinstance(cue.command, Prompt)]
    taken = {prompt.object_id for prompt in given}
    free = (number for number in count(1) if number not in taken)
    prompts: dict[int, Prompt] = {}
    for prompt in given:
        object_id = next(free) if prompt.object_id is None else prompt.object_id
        prompts[object_id] = merged(prompts.get(object_id), replace(prompt, object_id=object_id))
    return tuple(prompts.values())


def merged(earlier: Prompt | None, later: Prompt) -> Prompt:
    if earlier is None:
        return later
    both = together(earlier, later)
    parts = {name: getattr(both, name) for name in ("points", "labels", "box", "mask")}
    return replace(later, label=later.label or earlier.label, **parts)


def as_shown(prompts: Sequence[Prompt], *, multimask: bool) -> Task:
    """Segment what was shown: the best mask of each object, or every candidate in a layer of its own."""

    def segment(image: EncodedImage) -> tuple[Layer, ...]:
        found = image.predict_many(prompts, multimask=True if multimask else None)
        candidates = len(found[0].iou) if multimask else 1
        return tuple(layer_of(prompts, found, candidate) for candidate in range(candidates))

    return segment


def all_there_is(points_per_side: int | None = None, crop_layers: int = 0) -> Task:
    """Segment everything, with the settings that suit the model but for those given."""

    def segment(image: EncodedImage) -> tuple[Layer, ...]:
        usual = usual_settings(image.model)
        points = points_per_side or usual.points_per_side
        return (everything(image, replace(usual, points_per_side=points, crop_layers=crop_layers)),)

    return segment


def layer_of(prompts: Sequence[Prompt], found: Sequence[Masks], candidate: int) -> Layer:
    """One candidate of each object, by falling area."""
    parts = [segment_of(prompt, masks, candidate) for prompt, masks in zip(prompts, found, strict=True)]
    return tuple(sorted(parts, key=lambda part: (-part.area, part.object_id)))


def segment_of(prompt: Prompt, masks: Masks, candidate: int) -> Segment:
    assert prompt.object_id is not None
    mask = masks.masks[candidate]
    return Segment(
        object_id=prompt.object_id,
        label=prompt.label,
        rle=rle.encode(mask),
        box=tight_box(mask),
        area=int(mask.sum()),
        iou=float(masks.iou[candidate]),
        stability=float(masks.stability[candidate]),
        confidence=float(masks.confidence[candidate]),
    )


def segment_pictures(
    tracker: Tracker, paths: Sequence[Path], task: Task, write: Callable[[Segmented], None]
) -> Iterator[Outcome]:
    """What comes of every picture, in order. One that fails does not stop the others."""
    waiting: deque[Outcome | Path] = deque()

    def readable() -> Iterator[Image]:
        for path in paths:
            try:
                image = read_picture(path)
            except SourceError as error:
                waiting.append(Outcome(path, fault=str(error), exit_code=2))
            else:
                waiting.append(path)
                yield image

    names = output_names(paths)
    for image in tracker.images(readable()):
        while isinstance(ahead := waiting.popleft(), Outcome):
            yield ahead
        yield outcome(ahead, names[ahead], image, task, write)
    yield from (left for left in waiting if isinstance(left, Outcome))


def outcome(
    path: Path, name: str, image: EncodedImage, task: Task, write: Callable[[Segmented], None]
) -> Outcome:
    try:
        found = Segmented(path.name, name, image.picture, task(image))
    except ValueError as error:
        return Outcome(path, fault=f"{path}: {error}", exit_code=2)
    try:
        write(found)
    except (SinkError, OSError) as error:
        return Outcome(path, fault=f"{path}: cannot be written: {error}", exit_code=1)
    return Outcome(path, found)


def output_names(paths: Sequence[Path]) -> dict[Path, str]:
    """What each picture's outputs are called: its name without the ending, unless two would be the same."""
    stems = Counter(path.stem for path in paths)
    return {path: path.stem if stems[path.stem] == 1 else path.name for path in paths}


def writers_for(outputs: Sequence[str], source: Path) -> list[PictureWriter]:
    """The writers of `-o` options, not yet opened. Raises SinkError, and ConfigError for one that would write
    over what is read, or over another."""
    places = [Path(text.removeprefix("masks:").removeprefix("overlay:")).resolve() for text in outputs]
    for text, place in zip(outputs, places, strict=True):
        if place == source.resolve():
            raise ConfigError(f"--output {text}: that is what is read: name another place")
        if outputs.count(text) > 1:
            raise ConfigError(f"--output {text}: is given twice")
    return [open_picture_writer(text, single=not source.is_dir()) for text in outputs]


@contextmanager
def opened(
    writers: Iterable[PictureWriter], uninterrupted: Callable[[], AbstractContextManager[None]]
) -> Iterator[Callable[[Segmented], None]]:
    """Opens all writers and gives a function that writes to all; closes them at the end, come what may.

    Inside `uninterrupted()` Ctrl-C waits, so that files are finished. Raises SinkError for an output that
    cannot be opened, OSError for one that cannot be finished.
    """
    ready: list[PictureWriter] = []

    def write(found: Segmented) -> None:
        with uninterrupted():
            for writer in ready:
                writer.write(found)

    closing = ExitStack()
    try:
        for writer in writers:
            open_writer(writer)
            closing.callback(writer.close)
            ready.append(writer)
        yield write
    finally:
        with uninterrupted():
            closing.close()


def open_writer(writer: PictureWriter) -> None:
    try:
        writer.open()
    except OSError as error:
        raise SinkError(f"--output {error.filename}: {(error.strerror or str(error)).lower()}") from None
