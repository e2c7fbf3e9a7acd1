"""Small image files of all kinds, as people bring them along."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.generic]


def write_image(path: Path, seed: int, size: tuple[int, int] = (8, 8)) -> Path:
    """A lossless colour image whose content is that of its seed; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def write_classes(folder: Path, classes: tuple[str, ...], count: int = 6, seed: int = 0) -> None:
    """Class folders of images, all of them different."""
    for label, name in enumerate(classes):
        for number in range(count):
            write_image(folder / name / f"{number}.png", seed + 1000 * label + number)


def png16(pixels: npt.NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits, (H, W) or (H, W, 2 to 4): Pillow itself writes grey ones alone."""
    height, width = pixels.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels: Pixels, order: str = "<", white_is_zero: bool = False) -> bytes:
    """An uncompressed TIFF of the array's own type, (H, W) or (H, W, C), in an order of bytes."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    photometric = 2 if channels > 1 else int(not white_is_zero)
    per_channel = {258: pixels.dtype.itemsize * 8, 339: kind}
    tags = {256: width, 257: height, 259: 1, 262: photometric, 273: 0, 277: channels, 278: height, 279: len(content)}
    start = 8 + 2 + 12 * (len(tags) + len(per_channel)) + 4
    beyond = b""
    entries = []
    for tag in sorted(tags | per_channel):
        if tag in per_channel and channels > 2:
            entries.append(struct.pack(f"{order}HHII", tag, 3, channels, start + len(beyond)))
            beyond += struct.pack(f"{order}{channels}H", *[per_channel[tag]] * channels)
        elif tag in per_channel:
            entries.append(struct.pack(f"{order}HHIHH", tag, 3, channels, *[per_channel[tag], 0]))
        else:
            value = tags[tag] if tag != 273 else start + (4 * channels if channels > 2 else 0)
            entries.append(struct.pack(f"{order}HHII", tag, 4, 1, value))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}IH", 8, len(entries)) + b"".join(entries) + struct.pack(f"{order}I", 0)
    return head + beyond + content
