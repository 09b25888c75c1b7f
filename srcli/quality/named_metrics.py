"""Metrics by name, besides PSNR and SSIM: LPIPS, DISTS and NIQE, computed here, and pyiqa's."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srcli.errors import SrcliError, UsageError
from srcli.quality.evaluate import Metric, Pixels
from srcli.quality.niqe import niqe
from srcli.weights import Announce, Progress, WeightsOptions
from srcli.weights.features import load_features

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from srcli.archs.layers import Recogniser

log = logging.getLogger(__name__)

OWN = ("lpips", "lpips-vgg", "dists", "niqe")  # computed here
_OF_SETS = ("fid", "inception_score")  # not of a picture


def check_metrics(names: Sequence[str]) -> None:
    """Refuse, before any work, metrics that cannot be had.

    Raises:
        UsageError: pyiqa knows no such metric of pictures.
        SrcliError: pyiqa is not installed, or cannot be imported.
    """
    names = [name for name in names if name not in OWN]
    if not names:
        return
    known = [*OWN] + [n for n in _pyiqa().list_models() if not n.startswith(_OF_SETS)]
    for name in names:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "for example lpips or dists"
            raise UsageError(f"there is no metric {name}", hint)


def open_metrics(
    names: Sequence[str],
    device: str,
    options: WeightsOptions,
    *,
    files: Sequence[Path] = (),
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> dict[str, Metric]:
    """LPIPS, DISTS and NIQE, and what else the pyiqa library has: on whole RGB pictures.

    Args:
        names: of `OWN`, or as pyiqa spells them.
        device: of torch.
        options: where weights come from; offline, pyiqa may not download any either.
        files: weights of AlexNet and VGG-16 that serve in place of the official ones.
        announce, progress: told about downloads.

    Raises:
        SrcliError: as check_metrics; or a metric's own weights are not to be had.
    """
    check_metrics(names)

    def own(name: str) -> Metric:
        if name == "niqe":
            return lambda sr, _: niqe(sr)
        from srcli.quality.perceptual import Dists, Lpips, from_pixels

        def network(of: str, **config: str) -> Recogniser:
            return load_features(
                of, options, files, config=config, announce=announce, progress=progress
            )

        metric: Lpips | Dists
        if name == "dists":
            metric = Dists(network("vgg16", pooling="l2"))
        else:
            alex = name == "lpips"
            metric = Lpips.alex(network("alexnet")) if alex else Lpips.vgg(network("vgg16"))
        metric.to(device)
        return lambda sr, hr: from_pixels(metric, _on(sr, device), _on(hr, device))

    return {
        name: own(name) if name in OWN else _open_metric(name, device, options.offline)
        for name in names
    }


def _on(pixels: Pixels, device: str) -> Tensor:
    import torch

    return torch.tensor(pixels, device=device)


def _open_metric(name: str, device: str, offline: bool) -> Metric:
    import torch

    pyiqa = _pyiqa()
    try:
        # it prints and draws bars on stdout, where our results go
        with contextlib.redirect_stdout(sys.stderr), _no_downloads(offline):
            network = pyiqa.create_metric(name, device=torch.device(device))
    except Exception as exc:  # it may raise anything: the network, a missing part of it
        hint = "unset SRCLI_OFFLINE once, so that pyiqa can fetch its weights" if offline else None
        raise SrcliError(f"the metric {name} cannot be set up: {_line(exc)}", hint) from exc

    def tensor(image: Pixels) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255

    def metric(sr: Pixels, hr: Pixels) -> float:
        with contextlib.redirect_stdout(sys.stderr), torch.no_grad():
            return float(network(tensor(sr), tensor(hr)))

    return metric


def _pyiqa() -> Any:
    try:
        return importlib.import_module("pyiqa")
    except ModuleNotFoundError as exc:
        if exc.name != "pyiqa":
            text = f"pyiqa is installed, but its part {exc.name} is missing"
            raise SrcliError(text, "run: pip install --upgrade pyiqa") from exc
        raise SrcliError(
            "further metrics are computed by the library pyiqa, which is not installed",
            "run: pip install pyiqa",
        ) from exc
    except Exception as exc:  # it imports half of PyPI, and any of that may be broken
        raise SrcliError(f"pyiqa cannot be imported: {_line(exc)}") from exc


@contextlib.contextmanager
def _no_downloads(offline: bool) -> Iterator[None]:
    """Offline: whatever pyiqa and torchvision fetch weights with refuses."""
    if not offline:
        yield
        return
    import torch

    def refuse(url: str, *args: Any, **kwargs: Any) -> None:
        raise SrcliError(f"SRCLI_OFFLINE forbids downloading {url}")

    changed: list[tuple[Any, str, Any]] = []
    modules = [torch.hub, *(m for n, m in sys.modules.items() if n.startswith("pyiqa."))]
    for module in modules:
        for name in ("download_url_to_file", "hf_hub_download", "snapshot_download"):
            if hasattr(module, name):
                changed.append((module, name, getattr(module, name)))
                setattr(module, name, refuse)
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


def _line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
