"""The Python API: pictures as arrays, Pillow images, bytes or files. Use it as ``srcli.upscale``.

It runs what ``srcli upscale`` runs: the same models, tiles, treatment of transparency and writer.
Every error that a caller can mend is a ``srcli.SrcliError``.
"""

from __future__ import annotations

import io
import math
import numbers
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast, overload

from srcli import catalog
from srcli.api_words import in_python
from srcli.errors import MediaError, SrcliError, UsageError
from srcli.media.formats import check_output, format_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from srcli.catalog import Model
    from srcli.engine.engine import Engine
    from srcli.engine.settings import Backend, Border, Ensemble
    from srcli.jobs.events import Event
    from srcli.jobs.job import AlphaMode
    from srcli.media.image import Picture

    Scalar = TypeVar("Scalar", bound=np.generic)
    Array = NDArray[Any]

FilePath = str | os.PathLike[str]
Encoded = bytes | bytearray | memoryview
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
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
    backend: Backend


class PictureWishes(TypedDict, total=False):
    """The keywords of a loaded model's call."""

    alpha: AlphaMode
    max_pixels: int
    on_progress: Progress | None


class Wishes(EngineWishes, PictureWishes, total=False):
    """The keywords of ``upscale``, ``output`` apart."""

    width: int | None
    height: int | None
    overwrite: bool
    quality: int | None


@overload
def upscale(
    source: NDArray[Scalar],
    scale: float | None = ...,
    model: str | None = ...,
    *,
    output: None = ...,
    **wishes: Unpack[Wishes],
) -> NDArray[Scalar]: ...


@overload
def upscale(
    source: Image.Image,
    scale: float | None = ...,
    model: str | None = ...,
    *,
    output: None = ...,
    **wishes: Unpack[Wishes],
) -> Image.Image: ...


@overload
def upscale(
    source: FilePath | Encoded,
    scale: float | None = ...,
    model: str | None = ...,
    *,
    output: None = ...,
    **wishes: Unpack[Wishes],
) -> Array: ...


@overload
def upscale(
    source: Array | Image.Image | FilePath | Encoded,
    scale: float | None = ...,
    model: str | None = ...,
    *,
    output: FilePath,
    **wishes: Unpack[Wishes],
) -> Path: ...


@in_python
def upscale(
    source: Array | Image.Image | FilePath | Encoded,
    scale: float | None = None,
    model: str | None = None,
    *,
    output: FilePath | None = None,
    width: int | None = None,
    height: int | None = None,
    weights: FilePath | None = None,
    denoise: float | Literal["none"] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
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
) -> Array | Image.Image | Path:
    """Enlarge one picture.

    The network is loaded for this one call; for many pictures, ``load_model`` loads it once.

    Args:
        source: a file; the bytes of one; a Pillow image; or an array: (h, w) grey, (h, w, 1),
            (h, w, 2) grey and alpha, (h, w, 3) RGB or (h, w, 4) RGBA, alpha not multiplied into
            the colours; uint8, uint16, or floating point in 0..1.
        scale: factor, up to 64; None: 4, or the model's largest if it has no 4. What is not native
            to the model runs its next larger native scale and is resampled down.
        model: name as in ``srcli models``: ``bcrn.authors``, ``bicubic``; None: ``bcrn``, or what
            ``weights`` say. Weights that are not at hand are downloaded, unless SRCLI_OFFLINE=1.
        output: the file to write; from a file also a folder, for ``<stem>_x4.<ext>``, or a name
            template, as ``srcli upscale -o`` takes them, and EXIF, colour profile and the like are
            kept. It is written whole or not at all.
        width, height: of the result in pixels, instead of ``scale``; both: it fits inside. The
            proportions stay.
        weights: a file of your own (safetensors, or .pth). ``model`` names its architecture if it
            does not itself.
        denoise: how much noise to take away, for models that leave the choice: 0 to 1, or a level;
            None: as the model's entry says.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        backend: ``auto``, ``torch`` or ``openvino``.
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
        rounded; from a file or its bytes (h, w) for grey, else (h, w, 2), (h, w, 3) or (h, w, 4),
        uint8, or uint16 where there are more than 8 bits; from a Pillow image a Pillow image. With
        ``output``, the path written.

    Raises:
        UsageError: a name, a scale, an array or a type that cannot be meant, or an output that
            exists.
        WeightsError: the weights cannot be had.
        MediaError: a picture cannot be read or written.
        ResourceError: not enough memory or disk, or the format cannot hold so much.
    """
    _check_kinds(
        scale=scale, output=output, width=width, height=height, overwrite=overwrite,
        quality=quality, max_pixels=max_pixels, on_progress=on_progress,
    )  # fmt: skip
    given = _given(source)
    if output is not None:
        _check_target(Path(output), overwrite)  # before a network is fetched and loaded
    size = None
    if width is not None or height is not None:
        if scale is not None:
            raise UsageError("give either scale, or width and height, not both")
        lr_size = given.size(max_pixels)
        size = _fitted(lr_size, width, height)
        scale = max(n / m for n, m in zip(size, lr_size, strict=True))
    loaded = load_model(
        model,
        scale,
        weights=weights,
        denoise=denoise,
        device=device,
        precision=precision,
        backend=backend,
        tile=tile,
        memory_bytes=memory_bytes,
        ensemble=ensemble,
        border=border,
        color_fix=color_fix,
    )
    how = _How(alpha, max_pixels, on_progress, size)
    if output is None:
        return loaded._to_memory(given, how)
    return loaded._to_file(given, output, how, overwrite=overwrite, quality=quality)


