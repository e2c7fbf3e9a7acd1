"""Which files in class folders are images, and what else lies there. Each real folder is read once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raykd.data.file_names import class_name, printable
from raykd.errors import RaykdError

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".avif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpc", ".tga", ".pcx", ".sgi", ".qoi"),
)
"""Endings of images, in any case; those of the formats that `decoding` reads."""

TOOL_FOLDERS = frozenset(
    {
        *("__macosx", "__pycache__", "cvs", "lost+found", "$recycle.bin", "system volume information"),
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # of network storage
    }
)
"""Folders, in lower case, that archivers, operating systems and network storage put between a user's own."""

FolderId = tuple[int, int]
"""Device and inode: what tells real folders apart, however they are reached."""


@dataclass(frozen=True)
class Ignored:
    """What lies in a data set's folders and is not read.

    Attributes:
        files: Number of files in class folders that are no images, by their ending, in lower case.
        outside: Number of files that lie in no class folder, by their ending.
        hidden: Number of hidden files, and of hidden folders and those of tools, by their name.
        links: Folders that are read under another path, or that hold the data set's own folder.
        beside: Folders that lie beside those of the splits.
    """

    files: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)


@dataclass
class ClassFolder:
    """The folder of one class in one split.

    Attributes:
        name: Of the class.
        path: Relative to the root.
        images: Path relative to the root, and bytes, of each image; sorted by path once it is read.
        links: Links to folders that are still to be followed.
        folders: Names of the folders directly in it.
    """

    name: str
    path: str
    images: list[tuple[str, int]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


class ImageFiles:
    """Reads class folders below one root.

    Real folders are read first, then links to folders in the order of their paths: what lies in the data set is read
    where it really lies. A link to a folder that was read, or that holds a class folder, leads nowhere.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._around: set[FolderId] = set()
        self._read: dict[FolderId, str] = {}
        self._listed: dict[str, list[str]] = {}
        self._identities: dict[Path, FolderId] = {}
        self.ignored = Ignored()

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder that may be of splits or classes, sorted; all else there is ignored."""
        if path not in self._listed:
            names = []
            for entry in self._entries(path):
                if self._counts_as_hidden(entry):
                    continue
                if _is_folder(entry):
                    names.append(entry.name)
                else:
                    self.ignored.outside[_ending(entry.name)] += 1
            self._listed[path] = sorted(names)
        return self._listed[path]

    def class_folders(self, path: str) -> list[ClassFolder]:
        """The class folders in a split's folder (or the root), by the name of their class.

        Raises:
            RaykdError: There are none, or two of them are one class or one real folder.
        """
        self._around |= self._ids_around(path)
        found: dict[str, ClassFolder] = {}
        for folder in self.folders(path):
            own = ClassFolder(class_name(folder), _joined(path, folder))
            identity = self._identity(own.path)
            if identity in self._around:
                self.ignored.links.append(own.path)
                continue
            if own.name in found:
                raise RaykdError(f"{self.shown(path)} holds two folders of the class {own.name!r}: join them")
            if identity in self._read:
                raise RaykdError(
                    f"{self.shown(own.path)} is the same folder as {self.shown(self._read[identity])}: "
                    "its images would be in two classes or splits; delete one of the links"
                )
            self._read[identity] = own.path
            found[own.name] = own
        if not found:
            raise RaykdError(f"{self.shown(path)} holds no class folders: images must lie in one folder a class")
        return [found[name] for name in sorted(found)]

    def read(self, folders: Sequence[ClassFolder]) -> None:
        """Find the images of all class folders; those of all splits at once.

        Raises:
            RaykdError: A folder that cannot be read, an empty file, or a class folder without images.
        """
        for own in folders:
            self._around |= self._ids_around(own.path) - self._read.keys()
        others = {own.path: self._scan(own, own.path) for own in folders}
        for own in folders:
            while own.links:
                links, own.links = sorted(own.links), []
                for link in links:
                    if self._is_new(link, self._identity(link)):
                        others[own.path] += self._scan(own, link)
        for own in folders:
            if not own.images:
                counted = f", but {counts(others[own.path])}" if others[own.path] else ""
                raise RaykdError(f"{self.shown(own.path)} holds no images ({' '.join(ENDINGS)}){counted}")
            own.images.sort()
            self.ignored.files.update(others[own.path])

    def holds(self, path: str, most: int) -> bool:
        """Whether an image lies in a folder or below it, as far as so many of its files say."""
        files = 0
        for _, folders, names in os.walk(self.root / path):
            folders[:] = [name for name in folders if not is_hidden(name)]
            if any(is_image(name) for name in names[: most - files]):
                return True
            files += len(names)
            if files >= most:
                break
        return False

    def kinds(self, path: str) -> tuple[int, bool]:
        """How many folders that are not hidden lie in a folder (two stand for more), and whether an image does."""
        folders, images = 0, False
        for entry in self._entries(path):
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                folders += 1
            else:
                images = images or is_image(entry.name)
            if images and folders > 1:
                break
        return folders, images

    def shown(self, path: str) -> str:
        """A path as errors name it."""
        return printable(self.root / path)

    def _scan(self, own: ClassFolder, start: str) -> Counter[str]:
        """Add the images in a folder and in the real folders below it; returns what else is there, by ending."""
        others: Counter[str] = Counter()
        waiting = [start]
        while waiting:
            path = waiting.pop()
            for entry in self._entries(path):
                inside = f"{path}/{entry.name}"
                if self._counts_as_hidden(entry):
                    continue
                if _is_folder(entry):
                    if path == own.path:
                        own.folders.append(entry.name)
                    if entry.is_symlink():
                        own.links.append(inside)
                    elif self._is_new(inside, self._identity(inside)):
                        waiting.append(inside)
                elif is_image(entry.name) and (entry.is_file() or entry.is_symlink()):
                    own.images.append((inside, self._size(entry, inside)))
                else:
                    others[_ending(entry.name)] += 1
        return others

    def _size(self, entry: os.DirEntry[str], path: str) -> int:
        try:
            size = entry.stat().st_size
        except OSError:  # a broken link
            size = 0
        if size == 0:
            raise RaykdError(f"{self.shown(path)} is empty or a broken link: replace or delete it")
        return size

    def _is_new(self, path: str, identity: FolderId) -> bool:
        """Whether a folder is to be read; it counts as read from now on."""
        if identity in self._read or identity in self._around:
            self.ignored.links.append(path)
            return False
        self._read[identity] = path
        return True

    def _counts_as_hidden(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file or folder is hidden or a tool's; then it is counted."""
        if not is_hidden(entry.name):
            return False
        if _is_folder(entry):
            self.ignored.hidden[printable(entry.name) + "/"] += 1
        elif entry.name.startswith("."):
            self.ignored.hidden["hidden files"] += 1
        else:
            return False
        return True

    def _entries(self, path: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / path) as entries:
                yield from entries
        except OSError as error:
            raise RaykdError(f"{self.shown(path)} cannot be read: {error.strerror}") from error

    def _identity(self, path: str | Path) -> FolderId:
        try:
            found = os.stat(self.root / path)
        except OSError as error:
            raise RaykdError(f"{printable(self.root / path)} cannot be read: {error.strerror}") from error
        return found.st_dev, found.st_ino

    def _ids_around(self, path: str) -> set[FolderId]:
        """The real folder at a path of the data set, and all that hold it."""
        real = Path(os.path.realpath(self.root / path))
        for folder in (real, *real.parents):
            if folder not in self._identities:
                self._identities[folder] = self._identity(folder)
        return {self._identities[folder] for folder in (real, *real.parents)}


def is_image(name: str) -> bool:
    """Whether a file's name has the ending of an image."""
    return name.lower().endswith(ENDINGS)


def is_hidden(name: str) -> bool:
    """Whether a name is that of a hidden file or folder, or of a tool's folder."""
    return name.startswith(".") or name.lower() in TOOL_FOLDERS


def counts(files: Counter[str], most: int = 5) -> str:
    """Numbers of files by ending, such as "12 .txt and 3 .heic", the most frequent first."""
    by_count = sorted(files.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} {name or 'without an ending'}" for name, count in by_count[:most]]
    if rest := sum(count for _, count in by_count[most:]):
        parts.append(f"{rest:,} more")
    return joined(parts)


def joined(parts: Iterable[str]) -> str:
    """Words as a list in a sentence."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _ending(name: str) -> str:
    return printable(os.path.splitext(name)[1].lower())


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
