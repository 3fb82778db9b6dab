"""`keepsight models`: which models there are, and where their weights lie."""

from __future__ import annotations


def models() -> None:
    """List the models: parameters, input, and where their weights are or can be had."""
    from rich.table import Column, Table

    from keepsight.model.models import MODELS, build

    from ..weights import PUBLISHED, SEEDED, found
    from .console import out

    table = Table("model", "parameters", "input", Column("weights", overflow="fold"))
    for name, config in MODELS.items():
        network = build(config)
        height, width = network.input_size((720, 1280))
        count = sum(parameter.numel() for parameter in network.parameters())
        place = (
            "random, always the same" if name == SEEDED else found(name) or PUBLISHED.get(name, "none yet")
        )
        table.add_row(name, f"{count / 1e6:.1f} M", f"{width}×{height} of 1280×720", str(place))
    out.print(table)
