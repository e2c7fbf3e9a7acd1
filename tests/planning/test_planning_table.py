"""Forecasts of whole studies over many sizes, what they cost, and the command that shows them."""

from __future__ import annotations

import json
import math
import re
from io import StringIO
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from raykd.cli import main
from raykd.config import (
    ClusterSettings,
    DataSettings,
    Experiment,
    ModelSettings,
    ObjectiveSettings,
    StudySettings,
    TeacherSettings,
    TrainingSettings,
)
from raykd.data import WholeViews, load_data, training_batches
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.planning.command import CPU_NODE, SIZES, Options, plan_task
from raykd.planning.costs import BankedViews, EpochCosts, Overheads, costs_of_reports, derived_costs, operations
from raykd.planning.forecast import TEACHING, Nodes, Task, best_trade_off, efficiency, forecasts, no_faster_beyond
from raykd.planning.measured import measured_costs
from raykd.planning.table import advice, duration, show
from raykd.settings_io import override
from raykd.training.bank.bank import Bank
from raykd.training.messages import Report
from raykd.training.saved import save_model
from raykd.training.teacher import Teacher
from raykd.training.teacher_cache import teachers
from raykd.training.team import Team

COSTS = EpochCosts(data=10.0, teacher=40.0, student=20.0, teacher_step=120.0)


def task(
    trials: int = 32,
    scheduler: str = "asha",
    nodes: Nodes = Nodes(),  # noqa: B008
    finalists: int = 0,
    **cluster: int,
) -> Task:
    experiment = Experiment(
        training=TrainingSettings(epochs=16),
        study=StudySettings(trials=trials, scheduler=scheduler, finalists=finalists),
        cluster=ClusterSettings(**cluster),
    )
    return Task(experiment, COSTS, standard_epochs=30, generous_epochs=0, nodes=nodes)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 20),
    st.sampled_from(["asha", "none"]),
    st.sampled_from([Nodes(), Nodes(2, 16), CPU_NODE]),
    st.fixed_dictionaries({}, optional={"workers": st.integers(1, 3), "seats": st.integers(1, 4)}),
    st.sets(st.integers(3, 40), min_size=1, max_size=3),
)
def test_every_paid_second_is_accounted_for(
    trials: int, scheduler: str, nodes: Nodes, cluster: dict[str, int], sizes: set[int]
) -> None:
    for forecast in forecasts(task(trials, scheduler, nodes, trials % 4, **cluster), tuple(sorted(sizes))):
        assert math.fsum(forecast.spent.values()) == pytest.approx(forecast.workers * forecast.seconds)
        assert min(forecast.spent.values()) >= -1e-6
        assert forecast.seconds == pytest.approx(math.fsum(forecast.phases.values()))
        assert forecast.hours == pytest.approx(forecast.workers * forecast.seconds / 3600)
        assert forecast.sizes.classrooms * forecast.sizes.workers <= forecast.workers


def test_a_thousand_gpus_are_too_many_for_a_few_trials() -> None:
    planned = task()
    rows = forecasts(Task(planned.experiment, planned.costs, 0, 0), SIZES)
    assert [row.workers for row in rows] == list(SIZES)
    assert rows[-1].limit[0] == "too few trials"
    assert rows[-1].sizes.classrooms == 32
    assert rows[0].limit[1] < 0.1
    assert no_faster_beyond(rows).workers <= 32
    assert best_trade_off(rows).workers <= no_faster_beyond(rows).workers
    assert efficiency(rows[0], rows[0]) == 1.0
    assert efficiency(rows[-1], rows[0]) < 0.1


