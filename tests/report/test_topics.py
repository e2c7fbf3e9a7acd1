"""`raykd explain` knows all that a user can set: names have texts, formulas are those of the code, and lines fit."""

from __future__ import annotations

import io
import math

import pytest
import torch
from rich.console import Console
from sympy import Symbol
from sympy.parsing.sympy_parser import implicit_multiplication, parse_expr, standard_transformations

from raykd.config import BiasSettings, Experiment, ScheduleSettings
from raykd.errors import RaykdError
from raykd.knowledge import bias, schedule
from raykd.knowledge.methods import METHODS
from raykd.report.explanation import Explanation
from raykd.report.ideas import CHOICES, PARTS, SAMPLERS
from raykd.report.setting_words import choices_of
from raykd.report.terminal import print_found
from raykd.report.topics import Topic, explained
from raykd.settings_errors import leaves, sections
from raykd.settings_io import setting_value

SETTINGS = leaves(Experiment)


def printed(name: str, width: int = 80) -> str:
    """What the command prints."""
    output = io.StringIO()
    print_found(explained(name), Console(file=output, width=width, highlight=False))
    return output.getvalue()


def only(name: str) -> Topic:
    """The one explanation of a name."""
    (topic,) = explained(name)
    assert isinstance(topic, Topic)
    return topic


def test_everything_that_can_be_set_is_explained_in_80_columns() -> None:
    open_to_users = [name for name in SETTINGS if only(name).usage]
    choices = {choice for name in open_to_users for choice in choices_of(SETTINGS[name].annotation)}
    names = [*METHODS, *SETTINGS, *sections(Experiment), *choices, *PARTS, *SAMPLERS, *CHOICES]
    names += [idea for kind in CHOICES.values() for idea in kind.ideas]
    for name in dict.fromkeys(names):
        text = printed(name)
        assert len(text.splitlines()) > 2, name
        # A word that is longer has no place to be broken at.
        assert all(len(line) <= 80 or len(line.split()) <= 2 for line in text.splitlines()), name
        assert "`" not in text and "No docstring." not in text, name


def test_ideas_have_a_source_and_say_when_to_use_them() -> None:
    for kind, choices in CHOICES.items():
        assert set(choices.ideas) == set(choices_of(SETTINGS[choices.setting].annotation)), kind
    ideas = [idea for choices in CHOICES.values() for idea in choices.ideas.values()]
    ideas += [part.idea for part in (PARTS | SAMPLERS).values()]
    assert all(idea.when.endswith(".") for idea in ideas)
    assert all(idea.source for idea in ideas if idea.formula)
    for part in (PARTS | SAMPLERS).values():
        assert set(part.settings) <= set(SETTINGS) and set(part.methods) <= set(METHODS)


def test_a_setting_is_explained_by_its_docstring_type_default_and_use() -> None:
    topic = only("bias.strength")
    assert topic.paragraphs[0].startswith("pair, one_hot, smooth: how strongly")
    assert topic.notes[:2] == ("Default: 0.5.", "Values: 0 to 1.")
    assert "It has an effect with bias.form pair, one_hot, smooth." in topic.notes
    assert any("search spaces" in note and "dkd_bias" in note for note in topic.notes)
    assert ("Python", 'raykd.Experiment(bias={"strength": 0.5})') in topic.usage
    assert "It belongs to the method dkd: raykd explain dkd." in only("method.dkd.target_weight").notes
    assert only("data.fold").usage == ()  # nobody but raykd sets it
    assert only("ce-weight").name == "objective.ce_weight"


def test_what_is_shown_can_be_typed() -> None:
    for name in SETTINGS:
        for way, text in only(name).usage:
            if way == "Python" and "VALUE" not in text:
                made = eval(text, {"raykd": __import__("raykd")})
                assert setting_value(made, name) == setting_value(Experiment(), name)


