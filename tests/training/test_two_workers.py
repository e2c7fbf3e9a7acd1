"""Two workers that share every batch teach as one does on the whole batch."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from raykd.data import load_data
from raykd.training.messages import TrainRequest
from raykd.training.saved import load_model
from raykd.training.team import Team
from tests.helpers.networks import digits_with_a_single_held_out_image
from tests.helpers.specs import CIRCUMSTANCES, of, same, state, train
from tests.helpers.two_workers import METHODS, SHARED, shared_class, steps_by_hand, taught_by_several, work

COMPILER = float(bool(shutil.which("g++") or shutil.which("clang++")))
"""1 where torch can compile for the CPU; without, students go on uncompiled."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, teacher: Path, cross_fitted: list[TrainRequest]) -> Path:
    """Where two workers have done their `work`."""
    folder = tmp_path_factory.mktemp("two-workers")
    torch.multiprocessing.spawn(work, args=(folder, teacher, cross_fitted[-1]), nprocs=2)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"worker-{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> tuple[Path, list[Any]]:
    """The shared class at a single worker: its folder and reports."""
    folder = tmp_path_factory.mktemp("one-worker")
    return folder, train(*shared_class(folder, teacher))


def test_each_worker_knows_its_place(found: list[dict[str, Any]]) -> None:
    assert [each["team"] for each in found] == [(0, 2), (1, 2)]
    assert [each["words"] for each in found] == [("first", "second")] * 2


@pytest.mark.parametrize("name", list(SHARED))
def test_uneven_shares_of_each_batch_give_the_weights_of_the_whole(
    folder: Path, alone: tuple[Path, list[Any]], name: str
) -> None:
    ours, theirs = state(folder / "shared" / name)["network"], state(alone[0] / name)["network"]
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(SHARED))
def test_a_stack_that_two_workers_share_gives_the_weights_of_one_worker_without_stacks(
    folder: Path, found: list[dict[str, Any]], alone: tuple[Path, list[Any]], name: str
) -> None:
    assert {report.metrics["stack_size"] for worker in found for report in worker["stacked"]} == {len(SHARED)}
    ours, theirs = state(folder / "stacked" / name)["network"], state(alone[0] / name)["network"]
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)


def test_teachers_of_folds_teach_two_workers_what_they_teach_one(
    folder: Path, found: list[dict[str, Any]], tmp_path: Path, cross_fitted: list[TrainRequest]
) -> None:
    expected = train(*taught_by_several(tmp_path, cross_fitted[-1]))
    for worker in found:
        assert of(worker["cross-fitted"], "as-one")[0].metrics == of(expected, "as-one")[0].metrics
    ours, theirs = (state(where / "cross-fitted")["network"] for where in (folder, tmp_path))
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["compiled", "compiled-stacked"])
@pytest.mark.parametrize("name", list(SHARED)[:2])
def test_two_workers_compiled_give_the_weights_of_one_worker_uncompiled(
    folder: Path, found: list[dict[str, Any]], alone: tuple[Path, list[Any]], way: str, name: str
) -> None:
    assert {report.metrics["compiled"] for worker in found for report in worker["compiled"]} == {COMPILER}
    ours, theirs = state(folder / way / name)["network"], state(alone[0] / name)["network"]
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)


def test_two_workers_average_the_learned_parts_of_a_stack(folder: Path) -> None:
    ours, theirs = state(folder / "fitnet-stacked"), state(folder / "fitnet")
    assert ours["parts"]
    for key in ours["parts"]:
        torch.testing.assert_close(ours["parts"][key], theirs["parts"][key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", list(SHARED))
def test_the_reports_are_those_of_one_worker(
    found: list[dict[str, Any]], alone: tuple[Path, list[Any]], name: str
) -> None:
    expected = of(alone[1], name)
    for worker in found:
        told = of(worker["shared"], name)
        assert [report.epoch for report in told] == [1, 2, 3]
        for one, other in zip(told, expected, strict=True):
            ours = {name: value for name, value in one.metrics.items() if name not in CIRCUMSTANCES}
            theirs = {name: value for name, value in other.metrics.items() if name not in CIRCUMSTANCES}
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "wrong_rows"),
    [("on one", [5, 8]), ("on both", [0, 7]), ("nowhere", []), ("everywhere", list(range(9)))],
)
def test_wrong_answers_count_wherever_they_fall(
    tmp_path: Path, found: list[dict[str, Any]], name: str, wrong_rows: list[int]
) -> None:
    whole = steps_by_hand(tmp_path, Team(), slice(0, 9), wrong_rows)
    for worker in found:
        for key, tensor in whole.items():
            torch.testing.assert_close(worker[name][key], tensor, rtol=1e-4, atol=1e-6)


