"""The Python API: pictures as arrays, Pillow images, bytes or files. Use it as ``srcli.upscale``.

It runs what ``srcli upscale`` runs: the same models, tiles, treatment of transparency and writer.
Mistakes of the caller, and files that cannot be read, raise a ``srcli.SrcliError``.
"""

from srcli.api.keywords import FileKeywords, LoadKeywords, PictureKeywords, UpscaleKeywords
from srcli.api.listing import ModelInfo, models
from srcli.api.loaded import LoadedModel, load_model, upscale

__all__ = [
    "FileKeywords",
    "LoadKeywords",
    "LoadedModel",
    "ModelInfo",
    "PictureKeywords",
    "UpscaleKeywords",
    "load_model",
    "models",
    "upscale",
]
