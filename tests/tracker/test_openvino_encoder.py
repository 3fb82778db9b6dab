"""OpenVINO's image encoder when something is wrong: the stream goes on, at worst with PyTorch's."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn

pytest.importorskip("openvino", reason="keepsight[openvino] is not installed")

import openvino

from keepsight.tracker import backend
from keepsight.tracker.backend import OpenVinoEncoder

IMAGES = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
ANEW = "image encoder compiled anew: the kept one cannot be used"
NOT_KEPT = "image encoder not kept for the next start"
LEFT_TO_TORCH = "PyTorch encodes images of this shape: OpenVINO cannot"
FULL = "PyTorch encodes images of further shapes"


class SmallEncoder(nn.Module):
    """Two feature maps. `calls` tells how often PyTorch has encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        features = self.convolution(images)
        return features, features.relu()


def small_encoder() -> SmallEncoder:
    """Always the same."""
    torch.manual_seed(0)
    return SmallEncoder().eval().requires_grad_(False)


@pytest.fixture
def encoder() -> SmallEncoder:
    return small_encoder()


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small encoder as OpenVINO's graph: converting takes seconds."""
    graph = tmp_path_factory.mktemp("converted") / "graph.xml"
    model = openvino.convert_model(small_encoder(), example_input=IMAGES, input=[IMAGES.shape])
    openvino.save_model(model, graph, compress_to_fp16=False)
    return graph


