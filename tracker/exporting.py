"""A network as files for other runtimes: each part as ONNX, checked against torch, and all of them described.

What this needs is optional: onnx and onnxscript write a file, onnxruntime runs it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import orjson
import torch
from torch import Tensor

from keepsight.model.nano import Nano
from keepsight.model.nano_parts import nano_parts
from keepsight.model.parts import POINTS, Part, draws
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_parts import sam2_parts
from keepsight.streams.wording import refusal

from .calibration import sha256_of
from .validation import ConfigError

NEEDED = ("onnx", "onnxscript", "onnxruntime")
DESCRIPTION = "export.json"
TOLERANCE = 1e-3
"""By how much of its largest value, or of 1 where that is more, an output may differ from torch's."""


class Difference(NamedTuple):
    """The largest absolute difference from torch, and the largest in parts of each output's largest value."""

    absolute: float
    relative: float


class Named(NamedTuple):
    """A tensor that goes into a part or comes out of it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Exported:
    """A part as a file, and how far it is from torch. about: what its inputs mean."""

    part: str
    file: Path
    about: str
    inputs: tuple[Named, ...]
    outputs: tuple[Named, ...]
    difference: Difference

    @property
    def agrees(self) -> bool:
        return self.difference.relative <= TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What was exported. frame_size: (height, width) of the frames it is for."""

    model: str
    weights: Path | None
    frame_size: tuple[int, int]
    objects: int


def check_installed() -> None:
    """Raises ConfigError where the optional packages are not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"export needs {', '.join(missing)}: pip install 'keepsight[export]'")


def open_folder(folder: Path) -> None:
    """Make the folder, without the description of an earlier export. Raises ConfigError where it cannot be
    written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            (folder / DESCRIPTION).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be written: {refusal(error)}") from None


def parts_of(network: Nano | Sam2, frame_size: tuple[int, int], objects: int) -> tuple[Part, ...]:
    """The parts of a network for N = `objects` and frames of (height, width)."""
    scenes = draws(network, frame_size, objects)
    return sam2_parts(network, scenes) if isinstance(network, Sam2) else nano_parts(network, scenes)


def export(parts: Sequence[Part], folder: Path) -> Iterator[Exported]:
    """Each part as soon as it is written and compared."""
    for part in parts:
        file = folder / f"{part.name}.onnx"
        write_onnx(part, file)
        yield described(part, file, compare(part, file))


def write_onnx(part: Part, file: Path) -> None:
    """Of fixed shapes, those of the part's samples."""
    with quiet():
        program = torch.onnx.export(
            part.eval(),
            tuple(part.samples[0]),
            input_names=part.inputs,
            output_names=part.outputs,
            dynamo=True,
            optimize=False,  # it takes minutes for a thousand operations; onnxruntime does it when it loads
            verbose=False,
        )
        assert program is not None
        program.save(file)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's talk about itself."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def compare(part: Part, file: Path) -> Difference:
    """The file in onnxruntime beside the part in torch, on all of the part's samples."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = []
    for sample in part.samples:
        fed = {name: tensor.numpy() for name, tensor in zip(part.inputs, sample, strict=True)}
        said = session.run(list(part.outputs), fed)
        with torch.inference_mode():
            expected = part(*sample)
        pairs = zip(said, expected, strict=True)
        found += [difference(torch.from_numpy(theirs), ours) for theirs, ours in pairs]
    return Difference(*(max(column) for column in zip(*found, strict=True)))


def difference(said: Tensor, expected: Tensor) -> Difference:
    """Infinite where a number is missing."""
    absolute = float((said - expected).abs().nan_to_num(nan=torch.inf).max())
    return Difference(absolute, absolute / max(1.0, float(expected.abs().max())))


def described(part: Part, file: Path, apart: Difference) -> Exported:
    with torch.inference_mode():
        outputs = part(*part.samples[0])
    about = " ".join((type(part.samples[0]).__doc__ or "").split())
    inputs = named(part.inputs, part.samples[0])
    return Exported(part.name, file, about, inputs, named(part.outputs, outputs), apart)


def named(names: Sequence[str], tensors: Sequence[Tensor]) -> tuple[Named, ...]:
    return tuple(
        Named(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in zip(names, tensors, strict=True)
    )


def describe(folder: Path, network: Nano | Sam2, origin: Origin, exported: Sequence[Exported]) -> None:
    """Write what an integrator needs to wire the files up."""
    description = {
        "version": 1,
        "model": origin.model,
        "weights_sha256": sha256_of(origin.weights) if origin.weights else None,
        "input": {"size": network.input_size(origin.frame_size), "pixels": "RGB in [0, 1], channels first"},
        "objects": origin.objects,
        "points": POINTS,
        "memory": asdict(network.layout),
        "parts": [part_of(one) for one in exported],
    }
    (folder / DESCRIPTION).write_bytes(orjson.dumps(description, option=orjson.OPT_INDENT_2))


def part_of(one: Exported) -> dict[str, Any]:
    return {
        "name": one.part,
        "file": one.file.name,
        "sha256": sha256_of(one.file),
        "about": one.about,
        "inputs": [tensor._asdict() for tensor in one.inputs],
        "outputs": [tensor._asdict() for tensor in one.outputs],
        "largest_difference": one.difference.absolute,
    }
