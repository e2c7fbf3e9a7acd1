"""Teachers from elsewhere answer as the networks that they were, whatever they came as, or are refused."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import pytest
import safetensors.torch
import torch
import torchvision
from mlflow import MlflowClient
from torch import Tensor, nn
from torch.nn import functional as F

from raykd.config import DataSettings, ModelSettings, TrackingSettings
from raykd.data import DataInfo, evaluation_batches, load_data
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.tracking.model import save_student, send_student
from raykd.training.answers import answers_to
from raykd.training.external_teacher import evaluate_external_teacher, fetch_external_teacher
from raykd.training.folder import description, model_files, write_description
from raykd.training.saved import load_model
from raykd.training.teacher import Teacher
from tests.helpers.finished_models import finished_model
from tests.helpers.networks import Counting, Plain
from tests.helpers.specs import plain, request_for, spec, train

DATA = DataSettings(train_images=100, validation_share=0.1)
HALF = ModelSettings(name="resnet8", arguments={"width": 0.5})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def info() -> DataInfo:
    return load_data(DATA).info


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def network(settings: ModelSettings = HALF, num_classes: int = 10, in_channels: int = 1, seed: int = 0) -> nn.Module:
    """A network whose running statistics are not the initial ones, so that they matter."""
    torch.manual_seed(seed)
    built = build_model(settings, num_classes=num_classes, in_channels=in_channels)
    return stirred(built, torch.randn(16, in_channels, 8, 8))


def stirred(built: nn.Module, images: Tensor) -> nn.Module:
    with torch.no_grad():
        built.train()(images)
    return built.eval()


def adopted(
    source: object,
    info: DataInfo,
    cache: Path,
    model: ModelSettings = HALF,
    uri: str | None = None,
    *,
    trust: bool = True,
) -> Path:
    """What is not trusted is tried in test_trust.py."""
    settings = TrackingSettings(uri=uri)
    return Path(fetch_external_teacher(str(source), model, info, str(cache / "teachers"), settings, trust=trust))


def same_answers(folder: Path, info: DataInfo, expected: Callable[[Tensor], Tensor]) -> None:
    """What classroom and report hear of an adopted teacher, and `raykd.load_model`, are `expected` of pixels."""
    teacher, loaded = Teacher(str(folder), info, None, CPU), load_model(folder, trust=True)
    data = load_data(DATA)
    _, answers = answers_to(data, "validation", {"teacher": folder})
    batches = list(evaluation_batches(data, "validation", batch_size=64))
    assert answers["teacher"].tolist() == [name for batch in batches for name in teacher.classify(batch).tolist()]
    for batch in batches:
        with torch.no_grad():
            wanted = expected(batch.pixels)
            assert torch.equal(teacher.teach(batch).logits, wanted)
            assert torch.equal(loaded(batch.pixels), wanted)
            assert wanted.std() > 0


def normalised(info: DataInfo, net: nn.Module) -> Callable[[Tensor], Tensor]:
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (info.mean, info.std))
    return lambda pixels: net((pixels - mean) / std)


def in_repdistillers_way(net: nn.Module, file: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 240, "model": state, "best_acc": torch.tensor(72.34), "optimizer": {"state": {}}}, file)


def as_safetensors(net: nn.Module, file: Path) -> None:
    safetensors.torch.save_file(net.state_dict(), file)


@pytest.mark.parametrize(
    ("name", "save"), [("ckpt_epoch_240.pth", in_repdistillers_way), ("teacher.safetensors", as_safetensors)]
)
def test_a_checkpoint_file(name: str, save: Any, info: DataInfo, cache: Path, tmp_path: Path) -> None:
    net = network()
    save(net, tmp_path / name)
    folder = adopted(tmp_path / name, info, cache)
    same_answers(folder, info, normalised(info, net))
    found = description(folder)
    assert found is not None
    assert (found["metrics"], found["epochs"], found["source"]) == ({}, 0, str(tmp_path / name))
    assert found["data"]["class_names"] == list(info.class_names)


@pytest.mark.parametrize("train_images", [100, 60])
def test_a_raykd_folder_of_another_study(train_images: int, teacher: Path, cache: Path) -> None:
    """It keeps the normalisation that it was trained with, whatever the data at hand would have."""
    info = load_data(DATA.model_copy(update={"train_images": train_images})).info
    original = load_model(teacher)
    assert (description(teacher)["data"]["mean"] == list(info.mean)) == (train_images == 100)
    folder = adopted(teacher, info, cache, ModelSettings(name="resnet56"))
    assert folder.parent == cache / "teachers"
    same_answers(folder, info, original)
    assert adopted(folder, info, cache) == folder


def test_torchvisions_weights_by_name(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    chosen = torchvision.models.get_model_weights("squeezenet1_1")["IMAGENET1K_V1"]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    original = torchvision.models.get_model("squeezenet1_1", weights=None).eval()
    torch.save(original.state_dict(), tmp_path / "hub" / "checkpoints" / chosen.url.rpartition("/")[2])
    names = tuple(map(str, range(1000)))
    thousand = DataInfo("own", 1000, names, 3, 32, 32, (0.1, 0.2, 0.3), (0.4,) * 3, {}, "own", 0, 0, False)
    model = ModelSettings(name="torchvision/squeezenet1_1")
    folder = adopted("IMAGENET1K_V1", thousand, cache, model)
    pixels = torch.rand(3, 3, 224, 224)
    imagenet = replace(thousand, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    with torch.no_grad():
        assert torch.equal(load_model(folder)(pixels), normalised(imagenet, original)(pixels))
        # Images of other sizes are resized to the weights' own.
        small = torch.rand(3, 3, 32, 32)
        large = F.interpolate(small, (224, 224), mode="bilinear", antialias=True)
        assert torch.equal(load_model(folder)(small), normalised(imagenet, original)(large))
    assert adopted("DEFAULT", thousand, cache, model) == folder
    ten = replace(thousand, num_classes=10, class_names=names[:10])
    with pytest.raises(RaykdError, match=r"weights IMAGENET1K_V1 are for 1000 classes, but the data has 10: "):
        adopted("IMAGENET1K_V1", ten, cache, model)
    grey = replace(thousand, channels=1, mean=(0.1,), std=(0.4,))
    grey_folder = adopted("IMAGENET1K_V1", grey, cache, model)
    with torch.no_grad():
        assert load_model(grey_folder)(pixels[:, :1]).shape == (3, 1000)


class Stored:
    """An MLflow database with a student of raykd's own and with foreign modules."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        experiment = self.client.create_experiment("students", artifact_location=str(folder / "artifacts"))
        self.run = self.client.create_run(experiment).info.run_id
        kept = finished_model(folder / "kept", network(seed=1), HALF, load_data(DATA), 0.9)
        self.student = load_model(kept)
        images = torch.rand(3, 1, 8, 8)
        save_student(self.student, images, folder / "student", files=model_files(kept))
        self.model = send_student(self.client, experiment, self.run, folder / "student")
        torch.manual_seed(2)
        self.foreign = Plain(10).eval()
        self.logged = {}
        mlflow.set_tracking_uri(self.uri)
        try:
            self.client.create_registered_model("kd")
            self.client.create_model_version("kd", f"models:/{self.model}", model_id=self.model)
            self.client.set_registered_model_alias("kd", "champion", "1")
            with mlflow.start_run(run_id=self.run):
                for name, module, options in (
                    ("pickle", self.foreign, {"serialization_format": "pickle"}),
                    ("graph", self.foreign, {"input_example": images.numpy()}),
                    ("script", torch.jit.trace(self.foreign, images), {"serialization_format": "pickle"}),
                    ("nested", _of_a_script(), {"serialization_format": "pickle"}),
                ):
                    options = {"pip_requirements": ["torch"], **options}
                    self.logged[name] = mlflow.pytorch.log_model(module, name=name, **options).model_uri
        finally:
            mlflow.set_tracking_uri(None)


