"""Networks and methods: built in, of torchvision and timm, and the user's own; and finished teachers."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.helpers.bad_input import Bad, Refuse, settings

SMALL = "data.train_images: 60\n"
"""The networks are checked after the data."""


def network(text: str, *says: str, build: str = "") -> Bad:
    """A case of a student; `build` is the body of a builder of the user's own, `mine:build`."""
    code = f"from torch import nn\ndef build(num_classes, size=8):\n    {build}\n" if build else ""
    return settings(SMALL + text, *says, **({"mine": code} if code else {}))


def weights(content: object, *says: str, name: str = "w.pt", setting: str = "student.weights") -> Bad:
    """A case of a file of weights: its bytes, or what torch writes."""

    def make(folder: Path) -> None:
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif name.endswith(".safetensors"):
            safetensors.torch.save_file(content, folder / name)
        else:
            torch.save(content, folder / name)

    return settings(f"{SMALL}{setting}: {name}", name, *says, make=make)


OWN = "student: {name: 'mine:build', arguments: {}}"

CASES = {
    "misspelt network": network("student.name: resnet9", "unknown model 'resnet9': did you mean 'resnet8'?"),
    "capitals": network("student.name: RESNET8", "unknown model 'RESNET8': did you mean 'resnet8'?"),
    "misspelt teacher": network("teacher.model.name: resnet21", "unknown model 'resnet21': did you mean"),
    "unknown library": network("student.name: tim/resnet18", "unknown model 'tim/resnet18': did you mean 'timm/NAME'?"),
    "misspelt network of torchvision": network("student.name: torchvision/resnet19", "did you mean 'resnet1"),
    "misspelt network of timm": network("student.name: timm/resnet19", "unknown timm model 'resnet19': did you mean"),
    "misspelt weights": network(
        "student: {name: torchvision/resnet18, weights: IMAGNET1K_V1}",
        "unknown weights 'IMAGNET1K_V1'",
        "IMAGENET1K_V1",
    ),
    "misspelt argument": network("student.arguments: {widht: 1}", "'widht'; its arguments: width=1.0"),
    "wrong argument": network("student.arguments: {width: x}", "width must be a positive number, not 'x'"),
    "argument of the data's": network("student.arguments: {num_classes: 3}", "are set by the data: drop them"),
    "argument of torchvision": network(
        "student: {name: torchvision/resnet18, arguments: {depth: 3}}", "torchvision/resnet18 refuses the arguments"
    ),
    "too small images": network(
        "student: {name: torchvision/alexnet, arguments: {}}", "does not take images of 1 x 8 x 8"
    ),
    "no module": network("student.name: 'nowhere:build'", "model 'nowhere:build': no module named 'nowhere'"),
    "no path": network("student.name: ':'", "an import path looks like `package.module:function`"),
    "own: raises": network(OWN, "model mine:build cannot be built: not today", build="raise ValueError('not today')"),
    "own: exits": network(OWN, "model mine:build cannot be built: ", build="raise SystemExit('usage: mine')"),
    "own: no network": network(OWN, "the builder must return a torch.nn.Module, not str", build="return 'resnet'"),
    "own: other classes": network(
        OWN, "answers with shape (2, 11)", build="return nn.Sequential(nn.Flatten(), nn.Linear(64, 11))"
    ),
    "own: other images": network(OWN, "does not take images of 1 x 8 x 8", build="return nn.Linear(3, num_classes)"),
    "own: unknown argument": network(
        "student: {name: 'mine:build', arguments: {sise: 3}}", "'sise'; its arguments: size=8", build="return None"
    ),
    "a misspelt method": network(
        "method.name: dkdd", "method.name in mine.yaml: unknown method 'dkdd': did you mean 'dkd'?"
    ),
    "a method from nowhere": network("method.name: 'nowhere:loss'", "no module named 'nowhere'"),
    "a method that is none": network("method.name: 'math:pi'", "expected a function"),
    "layers of a method without": network(
        "method: {name: kd, student_layers: [layer1]}", "method kd uses no hint layers"
    ),
    "an unknown layer": network("method: {name: fitnet, student_layers: [layer9]}", "layer9", "method.student_layers"),
    "arguments of a method without": network("method: {name: kd, arguments: {a: 1}}", "set method.kd. ... instead"),
    # files of weights
    "no weights": network("student.weights: nowhere.pt", "nowhere.pt: no such file"),
    "nothing in the file": weights(b"", "cannot be read"),
    "no weights in the file": weights(b"hello", "cannot be read", "save the state dict alone"),
    "a picture's name": weights({"epoch": 3}, "holds no state dict"),
    "another's weights": weights({"fc.weight": torch.zeros(10, 3)}, "do not fit this", "choose the model"),
    "half a file": weights(b"\x08\0\0\0\0\0\0\0{}", "cannot be read", name="w.safetensors"),
    # finished teachers
    "teacher: no file": network("teacher.source: nowhere.pt", "teacher.source nowhere.pt: no such file or folder"),
    "teacher: an empty folder": settings(
        f"{SMALL}teacher.source: ./empty",
        "no finished raykd model in this folder",
        make=lambda at: (at / "empty").mkdir(),
    ),
    "teacher: no weights in the file": weights(b"hello", "cannot be read", setting="teacher.source"),
    "teacher: another's weights": weights(
        {"fc.weight": torch.zeros(10, 3)}, "do not fit this", name="w.safetensors", setting="teacher.source"
    ),
    "teacher: weights by name of a built-in": network("teacher.source: IMAGENET1K_V1", "IMAGENET1K_V1: no such file"),
    "teacher: no MLflow": network("teacher.source: 'models:/a@b'", "models:/a@b: set tracking.uri"),
    "teacher: an unknown store": network("teacher.source: 'ftp://host/x'", "unknown store 'ftp'"),
    "teacher: no address": network("teacher.source: 's3://[host/x'", "teacher.source: it cannot be read as an address"),
    "teacher: folds of a finished one": network(
        "teacher: {source: w.pt, folds: 3}", "teacher.source is a finished one: leave one out"
    ),
    "teacher: more folds than images": network("teacher.folds: 300", "teacher.folds 300: the smallest class has"),
    "teacher: one fold": network("teacher.folds: 1", "teacher.folds: Input should be greater than or equal to 2"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_refused(case: Bad, refuse: Refuse) -> None:
    refuse(case)
