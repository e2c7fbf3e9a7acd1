"""Who is confirmed: the same budget, seeds and splits for all, and a test split that nobody learns from."""

from __future__ import annotations

import pytest
import torch

import raykd
from raykd.command_line import parse
from raykd.config import DataSettings, Experiment, ModelSettings, TeacherSettings, TrainingSettings, TrainingSpec
from raykd.data import load_data, training_batches
from raykd.errors import RaykdError
from raykd.results.confirm import ChosenTrial
from raykd.search.space_file import load_space
from raykd.settings_io import override
from raykd.study.confirm.contenders import BASELINES, contenders, named_teachers
from raykd.study.published import as_published
from raykd.training.teacher_cache import teachers

BASE = Experiment(
    data=DataSettings(name="digits", train_images=300),
    teacher=TeacherSettings(model=ModelSettings(name="resnet8")),
    student=ModelSettings(name="resnet8", arguments={"width": 0.25}),
    training=TrainingSettings(epochs=24, seed=7, batch_size=30),
)
ON_TEST = override(BASE, {"data.held_out": "test"})
WINNER = ChosenTrial("trial-0003", {"temperature.multiplier": 2.0, "bias.form": "swap"}, 0.9)
SECOND = ChosenTrial("trial-0001", {"temperature.multiplier": 3.0, "training.learning_rate": 0.1}, 0.8)


def found(experiment: Experiment = ON_TEST, *trials: ChosenTrial):
    return {each.name: each for each in contenders(experiment, trials or (WINNER, SECOND), "print")}


def spec(contender, seed: int = 8) -> TrainingSpec:
    return contender.students[seed].spec


def test_baselines_and_trials_learn_under_the_same_fresh_seeds_at_the_same_budget():
    everyone = found()
    assert list(everyone) == ["plain", "kd", "dkd", "trial-0003", "trial-0001"]
    assert BASELINES == ("plain", "kd", "dkd")
    for contender in everyone.values():
        assert list(contender.students) == [8, 9, 10, 11, 12]
        for seed in contender.students:
            taught = spec(contender, seed)
            assert (taught.training.seed, taught.data.view_seed) == (seed, seed)
            assert taught.data.seed == BASE.data.seed
            assert taught.data.held_out == "test"
            assert taught.student == BASE.student
            same = {"seed": BASE.training.seed, "stacking": BASE.training.stacking}
            if contender.name == "trial-0001":
                assert taught.training.learning_rate == 0.1
                same["learning_rate"] = BASE.training.learning_rate
            assert taught.training.model_copy(update=same) == BASE.training
    names = [each.student for contender in everyone.values() for each in contender.students.values()]
    assert len(set(names)) == len(names) == 25


def test_trials_are_taught_as_the_study_did_and_baselines_as_published():
    everyone = found()
    assert not spec(everyone["plain"]).needs_teacher
    assert everyone["plain"].chain == ()
    trial = spec(everyone["trial-0003"])
    assert (trial.temperature.multiplier, trial.bias.form) == (2.0, "swap")
    assert trial.objective == BASE.objective
    kd, dkd = spec(everyone["kd"]), spec(everyone["dkd"])
    assert (kd.method.name, kd.objective.ce_weight, kd.objective.kd_weight) == ("kd", 0.1, 0.9)
    assert (dkd.method.name, dkd.objective.ce_weight, dkd.objective.kd_weight) == ("dkd", 1.0, 1.0)
    assert (dkd.method.dkd.target_weight, dkd.method.dkd.non_target_weight) == (1.0, 8.0)
    for each in (kd, dkd):
        assert (each.temperature.policy, each.temperature.value, each.bias.form) == ("constant", 4.0, "keep")


@pytest.mark.parametrize(("epochs", "warmup"), [(240, 20), (24, 2), (10, 1), (3, 0), (480, 40)])
def test_a_published_warm_up_keeps_its_share_of_the_training(epochs, warmup):
    published = as_published(override(BASE, {"training.epochs": epochs}), "dkd")
    assert published.objective.warmup_epochs == warmup
    assert as_published(override(BASE, {"training.epochs": epochs}), "kd").objective.warmup_epochs == 0


def test_what_the_study_tuned_by_hand_does_not_reach_the_published_baselines():
    tuned = {
        "method.dkd.non_target_weight": 3.0,
        "objective.warmup_epochs": 5,
        "bias.form": "drop",
        "temperature.policy": "std",
    }
    assert as_published(override(BASE, tuned), "dkd").training_spec() == as_published(BASE, "dkd").training_spec()


def test_a_searched_network_is_the_winner_s_for_the_baselines():
    small, large = ({"width": 0.5}, {"width": 1.0})
    trials = [
        ChosenTrial("trial-0001", {"student.arguments.width": 0.5}, 0.9),
        ChosenTrial("trial-0002", {"student.arguments.width": 1.0}, 0.8),
    ]
    everyone = found(ON_TEST, *trials)
    networks = {name: spec(each).student.arguments for name, each in everyone.items()}
    assert networks == {"plain": small, "kd": small, "dkd": small, "trial-0001": small, "trial-0002": large}