@in_python
def load_model(
    name: str | None = None,
    scale: float | None = None,
    *,
    weights: FilePath | None = None,
    denoise: float | Literal["none"] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
    tile: int | None = None,
    memory_bytes: int | None = None,
    ensemble: Ensemble = 1,
    border: Border | None = None,
    color_fix: bool = False,
) -> LoadedModel:
    """Load a model's weights onto the device, to be called on any number of pictures.

    Args:
        name, scale, weights, denoise, device, precision, backend, tile, memory_bytes, ensemble,
            border, color_fix: as ``upscale``.

    Raises:
        UsageError: there is no such model, scale or device.
        WeightsError: the weights cannot be had.
    """
    _check_kinds(
        name=name, scale=scale, weights=weights, denoise=denoise, device=device, tile=tile,
        memory_bytes=memory_bytes, color_fix=color_fix,
    )  # fmt: skip
    _check_engine(precision, backend, tile, memory_bytes)
    _check_choice("ensemble", ensemble, (1, 8))
    _check_choice("border", border, (None, "network", "reflect"))
    if scale is not None:
        catalog.check_scale(scale)
    if weights is not None and not Path(weights).is_file():
        raise UsageError(f"{os.fspath(weights)} does not exist")
    _extend()
    entry = (
        catalog.resolve(DEFAULT_MODEL if name is None else name, scale) if weights is None else None
    )
    if denoise is not None and entry is None:
        raise UsageError("denoise is for models by name, not for a file of weights")
    if entry is not None:  # a scale out of reach is refused before torch is imported
        if denoise is not None:
            entry = catalog.denoised(entry, catalog.parse_strength(str(denoise)))
        scale = catalog.default_scale(entry) if scale is None else scale
        catalog.chain(entry, scale)
    from srcli.engine.open import open_engine
    from srcli.engine.settings import Settings

    state = None
    if entry is None:
        from srcli.weights import load_file

        entry, _, state = load_file(Path(cast("FilePath", weights)), name, scale, foreign=True)
    scale = catalog.default_scale(entry) if scale is None else scale
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
        backend=backend,
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
    def __call__(self, source: Image.Image, **wishes: Unpack[PictureWishes]) -> Image.Image: ...

    @overload
    def __call__(self, source: FilePath | Encoded, **wishes: Unpack[PictureWishes]) -> Array: ...

    @in_python
    def __call__(
        self,
        source: Array | Image.Image | FilePath | Encoded,
        *,
        alpha: AlphaMode = "network",
        max_pixels: int = MAX_PIXELS,
        on_progress: Progress | None = None,
    ) -> Array | Image.Image:
        """Enlarge a picture in memory, or a file's picture, to an array or a Pillow image.

        Args:
            source, alpha, max_pixels, on_progress: as ``srcli.upscale``. Of several frames or
                pages, the first.

        Returns, raises:
            As ``srcli.upscale`` without ``output``.
        """
        _check_kinds(max_pixels=max_pixels, on_progress=on_progress)
        return self._to_memory(_given(source), _How(alpha, max_pixels, on_progress))

    @in_python
    def to_file(
        self,
        source: Array | Image.Image | FilePath | Encoded,
        output: FilePath,
        *,
        alpha: AlphaMode = "network",
        overwrite: bool = False,
        quality: int | None = None,
        max_pixels: int = MAX_PIXELS,
        on_progress: Progress | None = None,
    ) -> Path:
        """Enlarge a picture into a file.

        An array of floats is written with 16 bits where the format holds them, else with 8.

        Args:
            source, output, alpha, overwrite, quality, max_pixels, on_progress: as
                ``srcli.upscale``. ``output`` is a file unless the source is. Animations and pages
                of a file, or of its bytes, are kept.

        Returns:
            The path written.

        Raises:
            As ``srcli.upscale``.
        """
        _check_kinds(
            path=output, overwrite=overwrite, quality=quality, max_pixels=max_pixels,
            on_progress=on_progress,
        )  # fmt: skip
        how = _How(alpha, max_pixels, on_progress)
        return self._to_file(_given(source), output, how, overwrite=overwrite, quality=quality)

    def _to_memory(self, given: _Given, how: _How) -> Array | Image.Image:
        import numpy as np

        _check_alpha(how.alpha)
        source = given.source
        if given.encoded:
            picture = given.read(how.max_pixels)
            shape: tuple[int, ...] = () if picture.pixels.shape[2] == 1 else (0,)
            dtype = picture.pixels.dtype
            if picture.alpha is not None:
                shape = (0,)
        else:
            picture = _picture(source, how.max_pixels)
            shape, dtype = source.shape[2:], source.dtype
        if how.alpha == "discard" and picture.alpha is not None:
            shape = () if picture.pixels.shape[2] == 1 else (0,)
        large = self._enlarged(picture, how)
        if not shape:
            large = large[:, :, 0]
        if np.dtype(dtype).kind == "f" and large.dtype == np.uint16:
            large = large / np.float32(65_535)
        # dtypes that the engine has no use for: another byte order, other floats
        large = np.ascontiguousarray(large.astype(dtype, copy=False))
        if not given.pillow:
            return large
        from PIL import Image

        return Image.fromarray(large)

    def _to_file(
        self, given: _Given, output: FilePath, how: _How, *, overwrite: bool, quality: int | None
    ) -> Path:
        _check_alpha(how.alpha)
        if given.encoded:
            return self._file_to_file(given, output, how, overwrite, quality)
        from srcli.media.image import opaque
        from srcli.media.write import open_writer

        path = Path(output)
        _check_target(path, overwrite)
        entry = format_of(path)
        picture = _picture(given.source, how.max_pixels, deep=entry.deep)
        if not entry.alpha and opaque(picture):
            picture = replace(picture, alpha=None)
        height, width = how.size or self._size(picture)
        has_alpha = picture.alpha is not None and how.alpha != "discard"
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
            self._run(picture, how, writer.rows)
        return path

    def _size(self, picture: Picture) -> tuple[int, int]:
        height, width = picture.pixels.shape[:2]
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def _enlarged(self, picture: Picture, how: _How) -> Array:
        import numpy as np

        samples = picture.pixels.shape[2] + (picture.alpha is not None and how.alpha != "discard")
        large = np.empty((*(how.size or self._size(picture)), samples), picture.pixels.dtype)
        row = 0

        def put(strip: Array) -> None:
            nonlocal row
            large[row : row + len(strip)] = strip
            row += len(strip)

        self._run(picture, how, put)
        assert row == len(large), f"{row} rows of {len(large)}"
        return large

    def _run(self, picture: Picture, how: _How, put: Callable[[Any], None]) -> None:
        """Through the very function that the command line's jobs go through."""
        from srcli.jobs.enlarge import enlarge

        for strip in enlarge(
            picture,
            self._engine,
            self.passes,
            how.size or self._size(picture),
            alpha=how.alpha,
            on_progress=how.on_progress or (lambda _: None),
        ):
            put(strip)

    def _file_to_file(
        self, given: _Given, output: FilePath, how: _How, overwrite: bool, quality: int | None
    ) -> Path:
        from srcli.jobs.events import Failed, Progressed
        from srcli.jobs.inputs import STREAM
        from srcli.jobs.job import Options
        from srcli.jobs.plan import plan
        from srcli.jobs.run import run

        height, width = how.size or (None, None)
        options = Options(
            model=self._entry,
            scale=None if how.size else self.scale,
            width=width,
            height=height,
            output=_spelled(output),
            overwrite=True,
            alpha=how.alpha,
            max_pixels=how.max_pixels,
            quality=quality,
        )
        source = given.source
        if isinstance(source, Path):
            _check_source(source)
            (job,) = plan([_spelled(source)], options)
        else:
            (job,) = plan([str(STREAM)], options, stdin=lambda: source)
        if job.failure is not None:
            raise job.failure
        _check_target(job.target, overwrite)
        failed: list[Failed] = []

        def tell(event: Event) -> None:
            if isinstance(event, Failed):
                failed.append(event)
            elif how.on_progress is not None and isinstance(event, Progressed):
                how.on_progress(event.share)

        run([job], options, self._engine, tell=tell)
        if failed:
            raise SrcliError(failed[0].error, failed[0].hint)
        return job.target


