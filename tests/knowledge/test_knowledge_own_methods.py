"""Methods of the user's own by import path."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from raykd.config import BiasSettings, ObjectiveSettings, TemperatureSettings, TrainingSpec
from raykd.config.methods import MethodSettings
from raykd.errors import RaykdError
from raykd.knowledge import Hints
from raykd.knowledge.methods.base import HintShapes
from raykd.training.build import build_objective
from tests.helpers import users_methods
from tests.helpers.logit_batches import batch, gradient


def spec_of(path: str, **arguments) -> TrainingSpec:
    return TrainingSpec(
        method=MethodSettings(name=path, arguments=arguments),
        temperature=TemperatureSettings(policy="constant", value=2.0),
        bias=BiasSettings(form="keep"),
        objective=ObjectiveSettings(ce_weight=0.0, kd_weight=1.0),
    )


def refusal(path: str, **arguments) -> str:
    with pytest.raises(RaykdError) as raised:
        build_objective(spec_of(path, **arguments))
    message = str(raised.value)
    assert len(message.splitlines()) <= 2 and len(message) < 300 and path in message
    return message


@pytest.mark.parametrize("power", [None, 0.5])
def test_a_function_with_arguments_is_the_loss_of_tempered_logits_weighed_by_t_squared(power):
    student, teacher, labels = batch(1)
    arguments = {} if power is None else {"power": power}
    total = build_objective(spec_of("tests.helpers.users_methods:absolute", **arguments))(
        student, teacher, labels, epoch=1, epochs=2
    ).total
    expected = 4 * users_methods.absolute(student / 2, teacher / 2, labels, power=power or 1.0).mean()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(gradient(total, student), gradient(expected, student))


def test_a_logit_method_takes_its_settings_and_repaired_answers():
    student, teacher, labels = batch(2)
    spec = spec_of("tests.helpers.users_methods:Sharpened", sharpness=3)
    total = build_objective(spec)(student, teacher, labels, epoch=1, epochs=2).total
    expected = 4 * users_methods.absolute(student / 2, teacher / 2 * 3, labels).mean()
    torch.testing.assert_close(total, expected)
    swapped = spec.model_copy(update={"bias": BiasSettings(form="swap", denominator="batch")})
    parts = build_objective(swapped)(student, teacher, labels, epoch=1, epochs=2).parts
    exchanged = teacher.clone()
    for row, label in enumerate(labels.tolist()):
        best = int(teacher[row].argmax())
        exchanged[row, [label, best]] = teacher[row, [best, label]]
    expected = 4 * users_methods.absolute(student / 2, exchanged / 2 * 3, labels).mean()
    torch.testing.assert_close(parts["right"] + parts["rectified"], expected.detach())


def test_a_batch_method_takes_its_settings():
    student, teacher, labels = batch(3)
    total = build_objective(spec_of("tests.helpers.users_methods:Means", scale=5))(
        student, teacher, labels, epoch=1, epochs=2
    )
    means = [(x / 2).softmax(dim=1).mean(dim=0) for x in (student, teacher)]
    torch.testing.assert_close(total.total, 5 * (means[0] - means[1]).square().sum())


def test_a_feature_method_stands_beside_a_logit_method():
    student, teacher, labels = batch(4)
    spec = spec_of("tests.helpers.users_methods:Norms", weight=7)
    features = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(4))
    hints = Hints((features[0],), (features[1],), labels, torch.arange(12))
    objective = build_objective(spec, HintShapes(((8,),), ((8,),), labels))
    losses = objective(student, teacher, labels, epoch=1, epochs=2, hints=hints)
    lengths = features.norm(dim=2)
    expected = (lengths[0] - lengths[1]).square().mean()
    torch.testing.assert_close(losses.parts["features"], expected)
    kl = F.kl_div((student / 2).log_softmax(dim=1), (teacher / 2).softmax(dim=1), reduction="batchmean")
    torch.testing.assert_close(losses.total, 4 * kl + 7 * expected)


def test_a_function_may_stand_beside_a_feature_method():
    student, teacher, labels = batch(5)
    spec = spec_of("tests.helpers.users_methods:Norms")
    spec = spec.model_copy(
        update={
            "method": MethodSettings(
                name="tests.helpers.users_methods:Norms", beside="tests.helpers.users_methods:absolute"
            )
        }
    )
    total = build_objective(spec)(student, teacher, labels, epoch=1, epochs=2).total
    torch.testing.assert_close(total, 4 * users_methods.absolute(student / 2, teacher / 2, labels).mean())


def test_a_baseline_needs_no_teacher():
    student, _, labels = batch(6)
    spec = spec_of("tests.helpers.users_methods:Baseline")
    assert not spec.needs_teacher
    total = build_objective(spec.model_copy(update={"objective": ObjectiveSettings(ce_weight=1.0)}))(
        student, None, labels, epoch=1, epochs=2
    ).total
    torch.testing.assert_close(total, F.cross_entropy(student, labels, label_smoothing=0.5))


@pytest.mark.parametrize(
    ("path", "arguments", "said"),
    [
        ("tests.helpers.users_methods:absolute", {"powr": 2.0}, "unexpected keyword argument 'powr'"),
        ("tests.helpers.users_methods:absolute", {"student": 2.0}, "multiple values for argument 'student'"),
        (
            "tests.helpers.users_methods:Sharpened",
            {"sharpnes": 2.0},
            "unknown setting 'sharpnes' in Sharpened: did you mean 'sharpness'?",
        ),
        ("tests.helpers.users_methods:Sharpened", {"sharpness": -1.0}, "sharpness: Input should be greater than 0"),
        ("tests.helpers.users_methods:absolut", {}, "did you mean 'absolute'?"),
        ("tests.helpers.users_methods:NUMBER", {}, "got an object of type int"),
        ("tests.helpers.users_methods:Unrelated", {}, "class that is no Method"),
        ("tests.helpers.users_methods:Kindless", {}, "derive the class from LogitMethod, BatchMethod"),
        ("tests.helpers.users_methods:Unfinished", {}, "a LogitMethod must override loss or rows"),
        ("tests.helpers.users_methods:UnfinishedBatch", {}, "a BatchMethod must override among"),
        ("tests.helpers.users_methods:Nowhere", {}, "where = one of middle, last"),
        ("users_method:absolute", {}, "no module named 'users_method'"),
        ("users_methods.absolute:", {}, "package.module:function"),
    ],
)
def test_what_cannot_be_a_method_is_refused_in_a_line_or_two(path, arguments, said):
    assert said in refusal(path, **arguments)


def test_a_function_that_averages_over_the_batch_is_told_so():
    student, teacher, labels = batch(7)
    objective = build_objective(spec_of("tests.helpers.users_methods:averaged"))
    with pytest.raises(
        RaykdError, match=r"'tests.helpers.users_methods:averaged'.*\[12\], got \[\].*average"
    ) as raised:
        objective(student, teacher, labels, epoch=1, epochs=2)
    assert len(str(raised.value).splitlines()) == 1


def test_settings_with_an_import_path_import_nothing_before_it_is_needed():
    code = (
        "import sys; from raykd.config.methods import MethodSettings; "
        "MethodSettings(name='nowhere.to_be_found:method'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
