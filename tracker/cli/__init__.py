"""The command line, one file per command. Commands import what they need when they run, so help is quick."""

from .main import main

__all__ = ["main"]
