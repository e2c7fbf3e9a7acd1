"""Files that run code when they are loaded are not loaded unless the user names them and says so."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import torchvision
from mlflow import MlflowClient
from torch import nn

import raykd
from raykd.cli import main
from raykd.config import DataSettings, Experiment, ModelSettings, PreprocessingSettings, TrackingSettings
from raykd.data import DataInfo, load_data
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.places import SETTINGS
from raykd.results.load import recorded_study
from raykd.saved_settings import save_experiment
from raykd.settings_io import override
from raykd.study.external_teacher import remember_external_teachers, with_external_teachers
from raykd.study.folder import remember_trained_teacher
from raykd.study.networks import teacher_network
from raykd.training.external_teacher import fetch_external_teacher
from raykd.training.folder import MODULE, VIEW, description, write_description
from raykd.training.saved import is_whole, load_model
from raykd.training.teacher import Teacher
from tests.helpers.finished_models import finished_study
from tests.helpers.networks import Plain

DATA = DataSettings(train_images=100, validation_share=0.1)
HALF = ModelSettings(name="resnet8", arguments={"width": 0.5})
CPU = torch.device("cpu")


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, written: Path) -> None:
        self.written = written

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.written, "this ran")


@pytest.fixture
def ran(tmp_path: Path) -> Iterator[Path]:
    """What a planted pickle would have written; it must not."""
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists(), "a planted pickle ran its code"


@pytest.fixture(scope="module")
def info() -> DataInfo:
    return load_data(DATA).info


@pytest.fixture
def planted(teacher: Path, tmp_path: Path, ran: Path) -> Path:
    """A finished model with its weights, and a pickle beside them."""
    folder = Path(shutil.copytree(teacher, tmp_path / "model", ignore=shutil.ignore_patterns("bank")))
    torch.save(Planted(ran), folder / MODULE)
    return folder


@pytest.fixture
def pickled(planted: Path) -> Path:
    """A folder that says that its network is in the pickle."""
    content = description(planted)
    assert content is not None
    content["lesson"]["student"], content["source"] = None, "somewhere"
    (planted / "model.safetensors").unlink()
    write_description(planted, content)
    return planted


def fetched(
    source: object, info: DataInfo, cache: Path, uri: str | None = None, trust: bool = False, **wanted: Any
) -> Path:
    folder = fetch_external_teacher(
        str(source),
        HALF,
        info,
        str(cache / "teachers"),
        TrackingSettings(uri=uri),
        PreprocessingSettings(**wanted),
        trust=trust,
    )
    return Path(folder)


def test_a_pickle_beside_the_weights_is_never_looked_at(
    planted: Path, teacher: Path, info: DataInfo, tmp_path: Path
) -> None:
    assert is_whole(planted)
    for found in (load_model(planted), load_model(fetched(planted, info, tmp_path / "cache"))):
        expected = load_model(teacher).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())
    Teacher(str(planted), info, None, CPU)


def test_a_pickled_network_needs_the_user_s_word(pickled: Path, info: DataInfo, tmp_path: Path) -> None:
    with pytest.raises(RaykdError, match=r"module.pt is a pickle, .*\n.*trust=True") as refused:
        raykd.load_model(pickled)
    assert str(refused.value).count("\n") == 1
    with pytest.raises(RaykdError, match=r"^teacher.source .*is a pickle, .*\n.*--teacher.trust"):
        fetched(pickled, info, tmp_path / "cache")
    with pytest.raises(RaykdError, match="is a pickle"):
        Teacher(str(pickled), info, None, CPU)
    assert not (tmp_path / "cache").exists()


def test_the_command_line_asks_for_the_word(
    pickled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["export", str(pickled), "--output", str(tmp_path / "out"), "--format", "torch_export"])
    assert "--trust" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_study_of_somebody_else_does_not_say_the_word(
    pickled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = finished_study(tmp_path / "outputs", TrackingSettings())
    save_experiment(override(study, {"teacher.trust": True}), study.folder / SETTINGS)
    remember_trained_teacher(study.folder, {"folder": str(pickled)})
    with pytest.raises(SystemExit):
        main(["bank", "build", str(study.folder)])
    assert f"the teacher in {pickled} is a pickle" in capsys.readouterr().err
    assert not recorded_study(study.folder).experiment.teacher.trust


def test_with_the_user_s_word_it_is_loaded_and_its_copy_is_known_by_its_content(
    pickled: Path, info: DataInfo, tmp_path: Path, ran: Path
) -> None:
    network = Plain(10).eval()
    torch.save(network, pickled / MODULE)
    pixels = torch.rand(2, 1, 8, 8)
    expected = load_model(pickled, trust=True)(pixels)
    folder = fetched(pickled, info, tmp_path / "cache", trust=True)
    assert torch.equal(Teacher(str(folder), info, None, CPU)._classifier(pixels), expected)
    # What replaces the copy, or lies under another name, was never trusted.
    moved = Path(shutil.copytree(folder, tmp_path / "cache" / "teachers" / "0123456789abcdef"))
    torch.save(Planted(ran), folder / MODULE)
    for other in (folder, moved):
        with pytest.raises(RaykdError):
            Teacher(str(other), info, None, CPU)
    assert not is_whole(folder)


def test_a_trusted_network_that_sees_its_images_in_its_own_way_is_loaded_and_known_by_that(
    pickled: Path, info: DataInfo, tmp_path: Path
) -> None:
    # It takes images of any size.
    torch.save(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 10)).eval(), pickled / MODULE)
    usual = fetched(pickled, info, tmp_path / "cache", trust=True)
    folder = fetched(pickled, info, tmp_path / "cache", trust=True, image_size=12, interpolation="bicubic")
    assert folder != usual
    assert Teacher(str(usual), info, None, CPU)._classifier.size is None
    assert Teacher(str(folder), info, None, CPU)._classifier.size == (12, 12)
    content = description(folder)
    assert content is not None
    write_description(folder, content | {VIEW: [*content[VIEW][:-1], "nearest"]})
    with pytest.raises(RaykdError, match="is a pickle"):
        Teacher(str(folder), info, None, CPU)


def test_a_resumed_run_needs_the_word_again(pickled: Path, info: DataInfo, tmp_path: Path) -> None:
    torch.save(Plain(10).eval(), pickled / MODULE)
    given = override(
        Experiment(data=DATA),
        {
            "teacher.source": str(pickled),
            "teacher.cache": tmp_path / "cache",
            "study.output": tmp_path / "outputs",
            "study.resume": True,
        },
    )
    trusting = override(given, {"teacher.trust": True})
    begun = with_external_teachers(trusting, info)
    begun.folder.mkdir(parents=True)
    remember_external_teachers(begun)
    assert with_external_teachers(trusting, info) == begun
    assert isinstance(teacher_network(begun, info), Plain)
    with pytest.raises(RaykdError, match=r"add --teacher\.trust"):
        with_external_teachers(given, info)


def test_a_pickle_in_mlflow_needs_the_word(
    info: DataInfo, tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.create_experiment("students", artifact_location=str(tmp_path / "artifacts"))
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(experiment_id=experiment):
            options: dict[str, Any] = {"pip_requirements": ["torch"], "serialization_format": "pickle"}
            model = mlflow.pytorch.log_model(Plain(10), name="plain", **options).model_uri
    finally:
        mlflow.set_tracking_uri(None)
    (file,) = (tmp_path / "artifacts").rglob("model.pth")
    torch.save(Planted(ran), file)
    with pytest.raises(RaykdError, match=rf"^teacher.source {model}: .*pickle.*\n.*--teacher.trust"):
        fetched(model, info, tmp_path / "cache", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(RaykdError, match=rf"^{model}: .*pickle.*\n.*trust=True"):
        raykd.load_model(model)
    torch.save(Plain(10).eval(), file)
    assert Teacher(str(fetched(model, info, tmp_path / "cache", uri, trust=True)), info, None, CPU)


def test_a_pickle_in_torchvision_s_cache_runs_nothing(
    tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    chosen = torchvision.models.get_model_weights("squeezenet1_1")["IMAGENET1K_V1"]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(Planted(ran), tmp_path / "hub" / "checkpoints" / chosen.url.rpartition("/")[2])
    with pytest.raises(RaykdError, match="weights IMAGENET1K_V1 do not load"):
        build_model(
            ModelSettings(name="torchvision/squeezenet1_1", weights="IMAGENET1K_V1"), num_classes=10, in_channels=3
        )


def test_a_pickle_as_start_weights_runs_nothing(tmp_path: Path, ran: Path) -> None:
    torch.save(Planted(ran), tmp_path / "weights.pt")
    with pytest.raises(RaykdError, match="cannot be read"):
        build_model(HALF.model_copy(update={"weights": str(tmp_path / "weights.pt")}), num_classes=10, in_channels=1)


UNPICKLES = {"training/saved.py", "tracking/load_model.py"}
"""The only files that unpickle anything, each after the user's word."""


def test_nothing_else_unpickles() -> None:
    root = Path(raykd.__file__).parent
    found = set()
    for file in root.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, keywords = ast.unparse(node.func), {each.arg: ast.unparse(each.value) for each in node.keywords}
                unsafe = name == "torch.load" and keywords.get("weights_only") != "True"
                if unsafe or name in ("pickle.load", "pickle.loads", "joblib.load", "torch.jit.load"):
                    found.add(str(file.relative_to(root)))
                if name in ("pytorch.load_model", "mlflow.pytorch.load_model"):
                    found.add(str(file.relative_to(root)))
    assert found == UNPICKLES
