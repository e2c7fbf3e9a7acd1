"""Settings on the command line."""

from __future__ import annotations

import pytest

from tests.helpers.bad_input import Bad, Refuse, bad

CASES = {
    "misspelt name": bad("tune --study.trails 3", "unknown setting '--study.trails': did you mean '--study.trials'?"),
    "misspelt name with =": bad("tune --study.trails=3", "did you mean '--study.trials'?"),
    "dash for the dot": bad("tune --study-trials 3", "did you mean '--study.trials'?"),
    "section left out": bad("tune --trials 3", "did you mean '--study.trials'?"),
    "capitals": bad("tune --Study.Trials 3", "did you mean '--study.trials'?"),
    "no dashes": bad("tune study.trials=3", "unexpected 'study.trials=3': did you mean '--study.trials=3'?"),
    "shortened name": bad("tune --conf x.yaml", "did you mean '--config'?"),
    "misspelt short name": bad("tune --resum", "unknown setting '--resum': did you mean '--resume'?"),
    "a name like no other": bad("tune --zzzzzzzzzz 3", "unknown setting '--zzzzzzzzzz': known: ", " more."),
    "stray word": bad("tune stray", "unexpected 'stray': each value stands after its --NAME"),
    "value of a flag": bad("tune --resume yes", "--resume takes no value: leave 'yes' out"),
    "value apart from =": bad("tune --study.trials= 3", "--study.trials is empty"),
    "no value": bad("tune --study.trials", "--study.trials needs a value"),
    "empty value": Bad(("tune", "--study.name", ""), ("--study.name is empty: give a value, or leave it out",)),
    "no file": bad("tune --config", "--config needs a value"),
    "words for a count": bad("tune --study.trials many", "--study.trials: 'many' is no number"),
    "fraction for a count": bad("tune --training.epochs 2.5", "--training.epochs: '2.5' is no number, or no whole one"),
    "decimal comma": bad("tune --training.learning-rate 0,1", "--training.learning-rate: '0,1' is no number"),
    "word for a number or nothing": bad("tune --data.folds five", "--data.folds cannot be 'five'"),
    "word in a list of numbers": bad("tune --training.milestones half", "--training.milestones cannot be 'half'"),
    "unknown choice": bad(
        "tune --bias.form pears", "--bias.form cannot be 'pears': give one of 'pair', 'swap'", ": did you mean 'pair'?"
    ),
    "unknown choice in a list": bad("tune --study.objectives speed", "cannot be 'speed': give one of 'accuracy'"),
    "below the least": bad("tune --study.trials 0", "study.trials: Input should be greater than or equal to 1 (got 0)"),
    "not a number": bad("tune --training.learning-rate nan", "training.learning_rate: Input should be a finite number"),
    "endless": bad("tune --training.learning-rate inf", "training.learning_rate: Input should be a finite number"),
    "share above 1": bad("tune --bias.strength 2", "bias.strength: Input should be less than or equal to 1 (got 2.0)"),
    "three wrong values": bad(
        "tune --bias.strength 2 --bias.smoothing 3 --bias.eta -1", "bias.strength: Input", "\nbias.smoothing: Input"
    ),
    "values that exclude each other": bad(
        "tune --training.momentum 0 --training.nesterov", "training.nesterov needs a training.momentum above 0"
    ),
    "nothing to learn from": bad("tune --objective.ce-weight 0 --objective.kd-weight 0", "are both 0"),
    "arguments without =": bad("tune --student.arguments width", "expected NAME=VALUE, such as width=0.5, not 'width'"),
    "arguments without name": bad("tune --student.arguments =1", "expected NAME=VALUE"),
    "argument twice": bad("tune --student.arguments width=1 width=2", "--student.arguments: width is given twice"),
    "argument of a list that is not closed": bad("tune --student.arguments width=[1", "width=[1 cannot be read: "),
    "argument of a list": bad("tune --student.arguments width=[1,2]", "student.arguments.width: Input should be"),
    "argument of nothing": bad("tune --student.arguments width=", "student.arguments.width: Input should be"),
    "place in the name": bad("tune --study.name ../other", "study.name: '../other' cannot name a folder and runs"),
    "blank in the name": Bad(("tune", "--study.name", "my study"), ("'my study' cannot name", "up to 100 letters")),
    "endless name": bad(f"tune --study.name {'x' * 300}", "study.name: ", "up to 100 letters"),
    "another's home that is not there": bad("tune --study.output=~nobody-here/x", "no home folder ~nobody-here"),
    "two objectives and asha": bad(
        "tune --study.objectives accuracy parameters --study.scheduler asha", "with several study.objectives use none"
    ),
    "a method that is not there": bad("tune --method dkdd", "method.name: unknown method 'dkdd': did you mean 'dkd'?"),
    "a start point that is not there": bad(
        "tune --study.start kdd", "unknown start point 'kdd' in study.start: did you mean 'kd'?"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_refused(case: Bad, refuse: Refuse) -> None:
    refuse(case)
