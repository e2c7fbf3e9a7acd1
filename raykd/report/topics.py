"""What `raykd explain` says of a name that is no method: an idea, a setting, a section, a choice of a setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import yaml

from raykd.config import Experiment
from raykd.errors import RaykdError, listed, nearest
from raykd.knowledge.ideas import Idea
from raykd.knowledge.methods import METHODS
from raykd.report.explanation import Explanation, SettingExplanation, docstring_parts, explain
from raykd.report.ideas import CHOICES, PARTS, SAMPLERS, Part
from raykd.report.setting_words import as_text, choice_texts, choices_of, help_of, needed_choices, range_of
from raykd.settings_errors import leaves, sections, unknown_setting
from raykd.settings_help import first_sentence
from raykd.settings_io import setting_value
from raykd.shipped import purpose, shipped
from raykd.yaml_text import Dumper

NOTHING = Idea("", "", "")
SETTINGS, SECTIONS = leaves(Experiment), sections(Experiment)
LAST_PARTS = {
    part: [each for each in (*SETTINGS, *SECTIONS) if each.rpartition(".")[2] == part]
    for part in (each.rpartition(".")[2] for each in (*SETTINGS, *SECTIONS))
}
"""Settings and sections by the last parts of their names."""


@dataclass(frozen=True)
class Topic:
    """An explanation.

    - name, title: what is explained, and what it is
    - paragraphs: what it does
    - idea: formula, source and when to use it; each empty where there is none
    - settings: those that belong to it
    - notes: sentences on where it is used
    - usage: how it is set, by way: command line, file, Python
    """

    name: str
    title: str
    paragraphs: tuple[str, ...]
    idea: Idea = NOTHING
    settings: tuple[SettingExplanation, ...] = ()
    notes: tuple[str, ...] = ()
    usage: tuple[tuple[str, str], ...] = ()


def explained(name: str) -> list[Explanation | Topic]:
    """All that there is under a name: a method, ideas, a setting or section, settings with such a choice, and others.

    Args:
        name: In ideas' names `-`, `_` and a blank are the same, and so are small letters and capitals. The last part
            of a setting's name is enough where there is only one.

    Raises:
        RaykdError: nothing has this name, or an import path cannot be imported.
    """
    if ":" in name or name in METHODS:
        return [explain(name)]
    found: list[Explanation | Topic] = [*_ideas(_plain(name))]
    found += [_setting(name)] if name in SETTINGS else []
    found += [_section(name)] if name in SECTIONS and not found else []
    found += _other_choices(name)
    found += [] if found else _last_part(name)
    found += [] if found else _shipped(name)
    if not found:
        raise _unknown(name)
    return found


def choice_lines(kind: str) -> dict[str, str]:
    """The ideas of a kind, each with what its setting's docstring says of it.

    Args:
        kind: A name in `CHOICES`.
    """
    choices = CHOICES[kind]
    texts = choice_texts(SETTINGS[choices.setting])
    return {name: _sentence(texts[name] or idea.when) for name, idea in choices.ideas.items()}


def setting_lines() -> dict[str, str]:
    """All settings, each with its default and the first sentence of its docstring."""
    experiment = Experiment()
    return {
        name: f"{first_sentence(info.description).rstrip('.')} (default: {as_text(setting_value(experiment, name))})"
        for name, info in SETTINGS.items()
    }


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _ideas(name: str) -> Iterator[Topic]:
    for kind, choices in CHOICES.items():
        if name == kind or (name == kind[:-1] and name not in SECTIONS):
            lines = [f"{each}: {line}" for each, line in choice_lines(kind).items()]
            yield Topic(kind, f"choices of {choices.setting}", (*lines, "raykd explain NAME says more of each."))
        # `generous_teacher` as well as `generous`.
        yield from (_choice(kind, each) for each in choices.ideas if name in (each, f"{each}_{kind[:-1]}"))
    yield from (_part(each, part) for each, part in SAMPLERS.items() if name in (each, "sampler", "samplers"))
    yield from (_part(each, part) for each, part in PARTS.items() if name == each)


def _choice(kind: str, name: str) -> Topic:
    choices = CHOICES[kind]
    setting = choices.setting
    section = setting.rpartition(".")[0]
    belong = [
        each
        for each, info in SETTINGS.items()
        if each.rpartition(".")[0] == section and each != setting and name in needed_choices(info, tuple(choices.ideas))
    ]
    if (kind, name) == ("teachers", "generous"):
        belong = [each for each in SETTINGS if each.startswith("teacher.generous.")]
    default = "It is the default." if setting_value(Experiment(), setting) == name else ""
    return Topic(
        name,
        f"{choices.title} ({setting})",
        (choice_lines(kind)[name],),
        choices.ideas[name],
        tuple(map(_explained_setting, belong)),
        tuple(filter(None, (default, choices.needs))),
        _usage(setting, name),
    )


def _part(name: str, part: Part) -> Topic:
    settings = tuple(map(_explained_setting, part.settings))
    methods = tuple(f"It belongs to the method {each}: raykd explain {each}." for each in part.methods)
    return Topic(name, "a sampler" if name in SAMPLERS else "an idea", (part.summary,), part.idea, settings, methods)


def _setting(name: str) -> Topic:
    info = SETTINGS[name]
    section = name.rpartition(".")[0]
    value = setting_value(Experiment(), name)
    said = choice_texts(info)
    kinds = {choices.setting for choices in CHOICES.values()}
    notes = [f"Default: {as_text(value)}.", f"Values: {range_of(info)}."]
    for other, others in SETTINGS.items():
        if other.rpartition(".")[0] == section and other != name:
            needed = needed_choices(info, choices_of(others.annotation))
            notes += [f"It has an effect with {other} {', '.join(needed)}."] if needed else []
    parts = name.split(".")
    if parts[0] == "method" and parts[1] in METHODS:
        notes.append(f"It belongs to the method {parts[1]}: raykd explain {parts[1]}.")
    if spaces := _searched_by(name):
        notes.append(f"It is searched by the search spaces {', '.join(spaces)}.")
    if name in kinds:
        notes.append(f"raykd explain NAME says more of each: {', '.join(said)}.")
    if _is_internal(name):
        notes.append("raykd sets it itself.")
    return Topic(name, "a setting", (help_of(info),), NOTHING, (), tuple(notes), _usage(name, value))


def _section(name: str) -> Topic:
    summary, details = docstring_parts(SECTIONS[name].annotation)
    inside = [each for each in SETTINGS if each.rpartition(".")[0] == name and not _is_internal(each)]
    deeper = [each for each in SECTIONS if each.rpartition(".")[0] == name]
    notes = (f"Sections in it: {', '.join(deeper)}.",) if deeper else ()
    paragraphs = (summary, *filter(None, details.split("\n\n")))
    return Topic(name, "a section of settings", paragraphs, NOTHING, tuple(map(_explained_setting, inside)), notes)


def _other_choices(name: str) -> Iterator[Topic]:
    """What the other settings' docstrings say that have such a choice."""
    known = {choices.setting for choices in CHOICES.values()}
    settings: dict[str, list[str]] = {}
    for setting, info in SETTINGS.items():
        if name in choices_of(info.annotation) and setting not in known and not _is_internal(setting):
            text = choice_texts(info)[name]
            settings.setdefault(_sentence(text) if text else help_of(info), []).append(setting)
    for text, same in settings.items():
        yield Topic(name, f"a choice of {' and '.join(same)}", (text,), NOTHING, (), (), _usage(same[0], name))


