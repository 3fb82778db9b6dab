"""OpenVINO as the backend of an image encoder on a CPU, where it is quicker than PyTorch.

An encoder is convolutions over pictures of few sizes: compiled once for each, and kept on disk so that the
next start is quick. What depends on how many objects there are stays in PyTorch.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from keepsight.model.nano import Nano
from keepsight.model.nano_image_encoder import NanoImageEncoder
from keepsight.model.sam2 import Sam2

from .validation import ConfigError
from .weights import cache

log = logging.getLogger(__name__)
TOLERANCE = 1e-3
"""How far a compiled encoder may be from PyTorch's, as a share of the largest feature."""


def encode_with(backend: str, network: Nano | Sam2) -> None:
    """Let `backend` encode the network's images: `auto` is PyTorch. Raises ConfigError where it cannot."""
    if backend != "openvino":
        return
    if find_spec("openvino") is None:
        raise ConfigError("--backend openvino: not installed: pip install 'keepsight[openvino]'")
    weight = next(network.parameters())
    if not (isinstance(network, Nano) and weight.device.type == "cpu" and weight.dtype == torch.float32):
        raise ConfigError("--backend openvino: is for nano, in float32, on a CPU; use --backend torch")
    encoder = OpenVinoEncoder(network.image_encoder, cache() / "openvino")
    network.image_encoder = cast(NanoImageEncoder, encoder)


class OpenVinoEncoder(nn.Module):
    """An encoder of images (B, 3, H, W) float32 to several feature maps, run by OpenVINO.

    encoder: the module it stands for; cache: a folder for what is compiled. Raises ArithmeticError at the
    first picture of a size if the two disagree.
    """

    def __init__(self, encoder: nn.Module, cache: Path) -> None:
        super().__init__()
        self.encoder = encoder
        self.cache = cache
        self.compiled: dict[torch.Size, Any] = {}

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if images.shape not in self.compiled:
            self.compiled[images.shape] = self.compile_for(images)
        return run(self.compiled[images.shape], images)

    def compile_for(self, images: Tensor) -> Any:
        """The encoder for images of this shape: read from the cache, or converted, checked and put there."""
        import openvino

        graph = self.cache / f"{identity(self.encoder)}-{'x'.join(map(str, images.shape))}.xml"
        core = openvino.Core()
        core.set_property({"CACHE_DIR": str(self.cache)})
        if graph.is_file():
            return core.compile_model(graph, "CPU", settings())
        height, width = images.shape[-2:]
        log.info("first use: compiling the image encoder for %d x %d pixels, once", height, width)
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # tracing says that the graph is for this one shape: it is meant to be
            model = openvino.convert_model(self.encoder, example_input=images, input=[images.shape])
        compiled = core.compile_model(model, "CPU", settings())
        check(self.encoder, compiled, images)
        keep(model, graph)
        log.info("compiled in %.0f s", time.monotonic() - started)
        return compiled


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

    part = graph.with_name(f"part-{graph.name}")
    try:
        graph.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, part, compress_to_fp16=False)
        part.with_suffix(".bin").replace(graph.with_suffix(".bin"))
        part.replace(graph)
    except (OSError, RuntimeError) as error:
        log.warning("the compiled image encoder is not kept for the next start: %s", error)


def identity(encoder: nn.Module) -> str:
    """What a compiled encoder depends on, as a short name: its weights, its code and the libraries."""
    parts = hashlib.sha256(f"{version('openvino')} {version('torch')}".encode())
    for source in sorted({inspect.getfile(type(module)) for module in encoder.modules()}):
        parts.update(Path(source).read_bytes())
    for name, value in encoder.state_dict().items():
        parts.update(name.encode() + value.contiguous().numpy().tobytes())
    return parts.hexdigest()[:16]