# --------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class ModelInfo:
    """A model by its name, as ``srcli.models()`` lists them.

    Attributes:
        name: what ``upscale`` and ``load_model`` take.
        architecture: the network's name.
        scales: native factors; () for a resampler, at home at any.
        parameters, psnr_set5: by scale; PSNR-Y on Set5 in dB where it is known.
        licence: of the weights.
        at_hand: scales that need no download.
        note: what else is to be known.
    """

    name: str
    architecture: str
    scales: tuple[int, ...]
    parameters: dict[int, int] = field(hash=False)
    psnr_set5: dict[int, float] = field(hash=False)
    licence: str
    at_hand: tuple[int, ...]
    note: str


@in_python
def models(scale: int | None = None, *, untrained: bool = False) -> tuple[ModelInfo, ...]:
    """The models that there are, in the catalogue's order, your own ones last.

    Args:
        scale: only those that are native at it, and the resamplers.
        untrained: also the networks without weights, which are to be trained first.

    Raises:
        UsageError: a type that cannot be meant.
    """
    from srcli.weights.cache import WeightsOptions, at_hand

    _check_kinds(scale=scale, untrained=untrained)
    _extend()
    options = WeightsOptions.from_environment()
    return tuple(
        ModelInfo(
            name=m.name,
            architecture=m.arch.title,
            scales=m.scales,
            parameters={v.scale: v.parameters for v in m.variants},
            psnr_set5={v.scale: v.psnr_set5 for v in m.variants if v.psnr_set5 is not None},
            licence=m.licence,
            at_hand=tuple(v.scale for v in m.variants if at_hand(v, options)),
            note=m.note,
        )
        for m in catalog.models()
        if (m.trained or untrained) and (scale is None or m.is_resampler or scale in m.scales)
    )