@pytest.fixture(autouse=True)
def conversions(converted: Path, monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes that are converted for, each at once."""
    shapes: list[torch.Size] = []

    def convert(module: nn.Module, *, example_input: Tensor, input: list[torch.Size]) -> Any:
        shapes.append(example_input.shape)
        model = openvino.Core().read_model(converted)
        model.reshape(list(example_input.shape))
        return model

    monkeypatch.setattr(openvino, "convert_model", convert)
    return shapes


def refuse(*given: object, **named: object) -> Any:
    raise RuntimeError("Exception from src/core.cpp:1:\nCheck 'known' failed:\nno such operation\n\n")


@contextmanager
def warned(*events: str) -> Iterator[None]:
    """The block warns of these, each in one line, and of nothing else."""
    with capture_logs() as logs:
        yield
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [line["event"] for line in warnings] == list(events)
    assert all("\n" not in str(said) for line in warnings for said in line.values())


def assert_right(tested: OpenVinoEncoder, images: Tensor = IMAGES) -> None:
    """It finds what PyTorch finds, up to the order of sums."""
    for found, expected in zip(tested(images), tested.encoder(images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def encoded_by_torch(tested: OpenVinoEncoder, images: Tensor = IMAGES) -> bool:
    encoder = tested.encoder
    assert isinstance(encoder, SmallEncoder)
    before = encoder.calls
    tested(images)
    return encoder.calls > before


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def negate(file: Path) -> None:
    """All weights: the file can be read, and is wrong."""
    weights = torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.float32)
    file.write_bytes(weights.neg().numpy().tobytes())


DAMAGES = [
    (".xml", halve),
    (".xml", empty),
    (".bin", halve),
    (".bin", empty),
    (".bin", Path.unlink),
    (".bin", negate),
]


@pytest.fixture(params=DAMAGES, ids=lambda damage: f"{damage[0]} {damage[1].__name__}")
def damaged(
    request: pytest.FixtureRequest, encoder: SmallEncoder, tmp_path: Path, conversions: list[torch.Size]
) -> Path:
    """A cache whose only graph cannot be used."""
    OpenVinoEncoder(encoder, tmp_path)(IMAGES)
    (graph,) = tmp_path.glob("*.xml")
    ending, damage = request.param
    damage(graph.with_suffix(ending))
    conversions.clear()
    return tmp_path


def test_a_damaged_graph_is_compiled_anew(
    encoder: SmallEncoder, damaged: Path, conversions: list[torch.Size]
) -> None:
    tested = OpenVinoEncoder(encoder, damaged)
    with warned(ANEW):
        assert_right(tested)
    assert not encoded_by_torch(tested)
    with warned():
        assert_right(OpenVinoEncoder(encoder, damaged))
    assert conversions == [IMAGES.shape]


def test_a_damaged_graph_that_cannot_be_compiled_anew_is_deleted(
    encoder: SmallEncoder, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "convert_model", refuse)
    tested = OpenVinoEncoder(encoder, damaged)
    with warned(ANEW, LEFT_TO_TORCH):
        assert_right(tested)
        assert encoded_by_torch(tested)
    assert not list(damaged.iterdir())


def test_a_damaged_graph_that_cannot_be_deleted_does_no_harm(
    encoder: SmallEncoder, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", forbid)
    with warned(ANEW):
        assert_right(OpenVinoEncoder(encoder, damaged))


def test_an_encoder_that_cannot_be_compiled_is_left_to_torch_with_one_warning(
    encoder: SmallEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "core", refuse)
    tested = OpenVinoEncoder(encoder, tmp_path)
    with capture_logs() as logs:
        for _ in range(3):
            assert_right(tested)
    (said,) = (line for line in logs if line["log_level"] == "warning")
    assert said["event"] == LEFT_TO_TORCH
    assert (said["shape"], said["reason"]) == ("1x3x32x48", "no such operation")
    assert encoded_by_torch(tested)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the C library of Linux")
def test_encoders_that_come_and_go_leave_the_stack_for_signals_alone(
    encoder: SmallEncoder, tmp_path: Path
) -> None:
    """A stack that was freed ends the process at the next signal, Ctrl-C for one."""
    stays, *pass_by = (OpenVinoEncoder(encoder, tmp_path / name) for name in "abc")
    stays(IMAGES)
    there = signal_stack()
    for one in pass_by:
        one(IMAGES)
    for one in pass_by:
        one.compiled.clear()
        gc.collect()
    assert signal_stack() == there


def signal_stack() -> bytes:
    """What sigaltstack(2) says of the calling thread: address, flags, size."""
    said = ctypes.create_string_buffer(24)
    assert ctypes.CDLL(None).sigaltstack(None, said) == 0
    return said.raw


def test_an_encoder_that_disagrees_with_torch_is_left_to_torch_and_not_kept(
    encoder: SmallEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "TOLERANCE", -1.0)
    tested = OpenVinoEncoder(encoder, tmp_path)
    with warned(LEFT_TO_TORCH):
        assert_right(tested)
        assert encoded_by_torch(tested)
    assert not list(tmp_path.iterdir())


def test_another_shape_is_tried_after_one_that_failed(
    encoder: SmallEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = OpenVinoEncoder(encoder, tmp_path)
    with monkeypatch.context() as failing, warned(LEFT_TO_TORCH):
        failing.setattr(openvino, "convert_model", refuse)
        tested(IMAGES)
    larger = torch.rand(1, 3, 48, 64)
    assert_right(tested, larger)
    assert not encoded_by_torch(tested, larger)
    assert encoded_by_torch(tested)


@pytest.mark.parametrize("cache", ["file", "file/cache", "/proc/cache"])
def test_a_cache_that_cannot_be_written_costs_the_next_start_only(
    encoder: SmallEncoder, tmp_path: Path, cache: str
) -> None:
    (tmp_path / "file").touch()
    tested = OpenVinoEncoder(encoder, tmp_path / cache)
    with warned(NOT_KEPT):
        assert_right(tested)
        assert not encoded_by_torch(tested)


def test_a_graph_that_cannot_be_written_leaves_nothing_behind(
    encoder: SmallEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(model: Any, path: Path, compress_to_fp16: bool) -> None:
        path.with_suffix(".bin").write_bytes(b"half of it")
        refuse()

    monkeypatch.setattr(openvino, "save_model", write_half)
    with warned(NOT_KEPT):
        assert_right(OpenVinoEncoder(encoder, tmp_path))
    assert not list(tmp_path.iterdir())


def test_two_may_keep_the_same_graph_at_once(
    encoder: SmallEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversions: list[torch.Size]
) -> None:
    save, other = openvino.save_model, OpenVinoEncoder(encoder, tmp_path)

    def save_after_the_other(model: Any, path: Path, compress_to_fp16: bool) -> None:
        monkeypatch.setattr(openvino, "save_model", save)
        save(model, path, compress_to_fp16=compress_to_fp16)
        other(IMAGES)

    monkeypatch.setattr(openvino, "save_model", save_after_the_other)
    with warned():
        assert_right(OpenVinoEncoder(encoder, tmp_path))
        assert_right(OpenVinoEncoder(encoder, tmp_path))
    assert conversions == [IMAGES.shape] * 2
    assert {file.suffix for file in tmp_path.iterdir()} == {".xml", ".bin"}


def test_shapes_past_the_bound_are_left_to_torch_with_one_warning(
    encoder: SmallEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversions: list[torch.Size]
) -> None:
    monkeypatch.setattr(backend, "SHAPES", 2, raising=False)
    tested = OpenVinoEncoder(encoder, tmp_path)
    pictures = [torch.rand(1, 3, 32, 16 * width) for width in (1, 2, 3, 4)]
    with warned(FULL):
        for picture in pictures * 2:
            assert_right(tested, picture)
    assert [encoded_by_torch(tested, picture) for picture in pictures] == [False, False, True, True]
    assert conversions == [picture.shape for picture in pictures[:2]]
    assert len(tested.compiled) == 2


def test_two_threads_encode_at_once(encoder: SmallEncoder, tmp_path: Path) -> None:
    tested = OpenVinoEncoder(encoder, tmp_path)
    pictures = [torch.full((1, 3, 128, 192), level) for level in (0.2, 0.9)]

    def encode_often(picture: Tensor) -> list[Tensor]:
        return [tested(picture)[0] for _ in range(30)]

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(encode_often, pictures))
    for picture, features in zip(pictures, found, strict=True):
        expected = encoder(picture)[0]
        for one in features:
            torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-4)


def test_two_threads_compile_once(
    encoder: SmallEncoder, tmp_path: Path, conversions: list[torch.Size]
) -> None:
    tested = OpenVinoEncoder(encoder, tmp_path)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(tested, [IMAGES, IMAGES]))
    assert conversions == [IMAGES.shape]
