"""`python -m keepsight.tracker.training RECIPE.yaml`; under torchrun for several processes."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import torch

from .recipe import read_recipe
from .train import csv_log, train


def main(path: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if "RANK" in os.environ and not torch.cuda.is_available():
        torch.set_num_threads(1)
    recipe = read_recipe(Path(path))
    recipe.output.mkdir(parents=True, exist_ok=True)
    train(recipe, csv_log(recipe.output / "log.csv"))


if __name__ == "__main__":
    main(sys.argv[1])
