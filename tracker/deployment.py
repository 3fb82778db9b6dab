"""From a checked configuration to streams that are ready to run. Opens no source and no sink."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from keepsight.streams.base import (
    Commander,
    Page,
    PauseListener,
    Sink,
    SinkError,
    SourceError,
    SourceListener,
    Switched,
    redact,
)
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.node_messages import CameraInfo, NodeInfo
from keepsight.streams.privacy import Cover, parse_cover
from keepsight.streams.sinks import LOCAL_SCHEMES, open_sink
from keepsight.streams.sinks.clips import ClipsSink
from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sources import open_source
from keepsight.streams.sources.gated import GatedSource
from keepsight.streams.types import Prompt, SourceStatus

from . import config
from .pipeline import Stream, are_on
from .prompts import Cue, mask_and_frame, parse_prompt, read_prompt_log, read_prompt_mask
from .rules import Rulebook
from .validation import ConfigError

if TYPE_CHECKING:
    from keepsight.streams.web.server import WebServer
    from keepsight.streams.web.target import WebTarget

STAGGER_SECONDS = 0.1
"""From opening one camera to the next: each begins with a burst of packets and of decoding."""


def prepare(
    deployment: config.Deployment,
    servers: dict[WebTarget, WebServer] | None = None,
    file: Path | None = None,
) -> list[Stream]:
    """The streams, in order; the servers of their pages are put into `servers`. Raises ConfigError,
    SourceError or SinkError for what cannot be meant; where a `file` says it, the message names that and the
    stream."""
    servers = {} if servers is None else servers
    with naming(file):
        refuse_shared_outputs(deployment)
    streams = []
    for number, (name, stream) in enumerate(deployment.streams.items()):
        with naming(file, name):
            streams.append(prepare_stream(name, stream, servers, number * STAGGER_SECONDS))
    introduce(streams, deployment)
    return streams


@contextmanager
def naming(file: Path | None, stream: str = "") -> Iterator[None]:
    """Errors inside begin with the file and the stream, unless it was typed."""
    try:
        yield
    except (ConfigError, SourceError, SinkError) as error:
        if file is None:
            raise
        said = str(error) if not stream or str(error).startswith(f"{stream}: ") else f"{stream}: {error}"
        raise type(error)(f"{file}: {said}") from error


def introduce(streams: Iterable[Stream], deployment: config.Deployment) -> None:
    """Tell the sinks on one node of one broker of each other's cameras: the node is described as a whole."""
    nodes: dict[tuple[str, int, str], list[tuple[MqttSink, CameraInfo]]] = {}
    for stream in streams:
        for sink in stream.sinks:
            if isinstance(sink, MqttSink):
                target, rules = sink.target, stream.rulebook.rules
                camera = CameraInfo(
                    target.camera, tuple(rules.zones), tuple(rules.lines), auto=stream.auto != "off"
                )
                key = target.host, target.port, target.availability_topic
                nodes.setdefault(key, []).append((sink, camera))
    for there in nodes.values():
        cameras = {camera.name: camera for _, camera in there}
        info = NodeInfo(deployment.model, tuple(cameras.values()))
        for sink, _ in there:
            sink.introduce(info)


def prepare_stream(
    name: str, stream: config.Stream, servers: dict[WebTarget, WebServer], after: float = 0.0
) -> Stream:
    """One stream; its cameras share `servers` with those that were prepared before. A camera is first opened
    `after` so many seconds."""
    encoder = SharedEncoder(name)
    sinks = tuple(open_sink(url, camera=name, encoder=encoder, servers=servers) for url in stream.output)
    refuse_page_twice(name, sinks)
    offer_clips(sinks)
    share_switches(sinks)
    hear = partial(tell, sinks)
    source = open_source(
        stream.source,
        on_status=hear,
        realtime=stream.realtime,
        loop=stream.loop,
        after=after,
        hwaccel=stream.hwaccel,
    )
    if any(isinstance(sink, Switched) for sink in sinks):
        source = GatedSource(source, partial(are_on, sinks, "enabled"))
    if not stream.output:
        raise ConfigError(f"{name}: no output: say where the results go, for example -o overlay.mp4")
    cues = read_cues(stream)
    if not cues and stream.auto == "off" and not any(isinstance(sink, Commander) for sink in sinks):
        raise ConfigError(
            f'{name}: nothing to track: show it, for example --prompt "box=0.1,0.2,0.4,0.8", '
            "find what moves by --auto motion, or take commands over -o web://:8080 or -o mqtt://HOST"
        )
    privacy = tuple(parse_cover(text) for text in stream.privacy)
    if stream.record is not None:
        check_record(name, stream.record, privacy)
    return Stream(
        name,
        source,
        sinks,
        cues,
        Rulebook(stream.rules),
        auto=stream.auto,
        privacy=privacy,
        record=stream.record,
        memory=stream.memory,
        noise=stream.noise,
    )


