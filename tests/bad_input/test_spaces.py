"""Files of search spaces."""

from __future__ import annotations

import pytest

from tests.helpers.bad_input import Bad, Refuse


def space(text: str, *says: str, name: str = "./space.yaml") -> Bad:
    """A case of a study, from the text of its search space."""
    return Bad(("tune", "--config", "mine.yaml"), says, {"mine.yaml": f"study.space: {name}", "space.yaml": text})


STRENGTH = "bias.strength: {low: 0, high: 1}\n"

CASES = {
    "misspelt name": space(
        "", "unknown search space 'dkd_bais' in study.space: did you mean 'dkd_bias'?", name="dkd_bais"
    ),
    "no such file": space("", "no search space at ./nowhere.yaml (study.space)", name="./nowhere.yaml"),
    "a folder": space("", "no search space at ../ (study.space)", name="../"),
    "nobody's home": space("", "study.space: there is no home folder ~nobody-here", name="~nobody-here/space.yaml"),
    "empty": space("# nothing yet", "names no setting to search, such as 'bias.strength: {low: 0.0, high: 1.0}'"),
    "a list": space("- bias.strength", "must hold names with their values"),
    "not closed": space("bias.form: {choices: [pair", "space.yaml is not valid YAML: line 1: "),
    "a value": space(
        "bias.strength: 0.5", "bias.strength: expected {low: ..., high: ...} or {choices: [...]}, got 0.5"
    ),
    "a section": space("bias: {strength: {low: 0, high: 1}}", "is a section, not a setting: name one of bias.form"),
    "misspelt setting": space(
        "bias.strenght: {low: 0, high: 1}", "unknown setting 'bias.strenght' in", "'bias.strength'?"
    ),
    "misspelt key": space("bias.strength: {lwo: 0, high: 1}", "unknown key 'lwo' in", "did you mean 'low'?"),
    "half a range": space(
        "bias.strength: {low: 0}", "bias.strength: high missing; an entry has low and high, or choices"
    ),
    "the wrong way": space("bias.strength: {low: 1, high: 0}", "bias.strength: low 1 must be below high 0"),
    "beyond the setting": space(
        "bias.strength: {low: 0, high: 2}", "bias.strength: Input should be less than or equal to 1"
    ),
    "words for numbers": space(
        "bias.strength: {low: a, high: b}", "low: Input should be a valid integer", "bias.strength"
    ),
    "no number": space("bias.strength: {low: .nan, high: 1}", "low, high and step must be finite"),
    "logarithm of 0": space(
        "temperature.multiplier: {low: 0, high: 1, log: true}", "temperature.multiplier: `low > 0`"
    ),
    "steps of 0": space("temperature.multiplier: {low: 1, high: 2, step: 0}", "`step > 0` must hold"),
    "steps that do not meet": space(
        "temperature.multiplier: {low: 1, high: 2, step: 0.3}", "the last before it is 1.9"
    ),
    "a range of words": space("bias.form: {low: 0, high: 1}", "its values are no numbers", "give {choices: [...]}"),
    "no choices": space("bias.form: {choices: []}", "bias.form: The `choices` must contain one or more"),
    "an unknown choice": space(
        "bias.form: {choices: [pair, pears]}", "bias.form: Input should be 'pair'", "(got 'pears')"
    ),
    "choice of truth": space("temperature.multiplier: {choices: [true]}", "temperature.multiplier cannot be true"),
    "a choice twice": space("temperature.multiplier: {choices: [1, 1.0]}", "choice 1.0 is given twice"),
    "an unknown network": space("student.name: {choices: [resnet8, resnet9]}", "student.name resnet9: ", "'resnet8'"),
    "a default outside": space(
        "bias.strength: {low: 0, high: 0.5, default: 1}", "default 1.0 is not in its range: 0.0 to"
    ),
    "what a study is": space(
        "study.trials: {low: 1, high: 3}", "study.trials cannot be searched: it steers the search"
    ),
    "what is measured": space(
        "training.epochs: {low: 1, high: 3}", "training.epochs cannot be searched: trials of diff"
    ),
    "lists": space("training.milestones: {choices: [[0.5]]}", "training.milestones is not a single value"),
    "a condition below": space(
        "bias.strength: {low: 0, high: 1, when: {bias.form: pair}}\nbias.form: {choices: [pair]}", "must stand above it"
    ),
    "a condition never met": space(
        "bias.form: {choices: [swap]}\nbias.strength: {low: 0, high: 1, when: {bias.form: pair}}",
        "which it never takes",
    ),
    "a condition on what is not there": space(
        "bias.strength: {low: 0, high: 1, when: {bias.from: pair}}", "unknown setting 'bias.from'", "'bias.form'?"
    ),
    "start as a list": space(
        f"{STRENGTH}start: [kd]", "start must name settings for each start point, such as {strong"
    ),
    "start by numbers": space(f"{STRENGTH}start: {{mine: {{1: 3}}}}", "start must name settings for each start point"),
    "start without settings": space(
        f"{STRENGTH}start: {{mine: {{}}}}", "start must name settings for each start point"
    ),
    "a misspelt setting of start": space(
        f"{STRENGTH}start: {{mine: {{bias.strenght: 1}}}}", "unknown setting 'bias.strenght'", "'bias.strength'?"
    ),
    "a wrong value of start": space(
        f"{STRENGTH}start: {{mine: {{bias.strength: 3}}}}", "bias.strength: Input should be less", "start, mine"
    ),
    "an unknown network of start": space(
        f"{STRENGTH}start: {{mine: {{student.name: resnet9}}}}", "start, mine: unknown model 'resnet9'", "'resnet8'?"
    ),
    "an impossible network of start": space(
        f"{STRENGTH}start: {{mine: {{student.arguments: {{width: -1}}}}}}",
        "start, mine: width must be a positive number",
    ),
    "raykd's own start point": space(
        f"{STRENGTH}start: {{kd: {{bias.strength: 1}}}}", "start, kd: raykd has a start point of this name"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_refused(case: Bad, refuse: Refuse) -> None:
    refuse(case)
