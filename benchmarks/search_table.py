"""Records what many settings reach: real trainings of a wide search space, each under several seeds.

    python benchmarks/search_table.py --data digits
    python benchmarks/search_table.py --data fashion_mnist

Each row is one training: its settings, its accuracy on the validation split after every epoch, which a search may see,
and that of its last epoch on the test split, which tells how good the settings are. Rows are appended to a file as they
come, and a second call goes on where the first one ended. It needs no cluster: the classroom is that of every run.

`search_efficiency.py` compares samplers and schedulers on this table.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
import tyro
from one_class import STUDENT, TEACHER, train_class
from rich.console import Console
from rich.table import Table

import raykd
from raykd.config import TrainingSpec
from raykd.data import ImageData, evaluation_batches, load_data
from raykd.results.statistics import Estimate, interval, spread
from raykd.search.names import METRIC
from raykd.search.space_file import load_space
from raykd.settings_io import override
from raykd.study.published import as_published, paper
from raykd.training.saved import load_model

HERE = Path(__file__).parent
SPACE = str(HERE / "spaces" / "wide.yaml")
CLASS = 8
"""Students that are taught together."""

EXPERIMENT = raykd.Experiment(
    teacher=raykd.TeacherSettings(
        model=TEACHER, training=raykd.TrainingSettings(epochs=20, learning_rate=0.05, decay="cosine")
    ),
    student=STUDENT,
    training=raykd.TrainingSettings(learning_rate=0.05, decay="cosine", stacking="off"),
    objective=raykd.ObjectiveSettings(ce_weight=0.5, kd_weight=0.5),
    temperature=raykd.TemperatureSettings(policy="constant", value=4.0),
    method=raykd.MethodSettings(name="kd"),
    bias=raykd.BiasSettings(form="keep"),
)
"""Without a searched setting, this is plain distillation. Of DKD the search moves shares of a total weight of 2."""

SECTIONS = ("objective", "method", "temperature", "bias", "schedule")
"""Settings of a distillation."""

DATA: dict[str, dict[str, object]] = {
    "digits": {
        "data.name": "digits",
        "data.test_share": 0.5,
        "data.validation_share": 0.25,
        "data.train_images": 400,
        "training.epochs": 16,
        "training.batch_size": 32,
    },
    "fashion_mnist": {
        "data.name": "fashion_mnist",
        "data.validation_share": 1 / 60,
        "data.train_images": 3000,
        "data.image_size": 14,
        "training.epochs": 10,
        "training.batch_size": 64,
    },
}
"""Few training images, as teachers help most there. Validation splits as small as those of real studies.

Fashion-MNIST is halved in size: a training then takes a quarter of the time."""


@dataclass(frozen=True)
class Options:
    """Train students of many settings, and write down what they reach."""

    data: str = "digits"
    """digits or fashion_mnist."""
    settings: int = 300
    """Drawn at random from the wide space, beside the baselines."""
    seeds: int = 3
    """Trainings of each."""
    rows: Path | None = None
    """File that rows are appended to. None: search_table_DATA.jsonl beside this script's results, packed at the end."""


HANDED_OVER = {
    "bias.denominator": "batch",
    "schedule.form": "cosine",
    "schedule.hand_over": "labels",
    "objective.ce_weight": 0.1,
    "objective.kd_weight": 0.9,
}
"""A schedule that hands weight over instead of dropping it, with wrong answers weighing what they are."""
STD = {"temperature.policy": "std", "temperature.multiplier": 2.0}
WARM_UP = {"objective.warmup_share": 0.15}