def check_record(name: str, folder: Path, privacy: tuple[Cover, ...]) -> None:
    """Raises ConfigError where a session may not be kept, or not there."""
    if privacy:
        raise ConfigError(f"{name}: record keeps the pictures uncovered: leave it out, or privacy")
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or holds_tape(folder))):
        raise ConfigError(f"{name}: record: {folder} is neither empty nor a tape's folder: name a new one")


def holds_tape(folder: Path) -> bool:
    from .tape import HEADER  # where it is needed: with it comes the model

    return (folder / HEADER).exists()


def refuse_page_twice(name: str, sinks: Iterable[Sink]) -> None:
    addresses = [sink.address for sink in sinks if isinstance(sink, Page)]
    if len(set(addresses)) < len(addresses):
        raise ConfigError(f"{name}: the page is given twice: leave one of the outputs web:// out")


def offer_clips(sinks: Iterable[Sink]) -> None:
    """What is recorded of a camera can be looked at where the camera is."""
    sinks = tuple(sinks)
    for recorder in (sink for sink in sinks if isinstance(sink, ClipsSink)):
        for page in (sink for sink in sinks if isinstance(sink, Page)):
            page.offer_clips(recorder.recordings)


def tell(sinks: Iterable[Sink], status: SourceStatus) -> None:
    """Whoever listens hears how the source is doing, also while no frames come."""
    for sink in sinks:
        if isinstance(sink, SourceListener):
            sink.hear_of_source(status)


def share_switches(sinks: Sequence[Sink]) -> None:
    """Whoever listens hears that the camera is switched off, through whichever sink."""

    def tell_all() -> None:
        paused = not are_on(sinks, "enabled")
        for sink in sinks:
            if isinstance(sink, PauseListener):
                sink.hear_of_pause(paused)

    for sink in sinks:
        if isinstance(sink, MqttSink):
            sink.when_turned(tell_all)


def read_cues(stream: config.Stream) -> tuple[Cue, ...]:
    """Everything that is shown to one stream, in the order of the frames."""
    cues = [parse_prompt(text) for text in stream.prompt]
    for text in stream.prompt_mask:
        cues += read_prompt_mask(text)
    if stream.prompts is not None:
        cues += read_prompt_log(stream.prompts)
    return tuple(sorted(numbered(cues), key=lambda cue: cue.frame))


def numbered(cues: Iterable[Cue]) -> list[Cue]:
    """Prompts without an object id get the lowest ids that no other prompt names."""
    cues = list(cues)
    named = {cue.command.object_id for cue in cues if isinstance(cue.command, Prompt)}
    free = (number for number in range(1, len(cues) + len(named) + 1) if number not in named)
    return [
        replace(cue, command=replace(cue.command, object_id=next(free)))
        if isinstance(cue.command, Prompt) and cue.command.object_id is None
        else cue
        for cue in cues
    ]


def refuse_shared_outputs(deployment: config.Deployment) -> None:
    """Raises ConfigError where an output would overwrite a source, a file of prompts or another output."""
    taken = {file_of(stream.source) for stream in deployment.streams.values()}
    prompts = {file for stream in deployment.streams.values() for file in prompt_files(stream)}
    for name, stream in deployment.streams.items():
        for url in stream.output:
            if (file := file_of(url)) is None:
                continue
            if file in taken:
                raise ConfigError(f"{name}: output {redact(url)} is a source or another output")
            if lost := next((prompt for prompt in sorted(prompts) if overwrites(file, prompt)), None):
                raise ConfigError(f"{name}: output {redact(url)} would overwrite the prompts in {lost}")
            taken.add(file)
        if stream.record is not None:
            if stream.record.resolve() in taken:
                raise ConfigError(f"{name}: record {stream.record} is a source or another output")
            taken.add(stream.record.resolve())


def prompt_files(stream: config.Stream) -> set[Path]:
    files = [mask_and_frame(text)[0] for text in stream.prompt_mask]
    return {file.resolve() for file in (*files, *([stream.prompts] if stream.prompts else []))}


def overwrites(output: Path, file: Path) -> bool:
    """Whether an output is `file`, or a folder of numbered masks that would have one of its name."""
    return output == file or (output == file.parent and file.suffix == ".png" and file.stem.isdecimal())


def file_of(url: str) -> Path | None:
    """The file or folder that a source or sink means; None for what lies on a network, and for clips: each
    camera has a folder of its own for them."""
    scheme, _, rest = url.partition(":")
    if scheme in LOCAL_SCHEMES and rest:
        return None if scheme == "clips" else Path(rest).resolve()
    return None if "://" in url else Path(url).resolve()
