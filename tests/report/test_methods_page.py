"""The page docs/methods.md, and whether its sentences are true: every combination is built and tried on a batch."""

from __future__ import annotations

import shlex
from functools import cache
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from raykd.command_line import parse
from raykd.config import BiasSettings, Experiment, ScheduleSettings, TemperatureSettings, TrainingSpec
from raykd.data import load_data
from raykd.errors import RaykdError
from raykd.knowledge import Hints, Objective, Workers, captured
from raykd.knowledge.methods import METHODS
from raykd.knowledge.objective import ALONE
from raykd.models import build_model
from raykd.report.combinations import APART, AS_ONE, FINITE, LEARNED
from raykd.report.explanation import Explanation, explain
from raykd.report.methods_page import methods_page
from raykd.report.terminal import shell_lines
from raykd.settings_io import setting_value
from raykd.training.build import build_objective
from raykd.training.hint_layers import HintLayers, find_hint_layers
from tests.helpers.paths import ROOT

SAMPLES, CLASSES = 24, 10
POLICIES: tuple[str, ...] = get_args(TemperatureSettings.model_fields["policy"].annotation)
FORMS: tuple[str, ...] = get_args(BiasSettings.model_fields["form"].annotation)
SCHEDULES: tuple[str, ...] = get_args(ScheduleSettings.model_fields["form"].annotation)
DENOMINATORS: tuple[str, ...] = get_args(BiasSettings.model_fields["denominator"].annotation)

explanation_of = cache(explain)
each_method = pytest.mark.parametrize("name", METHODS)


class NoiseBatch:
    """A batch of random images, with random logits of student and teacher, and hints of two networks."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        data = load_data(Experiment().data)
        self._info, self._train_labels = data.info, data.split("train").labels
        self._layers: dict[str, HintLayers | None] = {}
        self._networks = {"student": self._network(0.25), "teacher": self._network(0.5)}
        self._known_hints: dict[tuple[Any, ...], Hints] = {}
        self.images = torch.rand(SAMPLES, 1, 8, 8)
        self.student = 3 * torch.randn(SAMPLES, CLASSES)
        self.teacher = 3 * torch.randn(SAMPLES, CLASSES)
        # Two thirds of the teacher's answers are right.
        self.labels = self.teacher.argmax(dim=1)
        self.labels[::3] = (self.labels[::3] + 1) % CLASSES

    def objective(self, spec: TrainingSpec) -> tuple[Objective, HintLayers | None]:
        name = spec.method.name
        if name not in self._layers:
            self._layers[name] = find_hint_layers(spec, **self._networks, info=self._info, labels=self._train_labels)
        layers = self._layers[name]
        torch.manual_seed(1)
        return build_objective(spec, layers.shapes if layers else None), layers

    def loss(self, spec: TrainingSpec, workers: Workers = ALONE, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """The total of the rows, and its gradient with respect to the student's logits."""
        objective, layers = self.objective(spec)
        student = self.student[rows].clone().requires_grad_()
        hints = self._hints(layers, rows) if layers else None
        total = objective(
            student, self.teacher[rows], self.labels[rows], epoch=1, epochs=4, workers=workers, hints=hints
        ).total
        total.backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        return total.detach(), student.grad

    def _network(self, width: float) -> nn.Module:
        settings = Experiment().student.model_copy(update={"name": "resnet8", "arguments": {"width": width}})
        return build_model(settings, num_classes=CLASSES, in_channels=1)

    def _hints(self, layers: HintLayers, rows: slice) -> Hints:
        key = (tuple(layers.student), tuple(layers.teacher), rows.start, rows.stop)
        if key not in self._known_hints:
            hints = []
            for role, names in {"student": layers.student, "teacher": layers.teacher}.items():
                network = self._networks[role].eval()
                with torch.no_grad(), captured(network, names) as features:
                    network(self.images[rows])
                hints.append(tuple(features[name] for name in names))
            self._known_hints[key] = Hints(*hints, self.labels[rows], torch.arange(SAMPLES)[rows])
        return self._known_hints[key]


@pytest.fixture(scope="module")
def batch() -> NoiseBatch:
    return NoiseBatch()


def spec(name: str, policy: str = POLICIES[0], schedule: str = SCHEDULES[0], **bias: Any) -> TrainingSpec:
    sections = {"method": {"name": name}, "temperature": {"policy": policy}, "schedule": {"form": schedule}}
    return TrainingSpec.model_validate(sections | {"bias": bias})


def test_the_page_is_current() -> None:
    path = ROOT / "docs/methods.md"
    assert path.read_text() == methods_page(), "python -m raykd.report.methods_page > docs/methods.md"


