"""What each of two gloo workers does, in one process group: starting processes is what takes time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from raykd.config import TrainingSpec
from raykd.data import Batch, load_data
from raykd.training.classroom import Classroom
from raykd.training.messages import TrainRequest, WorkerCommands
from raykd.training.student import Student
from raykd.training.teacher import Knowledge
from raykd.training.team import Team
from tests.helpers.specs import of, plain, request_for, spec, state, train

PLAIN_NETWORK = {"name": "tests.helpers.networks:Plain"}

# Settings without anything that differs between one worker and two but for rounding.
SHARED: dict[str, TrainingSpec] = {
    "pair": spec(student=PLAIN_NETWORK, training={"batch_size": 33}),
    "batch": spec(student=PLAIN_NETWORK, training={"batch_size": 33, "ema": 0.7}, bias={"denominator": "batch"}),
    "dropped": spec(student=PLAIN_NETWORK, training={"batch_size": 33, "gradient_clip": 0.5}, bias={"form": "drop"}),
    "labels": plain(student=PLAIN_NETWORK, training={"batch_size": 33, "label_smoothing": 0.1}),
}

# Batch norms, and the average of weights and running statistics.
NORMED = {"batch_size": 33, "ema": 0.9}

# Methods with learned parts or among samples, whose workers cannot give what one alone gives.
METHODS: dict[str, TrainingSpec] = {
    name: spec(
        method={"name": name},
        objective={"ce_weight": 1.0, "kd_weight": 0.5},
        training={"batch_size": 33, "epochs": 2, "learning_rate": 0.01},
    )
    for name in ("fitnet", "crd", "reviewkd", "ctkd", "dist")
}


def shared_class(folder: Path, teacher: Path) -> list[TrainRequest]:
    return [request_for(what, folder / name, None if name == "labels" else teacher) for name, what in SHARED.items()]


def taught_by_several(folder: Path, cross_fitted: TrainRequest) -> list[TrainRequest]:
    """Teachers that are to be one in a folder of their own, and a student of those that are one already."""
    own = replace(cross_fitted, student="as-one", ticket="as-one", folder=f"{cross_fitted.folder}-{folder.name}")
    return [own, request_for(SHARED["pair"], folder / "cross-fitted", cross_fitted.folder)]


def with_stacks(what: TrainingSpec) -> TrainingSpec:
    """The same training, stacked wherever that is possible."""
    return what.model_copy(update={"training": what.training.model_copy(update={"stacking": "on"})})


def with_compilation(what: TrainingSpec) -> TrainingSpec:
    """The same training, compiled."""
    return what.model_copy(update={"training": what.training.model_copy(update={"compile": True})})


def steps_by_hand(folder: Path, team: Team, rows: slice, wrong_rows: list[int]) -> dict[str, torch.Tensor]:
    """Weights after three steps on these rows of a batch of 9, the teacher being wrong about `wrong_rows`."""
    what = spec(student=PLAIN_NETWORK)
    student = Student(request_for(what, folder), load_data(what.data), team, None)
    student.set_up_distributed()
    numbers = torch.Generator().manual_seed(1)
    images, labels = torch.randn(9, 1, 8, 8, generator=numbers), torch.arange(9)
    answers = torch.tensor([(label + (row in wrong_rows)) % 10 for row, label in enumerate(labels.tolist())])
    teacher_logits = torch.randn(9, 10, generator=numbers) + 6 * torch.nn.functional.one_hot(answers, 10)
    for step in range(3):
        batch = Batch(images[rows], images[rows], labels[rows], torch.arange(9)[rows])
        student.learn(step, batch, Knowledge(teacher_logits[rows], {}))
    return {name: tensor.clone() for name, tensor in student.network.state_dict().items()}


def work(rank: int, folder: Path, teacher: Path, cross_fitted: TrainRequest) -> None:
    """One of two workers; what it found goes to ``worker-RANK.pt``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    team = Team.of_process_group(torch.device("cpu"))
    found: dict[str, Any] = {"team": (team.rank, team.count)}
    room = Classroom(team)

    found["shared"] = train(*shared_class(folder / "shared", teacher), classroom=room)
    halves = (slice(0, 4), slice(4, 9))
    for name, wrong_rows in {"on one": [5, 8], "on both": [0, 7], "nowhere": [], "everywhere": list(range(9))}.items():
        found[name] = steps_by_hand(folder / name, team, halves[rank], wrong_rows)

    found["cross-fitted"] = train(*taught_by_several(folder, cross_fitted), classroom=room)

    normed = request_for(spec(training=NORMED), folder / "normed", teacher)
    room.follow(WorkerCommands(enter=(normed,), learn=(normed.ticket,)))
    found["buffers"] = dict(room._students[normed.ticket].network.state_dict())
    found["normed"] = train(classroom=room)

    again = request_for(spec(training=NORMED), folder / "again", teacher)
    train(again, classroom=Classroom(team), epochs=1)
    train(again, classroom=Classroom(team))

    stacked = [
        replace(request, spec=with_stacks(request.spec)) for request in shared_class(folder / "stacked", teacher)
    ]
    found["stacked"] = train(*stacked, classroom=Classroom(team))

    compiled = [
        replace(request, spec=with_compilation(change(request.spec)))
        for name, change in {"compiled": lambda what: what, "compiled-stacked": with_stacks}.items()
        for request in shared_class(folder / name, teacher)[:2]
    ]
    found["compiled"] = train(*compiled, classroom=Classroom(team))

    found["parts"] = {}
    for name, what in METHODS.items():
        one = request_for(what, folder / name, teacher)
        room.follow(WorkerCommands(enter=(one,), learn=(one.ticket,)))
        learner = room._students[one.ticket]._learner
        found["parts"][name] = {key: tensor.clone() for key, tensor in learner.state_dict().items()}
        if name == "crd":
            contrast = learner.parts[0].contrasts[0]
            found["unseen"] = int((contrast.student_memory.norm(dim=1).sub(1).abs() > 1e-5).sum())
        train(classroom=room)
        resumed = request_for(what, folder / f"{name}-resumed", teacher)
        train(resumed, classroom=Classroom(team), epochs=1)
        train(resumed, classroom=Classroom(team))

    learned = with_stacks(METHODS["fitnet"])
    names = ("fitnet-stacked", "fitnet-beside")
    train(*(request_for(learned, folder / name, teacher) for name in names), classroom=Classroom(team))

    # The second worker still sees the files of an epoch ago, as file systems may show them.
    aged = request_for(spec(training=NORMED), folder / "aged", teacher)
    train(aged, classroom=Classroom(team), epochs=1)
    if rank == 0:
        shutil.copytree(folder / "aged", folder / "aged-before")
    dist.barrier()
    train(aged, classroom=Classroom(team), epochs=1)
    late = replace(aged, folder=str(folder / "aged-before")) if rank == 1 else aged
    found["aged"] = train(late, classroom=Classroom(team))

    single = {"name": "tests.helpers.networks:digits_with_a_single_held_out_image"}
    few = request_for(spec(data=single, training={"batch_size": 33}), folder / "few", None)
    found["few"] = train(replace(few, spec=few.spec.without_teacher()), classroom=Classroom(team))

    unused = request_for(plain(student={"name": "tests.helpers.networks:Unused"}), folder / "unused")
    ill = request_for(plain(student={"name": "tests.helpers.networks:MissingOnSecondWorker"}), folder / "ill")
    tiny = request_for(plain(training={"batch_size": 1}), folder / "tiny")
    unknown = request_for(spec(), folder / "unknown", folder / "no-teacher")
    well = request_for(plain(student={"name": "tests.helpers.networks:WithDropout"}), folder / "well")
    reports = train(ill, tiny, unknown, unused, well, classroom=room)
    found["refused"] = {name: of(reports, name)[0].failure for name in ("ill", "tiny", "unknown", "unused")}
    found["well"] = [(report.epoch, report.finished) for report in of(reports, "well")]
    found["seated"] = room.seated
    found["words"] = (team.broadcast("first" if rank == 0 else None), team.first_given("second" if rank else None))
    torch.save(found | {"again": state(folder / "again")}, folder / f"worker-{rank}.pt")
    dist.destroy_process_group()
