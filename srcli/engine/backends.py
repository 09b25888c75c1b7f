"""The table of back ends: what each can run, whether it is installed, how it opens.

A new one is a folder beside ``pytorch`` and a line of the table. Nothing here imports the libraries
themselves: a back end's `open` does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace

from srcli.engine.engine import Engine, Request
from srcli.engine.openvino import backend as openvino
from srcli.engine.pytorch import backend as pytorch
from srcli.engine.settings import Backend, Precision, Settings, openvino_device
from srcli.errors import UsageError
from srcli.weights import tuned


@dataclass(frozen=True)
class BackendEntry:
    """One way to run networks.

    Attributes:
        name: of ``--backend``.
        title: in messages.
        package: that must be installed.
        requirement: what pip installs for it.
        precisions: that it computes in.
        runs_files: whether it runs a file of weights that has no name in the catalogue.
        limit: why it cannot follow some settings, apart from their precision; None if it can.
        check_device: raises UsageError for a device that it could run on and is not here.
        suits: whether it is the one to take where it can follow the settings.
        open: makes the engine.
    """

    name: Backend
    title: str
    package: str
    requirement: str
    precisions: tuple[Precision, ...]
    runs_files: bool
    limit: Callable[[Settings], str | None]
    check_device: Callable[[str], None]
    suits: Callable[[Settings], bool]
    open: Callable[[Request], Engine]

    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def refusal(self, settings: Settings) -> str | None:
        """Why these settings are not for this back end; None if they are."""
        if settings.precision not in ("auto", *self.precisions):
            others = [b.title for b in BACKENDS.values() if settings.precision in b.precisions]
            return f"{settings.precision} runs in {' and '.join(others)} only"
        return self.limit(settings)

    def check(self, settings: Settings, *, from_file: bool = False) -> None:
        """Raises UsageError if this back end was asked for by name and cannot serve.

        Args:
            from_file: the weights are a user's file.
        """
        if not self.is_installed():
            raise UsageError(
                f"{self.title} is not installed", f'run: pip install "{self.requirement}"'
            )
        reason = self.refusal(settings)
        if reason is not None:
            others = (b.name for b in BACKENDS.values() if b.refusal(settings) is None)
            other = next(others, None)
            raise UsageError(reason, f"use --backend {other}" if other else "leave that out")
        if from_file and not self.runs_files:
            having = [b.title for b in BACKENDS.values() if b.runs_files]
            raise UsageError(
                f"a file of weights runs in {' and '.join(having)} only",
                "add it first: srcli models add",
            )


def _check_pytorch_device(name: str) -> None:
    """PyTorch knows what there is, and is asked only where it may have been built for it."""
    if name in ("auto", "cpu"):
        return
    version = tuned.version("torch") or ""
    if version.endswith("+cpu"):
        raise UsageError(
            f"there is no {name} here: PyTorch {version} was built for the CPU alone",
            "use --device cpu, or install a PyTorch that was built for your graphics card",
        )
    from srcli.engine.pytorch.device import choose_device

    choose_device(name)


# the first that is installed, can follow the settings and suits the machine is what ``auto`` takes
BACKENDS: dict[str, BackendEntry] = {
    entry.name: entry
    for entry in (
        BackendEntry(
            "openvino",
            "OpenVINO",
            package="openvino",
            requirement="srcli[openvino]",
            precisions=("fp32", "bf16", "int8"),
            runs_files=False,  # what is converted is kept under a name
            limit=openvino.limit,
            check_device=openvino.check_device,
            suits=openvino.suits,
            open=openvino.open_engine,
        ),
        BackendEntry(
            "torch",
            "PyTorch",
            package="torch",
            requirement="torch",
            precisions=("fp32", "bf16", "fp16"),
            runs_files=True,
            limit=pytorch.limit,
            check_device=_check_pytorch_device,
            suits=lambda settings: True,
            open=pytorch.open_engine,
        ),
    )
}


def backend_of(settings: Settings) -> BackendEntry:
    """The one that runs; PyTorch, which runs everything, if none was chosen."""
    return BACKENDS["torch" if settings.backend == "auto" else settings.backend]


def with_only_backend(settings: Settings) -> Settings:
    """The settings with the back end that alone has their precision or device, if there is but one.

    Raises:
        UsageError: another one was asked for.
    """
    having = [b for b in BACKENDS.values() if settings.precision in b.precisions]
    if settings.device not in ("auto", "cpu") and openvino_device(settings.device):
        having = [BACKENDS["openvino"]]
    if len(having) != 1:
        return settings
    if settings.backend not in ("auto", having[0].name):
        backend_of(settings).check(settings)
    return replace(settings, backend=having[0].name)
