"""The networks of an experiment, built without memory: their sizes and shapes are known before any cost."""

from __future__ import annotations

import torch
from torch import nn

from raykd.config import Experiment, ModelSettings, PreprocessingSettings, TeacherSettings
from raykd.data import DataInfo
from raykd.errors import RaykdError, shortened
from raykd.models import build_model, preprocessing
from raykd.tracking.load_model import SCHEMES
from raykd.training.external_teacher import wanted_by
from raykd.training.folder import description
from raykd.training.saved import as_described, load_cached_model


def student_network(experiment: Experiment, info: DataInfo) -> nn.Module:
    """The student's network, on the meta device.

    Raises:
        RaykdError: it cannot be built as the settings say.
    """
    return _network(experiment.student, info)


def teacher_network(experiment: Experiment, info: DataInfo) -> nn.Module:
    """The teacher's network: an external teacher's own, or on the meta device one that is still to be trained.

    Raises:
        RaykdError: it cannot be built or loaded as the settings say.
    """
    if (folder := experiment.teacher.folder) is not None and experiment.teacher.kind == "standard":
        return load_cached_model(folder).network
    return _network(experiment.teacher.model, info)


def check_start_weights(settings: ModelSettings, info: DataInfo) -> None:
    """Load the file that a network starts from once, where there is one.

    Raises:
        RaykdError: it cannot be read, or its weights do not fit the network.
    """
    if settings.weights_file is not None:
        with torch.random.fork_rng(devices=[]):
            build_model(settings, num_classes=info.num_classes, in_channels=info.channels)


def seen_by_teacher(experiment: Experiment, info: DataInfo) -> DataInfo:
    """The data as the teacher sees them: an external one may want them in another size or normalisation."""
    folder = experiment.teacher.folder
    if folder is None or experiment.teacher.kind != "standard":
        return info
    content = description(folder)
    return info if content is None else as_described(content, info)


def given_teacher(teacher: TeacherSettings) -> tuple[ModelSettings, PreprocessingSettings]:
    """A given teacher's network, and how it wants its images, as far as both are known before its weights are read.

    Raises:
        RaykdError: `teacher.source` names unknown weights of torchvision or timm.
    """
    source = teacher.source
    assert source is not None
    content = None if source.startswith(SCHEMES) else description(source)
    if content is None:
        theirs = preprocessing(teacher.model.model_copy(update={"weights": source}))
        return teacher.model, teacher.preprocessing.over(theirs)
    network = content["lesson"]["student"]
    model = teacher.model if network is None else ModelSettings.model_validate(network)
    return model.model_copy(update={"weights": None}), teacher.preprocessing.over(wanted_by(content))


def _network(settings: ModelSettings, info: DataInfo) -> nn.Module:
    try:
        with torch.device("meta"):
            return build_model(settings, num_classes=info.num_classes, in_channels=info.channels)
    except RaykdError:
        raise
    except (Exception, SystemExit) as error:
        # A builder of the user's raises anything.
        raise RaykdError(f"model {settings} cannot be built: {shortened(error)}") from error