def _extend() -> None:
    """The user's own models are models, too."""
    from srcli.weights.user_models import with_own_models

    catalog.extend(with_own_models)


# ------------------------------------------------------------------------------- what was given


@dataclass(frozen=True)
class _How:
    """How one picture is enlarged; ``size`` (height, width) if that was asked for."""

    alpha: AlphaMode
    max_pixels: int
    on_progress: Progress | None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Given:
    """A picture as it was given.

    Attributes:
        source: a path, the bytes of a file, or an array.
        pillow: it was a Pillow image, whose bytes these are.
    """

    source: Any
    pillow: bool = False

    @property
    def encoded(self) -> bool:
        """Whether it is a file or the bytes of one."""
        return isinstance(self.source, Path | bytes)

    def size(self, max_pixels: int) -> tuple[int, int]:
        """(height, width), as it is to be seen."""
        if not self.encoded:
            height, width = _picture(self.source, max_pixels).pixels.shape[:2]
            return height, width
        from srcli.media.image import inspect

        info = inspect(self._opened(), max_pixels)
        return info.height, info.width

    def read(self, max_pixels: int) -> Picture:
        from srcli.media.image import read

        return read(self._opened(), max_pixels=max_pixels, depth=16)

    def _opened(self) -> Path | io.BytesIO:
        if isinstance(self.source, Path):
            _check_source(self.source)
            return self.source
        return io.BytesIO(self.source)


def _given(source: object) -> _Given:
    """Raises UsageError if it is nothing that holds a picture."""
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        return _Given(Path(path))
    if isinstance(source, bytes | bytearray | memoryview):
        if not len(source):
            raise UsageError("the bytes given are empty")
        return _Given(bytes(source))
    if "PIL" in sys.modules:
        from PIL import Image

        if isinstance(source, Image.Image):
            return _Given(_stored(source), pillow=True)
    if type(source).__module__ != "numpy" and not hasattr(source, "__array_interface__"):
        raise UsageError(
            f"a {type(source).__name__} is neither an array nor a Pillow image, a path or bytes",
            "give a numpy array, a PIL.Image.Image, a path, or the bytes of a file",
        )
    return _Given(source)