OVER_KD: dict[str, dict[str, Any]] = {
    "kd, std": STD,
    "kd, half": {"objective.kd_share": 0.5},
    "dkd, small": {"method.name": "dkd", "method.dkd.target_weight": 1.0, "method.dkd.non_target_weight": 1.0},
    "dist, half": {"method.name": "dist", "temperature.value": 1.0, "objective.kd_share": 0.5},
    "drop, labels": HANDED_OVER | {"bias.form": "drop"},
    "pair, labels": HANDED_OVER | {"bias.form": "pair"},
    "pair, right": HANDED_OVER | {"bias.form": "pair", "schedule.hand_over": "right"},
    "pair, constant": HANDED_OVER | {"bias.form": "pair", "schedule.hand_over": "right", "schedule.form": "constant"},
    "pair, strong": HANDED_OVER | {"bias.form": "pair", "bias.strength": 1.0, "schedule.hand_over": "right"},
    "one_hot, labels": HANDED_OVER | {"bias.form": "one_hot"},
    "kd, half, warm-up": {"objective.kd_share": 0.5} | WARM_UP,
    "dist, half, warm-up": {"method.name": "dist", "temperature.value": 1.0, "objective.kd_share": 0.5} | WARM_UP,
}
"""Settings laid over plain distillation."""
PAIR = {"bias.form": "pair"}
"""Part of the default when the rows were recorded."""
OVER_DEFAULT: dict[str, dict[str, Any]] = {
    "default": PAIR,
    "default, std": PAIR | STD,
    "default, kd": PAIR | {"method.name": "kd"},
    "default, kd, std": PAIR | {"method.name": "kd"} | STD,
    "default, kd, drop": {"method.name": "kd", "bias.form": "drop"},
    "default, warm-up": PAIR | WARM_UP,
    "default until 2026-11": PAIR
    | {
        "method.dkd.non_target_weight": 8.0,
        "temperature.policy": "std",
        "temperature.multiplier": 1.0,
        "bias.denominator": "subset",
        "schedule.hand_over": "rectified",
    },
}
"""Settings laid over raykd's defaults."""


def reference_settings(experiment: raykd.Experiment) -> dict[str, TrainingSpec]:
    """Settings that a search should be measured against, and candidates for raykd's defaults, by name."""
    default = experiment.model_copy(update={name: TrainingSpec.model_fields[name].default for name in SECTIONS})
    return {
        "plain": experiment.training_spec().without_teacher(),
        **{name: as_published(experiment, name).training_spec() for name in ("kd", "dkd", "dist")},
        "teachers_bias": paper(experiment, "teachers_bias").training_spec(),
        **{name: override(experiment, settings).training_spec() for name, settings in OVER_KD.items()},
        **{name: override(default, settings).training_spec() for name, settings in OVER_DEFAULT.items()},
    }


def places_of_references(experiment: raykd.Experiment) -> dict[str, dict[str, Any]]:
    """Those reference settings that are points of the wide space, by name: their values there.

    Args:
        experiment: Of the data set.
    """
    space, places = load_space(SPACE, experiment), {}
    for name, spec in reference_settings(experiment).items():
        own = experiment.model_copy(update={section: getattr(spec, section) for section in SECTIONS})
        weights = [own.objective.weights, *([own.method.dkd.weights] if own.method.name == "dkd" else [])]
        # A share divides the experiment's own sum; another sum is another setting.
        same = [sum(own_weights) == total for own_weights, total in zip(weights, (1.0, 2.0), strict=False)]
        if all(same) and (place := space.place_of(own)) is not None:
            places[name] = place
    return places


