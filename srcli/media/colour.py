"""Colours and samples from one kind to another."""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from srcli.media.metadata import icc_space
from srcli.media.picture import Pixels


def cmyk_to_rgb(
    image: Image.Image, icc: bytes | None
) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """To sRGB by the picture's own profile, or by plain arithmetic without one."""
    if icc is not None and icc_space(icc) == "CMYK":
        try:
            rgb = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            rgb = None
        if rgb is not None:
            return rgb, srgb_profile(), ("CMYK colours were converted to sRGB by their profile",)
    note = "CMYK colours were converted to RGB without a profile and may look different"
    return image.convert("RGB"), None, (note,)


def lab_to_rgb(image: Image.Image) -> Image.Image:
    rgb = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert rgb is not None
    return rgb


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def inks_left(samples: Pixels) -> Pixels:
    """Amounts of ink as what they leave of the paper, and the other way round."""
    return np.iinfo(samples.dtype).max - samples


def unmultiplied(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Colours divided by their alpha, by which some TIFFs have them multiplied."""
    full = np.iinfo(pixels.dtype).max
    out = np.empty_like(pixels)
    for row in range(len(pixels)):
        scaled = pixels[row].astype(np.uint64) * full
        divisor = np.maximum(alpha[row], 1).astype(np.uint64)[:, None]
        out[row] = np.minimum((scaled + divisor // 2) // divisor, full)
    return out


def at_depth(samples: Pixels, depth: Literal[8, 16]) -> Pixels:
    """Samples of the full range of one type, as the full range of the other, rounded."""
    if depth == 16:
        return samples.astype(np.uint16) * 257 if samples.dtype == np.uint8 else samples
    if samples.dtype == np.uint8:
        return samples
    out = np.empty(samples.shape, np.uint8)
    for row in range(0, len(samples), 64):  # the 32-bit sums need not exist all at once
        # v / 257 is v * 255 / 65535; 128 of 257 rounds it, and there are no ties.
        out[row : row + 64] = (samples[row : row + 64].astype(np.uint32) + 128) // 257
    return out


class ToSrgb:
    """Strips of 8 bits in a profile's colours to sRGB, for files that hold no such profile.

    Args:
        icc: of the strips' pixels, grey or RGB.
        channels: of the strips without alpha, 1 or 3.

    Raises:
        ValueError: the profile cannot be used.
    """

    def __init__(self, icc: bytes, channels: int) -> None:
        mode = "L" if channels == 1 else "RGB"
        self._channels = channels
        try:
            self._transform = ImageCms.buildTransform(
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError, ValueError) as exc:
            raise ValueError("the profile cannot be used") from exc

    def __call__(self, strip: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, width, channels, alpha included) to the same, grey still one channel."""
        n = self._channels
        colours = np.ascontiguousarray(strip[:, :, 0] if n == 1 else strip[:, :, :n])
        image = ImageCms.applyTransform(Image.fromarray(colours), self._transform)
        assert image is not None
        converted = np.asarray(image)
        if n == 1:  # neutral by construction: the three channels are one
            converted = converted[:, :, 1:2]
        return np.concatenate((converted, strip[:, :, n:]), axis=2)
