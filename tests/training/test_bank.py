"""The bank: whoever asks for a teacher's answers gets the same to the bit, stored or not, and never another's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raykd.config import BankSettings, DataSettings
from raykd.data import DataInfo, ImageData, WholeViews, load_data, training_batches
from raykd.models import Classifier
from raykd.storage import below, files_below, read, write
from raykd.training.bank.bank import Bank, BankSize, about
from raykd.training.bank.parts import PART, Parts, clear, stored_views
from raykd.training.messages import Report
from raykd.training.saved import load_model, save_model
from raykd.training.teacher import Teacher
from raykd.training.team import Team
from tests.helpers.networks import Counting
from tests.helpers.object_store import ObjectStore
from tests.helpers.specs import of, plain, request_for, same, spec, state, train

CPU = torch.device("cpu")
ON = BankSettings()
IMAGES = 100


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(spec().data)


@pytest.fixture
def banked_teacher(teacher: Path, tmp_path: Path) -> str:
    """A copy of the standard teacher, without a bank."""
    return str(shutil.copytree(teacher, tmp_path / "teacher", ignore=shutil.ignore_patterns("bank")))


@pytest.fixture
def counting_teacher(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "counting"
    train(request_for(plain(student={"name": "tests.helpers.networks:Counting"}), folder))
    Counting.calls.clear()
    yield str(folder)
    Counting.calls.clear()
    Counting.copies.clear()


def bank_of(folder: str, data: ImageData, settings: BankSettings = ON, team: Team | None = None) -> Bank:
    images = training_batches(data, batch_size=25)
    assert isinstance(images, WholeViews)
    return Bank(settings, Teacher(folder, data.info, None, CPU), images, data.info, team or Team())


def live_answers(folder: str, data: ImageData, view: int) -> Tensor:
    """The teacher's logits [N, classes] for a view, batch by batch."""
    teacher = load_model(folder)
    answers = torch.full((IMAGES, 10), torch.nan)
    with torch.no_grad():
        for batch in training_batches(data, batch_size=25).epoch(view):
            answers[batch.indices] = teacher(batch.pixels)
    return answers


def parts_of(folder: str) -> list[str]:
    return sorted(name for name in files_below(below(folder, "bank")) if name.endswith(PART))


def asked() -> list[object]:
    """Passes of the counting teacher over all training images; held-out ones come in batches of 80 or less, or 144."""
    return [call["images"] for call in Counting.calls if call["images"] == IMAGES]


def test_stored_answers_are_those_of_the_teacher(banked_teacher: str, data: ImageData) -> None:
    first = bank_of(banked_teacher, data).answers(2)
    again = bank_of(banked_teacher, data).answers(2)
    torch.testing.assert_close(first, live_answers(banked_teacher, data, 2), rtol=1e-5, atol=1e-5)
    assert torch.equal(first, again)
    assert not torch.allclose(first, bank_of(banked_teacher, data).answers(1)), "views are augmented"


@pytest.mark.parametrize("stacking", ["off", "on"])
def test_students_become_the_same_from_the_bank_and_from_the_teacher(
    banked_teacher: str, tmp_path: Path, stacking: str
) -> None:
    for run, mode in (("live", "off"), ("cold", "on"), ("warm", "on")):
        specs = [spec(training={"seed": seed, "stacking": stacking}, bank={"mode": mode}) for seed in range(2)]
        requests = [request_for(what, tmp_path / run / str(n), banked_teacher) for n, what in enumerate(specs)]
        reports = train(*requests)
        assert [report.metrics["banked"] for report in reports] == [float(mode == "on")] * 6
    for number in ("0", "1"):
        live, cold, warm = (state(tmp_path / run / number) for run in ("live", "cold", "warm"))
        assert same(cold["network"], warm["network"])
        for name, tensor in live["network"].items():
            torch.testing.assert_close(cold["network"][name], tensor, rtol=2e-4, atol=2e-4)


def test_a_later_study_with_other_batches_asks_the_teacher_nothing(counting_teacher: str, tmp_path: Path) -> None:
    train(request_for(spec(training={"batch_size": 20}), tmp_path / "first", counting_teacher))
    assert len(asked()) == 3, "once for each view"
    train(request_for(spec(training={"batch_size": 50, "seed": 4}), tmp_path / "second", counting_teacher))
    assert len(asked()) == 3
    train(request_for(spec(training={"batch_size": 20, "epochs": 5}), tmp_path / "longer", counting_teacher))
    assert len(asked()) == 5