def _stored(image: Image.Image) -> bytes:
    """A Pillow image as the bytes of a file without loss: then it is read as all files are."""
    if not image.width or not image.height:
        raise UsageError(f"a Pillow image of {image.width}x{image.height} holds no pixels")
    if image.mode in ("F", "I"):
        array = "floats in 0..1" if image.mode == "F" else "16 bits (uint16)"
        raise UsageError(
            f"a Pillow image of mode {image.mode} has no known range",
            f"give an array of {array}, or convert it to L",
        )
    if image.mode in ("YCbCr", "HSV", "RGBX"):
        image = image.convert("RGB")
    elif image.mode == "PA":
        image = image.convert("RGBA")
    elif image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    kind = "TIFF" if image.mode in ("CMYK", "LAB") else "PNG"
    fast = {"compress_level": 1} if kind == "PNG" else {}
    out = io.BytesIO()
    try:
        image.save(out, kind, exif=image.getexif(), **fast)
    except (OSError, ValueError) as exc:
        raise UsageError(f"a Pillow image of mode {image.mode} cannot be taken: {exc}") from exc
    return out.getvalue()


def _fitted(lr_size: tuple[int, int], width: int | None, height: int | None) -> tuple[int, int]:
    """(height, width) of the result, with the picture's proportions."""
    lr_height, lr_width = lr_size
    wanted = [n / m for n, m in ((width, lr_width), (height, lr_height)) if n is not None]
    return max(1, round(lr_height * min(wanted))), max(1, round(lr_width * min(wanted)))


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_positive(value: object) -> bool:
    return _is_whole(value) and int(cast("int", value)) > 0


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike) and bool(os.fspath(value))


def _is_quality(value: object) -> bool:
    return _is_whole(value) and 1 <= int(cast("int", value)) <= 100


# what each keyword takes besides None, and how that is said
_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "scale": (_is_number, "a number"),
    "name": (lambda v: isinstance(v, str), "a model's name"),
    "weights": (_is_path, "a path"),
    "output": (_is_path, "a path"),
    "path": (_is_path, "a path"),
    "denoise": (lambda v: _is_number(v) or v == "none", "a number or 'none'"),
    "device": (lambda v: isinstance(v, str), "a device's name, as 'cpu'"),
    "tile": (_is_whole, "a whole number"),
    "memory_bytes": (_is_whole, "a whole number of bytes"),
    "max_pixels": (_is_positive, "a positive whole number"),
    "width": (_is_positive, "a positive whole number"),
    "height": (_is_positive, "a positive whole number"),
    "quality": (_is_quality, "a whole number from 1 to 100"),
    "overwrite": (lambda v: isinstance(v, bool), "True or False"),
    "color_fix": (lambda v: isinstance(v, bool), "True or False"),
    "untrained": (lambda v: isinstance(v, bool), "True or False"),
    "on_progress": (callable, "a function of one number"),
}
_NEVER_NONE = {"path", "device", "max_pixels", "overwrite", "color_fix", "untrained"}


def _check_kinds(**given: object) -> None:
    """Raises UsageError if an argument is of a kind that cannot be meant."""
    for name, value in given.items():
        fits, words = _KINDS[name]
        if (value is None and name in _NEVER_NONE) or (value is not None and not fits(value)):
            shown = repr(value)
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            raise UsageError(f"{name} is {shown}, and must be {words}")


def _check_engine(precision: str, backend: str, tile: int | None, memory_bytes: int | None) -> None:
    _check_choice("precision", precision, ("auto", "fp32", "bf16", "fp16", "int8"))
    _check_choice("backend", backend, ("auto", "torch", "openvino"))
    if tile is not None and tile != 0 and tile < 16:
        raise UsageError(f"tile {tile} is not None, 0, or a number of at least 16")
    if memory_bytes is not None and memory_bytes <= 0:
        raise UsageError(f"memory_bytes {memory_bytes} is not a positive number")


def _check_alpha(alpha: str) -> None:
    _check_choice("alpha", alpha, ("network", "lanczos", "discard"))


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if not isinstance(value, str | int | None) or value not in choices:
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


def _picture(array: Array, max_pixels: int, *, deep: bool | None = None) -> Picture:
    """An array as the rooms have pictures: (h, w, 1 or 3), alpha apart.

    Floats stay floats if they have no alpha and ``deep`` is None; else they become uint16, or uint8
    if it is False, as uint16 does then.
    """
    import numpy as np

    from srcli.media.image import Picture
    from srcli.media.metadata import Metadata

    if not isinstance(array, np.ndarray):  # what can be seen as one: numpy's own scalars, say
        array = np.asarray(array)
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