def _of_a_script() -> nn.Module:
    """A module whose class lives in no package, as one of a notebook; it tells one class too few."""
    names: dict[str, Any] = {"nn": nn, "__name__": "__main__"}
    exec("class Own(nn.Linear):\n    def forward(self, x):\n        return super().forward(x.flatten(1))", names)
    module: nn.Module = names["Own"](64, 9)
    return module


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    yield Stored(tmp_path_factory.mktemp("mlflow"))
    assert not mlflow.is_tracking_uri_set()


@pytest.mark.parametrize(
    "uri", ["models:/{model}", "runs:/{run}/student", "models:/kd@champion", "models:/kd/1", "models:/kd/latest"]
)
def test_a_student_that_raykd_logged_to_mlflow(uri: str, stored: Stored, info: DataInfo, cache: Path) -> None:
    source = uri.format(model=stored.model, run=stored.run)
    folder = adopted(source, info, cache, uri=stored.uri, trust=False)
    same_answers(folder, info, stored.student)
    assert adopted(f"models:/{stored.model}", info, cache, uri=stored.uri, trust=False) == folder
    assert adopted(folder, info, cache) == folder


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", ["pickle", "graph", "script"])
def test_a_module_that_anybody_logged_to_mlflow(name: str, stored: Stored, info: DataInfo, cache: Path) -> None:
    folder = adopted(stored.logged[name], info, cache, uri=stored.uri)
    same_answers(folder, info, stored.foreign)
    assert adopted(stored.logged[name], info, cache, uri=stored.uri) == folder


