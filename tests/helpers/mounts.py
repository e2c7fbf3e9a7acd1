"""Disks that are small, full or read-only, mounted where nobody else sees them."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def seen_read_only(folder: Path, command: Sequence[str]) -> list[str]:
    """The command in a mount namespace of its own, where a folder is read-only, for root as well."""
    return ["unshare", "--mount", "--map-root-user", "sh", "-c", READ_ONLY, str(folder), *command]


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """Mount a disk of so many MiB over a folder, in this process's mount namespace.

    Raises:
        PermissionError: this process may not mount.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "raykd-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PermissionError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write a file until the disk of a folder is full, to the last byte, and return it."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as opened:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while opened.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return file


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond so many bytes, as if the disk were full."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
