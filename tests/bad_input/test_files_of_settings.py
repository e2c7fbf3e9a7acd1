"""YAML files of settings."""

from __future__ import annotations

import pytest

from tests.helpers.bad_input import Bad, Refuse, bad, settings

EXAMPLE = "must hold names with their values, such as 'study.trials: 32'"

CASES = {
    "no such file": bad("tune --config nowhere.yaml", "cannot read nowhere.yaml: No such file"),
    "a folder": bad("tune --config .", "cannot read .: Is a directory"),
    "somebody's home": bad("tune --config ~nobody-here/x.yaml", "'~nobody-here/x.yaml' is no path"),
    "endless name": bad(f"tune --config {'x' * 5000}.yaml", "is no path: its name is too long"),
    "no text": Bad(("tune", "--config", "f"), ("cannot read f: it is no text in UTF-8",), {"f": b"\xff\xfe\x00a"}),
    "a byte of zero": settings("study: \0", "mine.yaml is not valid YAML: character 8 is none that a text may hold"),
    "a list": settings("- study", f"mine.yaml {EXAMPLE}"),
    "a number": settings("3", EXAMPLE),
    "a number for a name": settings("3: 4", EXAMPLE),
    "a picture": settings("x" * 100_000, EXAMPLE),
    "not closed": settings("study: {trials: 3", "mine.yaml is not valid YAML: line 1: "),
    "wrongly indented": settings("study:\n  trials: 3\n seed: 4", "not valid YAML: line 3: "),
    "tabulator": settings("\tstudy: 3", "not valid YAML: line 1: "),
    "two documents": settings("study.trials: 1\n---\nstudy.trials: 2", "not valid YAML: line 2: "),
    "nested without end": settings("[" * 3000, "not valid YAML: lists and names are nested too deeply"),
    "a number of thousands of digits": settings(
        "study.trials: " + "9" * 5000, "not valid YAML: a value cannot be read"
    ),
    "a day that there is not": settings("study.name: 2026-99-99", "not valid YAML: a value cannot be read: month"),
    "a list for a name": settings("? [a]\n: 3", "not valid YAML: line 1: "),
    "itself": settings("study: &a {name: *a}", "study.name: Input should be text"),
    "code": settings("!!python/object/apply:os.mkdir [ran]", "not valid YAML: line 1: could not determine a construct"),
    "twice the same": settings("bias: {form: swap, form: drop}", "'form' is given twice"),
    "twice, nested and dotted": settings("bias.form: swap\nbias: {form: drop}", "bias.form is given twice"),
    "unknown setting": settings("study: {trails: 3}", "unknown setting 'study.trails' in mine.yaml: did you mean"),
    "unknown section": settings("zzzzzz: 1", "unknown setting 'zzzzzz' in mine.yaml: known: bank, bias,"),
    "a name that steers the terminal": settings('"\\e[31mred": 3', "unknown setting '\\x1b[31mred'"),
    "a name of two lines": settings('"study\\ntrials": 3', "unknown setting 'study\\ntrials'"),
    "a value for a section": settings("teacher.model: resnet8", "is a section, not a setting: name one of teacher.mod"),
    "truth for a count": settings("study.trials: true", "study.trials: it cannot be true in mine.yaml"),
    "a list for text": settings("method.name: [kd]", "method.name: Input should be text (got ['kd']) in mine.yaml"),
    "text for a list": settings("study.start: kd", "study.start: Input should be a list (got 'kd') in mine.yaml"),
    "a number for a path": settings("study.output: 3", "study.output: Input should be a path (got 3) in mine.yaml"),
    "nothing for text": settings("study.name: null", "study.name: Input should be text (got None) in mine.yaml"),
    "no text at all": settings("tracking.uri: ''", "tracking.uri: it is empty: give a value, or leave it out"),
    "an empty path": settings("teacher.cache: ''", "teacher.cache: it is empty"),
    "zero in a path": settings('data.root: "a\\0b"', "data.root: it holds '\\x00', which is not shown: leave it out"),
    "text from right to left": settings('study.output: "a\\u202eb"', "study.output: it holds '\\u202e'"),
    "endless text for a number": settings(f"training.epochs: {'x' * 9999}", "training.epochs: Input should be", " ..."),
    "a retired setting": settings("tracking.registered_name: x", "use `raykd register STUDY --name NAME"),
    "measured on the test split": settings("data.held_out: test", "there is `raykd confirm STUDY`"),
    "a fold that there is not": settings("data.fold: 3", "data.fold 3 is none of 1: the first one is 0 (mine.yaml)"),
    "arguments as a list": settings("student.arguments: [1]", "student.arguments: Input should be names with values"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_refused(case: Bad, refuse: Refuse) -> None:
    refuse(case)
