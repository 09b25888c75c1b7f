"""srcli: lightweight super-resolution networks by name, on an ordinary computer.

In Python::

    import srcli

    large = srcli.upscale(pixels, scale=4, model="bcrn")  # an array to an array
    srcli.upscale("photo.png", output="large.png")  # a file to a file
    image = srcli.upscale(image, width=1920)  # a Pillow image to a Pillow image
    model = srcli.load_model("bcrn", scale=4)  # loaded once, called often
    larges = [model(frame) for frame in frames]

Importing the package loads neither torch nor numpy nor Pillow; the first call does. It does choose
how PyTorch's threads wait for each other, see srcli.threads: import it before torch.
"""

import os
import sys
from typing import TYPE_CHECKING, Any

from srcli import threads
from srcli.errors import MediaError, ResourceError, SrcliError, UsageError, WeightsError

if TYPE_CHECKING:
    from srcli.api import LoadedModel, ModelInfo, load_model, models, upscale

__version__ = "0.1.0"

__all__ = [
    "LoadedModel",
    "MediaError",
    "ModelInfo",
    "ResourceError",
    "SrcliError",
    "UsageError",
    "WeightsError",
    "__version__",
    "load_model",
    "models",
    "upscale",
]

if "torch" not in sys.modules:  # which has read its environment by then
    threads.settle(os.environ)

_API = ("LoadedModel", "ModelInfo", "load_model", "models", "upscale")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _API:
            from srcli import api

            return getattr(api, name)
        raise AttributeError(f"module 'srcli' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_API})
