"""Objects that do not touch each other, to the bit.

A matrix or convolution kernel is chosen by the size of its batch, and another kernel adds in another order.
In one batch an object would therefore change in its last bits when another came or went, and these grow over
a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from .memory import Memory
from .video_predictor import ImageFeatures, Prediction, Prompts

V = TypeVar("V", bound=Callable[..., Any])
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""A map, or what does the same with several threads."""


def object_by_object(verb: V) -> V:
    """The verb, asked for each of the N objects alone where that is on a CPU.

    There arithmetic is what takes time, not calls. `model.each`, a map, goes through them. On a GPU, where
    calls take time, while gradients are recorded, and while a network is traced, all objects are one batch,
    equal up to the order of sums.
    """

    @wraps(verb)
    def asked(model: Any, features: ImageFeatures, image_of: Tensor, *args: Any, **kwargs: Any) -> Any:
        together = torch.is_grad_enabled() or torch.compiler.is_compiling()
        if image_of.device.type != "cpu" or together:
            return verb(model, features, image_of, *args, **kwargs)

        def alone(row: int) -> Any:
            own = [only(argument, row) for argument in args]
            named = {name: only(argument, row) for name, argument in kwargs.items()}
            return verb(model, features, image_of[row : row + 1], *own, **named)

        said = list(model.each(alone, range(len(image_of))))
        return type(said[0])(*(torch.cat(fields) for fields in zip(*said, strict=True)))

    return cast(V, asked)


def only(argument: object, row: int) -> object:
    """One object's row of what has a row for each; anything else as it is."""
    match argument:
        case Prompts():
            return without_padding(Prompts(*(field[row : row + 1] for field in argument)))
        case Tensor():
            return argument[row : row + 1]
        case Memory() | Prediction():
            return type(argument)(*(field[row : row + 1] for field in argument))
    return argument


def without_padding(prompts: Prompts) -> Prompts:
    """One object's prompts without the columns that only others of its batch need, but at least one."""
    used = (prompts.labels[0] != -1).nonzero()
    columns = max(1, int(used.max()) + 1) if len(used) else 1
    return prompts._replace(points=prompts.points[:, :columns], labels=prompts.labels[:, :columns])
