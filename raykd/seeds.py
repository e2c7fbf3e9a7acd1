"""Seeds made of seeds: independent, stable streams of random numbers for every purpose."""

from __future__ import annotations

from hashlib import blake2b


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed that depends on all parts and their order, and on nothing else (unlike `hash`)."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
