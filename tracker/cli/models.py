"""`keepsight models`: which models there are, and where their weights lie."""

from __future__ import annotations


def models() -> None:
    """List the models: parameters, size in float32, licence, and where their weights come from."""
    from rich.table import Column, Table

    from keepsight.model.models import MODELS, outline

    from ..weights import LICENCE, whereabouts
    from .console import out

    table = Table(
        Column("model", no_wrap=True),
        Column("parameters", justify="right", no_wrap=True),
        Column("size", justify="right", no_wrap=True),
        Column("licence", no_wrap=True),
        Column("weights", overflow="fold"),
        caption="size: in float32. hf: fetched from the Hugging Face Hub when first used.",
    )
    for name, config in MODELS.items():
        network = outline(config)
        count = sum(parameter.numel() for parameter in network.parameters())
        size = sum(value.nbytes for value in network.state_dict().values())
        table.add_row(
            name,
            f"{count / 1e6:.1f} M",
            f"{size / 1e6:.0f} MB",
            LICENCE,
            whereabouts(name),
        )
    out.print(table)
