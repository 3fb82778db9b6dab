"""Frames in, results out: sources, sinks and the values that travel between them. No torch."""