def test_without_a_generous_teacher_in_the_study_there_is_none():
    everyone = found()
    (standard,) = named_teachers(ON_TEST, list(everyone.values()), "print")
    assert standard.name == "standard"
    assert {each.chain[-1].folder for each in everyone.values() if each.chain} == {standard.request.folder}


@pytest.mark.parametrize("values", [{"teacher.kind": "generous"}, {}])
def test_a_generous_teacher_of_the_study_or_of_a_trial_is_there(values):
    base = ON_TEST if values else override(ON_TEST, {"teacher.kind": "generous"})
    trial = ChosenTrial("trial-0000", values, 0.9)
    everyone = found(base, trial)
    standard, generous = named_teachers(base, list(everyone.values()), "print")
    assert (standard.name, generous.name) == ("standard", "generous")
    assert generous.request.teacher == standard.request.folder
    assert everyone["trial-0000"].chain[-1].folder == generous.request.folder
    assert everyone["kd"].chain[-1].folder == everyone["dkd"].chain[-1].folder == standard.request.folder


def test_teachers_that_trials_have_searched_are_told_apart():
    trials = [
        ChosenTrial(f"trial-000{n}", {"teacher.kind": "generous", "teacher.generous.multiplier": float(n)}, 0.9)
        for n in (1, 2)
    ]
    named = named_teachers(ON_TEST, list(found(ON_TEST, *trials).values()), "print")
    assert [each.name for each in named] == ["standard", "generous", "generous-trial-0002"]


def test_teachers_are_trained_anew_for_the_test_split_and_known_as_before_for_the_study():
    (study,), (own,) = teachers(BASE, "print"), teachers(ON_TEST, "print")
    assert study.folder != own.folder
    assert own.spec.data.view_seed is None
    content = BASE.training_spec().identity()["data"]
    assert not {"held_out", "view_seed"} & content.keys()
    assert ON_TEST.training_spec().identity()["data"]["held_out"] == "test"
    seeded = override(BASE, {"data.view_seed": 3})
    assert seeded.training_spec().identity()["data"]["view_seed"] == 3


def test_on_the_test_split_the_validation_images_are_learnt_from_and_the_test_images_are_the_same():
    study, own = load_data(BASE.data), load_data(ON_TEST.data)
    assert (study.info.held_out, own.info.held_out) == ("validation", "test")
    assert list(own.splits) == ["train", "test"]
    joined = torch.cat([study.split("train").images, study.split("validation").images])
    assert torch.equal(own.split("train").images, joined)
    assert torch.equal(own.split("test").images, study.split("test").images)
    assert torch.equal(own.split("test").labels, study.split("test").labels)
    assert (own.info.mean, own.info.std) == (study.info.mean, study.info.std)
    # What is learnt from are rows of that train split, each at most once.
    indices = torch.cat([batch.indices for batch in training_batches(own, batch_size=30).epoch(0)])
    assert len(set(indices.tolist())) == len(indices)
    assert int(indices.max()) < len(joined)


def test_the_views_seed_changes_order_and_nothing_else():
    one, other = (load_data(ON_TEST.data.model_copy(update={"view_seed": seed})) for seed in (8, 9))
    assert one.info.fingerprint == other.info.fingerprint
    orders = [next(iter(training_batches(data, batch_size=30).epoch(0))).indices for data in (one, other)]
    assert not torch.equal(*orders)
    same = load_data(ON_TEST.data.model_copy(update={"seed": 0, "view_seed": 0}))
    assert torch.equal(
        next(iter(training_batches(same, batch_size=30).epoch(0))).indices,
        next(iter(training_batches(load_data(ON_TEST.data), batch_size=30).epoch(0))).indices,
    )


@pytest.mark.parametrize("job", ["tune", "distill", "train_teacher", "compare_teachers"])
def test_no_other_job_is_measured_on_the_test_split(job, tmp_path):
    experiment = override(ON_TEST, {"study.output": tmp_path, "teacher.cache": tmp_path, "objective.kd_weight": 1.0})
    with pytest.raises(RaykdError, match=r"data\.held_out test: .*raykd confirm STUDY"):
        getattr(raykd, job)(experiment)
    assert list(tmp_path.iterdir()) == []


def test_the_split_is_neither_searched_nor_on_the_command_line(tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("data.held_out: {choices: [validation, test]}")
    with pytest.raises(RaykdError, match=r"data\.held_out cannot be searched"):
        load_space(str(space), BASE)
    with pytest.raises(RaykdError, match=r"unknown setting .--data\.held-out"):
        parse(Experiment(), arguments=["--data.held-out", "test"])
