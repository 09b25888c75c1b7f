"""The Python API: pictures as numpy arrays or files. Use it as ``srcli.upscale`` and so on.

It runs what ``srcli upscale`` runs: the same models, tiles, treatment of transparency and writer.
Every error that a caller can mend is a ``srcli.SrcliError``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast, overload

from srcli import catalog
from srcli.errors import MediaError, SrcliError, UsageError
from srcli.media.formats import check_output, format_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from srcli.catalog import Model
    from srcli.engine.open import Engine
    from srcli.engine.settings import Border, Ensemble
    from srcli.jobs.events import Event
    from srcli.jobs.plan import AlphaMode
    from srcli.media.image import Picture

    Scalar = TypeVar("Scalar", bound=np.generic)
    Array = NDArray[Any]

FilePath = str | os.PathLike[str]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Progress = Callable[[float], None]

DEFAULT_MODEL = "bcrn"
MAX_PIXELS = 500_000_000
_FLOAT_SLACK = 1e-3  # how far from 0..1 a float sample may lie: filters overshoot, 0..255 does not


class EngineWishes(TypedDict, total=False):
    """How to compute, for the type checker: the keywords of ``load_model``."""

    weights: FilePath | None
    denoise: float | Literal["none"] | None
    device: str
    precision: Precision
    tile: int | None
    memory_bytes: int | None
    ensemble: Ensemble
    border: Border | None
    color_fix: bool


class PictureWishes(TypedDict, total=False):
    """The keywords of a loaded model's call."""

    alpha: AlphaMode
    max_pixels: int
    on_progress: Progress | None


class Wishes(EngineWishes, PictureWishes, total=False):
    """The keywords of ``upscale``, ``output`` apart."""

    overwrite: bool
    quality: int | None


@overload
def upscale(
    source: NDArray[Scalar],
    scale: float = ...,
    model: str | None = ...,
    *,
    output: None = ...,
    **wishes: Unpack[Wishes],
) -> NDArray[Scalar]: ...


@overload
def upscale(
    source: FilePath,
    scale: float = ...,
    model: str | None = ...,
    *,
    output: None = ...,
    **wishes: Unpack[Wishes],
) -> Array: ...


@overload
def upscale(
    source: Array | FilePath,
    scale: float = ...,
    model: str | None = ...,
    *,
    output: FilePath,
    **wishes: Unpack[Wishes],
) -> Path: ...


def upscale(
    source: Array | FilePath,
    scale: float = 4,
    model: str | None = None,
    *,
    output: FilePath | None = None,
    weights: FilePath | None = None,
    denoise: float | Literal["none"] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    tile: int | None = None,
    memory_bytes: int | None = None,
    ensemble: Ensemble = 1,
    border: Border | None = None,
    color_fix: bool = False,
    alpha: AlphaMode = "network",
    overwrite: bool = False,
    quality: int | None = None,
    max_pixels: int = MAX_PIXELS,
    on_progress: Progress | None = None,
) -> Array | Path:
    """Enlarge one picture.

    The network is loaded for this one call; for many pictures, ``load_model`` loads it once.

    Args:
        source: a file, or an array: (h, w) grey, (h, w, 1), (h, w, 2) grey and alpha, (h, w, 3)
            RGB or (h, w, 4) RGBA, alpha not multiplied into the colours; uint8, uint16, or
            floating point in 0..1.
        scale: factor, up to 64. What is not native to the model runs its next larger native scale
            and is resampled down, as on the command line.
        model: name as in ``srcli models``: ``bcrn.authors``, ``bicubic``; None: ``bcrn``, or what
            ``weights`` say. Weights that are not at hand are downloaded, unless SRCLI_OFFLINE=1.
        output: the file to write; from a file also a folder, for ``<stem>_x4.<ext>``, or a name
            template, as ``srcli upscale -o`` takes them, and EXIF, colour profile and the like are
            kept. It is written whole or not at all.
        weights: a file of your own (safetensors, or .pth). ``model`` names its architecture if it
            does not itself.
        denoise: how much noise to take away, for models that leave the choice: 0 to 1, or a level;
            None: as the model's entry says.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        tile: largest tile in LR pixels; 0: the whole picture; None: chosen. The result is the same.
        memory_bytes: most memory to use; None: half of what is available.
        ensemble: 8: the mean over the eight flips and turns; eight times the work.
        border: what the network sees beyond the picture: ``network`` (what it pads with),
            ``reflect`` (the mirror image); None: as the model's entry says.
        color_fix: correct where the result's low frequencies drift from the picture's.
        alpha: transparency through the ``network``, by ``lanczos``, or ``discard``.
        overwrite: replace an output that exists.
        quality: of JPEG, WebP and AVIF, 1..100; None: 95.
        max_pixels: larger pictures are refused.
        on_progress: called with the share done, 0..1.

    Returns:
        Without ``output``, an array of the source's dtype and channels, (h * scale, w * scale, ...)
        rounded; from a file (h, w) for grey, else (h, w, 2), (h, w, 3) or (h, w, 4), uint8, or
        uint16 where the file has more than 8 bits. With ``output``, the path written.

    Raises:
        UsageError: a name, a scale or an array that cannot be meant, or an output that exists.
        WeightsError: the weights cannot be had.
        MediaError: a picture cannot be read or written.
        ResourceError: not enough memory or disk, or the format cannot hold so much.
    """
    if output is not None:
        _check_target(Path(output), overwrite)  # before a network is fetched and loaded
    loaded = load_model(
        model,
        scale,
        weights=weights,
        denoise=denoise,
        device=device,
        precision=precision,
        tile=tile,
        memory_bytes=memory_bytes,
        ensemble=ensemble,
        border=border,
        color_fix=color_fix,
    )
    if output is None:
        return loaded(source, alpha=alpha, max_pixels=max_pixels, on_progress=on_progress)
    return loaded.to_file(
        source,
        output,
        alpha=alpha,
        overwrite=overwrite,
        quality=quality,
        max_pixels=max_pixels,
        on_progress=on_progress,
    )