def test_mlflow_may_be_named_by_its_own_setting(
    stored: Stored, info: DataInfo, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stored.uri)
    same_answers(adopted(f"models:/{stored.model}", info, cache), info, stored.student)


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_the_judged_accuracy_is_that_of_the_answers(teacher: Path, cache: Path, held_out: str) -> None:
    settings = DATA.model_copy(update={"held_out": held_out})
    data = load_data(settings)
    folder = adopted(teacher, data.info, cache)
    evaluate_external_teacher(folder, settings)
    found = description(folder)
    assert found is not None
    split, original = data.split(held_out), load_model(teacher)
    with torch.no_grad():
        answers = torch.stack([original(image[None].float() / 255)[0] for image in split.images]).double()
    right = sum(int(answer.argmax()) == int(label) for answer, label in zip(answers, split.labels, strict=True))
    assert found["metrics"][f"{held_out}_accuracy"] == right / len(split)
    assert 0.2 < right / len(split) < 1
    surprise = [float(answer.logsumexp(0) - answer[label]) for answer, label in zip(answers, split.labels, strict=True)]
    assert found["metrics"][f"{held_out}_loss"] == pytest.approx(sum(surprise) / len(surprise), rel=1e-5)


def test_the_same_content_is_judged_once(info: DataInfo, cache: Path, tmp_path: Path) -> None:
    in_repdistillers_way(network(), tmp_path / "one.pth")
    as_safetensors(network(), tmp_path / "other.safetensors")
    folder = adopted(tmp_path / "one.pth", info, cache)
    evaluate_external_teacher(folder, DATA)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert adopted(tmp_path / "other.safetensors", info, cache) == folder
    assert adopted(folder, info, cache) == folder
    evaluate_external_teacher(folder, DATA)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_other_content_is_another_teacher(info: DataInfo, cache: Path, tmp_path: Path) -> None:
    as_safetensors(network(), tmp_path / "one.safetensors")
    as_safetensors(network(seed=1), tmp_path / "other.safetensors")
    other_data = load_data(DATA.model_copy(update={"seed": 1})).info
    folders = [
        adopted(tmp_path / "one.safetensors", info, cache),
        adopted(tmp_path / "other.safetensors", info, cache),
        adopted(tmp_path / "one.safetensors", other_data, cache),
        adopted(tmp_path / "one.safetensors", replace(info, mean=(0.5,)), cache),
    ]
    assert len(set(folders)) == 4