@each_method
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("form", FORMS)
def test_what_the_sentences_allow_is_accepted_and_what_they_forbid_is_refused(
    batch: NoiseBatch, name: str, policy: str, form: str
) -> None:
    explanation = explanation_of(name)
    plain = batch.loss(spec(name))
    total, gradient = batch.loss(spec(name, policy, form=form))
    assert torch.isfinite(total) and torch.isfinite(gradient).all() and gradient.any()
    if explanation.kind == "no teacher":
        assert torch.equal(total, plain[0]) and torch.equal(gradient, plain[1])
    tried = set()
    for values in product((0.0, 0.5, 1.0), repeat=len(SHARES)):
        bias = {"form": form, **dict(zip(SHARES, values, strict=True))}
        if FINITE in explanation.combinations and takes_all_from_a_class(**bias):
            with pytest.raises(RaykdError, match=rf"method {name} .* with bias\.form {form}"):
                spec(name, policy, **bias)
            continue
        allowed = spec(name, policy, **bias)
        used = tuple(value for share, value in bias.items() if share in USED.get(form, ()))
        if used not in tried:
            tried.add(used)
            total, gradient = batch.loss(allowed)
            assert torch.isfinite(total) and torch.isfinite(gradient).all()


SHARES = ("strength", "smoothing", "margin")
USED = {"pair": ["strength"], "one_hot": ["strength"], "smooth": ["strength", "smoothing"], "margin": ["margin"]}
"""Settings on which a form of repair depends."""


def takes_all_from_a_class(form: str, strength: float, smoothing: float, margin: float) -> bool:
    """Whether a repair is one that the sentence `FINITE` forbids."""
    match form:
        case "pair" | "one_hot":
            return not strength < 1
        case "smooth":
            return not (strength < 1 or smoothing > 0)
        case "margin":
            return not margin < 1
    return False


@each_method
@pytest.mark.parametrize("form", FORMS)
def test_schedules_and_denominators(batch: NoiseBatch, name: str, form: str) -> None:
    plain, _ = batch.loss(spec(name, form=form))
    for schedule, denominator in product(SCHEDULES, DENOMINATORS):
        total, gradient = batch.loss(spec(name, schedule=schedule, form=form, denominator=denominator))
        assert torch.isfinite(total) and torch.isfinite(gradient).all()
        if explanation_of(name).kind == "no teacher" or form == "keep":
            assert torch.equal(total, plain)


@each_method
def test_several_workers(batch: NoiseBatch, name: str) -> None:
    explanation = explanation_of(name)
    alone, _ = batch.loss(spec(name))
    # The two parts differ in size and in the share of wrong answers.
    halves = (slice(0, 7), slice(7, SAMPLES))
    counts: list[Tensor] = []
    for rows in halves:
        batch.loss(spec(name), Workers(2, lambda local: counts.append(local) or local), rows)
    workers = Workers(2, lambda local: sum(counts, torch.zeros(())))
    shares = [batch.loss(spec(name), workers, rows)[0] for rows in halves]
    same = torch.allclose(sum(shares, torch.zeros(())) / 2, alone, rtol=1e-5)
    if AS_ONE in explanation.combinations or explanation.kind == "no teacher":
        assert same
    elif explanation.kind == "batch":
        assert APART in explanation.combinations
        assert not same


@each_method
def test_learned_parts(batch: NoiseBatch, name: str) -> None:
    objective, _ = batch.objective(spec(name))
    learned = any(parameter.requires_grad for part in objective.modules for parameter in part.parameters())
    assert (LEARNED in explanation_of(name).combinations) == learned


def parsed_by_a_shell(explanation: Explanation, width: int) -> list[str]:
    """The words that a shell makes of the printed command."""
    command = shell_lines(explanation.command, width)
    assert max(map(len, command.splitlines())) <= width
    return shlex.split(command.replace("\\\n", " "))


@each_method
def test_the_published_command_runs(name: str) -> None:
    words = parsed_by_a_shell(explanation_of(name), width=80)
    assert parsed_by_a_shell(explanation_of(name), width=120) == words
    assert words[:2] == ["raykd", "distill"]
    experiment = parse(Experiment(), arguments=words[2:])
    assert experiment.method.name == name
    for setting, value in METHODS[name].published.items():
        assert setting_value(experiment, setting) == value


@each_method
def test_every_setting_is_explained(name: str) -> None:
    explanation = explanation_of(name)
    assert [setting.name for setting in explanation.settings] == [
        f"method.{name}.{field}" for field in METHODS[name].model_fields
    ]
    assert all(setting.default and setting.help for setting in explanation.settings)
    assert explanation.formula and explanation.source and explanation.summary.endswith(".")
    assert bool(explanation.layers) == (explanation.kind == "features")
