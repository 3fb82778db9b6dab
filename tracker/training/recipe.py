"""A training recipe: a YAML file read once into a frozen model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from keepsight.model.models import MODELS, ModelConfig
from keepsight.model.sam2_config import Sam2Config
from keepsight.streams.wording import unknown, words

from ..build import NANO_STEP, configuration, sized
from ..validation import ConfigError
from .parts import Part

Chance = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0)]
Layout = Literal["auto", "photos", "coco", "davis", "unlabelled"]
ASPECTS = ((1, 1), (1.25, 0.8), (0.8, 1.25))
"""Height and width that Nano is trained at, in parts of its usual side, where a recipe does not say."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Set(Strict):
    """How often a set is drawn from, against the others, and how it is laid out; `auto` looks.

    photos: `images/` and `masks/`; coco: pictures in the folder `images` and a file `annotations` (both found
    where they usually are if left out); davis: labelled videos, YouTube-VOS too; unlabelled: videos, which
    the model labels itself.
    """

    weight: Weight = 1
    layout: Layout = "auto"
    images: str = ""
    annotations: str = ""


def with_weight(given: object) -> object:
    """A set that is given as its weight alone."""
    return {"weight": given} if isinstance(given, int | float) else given


class Data(Strict):
    """What is trained on. `sets`: folders below `root` to their weights, or to all there is to say of one."""

    root: Path
    sets: Annotated[dict[str, Annotated[Set, BeforeValidator(with_weight)]], Field(min_length=1)]
    outlines: str = ""
    backgrounds: str = ""


class Stage(Strict):
    """A stretch of training. `sizes` are (height, width) choices, one drawn per step: multiples of 32 for
    Nano, one square for SAM 2; the model's usual ones if left out."""

    steps: Annotated[int, Field(gt=0)]
    sizes: tuple[tuple[int, int], ...] = ()
    clips: Annotated[int, Field(gt=0)]
    frames: Annotated[int, Field(ge=2)]
    objects: Annotated[int, Field(gt=0)] = 3


class PromptMix(Strict):
    """How often training starts from a mask, a box or points (they add up to 1), and is then corrected by
    clicks."""

    mask: Chance = 0.5
    box: Chance = 0.2
    points: Chance = 0.3
    corrected: Chance = 0.3
    remembered_truth: Chance = 0.9


class SelfTraining(Strict):
    """How the model labels videos: pieces of `frames` frames, every `stride`-th, at most `pieces` of a video,
    in which at most `objects` are tracked forwards and back, and kept where start and return have an IoU of
    at least `agreement` and the mean confidence is at least `confidence`."""

    frames: Annotated[int, Field(ge=2)] = 24
    stride: Annotated[int, Field(ge=1)] = 2
    pieces: Annotated[int, Field(ge=1)] = 4
    objects: Annotated[int, Field(ge=1, le=16)] = 6
    agreement: Chance = 0.75
    confidence: Chance = 0.5


class Recipe(Strict):
    """Everything that decides what a training run does. Times are in steps; one step sees one batch of clips
    per process. `reads`: the weight of the loss on what is read from memory, before it is decoded."""

    model: str
    output: Path
    start_from: str | None = None
    parts: tuple[Part, ...] = ()
    keep_norms: bool = False
    """`start_from`: a model's name, or a file of weights; of the model's `parts` only those named learn, all
    where none is; `keep_norms` leaves the statistics of batch norms as they are."""
    data: Data
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    prompts: PromptMix = PromptMix()
    seed: int = 0
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    warm_up: Annotated[int, Field(ge=1)] = 200
    decay: Annotated[int, Field(ge=1)] = 1000
    corrupted: Chance = 0.3
    reads: Annotated[float, Field(ge=0)] = 0.2
    average: Chance = 0.998
    clip_gradient: Annotated[float, Field(gt=0)] = 1.0
    loaders: Annotated[int, Field(ge=0)] = 1
    checkpoint_every: Annotated[int, Field(gt=0)] = 200
    accumulate: Annotated[int, Field(gt=0)] = 1
    """Batches to a step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"
    self_training: SelfTraining = SelfTraining()

    @model_validator(mode="after")
    def check_model(self) -> Self:
        """Raises ValueError for a model that is not known, or that cannot take the sizes given."""
        if self.model not in MODELS:
            raise ValueError(f"model: {unknown(self.model, 'model', MODELS)}")
        configuration = self.configuration
        for size in {size for stage in self.stages for size in stage.sizes}:
            if isinstance(configuration, Sam2Config) and size != (configuration.image_size,) * 2:
                raise ValueError(f"sizes: {self.model} takes one square size, the same in all stages")
            if any(side < 1 or side % NANO_STEP for side in size):
                raise ValueError(f"sizes: {size} are not multiples of {NANO_STEP}")
        return self

    @property
    def configuration(self) -> ModelConfig:
        """The network's, at the input size that it is trained at."""
        given = next((stage.sizes[0] for stage in self.stages if stage.sizes), None)
        usual = configuration(self.model)
        return sized(usual, given[0]) if given and isinstance(usual, Sam2Config) else usual

    def sizes_of(self, stage: Stage) -> tuple[tuple[int, int], ...]:
        """The (height, width) choices of a stage."""
        if stage.sizes:
            return stage.sizes
        configuration = self.configuration
        if isinstance(configuration, Sam2Config):
            return ((configuration.image_size, configuration.image_size),)
        side = configuration.image_side / NANO_STEP
        return tuple((round(side * h) * NANO_STEP, round(side * w) * NANO_STEP) for h, w in ASPECTS)

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, constant, then linear to zero over the last `decay` steps."""
        rise = min(1.0, (step + 1) / self.warm_up)
        fall = min(1.0, (self.steps - step) / self.decay)
        return self.learning_rate * min(rise, fall)


def read_recipe(path: Path, start_from: str | None = None) -> Recipe:
    """The recipe in a file; `start_from`: a model or a file of weights to take instead of the recipe's.

    Raises ConfigError, a ValueError in one line, for a file that is not a recipe.
    """
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        if start_from is not None and isinstance(given, dict):
            given["start_from"] = start_from
            given["model"] = start_from if start_from in MODELS else given.get("model")
        return Recipe.model_validate(given)
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {complaint(error)}") from None


KEYS: dict[str, type[Strict]] = {
    "data": Data,
    "sets": Set,
    "stages": Stage,
    "prompts": PromptMix,
    "self_training": SelfTraining,
}
"""What stands below a key of a recipe."""


def complaint(error: ValidationError) -> str:
    """The first thing that is wrong, with the keys that are known at that place."""
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        return ": ".join(filter(None, (".".join(place), words(first))))
    inside = next((KEYS[part] for part in place[-2::-1] if part in KEYS), Recipe)
    return f"{'.'.join(place)}: {unknown(place[-1], 'key', inside.model_fields)}"
