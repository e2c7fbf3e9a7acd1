"""Image files of all kinds: their pixels, or one line on why they have none."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raykd.data.decoding import FORMATS, decoded, file_facts
from raykd.data.image_files import ENDINGS
from raykd.errors import RaykdError
from tests.helpers.image_folders import png16, tiff

DEEP = np.linspace(0, 65535, 8 * 6).astype(np.uint16).reshape(8, 6)
"""Grey pixels of 16 bits from black to white."""
EIGHT_BITS = (DEEP >> 8).astype(np.uint8)


def pixels(path: Path) -> Any:
    return np.asarray(decoded(path))


def refusal(path: Path) -> str | None:
    try:
        decoded(path)
    except RaykdError as error:
        return str(error)
    return None


def saved(image: Image.Image, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **settings)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("grey.png", png16(DEEP)),
        ("grey and alpha.png", png16(np.stack([DEEP, np.full_like(DEEP, 65535)], 2))),
        ("colour.png", png16(np.stack([DEEP] * 3, 2))),
        ("colour and alpha.png", png16(np.stack([DEEP] * 3 + [np.full_like(DEEP, 65535)], 2))),
        ("little endian.tif", tiff(DEEP)),
        ("big endian.tif", tiff(DEEP, ">")),
        ("white is zero.tif", tiff(65535 - DEEP, white_is_zero=True)),
        ("colour.tif", tiff(np.stack([DEEP] * 3, 2))),
        ("colour, big endian.tif", tiff(np.stack([DEEP] * 3, 2), ">")),
        ("packed.tif", saved(Image.fromarray(DEEP), format="TIFF", compression="tiff_lzw")),
        ("grey.pgm", b"P5 6 8 65535\n" + DEEP.astype(">u2").tobytes()),
        ("plain.pgm", b"P2 6 8 65535\n" + " ".join(map(str, DEEP.ravel())).encode()),
        ("colour.ppm", b"P6 6 8 65535\n" + np.stack([DEEP] * 3, 2).astype(">u2").tobytes()),
        ("grey.jp2", saved(Image.fromarray(DEEP), format="JPEG2000", irreversible=False)),
    ],
)
def test_sixteen_bits_are_scaled(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = pixels(tmp_path / name).astype(int)
    assert found.shape == (8, 6, 3)
    # Pillow rounds colours of PPM files; it takes the upper eight bits of all others.
    assert np.abs(found - EIGHT_BITS[..., None]).max() <= (name == "colour.ppm")
    assert found.max() == 255
    assert found.min() == 0


def test_twelve_bits_are_scaled(tmp_path: Path) -> None:
    (tmp_path / "12.pgm").write_bytes(b"P5 2 1 4095\n" + np.array([[0, 4095]], ">u2").tobytes())
    assert pixels(tmp_path / "12.pgm")[0, :, 0].tolist() == [0, 255]
    content = bytearray(tiff(np.zeros((1, 2), np.uint16)))
    # Two pixels of 12 bits, 4095 and 0, in three bytes.
    place = content.index(b"\x02\x01\x03\x00\x01\x00\x00\x00\x10")
    content[place + 8] = 12
    content[-4:] = b"\xff\xf0\x00\x00"
    (tmp_path / "12.tif").write_bytes(content)
    assert pixels(tmp_path / "12.tif")[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("float.tif", tiff(np.full((4, 4), 0.5, np.float32)), "floating-point"),
        ("float, big endian.tif", tiff(np.full((4, 4), 0.5, np.float32), ">"), "floating-point"),
        ("signed.tif", tiff(np.full((4, 4), -7, np.int16)), "signed or 32-bit"),
        ("long.tif", tiff(np.full((4, 4), 7, np.int32)), "signed or 32-bit"),
        ("unsigned.tif", tiff(np.full((4, 4), 7, np.uint32)), "signed or 32-bit"),
        ("float.ppm", b"Pf\n4 4\n-1.0\n" + np.full((4, 4), 0.5, "<f4").tobytes(), "floating-point"),
    ],
)
def test_pixels_without_a_range_are_refused(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    for look in (decoded, file_facts):
        with pytest.raises(RaykdError, match=rf"^cannot read the image \S*{name} \({kind} pixels, which have no known"):
            look(tmp_path / name)


MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("1", "L", "RGB", "CMYK", "YCbCr"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"),
    "WEBP": ("L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "TGA": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "PCX": ("1", "L", "P", "RGB"),
    "SGI": ("L", "RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
    "AVIF": ("L", "RGB", "RGBA"),
}
"""What Pillow writes."""


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_modes_as_pillow_converts_them(tmp_path: Path, kind: str, mode: str) -> None:
    image = Image.new("L", (6, 4))
    image.putdata(list(range(0, 240, 10)))
    deep = mode == "I;16"
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if deep else image.convert("RGB").convert(mode)
    path = tmp_path / f"image.{kind.lower()}"
    image.save(path, kind)
    with Image.open(path) as opened:
        expected = (np.asarray(opened) >> 8)[..., None] if opened.mode == "I;16" else np.asarray(opened.convert("RGB"))
    assert np.array_equal(pixels(path), np.broadcast_to(expected, (4, 6, 3)))


UPRIGHT = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}
"""What a camera stores for each of EXIF's orientations (TIFF 6.0: where row 0 and column 0 are)."""


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    "settings",
    [
        {"format": "PNG"},
        {"format": "WEBP", "lossless": True},
        {"format": "TIFF"},
        {"format": "TIFF", "compression": "tiff_lzw"},
        {"format": "JPEG", "quality": 100, "subsampling": 0},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_exif_orientation(tmp_path: Path, orientation: int, grey: bool, settings: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image"
    stored, upright = STORED[orientation], UPRIGHT
    if grey:
        stored, upright = stored[..., 0], upright[..., :1]
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **settings)
    found = pixels(path)
    assert found.shape == UPRIGHT.shape
    assert np.abs(found.astype(int) - upright).max() <= (4 if settings["format"] == "JPEG" else 0)
    assert file_facts(path).turned is (orientation > 1)


@pytest.mark.parametrize("orientation", [3, 6])
def test_sixteen_bits_turned(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = np.rot90(DEEP, 2 if orientation == 3 else 1)
    for kind in ("PNG", "TIFF"):
        path = tmp_path / kind
        Image.fromarray(np.ascontiguousarray(turned)).save(path, kind, exif=exif)
        assert np.array_equal(pixels(path)[..., 0], EIGHT_BITS)
        assert file_facts(path).brightest == 65535


def test_damaged_exif_data_are_no_damage_of_the_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a description", 72.0
    chance = random.Random(0)
    path = tmp_path / "image"
    image = Image.fromarray(np.ascontiguousarray(STORED[1]))
    shapes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about these data
        for kind in ("PNG", "JPEG", "WEBP"):
            for _ in range(150):
                damaged = bytearray(exif.tobytes())
                for _ in range(chance.randint(1, 5)):
                    damaged[chance.randrange(len(damaged))] = chance.randrange(256)
                image.save(path, kind, exif=bytes(damaged[: chance.choice((None, chance.randrange(1, 60)))]))
                shapes.add(pixels(path).shape[:2])
    assert shapes == {(4, 6), (6, 4)}


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Bytes changed anywhere in any format: an image, or one line; never another kind of error."""
    chance = random.Random(1)
    path = tmp_path / "image"
    image = Image.fromarray(np.ascontiguousarray(np.tile(UPRIGHT, (4, 4, 1))))
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "TGA", "PCX", "SGI", "PPM", "JPEG2000"):
            whole = saved(image, format=kind)
            for _ in range(40):
                damaged = bytearray(whole)
                for _ in range(chance.randint(1, 4)):
                    damaged[chance.randrange(min(len(damaged), 200))] = chance.randrange(256)
                path.write_bytes(damaged)
                if (told := refusal(path)) is not None:
                    refused += 1
                    assert told.startswith(f"cannot read the image {path} (")
                    assert len(told.splitlines()) == 1
    assert refused > 100


def test_formats_that_start_programs_are_not_read(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "script.jpg", "EPS")
    with pytest.raises(RaykdError, match=r"cannot read the image \S*script.jpg \(it begins as no image"):
        decoded(tmp_path / "script.jpg")


def test_every_ending_is_one_of_a_format_that_is_read() -> None:
    known = Image.registered_extensions()
    formats = {known[ending] for ending in ENDINGS}
    assert formats - {"MPO"} <= {*FORMATS}
    assert {*FORMATS} - formats <= {"DIB"}  # inside .bmp