def load_model(
    name: str | None = None,
    scale: float = 4,
    *,
    weights: FilePath | None = None,
    denoise: float | Literal["none"] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    tile: int | None = None,
    memory_bytes: int | None = None,
    ensemble: Ensemble = 1,
    border: Border | None = None,
    color_fix: bool = False,
) -> LoadedModel:
    """Load a model's weights onto the device, to be called on any number of pictures.

    Args:
        name, scale, weights, denoise, device, precision, tile, memory_bytes, ensemble, border,
        color_fix: as ``upscale``.

    Raises:
        UsageError: there is no such model, scale or device.
        WeightsError: the weights cannot be had.
    """
    _check_engine(precision, tile, memory_bytes)
    _check_choice("ensemble", ensemble, (1, 8))
    _check_choice("border", border, (None, "network", "reflect"))
    catalog.check_scale(scale)
    if weights is not None and not Path(weights).is_file():
        raise UsageError(f"{os.fspath(weights)} does not exist")
    entry = catalog.resolve(name or DEFAULT_MODEL, scale) if weights is None else None
    if denoise is not None and entry is None:
        raise UsageError("denoise is for models by name, not for a file of weights")
    if entry is not None and denoise is not None:
        entry = catalog.denoised(entry, catalog.parse_strength(str(denoise)))
    if entry is not None:
        catalog.chain(entry, scale)  # a scale out of reach is refused before torch is imported
    from srcli.engine.open import open_engine
    from srcli.engine.settings import Settings

    state = None
    if entry is None:
        from srcli.weights import load_file

        entry, _, state = load_file(Path(cast("FilePath", weights)), name, scale)
    passes = catalog.chain(entry, scale)
    folder = os.environ.get("SRCLI_TMP_DIR", "").strip()
    if folder and not Path(folder).is_dir():
        raise UsageError(f"SRCLI_TMP_DIR names {folder}, which is not a folder")
    settings = Settings(
        device=device,
        precision=precision,
        tile=tile,
        memory_bytes=memory_bytes,
        spill_folder=Path(folder) if folder else None,
        ensemble=ensemble,
        border=border,
        color_fix=color_fix,
    )
    engine = open_engine(entry, settings, state=state)
    engine.prepare(sorted(set(passes)))
    return LoadedModel(entry.name, float(scale), passes, entry, engine)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory, made by ``load_model``. One thread at a time may call it.

    Attributes:
        name: as in ``srcli models``.
        scale: the factor it enlarges by.
        passes: native scales that the network runs, one after the other; () for resamplers.
    """

    name: str
    scale: float
    passes: tuple[int, ...]
    _entry: Model = field(repr=False)
    _engine: Engine = field(repr=False)

    @overload
    def __call__(
        self, source: NDArray[Scalar], **wishes: Unpack[PictureWishes]
    ) -> NDArray[Scalar]: ...

    @overload
    def __call__(self, source: Array | FilePath, **wishes: Unpack[PictureWishes]) -> Array: ...

    def __call__(
        self,
        source: Array | FilePath,
        *,
        alpha: AlphaMode = "network",
        max_pixels: int = MAX_PIXELS,
        on_progress: Progress | None = None,
    ) -> Array:
        """Enlarge an array or a file's picture to an array.

        Args:
            source, alpha, max_pixels, on_progress: as ``srcli.upscale``. Of several frames or
                pages, the first.

        Returns, raises:
            As ``srcli.upscale`` without ``output``.
        """
        import numpy as np

        _check_alpha(alpha)
        if isinstance(source, str | os.PathLike):
            picture = _read(Path(source), max_pixels)
            shape: tuple[int, ...] = () if picture.pixels.shape[2] == 1 else (0,)
            dtype = picture.pixels.dtype
            if picture.alpha is not None:
                shape = (0,)
        else:
            picture = _picture(source, max_pixels)
            shape, dtype = source.shape[2:], source.dtype
        if alpha == "discard" and picture.alpha is not None:
            shape = () if picture.pixels.shape[2] == 1 else (0,)
        large = self._enlarged(picture, alpha, on_progress)
        if not shape:
            large = large[:, :, 0]
        if np.dtype(dtype).kind == "f" and large.dtype == np.uint16:
            large = large / np.float32(65_535)
        # dtypes that the engine has no use for: another byte order, other floats
        return np.ascontiguousarray(large.astype(dtype, copy=False))

    def to_file(
        self,
        source: Array | FilePath,
        output: FilePath,
        *,
        alpha: AlphaMode = "network",
        overwrite: bool = False,
        quality: int | None = None,
        max_pixels: int = MAX_PIXELS,
        on_progress: Progress | None = None,
    ) -> Path:
        """Enlarge an array or a file's picture into a file.

        An array of floats is written with 16 bits where the format holds them, else with 8.

        Args:
            source, output, alpha, overwrite, quality, max_pixels, on_progress: as
                ``srcli.upscale``. From an array, ``output`` is a file. Animations and pages are
                kept.

        Returns:
            The path written.

        Raises:
            As ``srcli.upscale``.
        """
        _check_alpha(alpha)
        if isinstance(source, str | os.PathLike):
            return self._file_to_file(
                Path(source), output, alpha, overwrite, quality, max_pixels, on_progress
            )
        from srcli.media.write import open_writer

        path = Path(output)
        _check_target(path, overwrite)
        entry = format_of(path)
        picture = _picture(source, max_pixels, deep=entry.deep)
        height, width = self._size(picture)
        has_alpha = picture.alpha is not None and alpha != "discard"
        check_output(entry, width, height, has_alpha, picture.bits)
        if not path.absolute().parent.is_dir():
            raise UsageError(f"the folder {path.parent} does not exist")
        channels: Literal[1, 3] = 1 if picture.pixels.shape[2] == 1 else 3
        writer = open_writer(
            path,
            size=(height, width),
            channels=channels,
            alpha=has_alpha,
            bits=picture.bits,
            quality=quality,
        )
        with writer:
            self._run(picture, alpha, writer.rows, on_progress)
        return path

    def _size(self, picture: Picture) -> tuple[int, int]:
        height, width = picture.pixels.shape[:2]
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def _enlarged(self, picture: Picture, alpha: AlphaMode, on_progress: Progress | None) -> Array:
        import numpy as np

        samples = picture.pixels.shape[2] + (picture.alpha is not None and alpha != "discard")
        large = np.empty((*self._size(picture), samples), picture.pixels.dtype)
        row = 0

        def put(strip: Array) -> None:
            nonlocal row
            large[row : row + len(strip)] = strip
            row += len(strip)

        self._run(picture, alpha, put, on_progress)
        assert row == len(large), f"{row} rows of {len(large)}"
        return large

    def _run(
        self,
        picture: Picture,
        alpha: AlphaMode,
        put: Callable[[Any], None],
        on_progress: Progress | None,
    ) -> None:
        """Through the very function that the command line's jobs go through."""
        from srcli.jobs.enlarge import enlarge

        for strip in enlarge(
            picture,
            self._engine,
            self.passes,
            self._size(picture),
            alpha=alpha,
            on_progress=on_progress or (lambda _: None),
        ):
            put(strip)

    def _file_to_file(
        self,
        source: Path,
        output: FilePath,
        alpha: AlphaMode,
        overwrite: bool,
        quality: int | None,
        max_pixels: int,
        on_progress: Progress | None,
    ) -> Path:
        from srcli.jobs.events import Failed, Progressed
        from srcli.jobs.plan import Options, plan
        from srcli.jobs.run import run

        _check_source(source)
        options = Options(
            model=self._entry,
            scale=self.scale,
            output=_spelled(output),
            overwrite=True,
            alpha=alpha,
            max_pixels=max_pixels,
            quality=quality,
        )
        (job,) = plan([_spelled(source)], options)
        if job.failure is not None:
            raise job.failure
        _check_target(job.target, overwrite)
        failed: list[Failed] = []

        def tell(event: Event) -> None:
            if isinstance(event, Failed):
                failed.append(event)
            elif on_progress is not None and isinstance(event, Progressed):
                on_progress(event.share)

        run([job], options, self._engine, tell=tell)
        if failed:
            raise SrcliError(failed[0].error, failed[0].hint)
        return job.target


