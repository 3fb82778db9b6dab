"""How Keepsight says that what a user typed or configured is wrong."""

from __future__ import annotations


class ConfigError(ValueError):
    """What the user typed or configured is wrong. The message is one line and says what would be right."""
