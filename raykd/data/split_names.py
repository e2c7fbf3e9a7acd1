"""Which split a folder holds, by its name.

The words are those of Hugging Face's datasets (https://huggingface.co/docs/datasets/repository_structure).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}


@dataclass(frozen=True)
class SplitName:
    """What a folder's name says.

    - split: train, validation or test
    - plain: whether the name is nothing but one of the words, in any case (Train), not one among others (train_images)
    """

    split: str
    plain: bool


def split_name(folder: str) -> SplitName | None:
    """What a folder's name says about splits; None if it names none of them, or two (trainval)."""
    name = folder.casefold()
    if name in SPLIT_OF:
        return SplitName(SPLIT_OF[name], plain=True)
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).casefold())
    splits = {SPLIT_OF[word] for word in (word.removesuffix("set") for word in words) if word in SPLIT_OF}
    return SplitName(splits.pop(), plain=False) if len(splits) == 1 else None
