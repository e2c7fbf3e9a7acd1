"""Downloads of data sets from the addresses that torchvision lists, checked by its checksums."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from raykd.errors import RaykdError


def download(name: str, folder: Path) -> None:
    """Fetch cifar10 or cifar100 (unpacked) or fashion_mnist (its IDX files) into a folder.

    Raises:
        RaykdError: the checksum of what was downloaded differs from torchvision's.
        OSError: it cannot be fetched.
    """
    # torchvision's progress bars redraw their lines, which a log cannot show.
    with redirect_stderr(StringIO()):
        _download(name, folder)


def _download(name: str, folder: Path) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST
    from torchvision.datasets.utils import download_and_extract_archive, download_url

    try:
        if name == "fashion_mnist":
            for file, checksum in FashionMNIST.resources:
                download_url(f"{FashionMNIST.mirrors[0]}{file}", folder, file, checksum)
        else:
            source = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
            download_and_extract_archive(
                source.url, folder, filename=source.filename, md5=source.tgz_md5, remove_finished=True
            )
    except RuntimeError as error:
        raise RaykdError(
            f"{name} as it was fetched does not have the checksum that torchvision expects: {error}\n"
            "try again, or set data.root to a copy of it"
        ) from error