@pytest.mark.parametrize(
    ("costs", "trials", "scheduler", "workers", "cluster", "reason"),
    [
        (EpochCosts(1, 1, 1, 10_000), 16, "none", 16, {}, "teacher first"),
        (EpochCosts(0.01, 0.01, 0.01, 0.01), 16, "none", 4, {}, "start-up"),
        (EpochCosts(100, 800, 100, 0), 64, "none", 64, {}, "small classes"),
        (EpochCosts(0, 0, 1000, 0), 8, "none", 8, {"seats": 1}, "the last wave"),
        (EpochCosts(0, 0, 1000, 0), 64, "asha", 64, {"seats": 1}, "ASHA's rungs"),
        (EpochCosts(1, 1, 100, 0), 64, "none", 64, {"classrooms": 2}, "cluster.classrooms"),
        (EpochCosts(0.01, 0.01, 0.05, 0), 400, "none", 8, {}, "Tune"),
        (EpochCosts(1, 1, 1000, 0), 2, "none", 2, {"workers": 2, "seats": 8}, "workers in step"),
    ],
)
def test_the_reason_named_is_where_the_study_loses_most(
    costs: EpochCosts, trials: int, scheduler: str, workers: int, cluster: dict[str, int], reason: str
) -> None:
    base = task(trials, scheduler, **cluster)
    (forecast,) = forecasts(Task(base.experiment, costs, 1, 0), (workers,))
    assert forecast.limit[0] == reason


def test_teachers_are_trained_one_after_the_other_before_the_search() -> None:
    base = task(scheduler="none")
    standard, both = (
        forecasts(Task(base.experiment, COSTS, 30, generous), (4,))[0].phases["teacher"] for generous in (0, 20)
    )
    assert standard == 30 * (10 + 120)
    assert both == standard + 20 * (10 + 40 + 120)


def test_clusters_too_small_for_the_settings_are_left_out() -> None:
    assert [forecast.workers for forecast in forecasts(task(workers=4), (1, 2, 4, 8))] == [4, 8]
    with pytest.raises(RaykdError, match="do not fit"):
        forecasts(task(workers=4), (1, 2))


def test_nodes_add_up() -> None:
    resources = Nodes(gpus=8, cpus=32).resources(20)
    assert (resources.gpus, resources.cpus, [node["GPU"] for node in resources.nodes]) == (20, 96, [8, 8, 4])
    assert CPU_NODE.resources(6).nodes == ({"CPU": 4.0}, {"CPU": 2.0})


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.lists(st.integers(1, 8), min_size=1, max_size=12))
def test_the_costs_of_a_class_follow_from_reports(shared: float, student: float, sizes: list[int]) -> None:
    metrics = [{"class_size": float(size), "seconds": shared + size * student} for size in sizes for _ in range(size)]
    costs = costs_of_reports(metrics)
    together = sum(map(sum, (costs.of_class(size) for size in sizes)))
    assert together == pytest.approx(sum(shared + size * student for size in sizes))
    if len(set(sizes)) > 1:
        assert sum(costs.of_class(1)) == pytest.approx(shared + student, rel=1e-3)


def small(**sections: object) -> Experiment:
    return Experiment(
        data=DataSettings(name="digits", train_images=200),
        student=ModelSettings(name="resnet8", arguments={"width": 0.25}),
        training=TrainingSettings(epochs=4, batch_size=20),
        teacher=TeacherSettings(model=ModelSettings(name="resnet8"), training=TrainingSettings(epochs=3)),
    ).model_copy(update=sections)


def test_costs_are_measured_with_the_studys_own_networks() -> None:
    threads = torch.get_num_threads()
    costs = measured_costs(small(), torch.device("cpu"))
    assert min(costs.data, costs.teacher, costs.student, costs.teacher_step) > 0
    assert torch.get_num_threads() == threads
    alone = small(objective=ObjectiveSettings(ce_weight=1.0, kd_weight=0.0))
    assert measured_costs(alone, torch.device("cpu")).teacher == 0


def test_given_seconds_are_divided_by_counted_operations() -> None:
    # A linear classifier of 8 x 8 digits multiplies and adds 64 times for each class.
    linear = ModelSettings(name="tests.planning.test_planning_table:linear")
    assert operations(linear, 10, (1, 8, 8)) == 2 * 64 * 10
    wide = ModelSettings(name="tests.planning.test_planning_table:linear", arguments={"copies": 3})
    costs = derived_costs(small(student=linear, teacher=TeacherSettings(model=wide)), 7.0, data_seconds=1.0)
    # Of 6 seconds of steps a third is the forward pass; the teacher's is three times that.
    assert costs == EpochCosts(data=1.0, teacher=6.0, student=6.0, teacher_step=18.0)
    assert derived_costs(small(), 7.0, teacher_seconds=2.0).teacher == 2.0