def test_methods_of_features_are_taught_by_the_teacher_itself(banked_teacher: str, tmp_path: Path) -> None:
    with_hints = spec(method={"name": "fitnet"}, objective={"ce_weight": 1.0, "kd_weight": 0.5})
    requests = [
        request_for(with_hints, tmp_path / "hints", banked_teacher),
        request_for(spec(), tmp_path / "answers", banked_teacher),
        request_for(plain(), tmp_path / "plain"),
    ]
    reports = train(*requests)
    assert [of(reports, name)[0].metrics["banked"] for name in ("hints", "answers", "plain")] == [0, 1, 0]
    for mode in ("on", "off"):
        alone = request_for(with_hints.model_copy(update={"bank": BankSettings(mode=mode)}), tmp_path / mode / "hints")
        train(replace(alone, teacher=banked_teacher))
        assert same(state(tmp_path / mode / "hints")["network"], state(tmp_path / "hints")["network"])


def changed(folder: str, target: Path, change: Callable[[Classifier], object]) -> str:
    """A copy of a teacher with its bank and something changed."""
    shutil.copytree(folder, target)
    classifier = load_model(folder)
    change(classifier)
    description = load_data(spec().data).info
    mean, std = (tuple(values.flatten().tolist()) for values in (classifier.mean, classifier.std))
    info = replace(description, mean=mean, std=std)
    what = plain(student={"name": "resnet8", "arguments": {"width": 0.5}})
    save_model(target, classifier.network, what, info, Report("teacher", "", epoch=1), [0])
    return str(target)


def test_the_bank_of_another_teacher_is_never_read(banked_teacher: str, data: ImageData, tmp_path: Path) -> None:
    before = bank_of(banked_teacher, data).answers(0)

    def other_weights(classifier: Classifier) -> None:
        next(classifier.network.parameters()).data.mul_(1.001)

    def other_normalisation(classifier: Classifier) -> None:
        classifier.mean.add_(0.01)

    same_again = changed(banked_teacher, tmp_path / "same", lambda _: None)
    assert torch.equal(bank_of(same_again, data).answers(0), before)
    assert len(parts_of(same_again)) == 1
    for name, change in (("weights", other_weights), ("normalisation", other_normalisation)):
        other = changed(banked_teacher, tmp_path / name, change)
        answers = bank_of(other, data).answers(0)
        assert not torch.equal(answers, before)
        torch.testing.assert_close(answers, live_answers(other, data, 0), rtol=1e-5, atol=1e-5)
        assert len(parts_of(other)) == 2


@pytest.mark.parametrize(
    "setting",
    [{"seed": 1}, {"view_seed": 5}, {"train_images": 99}, {"image_size": 10}, {"crop_padding": 2},
     {"horizontal_flip": True}, {"validation_share": 0.2}, {"held_out": "test"}, {"mixup": 0.3},
     {"cutmix": 1.0}, {"augment": {"policy": "trivialaugment"}}, {"augment": {"erasing": 0.5}}],
    ids=str,
)  # fmt: skip
def test_other_images_or_views_have_other_answers(
    banked_teacher: str, data: ImageData, setting: dict[str, Any]
) -> None:
    bank_of(banked_teacher, data).answers(0)
    settings = DataSettings.model_validate(spec().data.model_dump() | setting)
    other = load_data(settings).with_views_of(settings.seed_of_views)
    bank_of(banked_teacher, other).answers(0)
    assert len(parts_of(banked_teacher)) == 2


def test_precision_and_device_decide_the_answers(banked_teacher: str, data: ImageData) -> None:
    teacher = Teacher(banked_teacher, data.info, None, CPU)
    other = Teacher(banked_teacher, data.info, torch.bfloat16, CPU)
    found = [
        about(ON, teacher, data.info, CPU),
        about(ON, other, data.info, CPU),
        about(BankSettings(precision="float16"), teacher, data.info, CPU),
        about(ON, teacher, data.info, torch.device("cuda")),
    ]
    assert len({Parts(banked_teacher, each).key for each in found}) == 4
    assert Parts(banked_teacher, about(BankSettings(budget=1), teacher, data.info, CPU)).key == Parts("", found[0]).key