def _last_part(name: str) -> list[Topic]:
    same = LAST_PARTS.get(_plain(name), [])
    if len(same) > 1:
        raise RaykdError(f"{name!r} stands for several settings: name one of {listed(same)}")
    return [_setting(each) if each in SETTINGS else _section(each) for each in same]


def _shipped(name: str) -> Iterator[Topic]:
    """A search space, recipe, data set or network of raykd's."""
    if name in shipped("spaces"):
        notes = (f"It searches {', '.join(_searched(name))}.",)
        line = purpose(shipped("spaces")[name])
        yield Topic(name, "a search space", (line,), NOTHING, (), notes, _usage("study.space", name))
    elif name in shipped("recipes"):
        line = purpose(shipped("recipes")[name])
        yield Topic(name, "a recipe", (line,), NOTHING, (), (), (("command line", f"--config {name}"),))
    else:
        yield from _data_or_network(name)


def _data_or_network(name: str) -> Iterator[Topic]:
    from raykd.data.load import SOURCES
    from raykd.models.build import model_description, model_names

    if name in SOURCES:
        line = docstring_parts(SOURCES[name])[0]
        yield Topic(name, "a data set", (line,), NOTHING, (), (), _usage("data.name", name))
    elif name in model_names():
        usage = _usage("student.name", name)
        yield Topic(name, "a network", (model_description(name),), NOTHING, (), (), usage)


