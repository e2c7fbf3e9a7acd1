"""The settings of the methods: which one, and a section for each that has settings of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

import tyro
from pydantic import Field, create_model, field_validator, model_validator

from raykd.arguments import KeywordArguments
from raykd.errors import unknown_name
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import AnswerMethod, FeatureMethod, Method
from raykd.knowledge.methods.own import OwnFunction, own_method
from raykd.settings import Settings


class _MethodSettings(Settings):
    """How knowledge is distilled."""

    name: Annotated[str, tyro.conf.arg(aliases=["--method"])] = "dkd"
    """One of `raykd list methods`, or an import path `package.module:name` of a function (student, teacher, labels)
    or of a class derived from `raykd.knowledge.methods.base.Method`."""
    arguments: KeywordArguments = Field(default_factory=dict)
    """Arguments of a method given by import path."""
    beside: str = "kd"
    """The logit method whose term is added to that of a feature method, with the weight `objective.kd_weight`."""
    student_layers: tuple[str, ...] | None = None
    """Layers of the student whose features are compared, shallow to deep. None: those of the method's paper."""
    teacher_layers: tuple[str, ...] | None = None
    """Layers of the teacher, one for each of the student's."""

    @field_validator("name", "beside")
    @classmethod
    def _known(cls, name: str) -> str:
        if ":" not in name and name not in METHODS:
            raise ValueError(str(unknown_name("method", name, METHODS)))
        return name

    @model_validator(mode="after")
    def _possible(self) -> Self:
        beside = METHODS.get(self.beside)
        if beside is not None and not issubclass(beside, AnswerMethod):
            raise ValueError(f"method.beside must be a method of answers, such as kd, not {self.beside}")
        return self

    @classmethod
    def of(cls, method: Method) -> MethodSettings:
        """These settings with a built-in method chosen."""
        return MethodSettings(name=method.name, **({method.name: method} if type(method).model_fields else {}))

    def chosen(self) -> Method | OwnFunction:
        """The method. Raises RaykdError if an import path cannot be imported."""
        return self._named(self.name)

    def chosen_for_answers(self) -> AnswerMethod | OwnFunction | None:
        """The method of the answers: the chosen one, or the one beside a feature method; None of a baseline."""
        method = self._named(self.beside) if isinstance(self.chosen(), FeatureMethod) else self.chosen()
        return method if isinstance(method, AnswerMethod | OwnFunction) else None

    @property
    def useless(self) -> str | None:
        """What is set although the chosen method does not take it, and what to do; None if nothing is."""
        if ":" in self.name:
            return None
        if not issubclass(METHODS[self.name], FeatureMethod) and (self.student_layers or self.teacher_layers):
            return f"method {self.name} uses no hint layers: leave method.student_layers and method.teacher_layers out"
        if self.arguments:
            return f"method.arguments are for methods by import path: set method.{self.name}. ... instead"
        return None

    @property
    def idle(self) -> set[str]:
        """The built-in methods that have no part in what is chosen; their settings have no effect."""
        alone = self.name in METHODS and not issubclass(METHODS[self.name], FeatureMethod)
        return METHODS.keys() - ({self.name} if alone else {self.name, self.beside})

    def _named(self, name: str) -> Method | OwnFunction:
        if ":" in name:
            return own_method(name, self.arguments if name == self.name else {}, "method.name")
        method: Method = getattr(self, name, None) or METHODS[name]()
        return method


_fields: dict[str, Any] = {name: (method, method()) for name, method in METHODS.items() if method.model_fields}

if TYPE_CHECKING:

    class MethodSettings(_MethodSettings):
        """How knowledge is distilled, with one section for each method that has settings."""

        def __init__(self, *, name: str = ..., **settings: Any) -> None: ...

else:
    MethodSettings = create_model("MethodSettings", __base__=_MethodSettings, __module__=__name__, **_fields)
    MethodSettings.__doc__ = _MethodSettings.__doc__
