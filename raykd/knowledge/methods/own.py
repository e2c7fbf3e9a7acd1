"""Methods of the user's own, by import path: a function of tempered logits, or a class like those of this folder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from raykd.errors import RaykdError
from raykd.imports import import_object, parameters_of
from raykd.knowledge.methods.base import (
    AnswerMethod,
    Answers,
    BatchMethod,
    FeatureMethod,
    LogitMethod,
    LogitTerm,
    Method,
    TeacherFree,
    Where,
)
from raykd.settings_errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class OwnFunction:
    """A function (student, teacher, labels, **arguments) -> loss [B] of tempered logits [B, C], as a method."""

    path: str
    function: Callable[..., Tensor]

    def term(self) -> LogitTerm:
        """The loss."""
        return self

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight; RaykdError if the function returns another shape."""
        loss = self.function(answers.student, answers.teacher, answers.labels)
        if loss.shape != answers.labels.shape:
            raise RaykdError(
                f"method {self.path!r}: expected the loss of each sample, {list(answers.labels.shape)}, "
                f"got {list(loss.shape)}: do not sum or average over the batch"
            )
        return answers.squared_weight * loss


def own_method(path: str, arguments: Mapping[str, Any], where: str) -> Method | OwnFunction:
    """The method that an import path names.

    Args:
        path: ``package.module:name`` of a function, or of a class derived from `raykd.knowledge.methods.base.Method`.
        arguments: The function's keyword arguments, or the class's settings.
        where: The setting that holds the path, for errors.

    Raises:
        RaykdError: It cannot be imported, names something else, or does not take the arguments.
    """
    target = import_object(path, where)
    if inspect.isclass(target) and issubclass(target, Method):
        missing = _missing(target)
        if missing:
            raise RaykdError(f"{where} {path!r}: {missing}")
        try:
            return target(**arguments)
        except SettingsError as error:
            raise RaykdError(f"{where} {path!r}: {error}") from None
    if inspect.isclass(target) or not callable(target):
        kind = "a class that is no Method" if inspect.isclass(target) else f"an object of type {type(target).__name__}"
        raise RaykdError(f"{where} {path!r}: expected a function (student, teacher, labels) or a Method, got {kind}")
    try:
        inspect.Signature(list(parameters_of(target).values())).bind(None, None, None, **arguments)
    except TypeError as error:
        raise RaykdError(f"{where} {path!r}, called with (student, teacher, labels, ...): {error}") from error
    return OwnFunction(path, partial(target, **arguments))


def _missing(method: type[Method]) -> str | None:
    """What a user's class still lacks to be a method, if anything."""
    kinds: tuple[tuple[type[Method], tuple[str, ...]], ...] = (
        (LogitMethod, ("loss", "rows", "term")),
        (BatchMethod, ("among", "term")),
        (AnswerMethod, ("term",)),
        (FeatureMethod, ("loss", "term")),
        (TeacherFree, ()),
    )
    kind, needed = next((entry for entry in kinds if issubclass(method, entry[0])), (Method, ()))
    if kind is Method:
        return f"derive the class from {', '.join(base.__name__ for base, _ in kinds[:-1])} or {kinds[-1][0].__name__}"
    if needed and all(getattr(method, name) is getattr(kind, name) for name in needed):
        return f"a {kind.__name__} must override {' or '.join(needed)}"
    if kind is FeatureMethod and not hasattr(method, "where"):
        return f"a FeatureMethod must set where its hints are taken: where = one of {', '.join(get_args(Where))}"
    return None
