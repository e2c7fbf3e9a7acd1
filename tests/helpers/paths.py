"""Where the repository is."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Folder of the checkout: experiments/, docs/, search_spaces/ lie in it."""