def damaged(content: bytes) -> dict[str, bytes]:
    """The same part, damaged in every way that a disk or a killed process knows."""
    flipped = bytearray(content)
    flipped[-5] ^= 1
    return {"cut": content[:-9], "flipped": bytes(flipped), "empty": b"", "zeros": bytes(len(content)), "text": b"404"}


@pytest.mark.parametrize("kind", damaged(b"0123456789"))
def test_a_damaged_part_is_computed_again(
    banked_teacher: str, data: ImageData, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = [bank_of(banked_teacher, data).answers(view) for view in range(2)]
    file = Path(banked_teacher, "bank", parts_of(banked_teacher)[1])
    content = file.read_bytes()
    file.write_bytes(damaged(content)[kind])
    assert torch.equal(bank_of(banked_teacher, data).answers(1), whole[1])
    assert "view-00001.logits is damaged: computed again" in caplog.text
    assert file.read_bytes() == content
    assert torch.equal(bank_of(banked_teacher, data).answers(0), whole[0])


def test_a_part_of_another_shape_and_a_half_written_one_are_not_read(banked_teacher: str, data: ImageData) -> None:
    whole = bank_of(banked_teacher, data).answers(0)
    key = stored_views(banked_teacher)[0].key
    parts = Parts(banked_teacher, about(ON, Teacher(banked_teacher, data.info, None, CPU), data.info, CPU))
    assert parts.key == key
    parts.write(0, torch.zeros(3, 10), 0.0, budget=1e9)
    assert torch.equal(bank_of(banked_teacher, data).answers(0), whole)
    file = Path(banked_teacher, "bank", parts_of(banked_teacher)[0])
    file.rename(file.with_name(f"{file.name}.0123.tmp"))
    assert stored_views(banked_teacher)[0].views == 0
    assert torch.equal(bank_of(banked_teacher, data).answers(0), whole)


def test_writers_and_readers_at_once_do_no_harm(banked_teacher: str, data: ImageData) -> None:
    whole = [bank_of(banked_teacher, data).answers(view) for view in range(3)]
    clear(banked_teacher)
    known = about(ON, Teacher(banked_teacher, data.info, None, CPU), data.info, CPU)

    def use(number: int) -> list[tuple[int, Tensor | None]]:
        parts, found = Parts(banked_teacher, known), []
        for view in sorted(range(3), key=lambda view: (number + view) % 3):
            found.append((view, parts.read(view)))
            assert parts.write(view, whole[view], 0.0, budget=1e9)
            found.append((view, parts.read(view)))
        return found

    with ThreadPoolExecutor(8) as threads:
        found = [each for known_views in threads.map(use, range(64)) for each in known_views]
    read_parts = [(view, logits) for view, logits in found if logits is not None]
    assert len(read_parts) >= 3 * 64
    assert all(torch.equal(logits, whole[view]) for view, logits in read_parts)
    assert len(parts_of(banked_teacher)) == 3
    assert stored_views(banked_teacher)[0].about["data"] == "digits"


def test_a_full_bank_teaches_the_same(
    banked_teacher: str, tmp_path: Path, data: ImageData, caplog: pytest.LogCaptureFixture
) -> None:
    size = BankSize.of(ON, data.info, epochs=3)
    assert (size.views, size.view_size, size.fitting) == (3, 4000, 3)
    budget = 2.7 * size.view_size / 2**30
    assert BankSize.of(BankSettings(budget=budget), data.info, epochs=3).fitting == 2
    small = spec(bank={"budget": budget})
    train(request_for(small, tmp_path / "small", banked_teacher))
    assert len(parts_of(banked_teacher)) == 2
    assert caplog.text.count("is full (bank.budget)") == 1
    train(request_for(spec(), tmp_path / "large", banked_teacher))
    assert same(state(tmp_path / "small")["network"], state(tmp_path / "large")["network"])
    assert len(parts_of(banked_teacher)) == 3


def test_float16_rounds_what_is_taught_whether_it_is_stored_or_not(
    banked_teacher: str, tmp_path: Path, data: ImageData
) -> None:
    half = BankSettings(precision="float16")
    exact, rounded = (bank_of(banked_teacher, data, each).answers(0) for each in (ON, half))
    assert not torch.equal(exact, rounded)
    assert torch.equal(exact.half().float(), rounded)
    torch.testing.assert_close(rounded, exact, rtol=2**-11, atol=1e-7)
    errors = {views.about["precision"]: views.error for views in stored_views(banked_teacher)}
    assert errors == {"float32": 0.0, "float16": (rounded - exact).abs().max().item()}
    assert torch.equal(bank_of(banked_teacher, data, half).answers(0), rounded)
    what = spec(bank={"precision": "float16"})
    for name in ("cold", "warm"):
        train(request_for(what, tmp_path / name, banked_teacher))
    assert same(state(tmp_path / "cold")["network"], state(tmp_path / "warm")["network"])
    assert what.identity() != spec().identity() == spec(bank={"mode": "off", "budget": 1.0}).identity()
    assert plain(bank={"precision": "float16"}).identity() == plain().identity()


def test_logits_that_float16_cannot_hold_stay_exact(banked_teacher: str, data: ImageData, tmp_path: Path) -> None:
    def louder(classifier: Classifier) -> None:
        for parameter in list(classifier.network.parameters())[-2:]:
            parameter.data.mul_(1e5)

    loud = changed(banked_teacher, tmp_path / "loud", louder)
    answers = [bank_of(loud, data, BankSettings(precision="float16")).answers(0) for _ in range(2)]
    assert torch.equal(*answers)
    assert answers[0].isfinite().all() and answers[0].abs().max() > 65504
    assert torch.equal(answers[0], bank_of(loud, data).answers(0))


def test_views_that_differ_in_their_order_alone_share_one_part(counting_teacher: str, tmp_path: Path) -> None:
    still, training = {"crop_padding": 0}, {"batch_size": 20}
    reports = train(request_for(spec(data=still, training=training), tmp_path / "student", counting_teacher))
    assert reports[-1].finished and reports[-1].metrics["banked"] == 1
    assert (len(asked()), len(parts_of(counting_teacher))) == (1, 1)
    train(request_for(spec(data=still | {"view_seed": 3}, training=training), tmp_path / "other", counting_teacher))
    assert (len(asked()), len(parts_of(counting_teacher))) == (1, 1)


def test_a_bank_that_cannot_be_written_costs_a_line_and_nothing_else(
    banked_teacher: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path(banked_teacher, "bank").write_text("not a folder")
    assert train(request_for(spec(), tmp_path / "student", banked_teacher))[-1].finished
    assert caplog.text.count("cannot be written") == 1
    Path(banked_teacher, "bank").unlink()
    train(request_for(spec(), tmp_path / "other", banked_teacher))
    assert same(state(tmp_path / "student")["network"], state(tmp_path / "other")["network"])


def test_a_bank_in_an_object_store(banked_teacher: str, data: ImageData, object_store: ObjectStore) -> None:
    folder = object_store.folder()
    for name in ("model.json", "model.safetensors"):
        write(folder, name, read(banked_teacher, name) or b"")
    first = bank_of(folder, data).answers(0)
    assert torch.equal(first, bank_of(banked_teacher, data).answers(0))
    (views,) = stored_views(folder)
    assert (views.views, views.about["images"]) == (1, data.info.fingerprint)
    name = parts_of(folder)[0]
    write(below(folder, "bank"), name, (read(below(folder, "bank"), name) or b"")[:-1])
    assert torch.equal(first, bank_of(folder, data).answers(0))
    clear(folder)
    assert stored_views(folder) == []
    clear(folder)
    assert torch.equal(first, bank_of(folder, data).answers(0))


def test_sizes_of_views_without_augmentation_and_in_float16(data: ImageData) -> None:
    still: DataInfo = replace(data.info, crop_padding=0)
    assert BankSize.of(ON, still, epochs=240) == BankSize(views=1, view_size=4000, fitting=1)
    assert BankSize.of(BankSettings(precision="float16", budget=1e-9), data.info, 240) == BankSize(240, 2000, 0)
