"""OpenVINO as the backend of an image encoder on a CPU, where it is quicker than PyTorch.

An encoder is convolutions over pictures of few sizes: compiled once for each, and kept on disk so that the
next start is quick. What depends on how many objects there are stays in PyTorch.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import time
import warnings
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, cast

import structlog
import torch
from torch import Tensor, nn

from keepsight.model.nano import Nano
from keepsight.model.sam2 import Sam2

from .validation import ConfigError
from .weights import cache

log = structlog.get_logger(__name__)
TOLERANCE = 1e-3
"""How far a compiled encoder may be from PyTorch's, as a share of the largest feature."""
SHAPES = 8
"""Of images, that are compiled for: each holds the weights once more. PyTorch encodes all others."""


def encode_with(backend: str, network: Nano | Sam2) -> None:
    """Let `backend` encode the network's images: `auto` is PyTorch. Raises ConfigError where it cannot."""
    if backend != "openvino":
        return
    if find_spec("openvino") is None:
        raise ConfigError("--backend openvino: not installed: pip install 'keepsight[openvino]'")
    weight = next(network.parameters())
    if not (isinstance(network, Nano) and weight.device.type == "cpu" and weight.dtype == torch.float32):
        raise ConfigError("--backend openvino: is for nano, in float32, on a CPU; use --backend torch")
    network.frame_encoder = OpenVinoEncoder(network.image_encoder, cache() / "openvino")


class OpenVinoEncoder(nn.Module):
    """An encoder of images (B, 3, H, W) float32 to several feature maps, run by OpenVINO.

    encoder: the module it stands for, which encodes what OpenVINO cannot; cache: a folder for converted
    graphs. It compiles at the first images of a shape, for `SHAPES` of them. Threads take turns, and wait
    while another one compiles.
    """

    def __init__(self, encoder: nn.Module, cache: Path) -> None:
        super().__init__()
        self.encoder = encoder
        self.cache = cache
        self.compiled: dict[torch.Size, Any] = {}
        self.has_refused = False
        self.turn = Lock()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        with self.turn:
            compiled = self.compiled_for(images)
            if compiled is not None:
                return run(compiled, images)
        return cast(tuple[Tensor, ...], self.encoder(images))

    def compiled_for(self, images: Tensor) -> Any | None:
        """The encoder for images of this shape; None where that is PyTorch's."""
        if images.shape in self.compiled:
            return self.compiled[images.shape]
        if len(self.compiled) < SHAPES:
            self.compiled[images.shape] = self.tried(images)
            return self.compiled[images.shape]
        if not self.has_refused:
            log.warning(
                "PyTorch encodes images of further shapes", compiled=SHAPES, shape=name_of(images.shape)
            )
            self.has_refused = True
        return None

    def tried(self, images: Tensor) -> Any | None:
        """The encoder compiled for these images, or None and a warning."""
        try:
            graph = self.cache / f"{identity(self.encoder)}-{name_of(images.shape)}.xml"
            compiled = self.kept(graph, images)
            return self.converted(graph, images) if compiled is None else compiled
        except Exception as error:
            log.warning(
                "PyTorch encodes images of this shape: OpenVINO cannot",
                shape=name_of(images.shape),
                reason=reason(error),
            )
            return None

    def kept(self, graph: Path, images: Tensor) -> Any | None:
        """The graph in the cache, compiled; None where there is none. One that is of no use is deleted."""
        try:
            return self.checked(graph, images) if graph.is_file() else None
        except Exception as error:
            log.warning(
                "image encoder compiled anew: the kept one cannot be used",
                file=str(graph),
                reason=reason(error),
            )
            delete(graph)
            return None

    def converted(self, graph: Path, images: Tensor) -> Any:
        """The encoder made into a graph, which is put into the cache, and compiled."""
        import openvino

        height, width = images.shape[-2:]
        log.info("first use: compiling the image encoder, once", height=height, width=width)
        started = time.monotonic()
        with warnings.catch_warnings():
            # tracing says that the graph is for this one shape: it is meant to be
            warnings.simplefilter("ignore")
            model = openvino.convert_model(self.encoder, example_input=images, input=[images.shape])
        compiled = self.checked(model, images)
        keep(model, graph)
        log.info("image encoder compiled", seconds=round(time.monotonic() - started))
        return compiled

    def checked(self, model: Any, images: Tensor) -> Any:
        """A graph, or the file of one, compiled. Raises ArithmeticError where it disagrees with PyTorch."""
        compiled = core().compile_model(model, "CPU", settings())
        check(self.encoder, compiled, images)
        return compiled


@functools.cache
def core() -> Any:
    """OpenVINO, opened once and kept to the end of the process.

    Its CPU plugin gives the thread that opens it a stack for signals, and puts back the one before when it is
    closed, in whichever thread that is. Of several, closed in any order, one leaves a stack that is freed
    memory: the next Ctrl-C would end the process by a segmentation fault.
    """
    import openvino

    return openvino.Core()


def settings() -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }


def run(compiled: Any, images: Tensor) -> tuple[Tensor, ...]:
    outputs = compiled([images.detach().contiguous().numpy()])
    return tuple(torch.from_numpy(outputs[i]) for i in range(len(outputs)))


def check(encoder: nn.Module, compiled: Any, images: Tensor) -> None:
    with torch.inference_mode():
        for ours, found in zip(encoder(images), run(compiled, images), strict=True):
            error = float((ours - found).abs().max() / ours.abs().max().clamp(min=1e-6))
            if not error <= TOLERANCE:
                raise ArithmeticError(f"OpenVINO's image encoder is off by {error:.1e}; use --backend torch")


def keep(model: Any, graph: Path) -> None:
    """Write a converted model whole or not at all. A full disk costs the cache, not the run."""
    import openvino

    try:
        graph.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="part-", dir=graph.parent) as folder:
            part = Path(folder) / graph.name
            openvino.save_model(model, part, compress_to_fp16=False)
            part.with_suffix(".bin").replace(graph.with_suffix(".bin"))
            part.replace(graph)
    except (OSError, RuntimeError) as error:
        log.warning("image encoder not kept for the next start", file=str(graph), reason=reason(error))


def delete(graph: Path) -> None:
    """As far as that is allowed: what stays is refused again."""
    with suppress(OSError):
        for file in (graph, graph.with_suffix(".bin")):
            file.unlink(missing_ok=True)


def name_of(shape: torch.Size) -> str:
    return "x".join(map(str, shape))


def reason(error: Exception) -> str:
    """The last line: OpenVINO's first ones name places in its source."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def identity(encoder: nn.Module) -> str:
    """What a compiled encoder depends on, as a short name: its weights, its code and the libraries."""
    parts = hashlib.sha256(f"{version('openvino')} {version('torch')}".encode())
    for source in sorted({inspect.getfile(type(module)) for module in encoder.modules()}):
        parts.update(Path(source).read_bytes())
    for name, value in encoder.state_dict().items():
        parts.update(name.encode() + value.contiguous().numpy().tobytes())
    return parts.hexdigest()[:16]
