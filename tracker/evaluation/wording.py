"""How numbers are written in tables and files."""

from __future__ import annotations

from math import isnan


def points(value: float) -> str:
    """A score as the field prints it: times 100, one decimal; a dash where there is none."""
    return "-" if isnan(value) else f"{100 * value:.1f}"


def hundredfold(value: float) -> float | None:
    """A score times 100 for JSON, not rounded; None where there is none."""
    return None if isnan(value) else 100 * value
