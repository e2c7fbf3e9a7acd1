"""From an image file to RGB pixels: upright as its EXIF data say, and with 16 bits a pixel scaled to 8."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from raykd.data.file_names import printable
from raykd.errors import RaykdError

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "AVIF", "TIFF", "PPM", "JPEG2000", "TGA", "PCX", "SGI", "QOI")
"""Pillow's names of the formats that are read, whatever a file's ending says. Others may start programs (EPS)."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What EXIF's orientations ask for; 1 is upright."""


@dataclass(frozen=True)
class FileFacts:
    """What the plan says about an image file.

    Attributes:
        turned: Whether its EXIF data ask for another orientation.
        brightest: Largest of its pixels of 16 bits. None: it has 8 bits, or several channels, of which 8 bits are read.
    """

    turned: bool
    brightest: int | None


def decoded(path: str | os.PathLike[str]) -> Image.Image:
    """An image in RGB, upright.

    Raises:
        RaykdError: The file is missing or damaged, or its pixels have no known range.
    """
    with _opened(path) as image:
        # Orientation last: by then all of the file was read, and EXIF data may follow the pixels.
        colours = _rgb(image)
        turn = _turn(image)
        return colours if turn is None else colours.transpose(turn)


def file_facts(path: str | os.PathLike[str]) -> FileFacts:
    """Look at an image, which is decoded as for training.

    Raises:
        RaykdError: As `decoded`.
    """
    with _opened(path) as image:
        orientation = _orientation(image)
        values = _sixteen_bits(image)
        _rgb(image)
        turned = (orientation or _orientation(image)) in TURNS
        return FileFacts(turned, None if values is None else int(values.max()))


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    try:
        # Of a path Pillow 13 maps the file into memory, where it turns grey TIFFs wrongly.
        with open(path, "rb") as file, Image.open(file, formats=_formats()) as image:
            yield image
    except MemoryError:
        raise  # of this machine
    except UnidentifiedImageError as error:
        raise _unreadable(path, "it begins as no image of a known format does") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds for damaged files.
        raise _unreadable(path, getattr(error, "strerror", None) or str(error) or type(error).__name__) from error


def _unreadable(path: str | os.PathLike[str], reason: str) -> RaykdError:
    return RaykdError(f"cannot read the image {printable(path)} ({printable(reason)}): replace or delete it")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise ValueError(f"{kind} pixels, which have no known range: write 8 or 16 bits without sign")
    values = _sixteen_bits(image)
    if values is None:
        return image.convert("RGB")
    # Pillow itself would cut at 255; of colours with 16 bits it, too, takes the upper 8.
    return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")


def _sixteen_bits(image: Image.Image) -> Any:
    """Grey pixels of 16 bits, int32 (H, W) in [0, 65535]; None where Pillow makes 8 of them."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return None
    values = np.asarray(image).astype(np.int32)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(ExifTags.Base.BitsPerSample, (16,))[0]
        values <<= 16 - bits
        if image.tag_v2.get(ExifTags.Base.PhotometricInterpretation) == 0:  # white is zero
            values = 65535 - values
    return values


def _turn(image: Image.Image) -> Image.Transpose | None:
    return TURNS.get(_orientation(image) or 1)


def _orientation(image: Image.Image) -> int | None:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises many kinds for damaged EXIF data, which are no damage of the image.
        return None
    return found if isinstance(found, int) else None