def test_where_wrong_answers_fall_does_matter(tmp_path: Path) -> None:
    weights = [steps_by_hand(tmp_path, Team(), slice(0, 9), rows)["head.weight"] for rows in ([5, 8], [0, 7], [])]
    differences = [(one - other).abs().max() for one, other in pairwise(weights)]
    assert min(differences) > 1e-3


def test_both_workers_hold_the_same_running_statistics(found: list[dict[str, Any]]) -> None:
    assert any(name.endswith("running_var") for name in found[0]["buffers"])
    assert same(found[0]["buffers"], found[1]["buffers"])


@pytest.mark.parametrize("name", METHODS)
def test_both_workers_hold_the_same_weights_and_learned_parts(found: list[dict[str, Any]], name: str) -> None:
    one, other = (worker["parts"][name] for worker in found)
    assert same(one, other)
    assert any(key.startswith("parts.") for key in one) == (name != "dist")


@pytest.mark.parametrize("name", METHODS)
def test_an_interrupted_pair_goes_on_with_its_learned_parts(folder: Path, name: str) -> None:
    assert same(state(folder / f"{name}-resumed"), state(folder / name))


def test_the_memory_of_two_workers_holds_what_either_has_seen(found: list[dict[str, Any]]) -> None:
    # 3 batches of 33 of the 100 training images; an average of two workers' embeddings would be shorter than 1.
    assert [worker["unseen"] for worker in found] == [1, 1]


def test_the_validation_split_is_shared_out_without_loss(folder: Path, found: list[dict[str, Any]]) -> None:
    model = load_model(folder / "normed")
    validation = load_data(SHARED["pair"].data).split("validation")
    right = model.predict(validation.images.float() / 255) == validation.labels
    for worker in found:
        assert worker["normed"][-1].metrics["validation_accuracy"] == pytest.approx(right.double().mean().item())


def test_an_interrupted_pair_goes_on_as_if_nothing_had_been(folder: Path) -> None:
    assert same(state(folder / "again"), state(folder / "normed"))


def test_workers_that_see_different_ages_of_a_checkpoint_go_on_from_the_first_ones(
    folder: Path, found: list[dict[str, Any]]
) -> None:
    for worker in found:
        assert [(report.epoch, report.finished) for report in worker["aged"]] == [(1, False), (2, False), (3, True)]
    assert same(state(folder / "aged"), state(folder / "normed"))


def test_fewer_held_out_images_than_workers_are_evaluated_by_those_that_have_one(
    folder: Path, found: list[dict[str, Any]]
) -> None:
    image, label = digits_with_a_single_held_out_image()["validation"]
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(load_model(folder / "few")(image / 255), label).item()
    for worker in found:
        assert [report.finished for report in worker["few"]] == [False, False, True]
        assert worker["few"][-1].metrics["validation_loss"] == pytest.approx(loss, rel=1e-4)


def test_whom_one_worker_cannot_seat_both_refuse(folder: Path, found: list[dict[str, Any]]) -> None:
    for worker in found:
        assert worker["refused"]["ill"].startswith("ValueError: not on this node (traceback in ")
        assert "a batch of 1 images cannot be shared by 2 workers" in worker["refused"]["tiny"]
        assert "no finished model in" in worker["refused"]["unknown"]
        assert worker["refused"]["unused"] == (
            "student tests.helpers.networks:Unused: its answers do not depend on scale, spare, which several workers "
            "cannot train:\ntake them out of the network, set their requires_grad to False, or set cluster.workers 1"
        )
        assert worker["well"] == [(1, False), (2, False), (3, True)]
        assert worker["seated"] == ()
    assert "not on this node" in (folder / "ill" / "failure.txt").read_text()
