"""Our speed beside another implementation's: the same network and weights, on the same frames, in one run.

The two take turns frame by frame, so that whatever else the machine does slows both alike. Each does it as
it does best: the peer with all cores to an operation, ours in threads that each keep to half of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from keepsight.model.memory import Entry, empty, write_conditioning, write_recent
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import Sam2Config
from keepsight.model.video_predictor import ImageFeatures, Prediction, Prompts

from .engine import TwoAtOnce, cores
from .peer import pair


@dataclass(frozen=True, slots=True)
class Race:
    """Seconds a frame of both with `objects` objects and a full memory, frame by frame."""

    objects: int
    ours: tuple[float, ...]
    peers: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times faster ours is: the median over the frames of one's time by the other's."""
        return median(peer / own for own, peer in zip(self.ours, self.peers, strict=True))


def races(config: Sam2Config, objects: list[int], frames: int, device: torch.device) -> Iterator[Race]:
    """Both on random weights, float32. Raises ConfigError where transformers is not installed."""
    reference, network = pair(config, device)
    for count in objects:
        with Ours(network, count) as ours:
            yield race(Theirs(reference, config, count), ours, config, frames, count)


@torch.inference_mode()
def race(peer: Theirs, own: Ours, config: Sam2Config, frames: int, objects: int) -> Race:
    """The objects are shown in the first frame; what is remembered of the second stands for all the frames
    that fill the memory. Then `frames` are timed, after one that is not."""
    times: list[tuple[float, float]] = []
    moving = list(drifting(config.image_size, 3 + frames))
    for frame in moving[:2]:
        own.track(frame, None)
        peer.track(frame)
    own.remember_again(config.layout.recent)
    peer.remember_again(config.layout.recent)
    for frame, coming in zip(moving[2:], [*moving[3:], None], strict=True):
        started = perf_counter()
        own.track(frame, coming)
        between = perf_counter()
        peer.track(frame)
        times.append((between - started, perf_counter() - between))
    ours, theirs = zip(*times[1:], strict=True)
    return Race(objects, ours, theirs)


def drifting(side: int, frames: int) -> Iterator[Tensor]:
    """Frames (1, 3, side, side) of blurred noise that moves to the right."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, side // 8, side // 8 + frames, generator=generator)
    wide = torch.nn.functional.interpolate(noise, scale_factor=8.0, mode="bilinear")
    for t in range(frames):
        yield wide[:, :, :, 8 * t : 8 * t + side].contiguous()


def boxes(objects: int) -> Tensor:
    """(N, 2, 2): upper left and lower right corners in [0, 1], one beside the other."""
    left = torch.arange(objects) / objects
    corners = torch.stack(
        (left, torch.full_like(left, 0.2), left + 1 / objects, torch.full_like(left, 0.8)), 1
    )
    return corners.view(objects, 2, 2)


class Theirs:
    """The peer, tracking `objects` objects that it is shown in the first frame."""

    def __init__(self, model: Any, config: Sam2Config, objects: int) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        side = config.image_size
        self.model = model
        self.device = next(model.parameters()).device
        self.session: Any = Sam2VideoInferenceSession(
            video_height=side, video_width=side, inference_device=self.device, dtype=torch.float32
        )
        for row, corners in enumerate(boxes(objects)):
            index = self.session.obj_id_to_idx(row + 1)
            prompt = {
                "point_coords": corners[None, None] * side,
                "point_labels": torch.tensor([[[2, 3]]], dtype=torch.int32),
            }
            self.session.add_point_inputs(index, 0, prompt)
            self.session.obj_with_new_inputs.append(row + 1)
        self.mean, self.std = (
            torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )

    def track(self, frame: Tensor) -> Any:
        """frame: (1, 3, H, W) RGB in [0, 1]."""
        found = self.model(self.session, frame=((frame[0] - self.mean) / self.std).to(self.device))
        wait_for(self.device)
        return found

    def remember_again(self, times: int) -> None:
        """As if the last frame had come `times` more times."""
        last = self.session.num_frames - 1
        for index in range(last + 1, last + 1 + times):
            self.session.add_new_frame(self.session.processed_frames[last])
            for of_object in self.session.output_dict_per_obj.values():
                of_object["non_cond_frame_outputs"][index] = of_object["non_cond_frame_outputs"][last]


class Work(NamedTuple):
    """A frame of ours: what was found in it, and what is remembered of that."""

    found: Prediction
    entry: Entry


class Ours:
    """Our network, tracking `objects` objects that it is shown in the first frame.

    As in a run, the next frame is encoded meanwhile, and two threads share the work on a CPU.
    """

    def __init__(self, model: Sam2, objects: int) -> None:
        side = model.config.image_size
        self.model = model
        self.device = model.frame_times.device
        self.rows = torch.arange(objects, device=self.device)
        self.memory = empty(objects, model.layout, model.memory_shape((side, side)), model.frame_times)
        self.index = 0
        self.shown = Prompts(
            boxes(objects).to(self.device),
            torch.tensor([[2, 3]], device=self.device).expand(objects, 2),
            torch.zeros(objects, side, side, device=self.device),
            torch.zeros(objects, dtype=torch.bool, device=self.device),
        )
        self.ahead: Future[ImageFeatures] | None = None
        self.last: Work | None = None

    def __enter__(self) -> Ours:
        self.all_cores = torch.get_num_threads()  # asked first: a thread's first question sets its number
        self.encoder, self.tracker = (ThreadPoolExecutor(1, initializer=keep_to_half) for _ in range(2))
        self.model.share_work(TwoAtOnce())
        return self

    def __exit__(self, *_: object) -> None:
        self.encoder.shutdown()
        self.tracker.shutdown()
        self.model.share_work(map)

    def track(self, frame: Tensor, coming: Tensor | None) -> Prediction:
        """frame: (1, 3, H, W) RGB in [0, 1]; coming: the one after it, to be encoded meanwhile."""
        ahead = self.ahead or self.encoder.submit(self.encode, frame)
        features = ahead.result()
        self.ahead = None if coming is None else self.encoder.submit(self.encode, coming)
        self.last = self.tracker.submit(self.step, features).result()
        if self.ahead is not None:
            self.ahead.result()
        wait_for(self.device)
        return self.last.found

    def remember_again(self, times: int) -> None:
        """As if the last frame had come `times` more times."""
        assert self.last is not None
        for _ in range(times):
            write_recent(self.memory, self.model.layout, self.rows, self.index, self.last.entry)
            self.index += 1

    @torch.inference_mode()
    def encode(self, frame: Tensor) -> ImageFeatures:
        return self.model.encode_image(frame.to(self.device))

    @torch.inference_mode()
    def step(self, features: ImageFeatures) -> Work:
        model, memory, image_of = self.model, self.memory, torch.zeros_like(self.rows)
        is_first = torch.full_like(image_of, self.index == 0, dtype=torch.bool)
        if self.index == 0:
            found = model.condition(features, image_of, self.index, memory, self.shown)
        else:
            found = model.propagate(features, image_of, self.index, memory, None)
        entry = model.remember(features, image_of, found, is_first)
        write = write_conditioning if self.index == 0 else write_recent
        write(memory, model.layout, self.rows, self.index, entry)
        self.index += 1
        return Work(found, entry)


def keep_to_half() -> None:
    torch.set_num_threads(max(1, cores() // 2))


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
