"""Adding a method to raykd is one file: a copy of the package with one file more knows it everywhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import raykd

REPOSITORY = Path(raykd.__file__).parent.parent
METHOD = '''
"""A new method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import LogitMethod, as_published
from raykd.settings import Positive

if TYPE_CHECKING:
    from torch import Tensor


class NewOne(LogitMethod):
    """Squared difference of sharpened probabilities."""

    name = "newone"
    formula = "T^2 mean_i sum_k (softmax(sharpness teacher_i / T)_k - softmax(student_i / T)_k)^2"
    source = "this test"
    published = as_published(ce_weight=0.2, kd_weight=0.8, temperature=2.0)

    sharpness: Positive = 1.0
    """How much the teacher's answers are sharpened."""

    def loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the loss [B] of tempered logits [B, C] and labels int64 [B], without any T^2."""
        return ((teacher * self.sharpness).softmax(dim=1) - student.softmax(dim=1)).square().sum(dim=1)
'''
USE = """
import runpy, sys
import raykd
from raykd.command_line import parse
from raykd.knowledge.methods import METHODS
from raykd.config.methods import MethodSettings
from raykd.settings_io import override, resolve_setting, setting_names

assert raykd.__file__.startswith(sys.argv[1]), raykd.__file__
assert METHODS["newone"]().sharpness == 1.0
assert MethodSettings(name="newone").newone.sharpness == 1.0
assert "method.newone.sharpness" in setting_names()
assert resolve_setting("method.newone.sharpness").description == "How much the teacher's answers are sharpened."
published = override(raykd.Experiment(), {"method.name": "newone", **METHODS["newone"].published})
assert published.objective.kd_weight == 0.8
assert "torch" not in sys.modules

script = runpy.run_path("experiments/distill.py")["EXPERIMENT"]
experiment = parse(script, arguments=["--method", "newone", "--method.newone.sharpness", "2"])
assert experiment.method.newone.sharpness == 2.0

import torch
from raykd.training.build import build_objective

student, teacher = torch.randn(2, 4, 3)
labels = teacher.argmax(dim=1)
total = build_objective(published.training_spec())(student, teacher, labels, epoch=1, epochs=2).total
squares = ((teacher / 2).softmax(dim=1) - (student / 2).softmax(dim=1)).square().sum(dim=1)
torch.testing.assert_close(
    total, 0.2 * torch.nn.functional.cross_entropy(student, labels) + 0.8 * 4 * squares.mean()
)
print(" ".join(METHODS))
"""


def test_one_new_file_is_known_to_settings_spaces_command_line_and_objective(tmp_path):
    shutil.copytree(REPOSITORY / "raykd", tmp_path / "raykd", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "raykd/knowledge/methods/new_one.py").write_text(METHOD)
    run = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == sorted([*raykd.knowledge.methods.METHODS, "newone"])