def _searched_by(setting: str) -> list[str]:
    """The search spaces of raykd that search a setting."""
    return [name for name in shipped("spaces") if setting in _searched(name)]


def _searched(space: str) -> list[str]:
    """The settings that a search space names."""
    # Read as text: a space that is wrong does not matter here, and all of them are read at once.
    text = shipped("spaces")[space].read_text(encoding="utf-8", errors="replace")
    return [name for name in re.findall(r"^([\w.]+):", text, re.MULTILINE) if name in SETTINGS]


def _explained_setting(name: str) -> SettingExplanation:
    info, value = SETTINGS[name], setting_value(Experiment(), name)
    return SettingExplanation(name, as_text(value), range_of(info), help_of(info))


def _is_internal(setting: str) -> bool:
    return tyro.conf.Suppress in SETTINGS[setting].metadata


def _usage(setting: str, value: Any) -> tuple[tuple[str, str], ...]:
    """How a setting is given such a value."""
    if _is_internal(setting):
        return ()
    *parents, last = setting.split(".")
    option = setting.replace("_", "-")
    words, in_file, in_python = as_text(value), _in_yaml(value), repr(value)
    if isinstance(value, str | Path):
        in_python = f'"{value}"'
    if value in (None, (), {}):
        words = in_file = in_python = "VALUE"
    python = f'"{last}": {in_python}'
    for parent in reversed(parents[1:]):
        python = f'"{parent}": {{{python}}}'
    line = f"--{option} {words}"
    if isinstance(value, bool):
        head, _, tail = option.rpartition(".")
        line = f"--{option}, or --{head}.no-{tail}"
    return (
        ("command line", line),
        ("file", f"{setting}: {in_file}"),
        ("Python", f"raykd.Experiment({parents[0]}={{{python}}})"),
    )


def _in_yaml(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=Dumper, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def _unknown(name: str) -> RaykdError:
    if "." in name:
        return unknown_setting(name, Experiment)
    from raykd.data.load import SOURCES
    from raykd.models.build import model_names

    # Where names are of several kinds, the last one counts.
    kinds = dict.fromkeys(model_names(), "network") | dict.fromkeys(SOURCES, "data set")
    kinds |= dict.fromkeys(shipped("spaces"), "search space") | dict.fromkeys(shipped("recipes"), "recipe")
    kinds |= dict.fromkeys(LAST_PARTS, "setting") | dict.fromkeys(PARTS, "idea") | dict.fromkeys(SAMPLERS, "sampler")
    kinds |= {each: kind[:-1].replace("_", "-") for kind, choices in CHOICES.items() for each in choices.ideas}
    kinds |= dict.fromkeys(METHODS, "method")
    near = nearest(_plain(name), kinds)
    if near is None:
        return RaykdError(f"unknown name {name!r}: `raykd list settings` and `raykd list methods` say what there is")
    proposed = LAST_PARTS[near] if kinds[near] == "setting" else [near]
    names = f"one of {listed(proposed)}" if len(proposed) > 1 else repr(proposed[0])
    return RaykdError(f"unknown {kinds[near]} {name!r}: did you mean {names}?")
