"""The parts of Nano: what is exported of it.

A frame goes through `image_encoder`; `memory_reader` finds each tracked object in it, `prompt_decoder` each
prompted one, in one look, and `memory_encoder` makes of their masks what to remember. The closer looks at
what is prompted are not exported: where they look depends on a mask's outermost pixels, and so on the last
digit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .memory import Memory
from .nano import Nano
from .parts import Draw, Image, Part, Remembered, in_the_image
from .video_predictor import ImageFeatures, Prediction, Prompts


class Levels(NamedTuple):
    """Features and keys of an image; each name says its stride."""

    features_4: Tensor
    features_8: Tensor
    features_16: Tensor
    key_8: Tensor
    key_16: Tensor
    key_4: Tensor
    features_2: Tensor
    brightness: Tensor


class Ask(NamedTuple):
    """Features and keys as in `Levels`; points, labels, masks, has_mask: as in `Prompts`; prior:
    (N, H/2, W/2) logits of the mask to be corrected, -10 everywhere where there is none."""

    features_4: Tensor
    features_8: Tensor
    features_16: Tensor
    key_8: Tensor
    key_16: Tensor
    features_2: Tensor
    points: Tensor
    labels: Tensor
    masks: Tensor
    has_mask: Tensor
    prior: Tensor


class Follow(NamedTuple):
    """Features and keys as in `Levels`, and of the frame before two keys and the brightness; features,
    written, pointers, pointed: as in `Memory`; last_logits: its logits. Of an object without a prompted frame
    nothing can be told."""

    features_4: Tensor
    features_8: Tensor
    features_16: Tensor
    key_8: Tensor
    key_16: Tensor
    key_4: Tensor
    features_2: Tensor
    brightness: Tensor
    previous_key_8: Tensor
    previous_key_4: Tensor
    previous_brightness: Tensor
    features: Tensor
    written: Tensor
    pointers: Tensor
    pointed: Tensor
    last_logits: Tensor


class Seen(NamedTuple):
    """Features and keys as in `Levels`; logits: as in `Prediction`."""

    features_8: Tensor
    features_16: Tensor
    key_8: Tensor
    key_16: Tensor
    logits: Tensor


def nano_parts(network: Nano, draws: tuple[Draw, ...]) -> tuple[Part, ...]:
    """In the order of a frame's way through them."""
    seen = Prediction._fields
    return (
        Part("image_encoder", network, encode, tuple(Image(one.images) for one in draws), Levels._fields),
        Part("memory_reader", network, follow, tuple(following(one) for one in draws), seen),
        Part("prompt_decoder", network, condition, tuple(asking(one) for one in draws), seen),
        Part("memory_encoder", network, remember, tuple(seeing(one) for one in draws), Remembered._fields),
    )


def encode(network: Nano, given: Image) -> Levels:
    return Levels(*network.encode_image(given.image).levels)


def follow(network: Nano, given: Follow) -> Prediction:
    now = Levels(*given[:8])
    before = now._replace(
        key_8=given.previous_key_8, key_4=given.previous_key_4, brightness=given.previous_brightness
    )
    memory = Memory(*given[11:15], logits=given.last_logits, worth=given.last_logits)
    image_of = in_the_image(given.written)
    return network.propagate(ImageFeatures(now), image_of, 0, memory, ImageFeatures(before))


def condition(network: Nano, given: Ask) -> Prediction:
    """Every object counts as known: one that is not has nothing in its prior."""
    *levels, features_2, points, labels, masks, has_mask, prior = given
    unread, known = features_2, torch.zeros_like(labels)
    memory = Memory(prior, known, prior, known, logits=prior, worth=prior)
    features = ImageFeatures((*levels, unread, features_2))
    return network.condition(
        features, in_the_image(labels), 0, memory, Prompts(points, labels, masks, has_mask)
    )


def remember(network: Nano, given: Seen) -> Remembered:
    """The features only: the pointer to remember is the decoder's."""
    *levels, logits = given
    unread, image_of = levels[0], in_the_image(logits)
    prediction = Prediction(logits, iou=logits, presence=logits, pointer=logits)
    features = ImageFeatures((unread, *levels))
    return Remembered(network.remember(features, image_of, prediction, image_of == 0).features)


def asking(one: Draw) -> Ask:
    levels, prompts = Levels(*one.features.levels), one.prompts
    shown = prompts.points, prompts.labels, prompts.masks, one.chance
    return Ask(*levels[:5], levels.features_2, *shown, one.prediction.logits)


def following(one: Draw) -> Follow:
    levels, memory = Levels(*one.features.levels), one.memory
    before = levels.key_8.roll(1, dims=3), levels.key_4.roll(2, dims=3), levels.brightness.roll(8, dims=3)
    return Follow(*levels, *before, *memory[:4], memory.logits)


def seeing(one: Draw) -> Seen:
    return Seen(*Levels(*one.features.levels)[1:5], one.prediction.logits)