def test_an_idea_is_explained_with_its_settings() -> None:
    topic = only("pair")
    assert "p_label" in topic.idea.formula and "2412.09874" in topic.idea.source and topic.idea.when
    assert [setting.name for setting in topic.settings] == ["bias.strength"]
    assert {setting.name for setting in only("generous teacher").settings} == {
        name for name in SETTINGS if name.startswith("teacher.generous.")
    }
    assert [setting.name for setting in only("asha").settings] == ["study.grace_share", "study.reduction_factor"]
    assert [each.title for each in explained("constant") if isinstance(each, Topic)] == [
        "a weight of right answers over the training (schedule.form)",
        "what logits are divided by (temperature.policy)",
        "a choice of training.decay and teacher.training.decay",
        "a choice of teacher.generous.policy",
    ]
    for words in ("cross-fitting", "Cross Fitting", "cross_fitting"):
        assert only(words).settings[0].name == "teacher.folds"
    assert isinstance(explained("dkd")[0], Explanation)
    titles = {"dkd_bias": "a search space", "cifar100_vgg13_vgg8": "a recipe", "digits": "a data set"}
    for name, title in titles.items():
        assert only(name).title == title
    assert only("resnet20").usage[0] == ("command line", "--student.name resnet20")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dkdd", "unknown method 'dkdd': did you mean 'dkd'?"),
        ("cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
        ("pairs", "unknown repair 'pairs': did you mean 'pair'?"),
        ("generuos", "unknown teacher 'generuos': did you mean 'generous'?"),
        ("finalist", "unknown idea 'finalist': did you mean 'finalists'?"),
        ("bias.strenght", "unknown setting 'bias.strenght': did you mean 'bias.strength'?"),
        ("hand_ovr", "unknown setting 'hand_ovr': did you mean 'schedule.hand_over'?"),
        ("epochs", "'epochs' stands for several settings: name one of training.epochs, teacher.training.epochs"),
        ("resnt20", "unknown network 'resnt20': did you mean 'resnet20'?"),
        ("zzzz", "unknown name 'zzzz': `raykd list settings` and `raykd list methods` say what there is"),
    ],
)
def test_an_unknown_name_is_answered_from_the_right_list(name: str, message: str) -> None:
    with pytest.raises(RaykdError) as caught:
        explained(name)
    assert str(caught.value) == message


def value_of(formula: str, values: dict[str, float]) -> dict[str, float]:
    """The values of all names that a formula defines, by sympy; names may be used before they are defined."""
    known = dict(values)
    parts = [part.partition(" = ") for part in formula.replace("onehot(label)", "onehot").replace("'", "_").split(", ")]
    for _ in parts:
        for name, _, right in parts:
            symbols = {each: Symbol(each) for each in [*known, *(other for other, _, _ in parts), "S"]}
            rules = (*standard_transformations, implicit_multiplication)
            result = parse_expr(right, local_dict=symbols, transformations=rules).subs(known)
            if result.is_number:
                known[name] = float(result)
    return known


@pytest.mark.parametrize("form", ["pair", "swap", "one_hot", "smooth", "revision", "margin"])
def test_formulas_of_repairs_are_what_the_code_computes(form: str) -> None:
    p = torch.tensor([0.1, 0.6, 0.25, 0.05], dtype=torch.float64)
    settings = BiasSettings(form=form, strength=0.3, smoothing=0.2, eta=0.7, margin=0.15)
    repaired = bias.rectify(p.log().unsqueeze(0), torch.tensor([2]), settings).exp()[0]
    shared = dict(settings.model_dump(include={"strength", "smoothing", "eta", "margin"}), p_label=0.25, p_rival=0.6)
    for index in range(4):
        known = shared | {"p": float(p[index]), "onehot": float(index == 2), "classes": 4.0}
        found = value_of(bias.FORMS[form].formula, known)
        by_class = {1: "p_rival_", 2: "p_label_"} if form in ("pair", "swap") else dict.fromkeys(range(4), "p_")
        if index in by_class:
            assert found[by_class[index]] == pytest.approx(float(repaired[index]))


@pytest.mark.parametrize("form", schedule.FORMS)
def test_formulas_of_schedules_are_what_the_code_computes(form: str) -> None:
    settings = ScheduleSettings(form=form, shape=2.0, weight=0.3, step_at=0.4)
    for progress in (0.0, 0.25, 0.5, 1.0):
        names = {"pi": math.pi, "cos": math.cos, "sin": math.sin, "progress": progress}
        formula = schedule.FORMS[form].formula.removeprefix("b = ")
        assert eval(formula, names | settings.model_dump()) == pytest.approx(settings.right_weight(progress), abs=1e-12)