def drawn_settings(experiment: raykd.Experiment, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings of the wide space under their numbers, always the same ones."""
    space = load_space(SPACE, experiment)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(count):
        yield f"{number:04d}", space.sample(study.ask())


def seeded(spec: TrainingSpec, seed: int) -> TrainingSpec:
    """The same training under a seed of its own, on the same splits."""
    data = spec.data.model_copy(update={"view_seed": seed})
    return spec.model_copy(update={"data": data, "training": spec.training.model_copy(update={"seed": seed})})


@torch.no_grad()
def test_accuracy(folder: Path, images: ImageData) -> float:
    """Of a finished student, on the test split."""
    network = load_model(folder).network.eval()  # of normalised images
    right = sum(
        int((network(batch.images).argmax(1) == batch.labels).sum())
        for batch in evaluation_batches(images, "test", batch_size=500)
    )
    return right / images.info.split_sizes["test"]


def train(
    specs: Mapping[str, TrainingSpec], folder: Path, teacher: Path | None
) -> dict[str, list[Mapping[str, float]]]:
    """Train students in one class; the metrics of all epochs of each. One that diverges has fewer."""
    reports = train_class(specs, folder, teacher, may_diverge=True)
    return {name: [report.metrics for report in reports if report.student == name] for name in specs}


def record(options: Options, rows: Path, console: Console) -> None:
    """Train all that is not in the file yet."""
    experiment = override(EXPERIMENT, DATA[options.data])
    images = load_data(experiment.data)
    values = dict(drawn_settings(experiment, options.settings))
    specs = reference_settings(experiment)
    specs |= {name: override(experiment, drawn).training_spec() for name, drawn in values.items()}
    known = {(row["setting"], row["seed"]) for row in read_rows(rows)}
    with tempfile.TemporaryDirectory(prefix="raykd-benchmark-") as path, rows.open("a") as file:
        folder = Path(path)
        teacher = train({"teacher": experiment.standard_teacher_spec()}, folder, None)["teacher"][-1]
        console.print(f"teacher: {teacher[METRIC]:.2%} on the validation split")
        for seed in range(1, options.seeds + 1):
            open_names = [name for name in specs if (name, seed) not in known]
            for first in range(0, len(open_names), CLASS):
                names = open_names[first : first + CLASS]
                trained = train({name: seeded(specs[name], seed) for name in names}, folder, folder / "teacher")
                for name, epochs in trained.items():
                    whole = len(epochs) == experiment.training.epochs
                    row = {
                        "setting": name,
                        "seed": seed,
                        "values": values.get(name, {}),
                        "validation": [round(epoch[METRIC], 5) for epoch in epochs],
                        "test": round(test_accuracy(folder / name, images), 5) if whole else None,
                        "wrong_share": round(epochs[-1].get("wrong_share", 0.0), 4),
                    }
                    file.write(json.dumps(row) + "\n")
                file.flush()
                for name in names:
                    for left in (folder / name).iterdir():
                        left.unlink()
                console.print(f"{options.data}: seed {seed}, settings up to {names[-1]}", highlight=False)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a table, packed or not; none of a file that is not there. Half a last line is left out."""
    if not file.exists():
        return []
    content = file.read_bytes()
    text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """Print what the named settings reached on the test split, and by how much that is above the plain student."""
    by_setting: dict[str, dict[int, float]] = {}
    for row in rows:
        if not row["values"] and row["test"] is not None:
            by_setting.setdefault(row["setting"], {})[row["seed"]] = row["test"]
    table = Table("setting", "seeds", "test accuracy, %", "over plain", "95 % interval")
    for name, tests in by_setting.items():
        shared = [tests[seed] - plain for seed, plain in by_setting["plain"].items() if seed in tests]
        over = None if name == "plain" else Estimate.of(shared, wanted=len(by_setting["plain"]))
        table.add_row(
            name, str(len(tests)), spread(Estimate.of(tests.values())), spread(over, "+"), interval(over, "+")
        )
    console.print(table, highlight=False)


def main(options: Options) -> None:
    """Record, show what the named settings reached, and pack the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    packed = HERE / "results" / f"search_table_{options.data}.jsonl.gz"
    rows = options.rows or packed.with_suffix("")
    if packed.exists() and not rows.exists():
        rows.write_bytes(gzip.decompress(packed.read_bytes()))
    record(options, rows, Console())
    show(read_rows(rows), Console())
    with gzip.GzipFile(packed, "wb", mtime=0) as file:
        file.write(rows.read_bytes())
    if options.rows is None:
        os.remove(rows)


if __name__ == "__main__":
    main(tyro.cli(Options))