def test_modules_of_the_same_weights_and_other_code_are_not_confused(
    stored: Stored, info: DataInfo, cache: Path
) -> None:
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(64, 30), nn.Linear(30, 10)
    modules = [nn.Sequential(*layers[:2], between, layers[2]) for between in (nn.ReLU(), nn.Tanh())]
    mlflow.set_tracking_uri(stored.uri)
    try:
        with mlflow.start_run(run_id=stored.run):
            uris = [
                mlflow.pytorch.log_model(
                    module, name="same", pip_requirements=["torch"], serialization_format="pickle"
                ).model_uri
                for module in modules
            ]
    finally:
        mlflow.set_tracking_uri(None)
    for uri, module in zip(uris, modules, strict=True):
        same_answers(adopted(uri, info, cache, uri=stored.uri), info, module)


def files_to_refuse(folder: Path) -> None:
    """What `REFUSED` names."""
    as_safetensors(network(num_classes=7), folder / "seven.safetensors")
    as_safetensors(network(ModelSettings(name="vgg8", arguments={}), in_channels=3), folder / "vgg.safetensors")
    as_safetensors(network(in_channels=3), folder / "colours.safetensors")
    (folder / "broken.pth").write_bytes(b"half a download")
    (folder / "empty").mkdir()


REFUSED = [
    ("{here}/seven.safetensors", HALF, r"resnet8: weights .*another number of classes"),
    ("{here}/vgg.safetensors", HALF, r"do not fit this .*\n.*another architecture's"),
    ("{here}/colours.safetensors", HALF, r"\n.*images of another number of channels"),
    ("{here}/broken.pth", HALF, r"cannot be read"),
    ("{here}/empty", HALF, r"no finished raykd model in this folder"),
    ("{here}/absent.pth", HALF, r"no such file or folder"),
    ("absent.safetensors", HALF, r"no such file or folder, seen from /"),
    ("outputs/absent/best", HALF, r"no such file or folder"),
    ("IMAGENET1K_V1", HALF, r"no such file.*only torchvision/ and timm/ models have weights by name"),
    ("torchvision/resnet18", HALF, r"no such file or folder.*\n.*teacher.model.name torchvision/NAME"),
    ("IMAGENET1K_V9", ModelSettings(name="torchvision/resnet18"), r"did you mean 'IMAGENET1K_V1'\?"),
    ("a1_in", ModelSettings(name="timm/resnet18"), r"did you mean 'a1_in1k'\?"),
    ("models:/m-1", HALF, r"set tracking.uri to the MLflow server"),
]


@pytest.mark.parametrize(("source", "model", "message"), REFUSED)
def test_what_cannot_teach_is_refused_and_leaves_nothing(
    source: str, model: ModelSettings, message: str, info: DataInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_to_refuse(tmp_path)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    with pytest.raises(RaykdError, match=f"(?s)^teacher.source.*{message}") as refused:
        adopted(source.format(here=tmp_path), info, tmp_path / "cache", model)
    assert str(refused.value).count("\n") <= 1
    assert not (tmp_path / "cache").exists()
    assert not list((tmp_path / "cwd").iterdir())


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/m-0", r"cannot be had from sqlite"),
        ("models:/kd@loser", r"cannot be had from sqlite.*alias"),
        ("models:/nobody/1", r"cannot be had from sqlite"),
        ("models:/nobody/latest", r"cannot be had from sqlite"),
        ("runs:/{run}/teacher", r"cannot be had from sqlite"),
        ("runs:/0/student", r"cannot be had from sqlite"),
        ("nested", r"answers with shape \(2, 9\) where \(2, 10\) are logits of the 10 classes of digits"),
    ],
)
def test_what_mlflow_does_not_hold(uri: str, message: str, stored: Stored, info: DataInfo, cache: Path) -> None:
    source = stored.logged.get(uri, uri.format(run=stored.run))
    with pytest.raises(RaykdError, match=f"(?s)^teacher.source {source}: {message}") as refused:
        adopted(source, info, cache, uri=stored.uri)
    assert str(refused.value).count("\n") <= 1
    assert not cache.exists()


