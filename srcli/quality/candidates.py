"""What an evaluation is to score: models, scales and sets, found and checked before any work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import catalog
from srcli.catalog import Model
from srcli.catalog.datasets import Dataset, find_dataset
from srcli.errors import MediaError, UsageError
from srcli.quality.benchmarks import Benchmark, check_dataset, read_folder, unknown
from srcli.weights import load_file

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_MODEL = "bcrn"
ALWAYS = ("psnr_y", "ssim_y", "psnr_rgb")  # what is computed of every picture


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model at one scale; ``state`` is of the user's own file, ``sha256`` of the weights (of
    mixed ones ``Variant.identity``)."""

    model: Model
    scale: int
    sha256: str
    state: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class Run:
    """One line of the table."""

    candidate: Candidate
    benchmark: Benchmark

    @property
    def model(self) -> Model:
        return self.candidate.model

    @property
    def scale(self) -> int:
        return self.candidate.scale

    @property
    def reference(self) -> tuple[str, float] | None:
        """The catalogue's model and its PSNR-Y on this set; for own weights, its architecture's."""
        model = self.model
        if self.candidate.state is not None:
            known = [m for m in catalog.models() if m.arch == model.arch and self.scale in m.scales]
            if not known:
                return None
            model = known[0]
        if self.scale not in model.scales:
            return None
        variant = model.variant(self.scale)
        if variant.denoise and variant != catalog.get(model.name).variant(self.scale):
            return None  # the figures are of the usual strength
        counts = {"set5": (5, variant.psnr_set5), "set14": (14, variant.psnr_set14)}
        count, psnr = counts.get(self.benchmark.name.lower(), (0, None))
        if psnr is None or count != len(self.benchmark.pairs):
            return None
        return model.name, psnr


def find_candidates(
    names: list[str], scales: list[int], weights: Path | None, denoise: float | None = None
) -> list[Candidate]:
    """Every model at every scale, all with one strength of denoising if it is given.

    What a model cannot do natively is refused.
    """
    if weights is not None and denoise is not None:
        raise UsageError("--denoise is for models by name, not for a file of weights")
    if weights is not None:
        return [_own(names, scales, weights)]
    found: dict[tuple[str, int], Candidate] = {}
    for name in names or [DEFAULT_MODEL]:
        for scale in scales or [catalog.default_scale(catalog.resolve(name))]:
            model = catalog.resolve(name, scale)
            if denoise is not None:
                model = catalog.denoised(model, denoise)
            sha256 = ""
            if not model.is_resampler:
                _check_native(model, scale)
                sha256 = model.variant(scale).identity
                if not sha256:
                    raise UsageError(*catalog.without_weights(model, scale))
            found.setdefault((model.name, scale), Candidate(model, scale, sha256))
    # one model after the other, so that no more than one is in memory
    order = {name: i for i, (name, _) in reversed(list(enumerate(found)))}
    return sorted(found.values(), key=lambda e: order[e.model.name])


def _own(names: list[str], scales: list[int], weights: Path) -> Candidate:
    if len(names) > 1 or len(scales) > 1:
        raise UsageError("--weights is one model at one scale: give -m and -x at most once")
    model, variant, state = load_file(
        weights, names[0] if names else None, scales[0] if scales else None, foreign=True
    )
    if scales:
        _check_native(model, scales[0])
    try:
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as exc:
        raise MediaError(f"{weights} cannot be read: {exc.strerror or exc}") from exc
    return Candidate(model, variant.scale, sha256, state)


def _check_native(model: Model, scale: int) -> None:
    if scale not in model.scales:
        has = " and ".join(f"x{s}" for s in model.scales)
        raise UsageError(
            f"{model.name} has no native x{scale}, only {has}",
            "papers' scores are for native scales",
        )


def find_datasets(data: list[str], scales: set[int]) -> dict[tuple[int, int], Benchmark | Dataset]:
    """Folders as benchmarks, sets of the catalogue as they are, by place in --data and scale."""
    found: dict[tuple[int, int], Benchmark | Dataset] = {}
    for i, text in enumerate(dict.fromkeys(data)):
        dataset = None if Path(text).exists() else find_dataset(text)
        if dataset is None and not Path(text).exists():
            raise unknown(text)
        for scale in sorted(scales):
            if dataset is None:
                found[i, scale] = read_folder(Path(text), scale)
            else:
                check_dataset(dataset, scale)
                found[i, scale] = dataset
    return found


def image_folder(images: Path, model: Model, benchmark: Benchmark) -> Path:
    name = model.name.replace(":", "-").replace("/", "-")
    return images / f"{name}-x{benchmark.scale}" / benchmark.name


def check_images(
    images: Path,
    candidates: Sequence[Candidate],
    benchmarks: dict[tuple[int, int], Benchmark],
    may_exist: bool,
) -> None:
    """--save-images: no two pictures of one name, and none that is there already."""
    taken: dict[Path, str] = {}
    for candidate in candidates:
        for benchmark in (b for b in benchmarks.values() if b.scale == candidate.scale):
            folder = image_folder(images, candidate.model, benchmark)
            if folder in taken:
                raise UsageError(
                    f"two sets are called {benchmark.name}: "
                    f"{taken[folder]} and {benchmark.source}; both would be saved in {folder}",
                    "score them in two calls",
                )
            taken[folder] = benchmark.source
            there = next((p for p in benchmark.pairs if (folder / f"{p.name}.png").exists()), None)
            if there is not None and not may_exist:
                raise UsageError(
                    f"{folder / there.name}.png exists", "name another folder, or say --overwrite"
                )
