"""The options that several commands share, so that each is called and explained the same everywhere."""

from __future__ import annotations

import typer

MODEL = typer.Option(help="See keepsight models")
WEIGHTS = typer.Option(help="A .safetensors or .pt file, or hf:owner/name[@revision][/file]")
DEVICE = typer.Option(help="auto, cpu, cuda or cuda:N")
DTYPE = typer.Option(help="auto, float32, bfloat16 or int8")
BACKEND = typer.Option(help="What encodes images: auto, torch or openvino")
VOID = "255 is void beside other ids and object 1 without them (black and white)"
"""What `--prompt-mask` makes of the value that DAVIS and PASCAL VOC give to nobody."""
SIZE = typer.Option(help="Side of the model's input in pixels; for nano of a square as large as its input")
