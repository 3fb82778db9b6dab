"""A training recipe: a YAML file read once into a frozen model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Chance = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Strict):
    """Where training pictures lie below `root`: `sets` maps folders of `images/` and `masks/` to weights."""

    root: Path
    sets: dict[str, Annotated[float, Field(gt=0)]]
    outlines: str = ""
    backgrounds: str = ""


class Stage(Strict):
    """A stretch of training. `sizes` are (height, width) choices, multiples of 32, one drawn per step."""

    steps: Annotated[int, Field(gt=0)]
    sizes: tuple[tuple[int, int], ...]
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


class Recipe(Strict):
    """Everything that decides what a training run does. Times are in steps; one step sees one batch of clips
    per process. `reads`: the weight of the loss on what is read from memory, before it is decoded."""

    model: Literal["nano"]
    output: Path
    start_from: Path | None = None
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


def read_recipe(path: Path) -> Recipe:
    """Raises ValueError, in one line, for a file that is not a recipe."""
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{path}: {where}: {first['msg']}; known keys: {', '.join(Recipe.model_fields)}"
        ) from None