def test_a_given_teacher_costs_what_it_costs_at_its_own_size(tmp_path: Path) -> None:
    """Its own network answers, not the one that the settings name, and it refuses images of the students' size."""
    home = DataSettings(name="digits", train_images=200, image_size=16)
    info = load_data(home).info
    picky = ModelSettings(name="tests.planning.test_planning_table:picky")
    spec = small(data=home, student=picky).training_spec()
    network = build_model(picky, num_classes=10, in_channels=1)
    save_model(tmp_path / "teacher", network, spec, info, Report("teacher", "", epoch=1), [0])
    folder = TeacherSettings(source=str(tmp_path / "teacher"), model=ModelSettings(name="resnet8"))
    costs = measured_costs(small(teacher=folder), torch.device("cpu"))
    assert costs.teacher > 0 and costs.teacher_step == 0
    student = ModelSettings(name="tests.planning.test_planning_table:linear")
    # Four times as many pixels; of a file, the settings say network and size.
    assert derived_costs(small(student=student, teacher=folder), 6.0).teacher == 4 * 2.0
    torch.save(network.state_dict(), tmp_path / "picky.pt")
    of_file = TeacherSettings(source=str(tmp_path / "picky.pt"), model=picky, image_size=16)
    assert derived_costs(small(student=student, teacher=of_file), 6.0).teacher == 4 * 2.0
    assert measured_costs(small(teacher=of_file), torch.device("cpu")).teacher > 0
    with pytest.raises(RaykdError, match="no such file or folder"):
        measured_costs(small(teacher=TeacherSettings(source="nowhere/teacher.pt")), torch.device("cpu"))


