"""Who takes part in the study of the papers' claims, and under which settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raykd.config import Experiment, Part
from raykd.knowledge.methods import METHODS
from raykd.results.questions import BEYOND, QUESTIONS, TEACHER
from raykd.settings_io import override
from raykd.study.claims.claims import RANGES, tried_settings, values_of
from raykd.study.claims.contenders import CONTENDERS, FAMILIES, Contender, Variant, variants
from raykd.training.teacher_cache import teachers

BASE = override(
    Experiment(),
    {"training.epochs": 10, "teacher.training.epochs": 20, "training.batch_size": 64, "teacher.cache": Path("/cache")},
)


def taking_part() -> Iterator[tuple[Variant, Contender]]:
    for part, contenders in CONTENDERS.items():
        for variant in variants(BASE, part):
            yield from ((variant, contender) for contender in contenders)


def identity(variant: Variant, contender: Contender) -> str:
    """All that decides a contender's students: their training and their teachers."""
    experiment = contender.experiment(BASE, values_of(contender.family, tried_settings(1)[0]), variant.conditions)
    spec = contender.spec(experiment)
    chain = teachers(experiment, "abc") if spec.needs_teacher else []
    content = spec.identity()
    content["method"] = {"name": content["method"]["name"]} if not chain else content["method"]
    return json.dumps([content, [teacher.folder for teacher in chain]], sort_keys=True)


def test_every_name_that_is_asked_about_takes_part_in_the_strong_pair() -> None:
    names = {contender.name for contender in CONTENDERS["strong"]}
    asked = {
        name.removeprefix(TEACHER)
        for question in QUESTIONS.values()
        for each in question.comparisons
        for name in (each.better, each.than)
    }
    assert asked <= names
    # All others are there to be asked about, too.
    assert names - asked == set()
    assert names >= BEYOND


@pytest.mark.parametrize("part", CONTENDERS)
def test_no_two_contenders_of_a_part_are_the_same(part: Part) -> None:
    contenders = CONTENDERS[part]
    assert len({contender.name for contender in contenders}) == len(contenders)
    tuned_apart = ("drop", "paper")  # the same settings as others, but for what is tuned
    for variant in variants(BASE, part):
        identities = [identity(variant, contender) for contender in contenders if contender.name not in tuned_apart]
        assert len(set(identities)) == len(identities)


def test_conditions_are_laid_over_everything() -> None:
    recipe = {variant.name: variant for variant in variants(BASE, "recipe")}
    kd = Contender("kd", "kd")
    small = kd.experiment(BASE, {"training.learning_rate": 0.3}, recipe["batch 8, Adam"].conditions)
    assert (small.training.batch_size, small.training.optimizer, small.training.learning_rate) == (8, "adamw", 1e-4)
    assert kd.experiment(BASE, {}, recipe["three times as long"].conditions).training.epochs == 30
    twice = Contender("plain, twice as long", "plain", longer=2)
    assert twice.experiment(BASE, {}, recipe["three times as long"].conditions).training.epochs == 60


def test_the_pairs_differ_in_their_teachers_alone() -> None:
    pairs: tuple[Part, ...] = ("strong", "weak", "same")
    found = {part: Contender("kd", "kd").experiment(BASE, {}, variants(BASE, part)[0].conditions) for part in pairs}
    assert found["weak"].teacher.training.epochs == 2
    assert found["same"].teacher.model == BASE.student
    for part in ("weak", "same"):
        assert found[part].training_spec() == found["strong"].training_spec()


def test_noise_is_the_teacher_s_or_everybody_s() -> None:
    noise = {variant.name: variant for variant in variants(BASE, "noise")}
    kd = Contender("kd", "kd")
    alone = kd.experiment(BASE, {}, noise["noise 20%, teacher"].conditions)
    both = kd.experiment(BASE, {}, noise["noise 20%, both"].conditions)
    assert (alone.data.label_noise, alone.teacher_data.label_noise) == (0.0, 0.2)
    assert (both.data.label_noise, both.teacher_data.label_noise) == (0.2, 0.2)
    assert teachers(alone, "abc")[-1].folder == teachers(both, "abc")[-1].folder


def test_conditions_without_tuning_of_their_own_use_the_strong_pair_s() -> None:
    tuned_in = {variant.name: variant.tuned_in for variant, _ in taking_part()}
    assert {name for name, source in tuned_in.items() if name == source} == {"strong", "weak", "same"}
    assert {source for name, source in tuned_in.items() if name != source} == {"strong"}


def test_every_family_is_tried_at_the_same_points_within_the_ranges() -> None:
    tried = tried_settings(8)
    assert tried == tried_settings(8)
    assert tried[:3] == tried_settings(3), "more trials go on where fewer end"
    for settings in tried:
        assert all(low <= settings[name] <= high for name, (low, high) in RANGES.items())
    assert values_of("kd", tried[0]) == tried[0]
    assert set(values_of("plain", tried[0])) == {"training.learning_rate", "training.weight_decay"}
    assert all(values_of("plain", each)["training.weight_decay"] == each["training.weight_decay"] for each in tried)


def test_families_are_methods_that_there_are() -> None:
    assert {str(settings["method.name"]) for settings in FAMILIES.values()} <= set(METHODS)


def test_every_honest_contender_has_teachers_of_folds() -> None:
    for variant, contender in taking_part():
        if contender.family in ("honest", "corrected"):
            experiment = contender.experiment(BASE, {}, variant.conditions)
            assert len(teachers(experiment, "abc")[-1].members) == 5
