"""The parts of a network of the SAM 2 family: what is exported of it.

A frame goes through `image_encoder`; for each tracked object `memory_attention` makes a scene of it,
`prompt_decoder` without prompts a mask, and `memory_encoder` what to remember. A prompted object takes the
same way with its prompts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .layers import of_objects
from .memory import Memory
from .parts import FRAME, Draw, Image, Part, Remembered, in_the_image
from .sam2 import PRIOR_LOGIT, Sam2
from .video_predictor import ImageFeatures, Prediction


class Levels(NamedTuple):
    """Features of an image: finest (1, D / 8, 4h, 4w), fine (1, D / 4, 2h, 2w), coarse (1, D, h, w)."""

    finest: Tensor
    fine: Tensor
    coarse: Tensor


class Recall(NamedTuple):
    """coarse: as in `Levels`; features, written, pointers, pointed: as in `Memory`; frame: () int64, the
    index of the present one."""

    coarse: Tensor
    features: Tensor
    written: Tensor
    pointers: Tensor
    pointed: Tensor
    frame: Tensor


class Scene(NamedTuple):
    """scene: (N, D, h, w), the coarse features as each object knows them."""

    scene: Tensor


class Ask(NamedTuple):
    """scene: as in `Scene`; finest, fine: as in `Levels`; points, labels: as in `Prompts`; prior:
    (N, H/4, W/4) logits of a mask to start from, heard where has_prior (N,) bool; ambiguous: (N,) bool,
    prompts of at most one point, to which several masks may be the answer."""

    scene: Tensor
    finest: Tensor
    fine: Tensor
    points: Tensor
    labels: Tensor
    prior: Tensor
    has_prior: Tensor
    ambiguous: Tensor


class Answer(NamedTuple):
    """What to believe, as in `Prediction`; and every candidate, as in `Candidates`."""

    logits: Tensor
    iou: Tensor
    presence: Tensor
    pointer: Tensor
    candidate_logits: Tensor
    candidate_iou: Tensor


class Seen(NamedTuple):
    """coarse: as in `Levels`; logits, presence: as in `Prediction`; prompted: (N,) bool, whose mask comes
    from a user's prompt."""

    coarse: Tensor
    logits: Tensor
    presence: Tensor
    prompted: Tensor


def sam2_parts(network: Sam2, draws: tuple[Draw, ...]) -> tuple[Part, ...]:
    """In the order of a frame's way through them."""
    return (
        Part("image_encoder", network, encode, tuple(Image(one.images) for one in draws), Levels._fields),
        Part("memory_attention", network, recall, tuple(recalling(one) for one in draws), Scene._fields),
        Part("prompt_decoder", network, decode, tuple(asking(one) for one in draws), Answer._fields),
        Part("memory_encoder", network, remember, tuple(seeing(one) for one in draws), Remembered._fields),
    )


def encode(network: Sam2, given: Image) -> Levels:
    return Levels(*network.encode_image(given.image).levels)


def recall(network: Sam2, given: Recall) -> Scene:
    """An object of which nothing is remembered gets the scene of a first frame."""
    coarse, features, written, pointers, pointed, frame = given
    memory = Memory(features, written, pointers, pointed, logits=features, worth=features)
    image_of = in_the_image(written)
    everyone = torch.ones_like(image_of, dtype=torch.bool)
    return Scene(network.recall(ImageFeatures((coarse,)), image_of, frame, memory, everyone))


def decode(network: Sam2, given: Ask) -> Answer:
    encoder, image_of = network.prompt_encoder, in_the_image(given.labels)
    tokens = encoder.points(given.points, given.labels)
    dense = encoder.masks(given.prior[:, None].clamp(-PRIOR_LOGIT, PRIOR_LOGIT), given.has_prior)
    finest, fine = of_objects(given.finest, image_of), of_objects(given.fine, image_of)
    found = network.mask_decoder(given.scene + dense, encoder.positions, tokens, finest, fine)
    return Answer(*network.believed(found, given.ambiguous), found.masks, found.iou)


def remember(network: Sam2, given: Seen) -> Remembered:
    """The features only: the pointer to remember is the decoder's."""
    prediction = Prediction(given.logits, given.presence, given.presence, pointer=given.logits)
    features, image_of = ImageFeatures((given.coarse,)), in_the_image(given.logits)
    return Remembered(network.remember(features, image_of, prediction, given.prompted).features)


def recalling(one: Draw) -> Recall:
    memory, frame = one.memory, torch.tensor(FRAME)
    coarse = one.features.levels[-1]
    return Recall(coarse, memory.features, memory.written, memory.pointers, memory.pointed, frame)


def asking(one: Draw) -> Ask:
    finest, fine, coarse = one.features.levels
    prompts, scene = one.prompts, of_objects(coarse, in_the_image(one.chance)).clone()
    prior = one.prediction.logits
    return Ask(scene, finest, fine, prompts.points, prompts.labels, prior, one.chance, ~one.chance)


def seeing(one: Draw) -> Seen:
    return Seen(one.features.levels[-1], one.prediction.logits, one.prediction.presence, one.chance)
