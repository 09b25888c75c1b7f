"""Networks that srcli does not have, run by spandrel, a loader of over forty architectures."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from srcli.archs.stages import Map, Run
from srcli.catalog import Architecture, Model, Variant
from srcli.errors import WeightsError
from srcli.weights.cache import Announce

INSTALL = 'pip install "srcli[spandrel]"'
HALO = 32  # LR pixels by which tiles overlap on every side


def is_installed() -> bool:
    return find_spec("spandrel") is not None


def recognised(
    path: Path, state: Mapping[str, Tensor], announce: Announce
) -> tuple[Model, Variant] | None:
    """The network that spandrel finds in a file's tensors; None if it finds none.

    Args:
        path: for messages.
        state: the tensors.
        announce: told what was found, and that its tiles are not exact.

    Raises:
        WeightsError: spandrel cannot be imported, or the network is not for colour pictures.
    """
    found = _described(state)
    if found is None:
        return None
    title = str(found.architecture.name)
    wanted = found.size_requirements
    if (found.input_channels, found.output_channels) != (3, 3) or wanted.square:
        raise WeightsError(
            f"{path} is a {title}, which does not take colour pictures of any size, "
            "and srcli cannot run it."
        )
    arch = Architecture(
        name="spandrel",
        title=title,
        family="convolution",
        paper="see spandrel",
        reference="https://github.com/chaiNNer-org/spandrel",
        network="srcli.weights.foreign:Foreign",
        min_size=max(16, wanted.minimum),
        tiling="whole",
    )
    count = sum(p.numel() for p in found.model.parameters())
    variant = Variant(int(found.scale), weights=None, parameters=count)
    model = Model(
        name=f"spandrel:{path.name}",
        arch=arch,
        licence="unknown",
        source=str(path),
        variants=(variant,),
    )
    announce(
        f"{path} is a {title} x{found.scale}, run by spandrel. Where memory does not hold the "
        f"whole picture it is cut into tiles that overlap by {HALO} pixels, and the result then "
        "differs from that of the whole picture."
    )
    return model, variant


def _described(state: Mapping[str, Tensor]) -> Any:
    """spandrel's description of a network for pictures, network included; None if there is none."""
    try:
        spandrel = importlib.import_module("spandrel")
    except (ImportError, RuntimeError, OSError) as exc:  # torchvision of another torch
        raise WeightsError(
            f"spandrel is installed and cannot be imported: {exc}.",
            "It needs the torchvision that belongs to the installed torch.",
        ) from exc
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how networks are written: nothing a user can do
            found = spandrel.ModelLoader("cpu").load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError:
        return None
    except Exception as exc:  # of the network it took the file for: anything at all
        line = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise WeightsError(f"spandrel cannot load these weights: {line}") from exc
    return found if isinstance(found, spandrel.ImageModelDescriptor) else None


class Foreign(nn.Module):
    """A network that spandrel makes of its tensors: LR (1, 3, h, w) in 0..1 to SR.

    Its parts are there once weights are loaded. What it looks at is unknown, so that its stages
    are not exact: tiles overlap, and that is all.
    """

    halvable = False  # which of its parts need fp32 is unknown

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.inner: nn.Module = nn.Identity()
        self._run: Any = None

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> None:
        found = _described(state_dict)
        if found is None:
            raise RuntimeError("spandrel does not know these weights")
        self.inner, self._run = found.model, found

    def to(self, *args: Any, **kwargs: Any) -> Foreign:
        """Without channels_last, for which not all of these networks are written."""
        kwargs.pop("memory_format", None)
        return super().to(*args, **kwargs)

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self._run(lr.contiguous())  # pads to the sizes that the network takes
        return sr

    def stages(self, run: Run, lr: Map) -> Map:
        return run.local(self.forward, lr, halo=HALO, scale=self.scale)
