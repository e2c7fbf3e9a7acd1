"""scikit-learn's digits: 1,797 grey images of 8x8 pixels that are part of the package."""

from __future__ import annotations

import numpy as np

from raykd.config import DataSettings
from raykd.data.source import Source, array_split


def read_digits(settings: DataSettings) -> Source:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, their 17 grey levels scaled to 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    train = array_split(images, digits.target)
    return Source({"train": train}, tuple("0123456789"), crop_padding=1, horizontal_flip=False)