@pytest.mark.parametrize("place", ["http://127.0.0.1:9", "sqlite:///{here}/absent.db", "sqlite:///{here}/no/mlflow.db"])
def test_an_mlflow_that_is_not_there(place: str, info: DataInfo, cache: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(RaykdError, match=r"^teacher.source models:/m-1: .*tracking.uri") as refused:
        adopted("models:/m-1", info, cache, uri=place.format(here=tmp_path))
    assert time.monotonic() - started < 30, "MLflow's own patience is minutes"
    assert str(refused.value).count("\n") <= 1
    assert not list(tmp_path.iterdir())


def test_classes_in_another_order_are_another_teacher_s(teacher: Path, info: DataInfo, cache: Path) -> None:
    other = replace(info, class_names=("1", "0", *info.class_names[2:]))
    with pytest.raises(RaykdError, match=r"its class 0 is '0', that of digits is '1'\n"):
        adopted(teacher, other, cache)
    # Its weights alone say nothing of names.
    same_answers(adopted(teacher / "model.safetensors", info, cache), info, load_model(teacher))


def test_images_of_another_size_are_refused(info: DataInfo, cache: Path, tmp_path: Path) -> None:
    torch.save(Plain(10, side=16).state_dict(), tmp_path / "plain.pt")
    model = ModelSettings(name="tests.helpers.networks:Plain", arguments={"side": 16})
    with pytest.raises(RaykdError, match=r"plain.pt: does not take images of 1 x 8 x 8: "):
        adopted(tmp_path / "plain.pt", info, cache, model)
    assert not cache.exists()


def test_an_adopted_teacher_gets_no_gradients(info: DataInfo, cache: Path, tmp_path: Path) -> None:
    torch.save(Counting(10).state_dict(), tmp_path / "counting.pt")
    folder = adopted(tmp_path / "counting.pt", info, cache, ModelSettings(name="tests.helpers.networks:Counting"))
    Counting.calls.clear()
    Counting.copies.clear()
    before = load_model(folder).state_dict()
    assert train(request_for(spec(bank={"mode": "off"}), tmp_path / "student", folder))[-1].finished
    assert len(Counting.calls) > 10
    assert not any(call["training"] or call["gradient"] for call in Counting.calls)
    in_class = [copy for copy in Counting.copies if not any(each.requires_grad for each in copy.parameters())]
    assert in_class
    assert all(each.grad is None for copy in Counting.copies for each in copy.parameters())
    after = load_model(folder).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_hint_layers_of_an_adopted_module(stored: Stored, info: DataInfo, cache: Path, tmp_path: Path) -> None:
    folder = adopted(stored.logged["pickle"], info, cache, uri=stored.uri)
    method = {"name": "fitnet", "student_layers": ["layer1"], "teacher_layers": ["conv"]}
    told = train(request_for(spec(method=method), tmp_path / "student", folder))
    assert told[-1].finished
    assert told[-1].metrics["features"] < told[0].metrics["features"]


def test_an_adopted_teacher_is_never_taught(info: DataInfo, cache: Path, tmp_path: Path) -> None:
    as_safetensors(network(), tmp_path / "net.safetensors")
    folder = adopted(tmp_path / "net.safetensors", info, cache)
    evaluate_external_teacher(folder, DATA)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (told,) = train(request_for(plain(), folder))
    assert told.finished
    assert told.metrics == description(folder)["metrics"]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_module_whose_package_is_not_installed(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("absent_package")
    package.Net = type("Net", (nn.Linear,), {"__module__": "absent_package"})
    content = description(teacher)
    assert content is not None
    write_description(tmp_path, content | {"lesson": {"student": None}})
    with monkeypatch.context() as installed:
        installed.setitem(sys.modules, "absent_package", package)
        torch.save(package.Net(64, 10), tmp_path / "module.pt")
    with pytest.raises(RaykdError, match=r"cannot be loaded: No module named 'absent_package'\ninstall"):
        load_model(tmp_path, trust=True)
