"""`python -m keepsight.tracker.training RECIPE.yaml` is `keepsight train`, as torchrun can start it."""

from __future__ import annotations

import sys

from ..cli.main import execute

if __name__ == "__main__":
    sys.exit(execute(["train", *sys.argv[1:]]))
