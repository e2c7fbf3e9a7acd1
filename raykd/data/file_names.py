"""Names of files as text. File systems allow names that are no text, and one letter written in two ways."""

from __future__ import annotations

import os
import re
import unicodedata

SHOWN = 5
"""Names that are shown of many."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path that can be printed and stored: bytes that are not UTF-8, and control characters, as ``\xe9``."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return CONTROL.sub(lambda character: rf"\x{ord(character[0]):02x}", text)


def class_name(folder: str) -> str:
    """The class of a folder by its name, in Unicode's composed form: macOS writes letters and accents apart."""
    return unicodedata.normalize("NFC", printable(folder))


def some_of(names: tuple[str, ...], most: int = SHOWN) -> str:
    """The first of some names, and that there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
