"""The bank: a teacher's stored answers."""

from __future__ import annotations

from typing import Literal

from raykd.settings import Positive, Settings


class BankSettings(Settings):
    """What becomes of a teacher's answers to the training images."""

    mode: Literal["on", "off"] = "on"
    """on: its logits for each view of in-memory images are computed once and stored beside it, for all trials,
    classrooms and later studies. off: it answers every batch anew."""
    budget: Positive = 8.0
    """GiB that the stored logits of one teacher may take; those of views beyond it are computed anew each time."""
    precision: Literal["float32", "float16"] = "float32"
    """float32 stores logits as they are; float16 takes half the space, and students are then taught by rounded logits,
    whether these come from the bank or not."""
