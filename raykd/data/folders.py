"""Images in class folders, ImageNet among them; streamed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from raykd.config import DataSettings
from raykd.data.fetch import local_root
from raykd.data.file_names import printable
from raykd.data.image_data import FileSplit
from raykd.data.image_files import ClassFolder, ImageFiles, joined
from raykd.data.source import Source
from raykd.data.split_names import split_name
from raykd.errors import RaykdError, unknown_name

LOOKED_THROUGH = 10_000
"""Files of a folder beside the training split that are looked through for an image."""


def read_folder(settings: DataSettings) -> Source:
    """Images of your own in ``data.root``: one folder a class, below folders of splits or in the root itself.

    Folders of splits are known by their names (`split_names`), and hold class folders. Where only a class has such a
    name, as that of trains, it holds images like the other classes.

    Raises:
        RaykdError: No such folder, no class folders, splits that cannot be told from classes, a class folder without
            images, a class that train does not have, or an empty file.
    """
    files = ImageFiles(_root(settings))
    folders = _split_folders(files)
    if folders:
        files.ignored.beside.extend(name for name in files.folders("") if name not in folders.values())
    return _read(files, folders or {"train": ""})


def read_imagenet(settings: DataSettings) -> Source:
    """ImageNet from ``data.root``: ``train`` and ``val``, each with one folder a class.

    Published accuracies are those of ``val``, so it serves as the test split, and validation is cut from train.

    Raises:
        RaykdError: As `read_folder`.
    """
    root = _root(settings)
    files = ImageFiles(root)
    folders = _by_split(files, _named(files, plain=True))
    for split, name in (("train", "train"), ("validation", "val")):
        if split not in folders:
            raise RaykdError(
                f"{files.shown(name)} is missing: data.root must hold ImageNet's train and val, one folder a class"
            )
    return _read(files, {"train": folders["train"], "test": folders["validation"]})


def _root(settings: DataSettings) -> Path:
    root = local_root(settings)
    if root is None:
        raise RaykdError(f"data.name {settings.name!r} needs data.root, the folder of the images")
    root = root.expanduser()
    if not root.is_dir():
        raise RaykdError(f"data.root {printable(root)} is no folder")
    return root


def _split_folders(files: ImageFiles) -> dict[str, str]:
    """The folder of each split; none where the root holds class folders."""
    everything = files.folders("")
    plain, in_words = _named(files, plain=True), _named(files, plain=False)
    others = [name for name in everything if name not in plain and name not in in_words]
    kinds = {name: files.kinds(name) for name in (*plain, *in_words)}
    holding_classes = {
        name
        for name, (folders, images) in kinds.items()
        # An image that lies about in a split makes it no class.
        if folders and (not images or (folders > 1 and len(plain) > 1))
    }
    named = plain or in_words
    splits = set(named.values())
    if not holding_classes.intersection(named):
        of_two = len(splits) > 1 and "train" in splits
        if named and (len(plain) == len(everything) or (of_two and (plain or not others))):
            raise _flat(files, named)
        return {}
    beyond = {name: split for name, split in in_words.items() if name in holding_classes}
    if not plain and ("train" not in beyond.values() or _holding_images(files, others)):
        return {}
    chosen = _by_split(files, plain)
    chosen |= _by_split(files, {name: split for name, split in beyond.items() if split not in chosen})
    if flat := [name for name in chosen.values() if name not in holding_classes]:
        raise _flat(files, flat)
    if "train" not in chosen:
        raise RaykdError(f"{files.shown('')} holds {_all(chosen.values())}, but no folder `train`")
    if len(chosen) == 1 and (beside := _holding_images(files, others)):
        train, beside = printable(chosen["train"]), printable(beside)
        raise RaykdError(
            f"{files.shown('')} holds {train} and {beside}: is {train} the training images, or a class?\n"
            f"if it is a class, move all class folders into a folder train; if not, move {beside} elsewhere"
        )
    return chosen


def _named(files: ImageFiles, plain: bool) -> dict[str, str]:
    """Folders of the root whose names are those of splits, or have such a word in them, with the split of each."""
    named = {name: split_name(name) for name in files.folders("")}
    return {name: found.split for name, found in named.items() if found is not None and found.plain is plain}


def _by_split(files: ImageFiles, named: Mapping[str, str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for name, split in named.items():
        if split in chosen:
            raise RaykdError(f"{files.shown('')} holds both {_all([chosen[split], name])}: keep one")
        chosen[split] = name
    return chosen


def _holding_images(files: ImageFiles, folders: Collection[str]) -> str | None:
    """The first of these folders that holds an image."""
    return next((name for name in folders if files.holds(name, LOOKED_THROUGH)), None)


def _flat(files: ImageFiles, folders: Collection[str]) -> RaykdError:
    verb = "holds" if len(folders) == 1 else "hold"
    return RaykdError(
        f"{_all(folders)} in {files.shown('')} {verb} no class folders: images must lie in one folder a class\n"
        "if these are classes, move all class folders into a folder train"
    )


def _all(names: Iterable[str]) -> str:
    return joined(map(printable, names))


def _read(files: ImageFiles, folders: Mapping[str, str]) -> Source:
    classes = {split: files.class_folders(path) for split, path in folders.items()}
    names = tuple(own.name for own in classes["train"])
    for split, path in folders.items():
        for own in classes[split]:
            if own.name not in names:
                raise unknown_name("class", own.name, names, where=files.shown(path))
    everything = [own for split in classes.values() for own in split]
    files.read(everything)
    for own in everything:
        inside = {name: split_name(name) for name in own.folders}
        known = {name: found.split for name, found in inside.items() if found is not None and found.plain}
        if "train" in known.values() and len(set(known.values())) > 1:
            advice = f"folders of splits must hold those of the classes, such as train/{own.name}"
            if len(everything) == 1:
                advice = "then data.root is that folder"
            raise RaykdError(f"{files.shown(own.path)} holds {_all(known)}: are they splits?\n{advice}")
    splits = {split: _split(files.root, own, names) for split, own in classes.items()}
    return Source(splits, names, crop_padding=0, horizontal_flip=True, ignored=files.ignored)


def _split(root: Path, folders: list[ClassFolder], class_names: tuple[str, ...]) -> FileSplit:
    labels = {name: label for label, name in enumerate(class_names)}
    names = np.array([os.fsencode(path) for own in folders for path, _ in own.images])
    sizes = np.array([size for own in folders for _, size in own.images], np.int64)
    classes = np.repeat([labels[own.name] for own in folders], [len(own.images) for own in folders])
    return FileSplit(root, names, sizes, torch.from_numpy(classes))
