"""Files that ship with raykd beside its code: recipes, search spaces, and the scripts of experiments/."""

from __future__ import annotations

from pathlib import Path

FOLDERS = {"recipes": "experiments/recipes", "spaces": "search_spaces"}
"""Folder of each kind in a checkout; in a wheel its last part lies inside the package (`pyproject.toml`)."""


def shipped(kind: str) -> dict[str, Path]:
    """The YAML files of a kind by name: those of the current folder take precedence over those that ship with raykd."""
    package, relative = Path(__file__).parent, Path(FOLDERS[kind])
    files: dict[str, Path] = {}
    for folder in (relative, package / relative.name, package.parent / relative):
        for path in sorted(folder.glob("*.yaml")):
            files.setdefault(path.stem, path)
    return dict(sorted(files.items()))


def script(name: str) -> Path:
    """A script of experiments/, by its name without ending: of the checkout, or as it lies in a wheel."""
    package = Path(__file__).parent
    places = [folder / f"{name}.py" for folder in (package / "experiments", package.parent / "experiments")]
    return next(place for place in places if place.exists())


def purpose(path: Path) -> str:
    """The first sentences of the comment at the head of a YAML file: its lines up to a full stop at a line's end."""
    words: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words += line.lstrip("#").split()
        if words and words[-1].endswith("."):
            break
    text = " ".join(words).removeprefix("What: ")
    return text[:1].upper() + text[1:]