def _check_engine(precision: str, tile: int | None, memory_bytes: int | None) -> None:
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise UsageError(f"precision {precision} is not one of auto, fp32, bf16, fp16")
    if tile is not None and tile != 0 and tile < 16:
        raise UsageError(f"tile {tile} is not None, 0, or a number of at least 16")
    if memory_bytes is not None and memory_bytes <= 0:
        raise UsageError(f"memory_bytes {memory_bytes} is not a positive number")


def _check_alpha(alpha: str) -> None:
    _check_choice("alpha", alpha, ("network", "lanczos", "discard"))


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} {value} is not one of {', '.join(map(str, choices))}")


def _spelled(path: FilePath) -> str:
    """As typed on the command line, where "-" is a stream."""
    return os.path.join(".", "-") if os.fspath(path) == "-" else os.fspath(path)  # noqa: PTH118


def _check_source(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and upscale takes one picture")


def _check_target(path: Path, overwrite: bool) -> None:
    if path.is_file() and not overwrite:
        raise UsageError(f"{path} exists", "name another output, or pass overwrite=True")


def _read(path: Path, max_pixels: int) -> Picture:
    from srcli.media.image import read

    _check_source(path)
    return read(path, max_pixels=max_pixels, depth=16)


def _picture(array: Array, max_pixels: int, *, deep: bool | None = None) -> Picture:
    """An array as the rooms have pictures: (h, w, 1 or 3), alpha apart.

    Floats stay floats if they have no alpha and ``deep`` is None; else they become uint16, or uint8
    if it is False, as uint16 does then.
    """
    import numpy as np

    from srcli.media.image import Picture
    from srcli.media.metadata import Metadata

    if not isinstance(array, np.ndarray):
        raise UsageError(
            f"a {type(array).__name__} is neither a path nor a numpy array",
            "numpy.asarray(image) makes one of a Pillow image",
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        raise UsageError(
            f"an array of shape {array.shape} is no picture",
            "shapes are (h, w), (h, w, 1), (h, w, 2), (h, w, 3) and (h, w, 4)",
        )
    if array.size == 0:
        raise UsageError(f"an array of shape {array.shape} holds no pixels")
    if array.shape[0] * array.shape[1] > max_pixels:
        raise MediaError(
            f"the array is {array.shape[0] * array.shape[1] / 1e6:,.4g} megapixels, over the limit "
            f"of {max_pixels / 1e6:,.4g}",
            "raise it with max_pixels",
        )
    samples = _known(array)
    if samples.ndim == 3 and samples.shape[2] in (2, 4) and deep is None:
        deep = True  # what is hidden under alpha is filled in integers
    if deep is not None and samples.dtype == np.float32:
        white, kind = (65_535, np.uint16) if deep else (255, np.uint8)
        samples = np.rint(samples * np.float32(white)).astype(kind)
    elif deep is False and samples.dtype == np.uint16:
        samples = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    alpha = None
    if samples.shape[2] in (2, 4):
        samples, alpha = samples[:, :, :-1], np.ascontiguousarray(samples[:, :, -1])
    pixels: Any = np.ascontiguousarray(samples)  # float32 here, which Picture does not name
    return Picture(pixels, alpha, Metadata())


def _known(array: Array) -> Array:
    """uint8, uint16 or float32 in 0..1."""
    import numpy as np

    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return array.astype(np.uint16, copy=False)  # in this machine's byte order
    if array.dtype.kind != "f":
        raise UsageError(
            f"an array of {array.dtype} has no known range",
            "convert it: uint8 in 0..255, uint16 in 0..65535, or float in 0..1",
        )
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError("the array holds values that are not finite numbers")
    if low < -_FLOAT_SLACK or high > 1 + _FLOAT_SLACK:
        raise UsageError(
            f"the array's floats lie in {low:.4g}..{high:.4g}, and the range is 0..1",
            "divide by the value of white, or convert to uint8 or uint16",
        )
    return np.clip(array, 0, 1).astype(np.float32)