class Picky(torch.nn.Sequential):
    """A linear classifier of images of 16 x 16 pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2:] != (16, 16):
            raise ValueError("I take 16 x 16 pixels")
        return super().forward(images)


def picky(num_classes: int, in_channels: int) -> torch.nn.Module:
    return Picky(torch.nn.Flatten(), torch.nn.Linear(in_channels * 256, num_classes))


def linear(num_classes: int, in_channels: int, copies: int = 1) -> torch.nn.Module:
    """A network whose operations are easily counted by hand; each copy adds its own."""

    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(torch.nn.Linear(64 * in_channels, num_classes) for _ in range(copies))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return sum(part(images.flatten(1)) for part in self.parts)

    return Sum()


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["plan", *arguments])
    # However narrow the terminal.
    return " ".join(capsys.readouterr().out.split())


def test_the_command_shows_table_recommendation_and_assumptions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    output = plan(
        capsys, "--seconds-per-epoch", "600", "--data.name", "imagenet", "--study.trials", "12",
        "--study.finalists", "0", "--training.epochs",
        "20", "--teacher.source", "IMAGENET1K_V1", "--teacher.model.name", "torchvision/resnet34", "--student.name",
        "torchvision/resnet18", "--sizes", "1", "8", "64", "--json", str(file),
    )  # fmt: skip
    data = json.loads(file.read_text())
    assert [row["workers"] for row in data["rows"]] == [1, 8, 64]
    assert data["unit"] == "GPUs"
    assert data["costs"]["student"] == 600
    # 3.66 against 1.81 billion multiply-adds: the networks' published figures.
    assert data["costs"]["teacher"] / 200 == pytest.approx(3.66 / 1.81, rel=0.02)
    assert f"recommended: {data['recommended']} GPU" in output
    assert "torchvision/resnet34 from IMAGENET1K_V1 teaches torchvision/resnet18" in output
    for word in ("12 trials of 20 epochs", "the teacher is there", "student given", "too few trials", "assumed:"):
        assert word in output


def test_the_table_fits_eighty_columns() -> None:
    experiment = small(study=StudySettings(trials=64))
    task = Task(experiment, EpochCosts(100, 800, 100, 300), 240.0, 240.0, Nodes(8, 64), bank=None, start=4)
    rows = forecasts(task, SIZES)
    output = StringIO()
    show(Console(file=output, width=80), task, rows, "given", "no bank", [])
    table = [line for line in output.getvalue().splitlines() if re.match(r" *[\d,]+ +\d+ x \d+ x \d+", line)]
    assert len(table) == len(SIZES)
    assert all(len(line) <= 80 for line in table)
    assert "…" not in output.getvalue()
    # Numbers stand alone, so the reason must be on the same line, too.
    assert all(re.search(r"\(\d+%\)|nothing much", line) for line in table)


def test_a_file_of_settings_and_single_settings_are_both_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("study: {name: mine, trials: 5, scheduler: median}\n")
    output = plan(
        capsys, "--config", str(file), "--seconds-per-epoch", "3", "--training.epochs", "7", "--sizes", "2",
        "--teacher.cache", str(tmp_path), "--cluster.gpus-per-worker", "0",
    )  # fmt: skip
    assert "mine: 5 trials of 7 epochs, scheduler median; first a standard teacher, 240 epochs" in output
    assert "workers" in output
    assert "the teacher's logits for 7 views, 322.0 kB of at most 8 GiB (bank.budget)" in output


def test_the_bank_is_planned_with_what_it_holds_and_what_fits(tmp_path: Path) -> None:
    options = Options(seconds_per_epoch=3.0, sizes=(1,))
    base = {"teacher.cache": tmp_path, "training.epochs": 8, "data.train_images": 100}

    def bank(settings: dict[str, object]) -> BankedViews | None:
        return plan_task(override(Experiment(), base | settings), options)[0].bank

    assert bank({}) == BankedViews(missing=8)
    assert bank({"bank.budget": 4000 * 6.5 / 2**30}) == BankedViews(missing=6, beyond=0.25)
    assert bank({"data.crop_padding": 0}) == BankedViews(missing=1)
    assert bank({"bank.mode": "off"}) is None
    assert bank({"method.name": "fitnet"}) is None
    experiment = override(Experiment(), base)
    data = load_data(experiment.data)
    standard = teachers(experiment, data.info.fingerprint)[-1]
    network = build_model(standard.spec.student, num_classes=10, in_channels=1)
    save_model(standard.folder, network, standard.spec, data.info, Report("teacher", "", epoch=1), [0])
    images = training_batches(data, batch_size=50)
    assert isinstance(images, WholeViews)
    teacher = Teacher(standard.folder, data.info, None, torch.device("cpu"))
    bank_of_teacher = Bank(experiment.bank, teacher, images, data.info, Team())
    assert [bank_of_teacher.store(view) for view in range(3)] == [True] * 3
    assert bank({}) == BankedViews(missing=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds-per-epoch", "0"], "--seconds-per-epoch must be a number above 0"),
        (["--sizes", "0"], "--sizes must be counts"),
        (["--teacher-seconds-per-epoch", "3"], "needs --seconds-per-epoch"),
        (["--seconds-per-epoch", "3", "--data-seconds-per-epoch", "4"], "cannot be more"),
        (["--seconds-per-epoch", "3", "--study.space", "dkd_bais"], "did you mean 'dkd_bias'"),
        (["--seconds-per-epoch", "3", "--data.name", "digit"], "did you mean 'digits'"),
        (["--config", "/nowhere.yaml"], "cannot read /nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_help_names_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert "--seconds-per-epoch" in output
    assert "raykd plan" in output


def test_words_for_seconds_and_advice() -> None:
    assert [duration(seconds) for seconds in (0.25, 45, 300, 3600, 7200, 400_000)] == [
        "0.2 s", "45 s", "5.0 min", "60 min", "2.0 h", "4.6 days",
    ]  # fmt: skip
    rows = forecasts(task(), SIZES)
    recommended, beyond = advice(rows, "GPU")
    assert recommended.startswith("recommended: ")
    assert f"no faster beyond {no_faster_beyond(rows).workers} GPUs" in beyond
    assert TEACHING not in beyond


def test_finalists_are_trained_after_the_search_in_classes_as_large_as_the_seats() -> None:
    before, after = (forecasts(task(16, "none", CPU_NODE, finalists=count), (2,))[0] for count in (0, 4))
    # (4 + a start point + the plain student) x 3 seeds are 18 students, 9 in each of 2 classrooms of 4 seats.
    assert (after.sizes.classrooms, after.sizes.seats) == (2, 4)
    expected = 16 * (3 * (10 + 40 + Overheads().epoch) + 9 * 20)
    assert after.phases["finalists"] == pytest.approx(expected)
    assert before.phases["finalists"] == 0
    assert after.seconds - before.seconds == pytest.approx(expected)
    assert math.fsum(after.spent.values()) - math.fsum(before.spent.values()) == pytest.approx(2 * expected)
