"""Loading a model once, and enlarging one picture after the other with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from srcli import catalog
from srcli.api.keywords import (
    FileKeywords,
    How,
    LoadKeywords,
    PictureKeywords,
    UpscaleKeywords,
    check,
    takes,
)
from srcli.api.listing import extend
from srcli.api.pictures import (
    Encoded,
    FilePath,
    Given,
    check_named,
    check_source,
    check_target,
    fitted,
    given_by,
    picture_of,
    spelled,
)
from srcli.api.words import in_python
from srcli.engine.settings import Settings, spill_folder
from srcli.errors import SrcliError, UsageError
from srcli.jobs.job import JobOptions, Options
from srcli.media.formats import check_output, format_of
from srcli.options import filled
from srcli.weights import WeightsOptions
from srcli.weights.choose import Choice, choose, named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from srcli.catalog import Model
    from srcli.engine.engine import Engine
    from srcli.jobs.events import Event
    from srcli.media.image import Picture

    Scalar = TypeVar("Scalar", bound=np.generic)
    Array = NDArray[Any]


@overload
def upscale(
    source: NDArray[Scalar],
    scale: float | None = ...,
    model: str | None = ...,
    *,
    output: None = ...,
    **options: Unpack[UpscaleKeywords],
) -> NDArray[Scalar]: ...


@overload
def upscale(
    source: Image.Image,
    scale: float | None = ...,
    model: str | None = ...,
    *,
    output: None = ...,
    **options: Unpack[UpscaleKeywords],
) -> Image.Image: ...


@overload
def upscale(
    source: FilePath | Encoded,
    scale: float | None = ...,
    model: str | None = ...,
    *,
    output: None = ...,
    **options: Unpack[UpscaleKeywords],
) -> Array: ...


@overload
def upscale(
    source: Array | Image.Image | FilePath | Encoded,
    scale: float | None = ...,
    model: str | None = ...,
    *,
    output: FilePath,
    **options: Unpack[UpscaleKeywords],
) -> Path: ...


@in_python
@takes(UpscaleKeywords)
def upscale(
    source: Array | Image.Image | FilePath | Encoded,
    scale: float | None = None,
    model: str | None = None,
    *,
    output: FilePath | None = None,
    **options: Unpack[UpscaleKeywords],
) -> Array | Image.Image | Path:
    """Enlarge one picture.

    The network is loaded for this one call; for many pictures, ``load_model`` loads it once.

    Args:
        source: a file; the bytes of one; a Pillow image; or an array: (h, w) grey, (h, w, 1),
            (h, w, 2) grey and alpha, (h, w, 3) RGB or (h, w, 4) RGBA, alpha not multiplied into
            the colours; uint8, uint16, or floating point in 0..1.
        scale: factor, up to 64; None: 4, or the model's largest if it has no 4. For a factor that
            the model was not trained for, its next larger one runs and the result is resampled
            down.
        model: name as in ``srcli models``: ``bcrn.authors``, ``bicubic``; None: ``bcrn``, or what
            the file of ``weights`` says. Weights that are not on this computer yet are downloaded,
            unless SRCLI_OFFLINE=1.
        output: the file to write; from a file also a folder, for ``<stem>_x4.<ext>``, or a name
            template, as ``srcli upscale -o`` takes them, and EXIF, colour profile and the like are
            kept. It is written whole or not at all.
        **options: as `UpscaleKeywords` and `srcli.options` have them.

    Returns:
        Without ``output``, an array of the source's dtype and channels, (h * scale, w * scale, ...)
        rounded; from a file or its bytes (h, w) for grey, else (h, w, 2), (h, w, 3) or (h, w, 4),
        uint8, or uint16 where there are more than 8 bits; from a Pillow image a Pillow image. With
        ``output``, the path written.

    Raises:
        UsageError: a name, a scale, an array or a value that makes no sense, or an output that
            exists.
        WeightsError: the weights are missing or damaged.
        MediaError: a picture cannot be read or written.
        ResourceError: not enough memory or disk, or the format cannot hold so much.
    """
    check("scale", scale, (float,))
    check("model", model, (str,))
    check("output", output, (Path,))
    given = given_by(source)
    how = filled(How, options)
    if output is not None:
        # before a network is fetched and loaded
        check_named(given, output)
        check_target(Path(output), options.get("overwrite", False))
    width, height = options.get("width"), options.get("height")
    if width is not None or height is not None:
        if scale is not None:
            raise UsageError("give either scale, or width and height, not both")
        lr_size = given.size(how.max_pixels)
        how = replace(how, size=fitted(lr_size, width, height))
        scale = max(n / m for n, m in zip(how.size or lr_size, lr_size, strict=True))
    loaded = _load(model, scale, filled(Choice, options), filled(Settings, options))
    if output is None:
        return loaded._to_memory(given, how)
    return loaded._to_file(given, output, how, filled(JobOptions, options))


@in_python
@takes(LoadKeywords)
def load_model(
    name: str | None = None,
    scale: float | None = None,
    **options: Unpack[LoadKeywords],
) -> LoadedModel:
    """Load a model's weights onto the device, to be called on any number of pictures.

    Args:
        name: as ``upscale``'s ``model``.
        scale: as ``upscale``.
        **options: as `LoadKeywords` and `srcli.options` have them.

    Raises:
        UsageError: there is no such model, scale or device.
        WeightsError: the weights are missing or damaged.
    """
    check("name", name, (str,))
    check("scale", scale, (float,))
    return _load(name, scale, filled(Choice, options), filled(Settings, options))


def _load(name: str | None, scale: float | None, choice: Choice, settings: Settings) -> LoadedModel:
    if scale is not None:
        catalog.check_scale(scale)
    if choice.weights is not None:
        choice = replace(choice, weights=Path(choice.weights))
    extend()
    entry = named(name, scale, choice)
    if entry is not None:  # a scale out of reach is refused before torch is imported
        catalog.chain(entry, catalog.default_scale(entry) if scale is None else scale)
    from srcli.engine.choice import check_weights
    from srcli.engine.open import open_engine

    entry, state = choose(name, scale, choice)
    scale = catalog.default_scale(entry) if scale is None else scale
    passes = catalog.chain(entry, scale)
    check_weights(entry, passes, settings, WeightsOptions.from_environment())
    settings = replace(settings, spill_folder=spill_folder(os.environ))
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
        self, source: NDArray[Scalar], **options: Unpack[PictureKeywords]
    ) -> NDArray[Scalar]: ...

    @overload
    def __call__(self, source: Image.Image, **options: Unpack[PictureKeywords]) -> Image.Image: ...

    @overload
    def __call__(self, source: FilePath | Encoded, **options: Unpack[PictureKeywords]) -> Array: ...

    @in_python
    @takes(PictureKeywords)
    def __call__(
        self,
        source: Array | Image.Image | FilePath | Encoded,
        **options: Unpack[PictureKeywords],
    ) -> Array | Image.Image:
        """Enlarge a picture in memory, or a file's picture, to an array or a Pillow image.

        Args:
            source: as ``srcli.upscale``. Of several frames or pages, the first.
            **options: as `PictureKeywords` and `srcli.options` have them.

        Returns, raises:
            As ``srcli.upscale`` without ``output``.
        """
        return self._to_memory(given_by(source), filled(How, options))

    @in_python
    @takes(FileKeywords)
    def to_file(
        self,
        source: Array | Image.Image | FilePath | Encoded,
        output: FilePath,
        **options: Unpack[FileKeywords],
    ) -> Path:
        """Enlarge a picture into a file.

        An array of floats is written with 16 bits where the format holds them, else with 8.

        Args:
            source: as ``srcli.upscale``. Of a file, or its bytes, all frames and pages are kept.
            output: a file; a folder, if the source is a file.
            **options: as `FileKeywords` and `srcli.options` have them.

        Returns:
            The path written.

        Raises:
            SrcliError: as ``srcli.upscale``.
        """
        check("output", output, (Path,), optional=False)
        return self._to_file(
            given_by(source), output, filled(How, options), filled(JobOptions, options)
        )

    def _to_memory(self, given: Given, how: How) -> Array | Image.Image:
        import numpy as np

        source = given.source
        if given.encoded:
            picture = given.read(how.max_pixels)
            shape: tuple[int, ...] = () if picture.pixels.shape[2] == 1 else (0,)
            dtype = picture.pixels.dtype
            if picture.alpha is not None:
                shape = (0,)
        else:
            picture = picture_of(source, how.max_pixels)
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

    def _to_file(self, given: Given, output: FilePath, how: How, wanted: JobOptions) -> Path:
        check_named(given, output)
        if given.encoded:
            return self._file_to_file(given, output, how, wanted)
        from srcli.media.image import opaque
        from srcli.media.write import open_writer

        path = Path(output)
        check_target(path, wanted.overwrite)
        entry = format_of(path)
        picture = picture_of(given.source, how.max_pixels, deep=entry.deep)
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
            quality=wanted.quality,
        )
        with writer:
            self._run(picture, how, writer.rows)
        return path

    def _size(self, picture: Picture) -> tuple[int, int]:
        height, width = picture.pixels.shape[:2]
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def _enlarged(self, picture: Picture, how: How) -> Array:
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

    def _run(self, picture: Picture, how: How, put: Callable[[Any], None]) -> None:
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

    def _file_to_file(self, given: Given, output: FilePath, how: How, wanted: JobOptions) -> Path:
        from srcli.jobs.events import Failed, Progressed
        from srcli.jobs.inputs import STREAM
        from srcli.jobs.plan import plan
        from srcli.jobs.run import run

        height, width = how.size or (None, None)
        options = Options(
            model=self._entry,
            scale=None if how.size else self.scale,
            **vars(
                replace(wanted, width=width, height=height, output=spelled(output), overwrite=True)
            ),
        )
        source = given.source
        if isinstance(source, Path):
            check_source(source)
            (job,) = plan([spelled(source)], options)
        else:
            (job,) = plan([str(STREAM)], options, stdin=lambda: source)
        if job.failure is not None:
            raise job.failure
        check_target(job.target, wanted.overwrite)
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
