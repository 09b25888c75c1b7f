"""Damage as photographs have it, made from whole ones: blur, resizing, noise, compression.

A pipeline is data, a list of steps: see ``pipeline.py``; ``presets.toml`` holds those with names.
Numpy and Pillow only, so that processes that make crops start fast.
"""

from srcli.training.degradations.pipeline import Pipeline, names, read

__all__ = ["Pipeline", "names", "read"]
