"""The commands of `raykd`."""

from __future__ import annotations

from pathlib import Path

import pytest

from raykd.config import Experiment
from raykd.saved_settings import save_experiment
from tests.helpers.bad_input import Bad, Refuse, bad


def single_run(folder: Path) -> None:
    """A folder of a run that searched nothing."""
    save_experiment(Experiment(), folder / "outputs/single/experiment.yaml")


def model_without_weights(folder: Path) -> None:
    """A folder that holds other things."""
    (folder / "model").mkdir()
    (folder / "model/notes.txt").write_text("mine")


def on_studies(line: str) -> dict[str, Bad]:
    """What a command says of studies that there are not; STUDY stands for their name."""
    name, _, _ = line.partition(" ")
    return {
        f"{name}: no study": bad(line.replace("STUDY", "nothing"), "no study 'nothing'", "nor is there one in outputs"),
        f"{name}: misspelt study": bad(
            line.replace("STUDY", "singel"),
            "unknown study 'singel' in outputs: did you mean 'single'?",
            make=single_run,
        ),
        f"{name}: no search": bad(line.replace("STUDY", "single"), "holds no search", "raykd tune", make=single_run),
        f"{name}: nobody's home": bad(line.replace("STUDY", "~nobody-here/x"), "'~nobody-here/x' is no path"),
        f"{name}: endless name": bad(line.replace("STUDY", "x" * 5000), "is no path: its name is too long"),
    }


CASES = {
    "misspelt command": bad("lits", "unknown command 'lits': did you mean 'list'?"),
    "misspelt option of raykd": bad("--hlep", "unknown command '--hlep'"),
    "a script's name": bad("tune_dkd", "unknown command 'tune_dkd'"),
    "list: nothing": bad("list", "raykd list needs", "see raykd list --help"),
    "list: misspelt kind": bad("list method", "unknown kind 'method': did you mean 'methods'?"),
    "list: two kinds": bad("list methods models", "unexpected 'models' in raykd list"),
    "explain: nothing": bad("explain", "raykd explain needs"),
    "explain: misspelt method": bad("explain dkdd", "unknown method 'dkdd': did you mean 'dkd'?"),
    "explain: no module": bad("explain nowhere:loss", "no module named 'nowhere'"),
    "explain: no method": bad("explain math:pi", "expected a function"),
    **on_studies("report STUDY"),
    "report: misspelt option": bad(
        "report x --outptu y", "unknown option '--outptu' in raykd report: did you mean '--out"
    ),
    "report: nothing": bad("report", "raykd report needs"),
    **on_studies("register STUDY --name mine"),
    "register: no name": bad("register x", "raykd register needs --name", "see raykd register --help"),
    "register: a name that is a path": bad("register x --name a/b", "--name 'a/b': a name has letters, digits"),
    "register: an alias that is a version": bad(
        "register x --name a --alias v1", "--alias v1 means a version's number"
    ),
    **on_studies("export STUDY --output here"),
    "export: nothing": bad("export", "raykd export needs", "--output"),
    "export: no model": bad("export model --output x", "no finished model in model", make=model_without_weights),
    "export: misspelt format": bad(
        "export x --output y --format onxx", "--format cannot be 'onxx': give one of 'torch_ex"
    ),
    "export: a word for a number": bad("export x --output y --tolerance much", "--tolerance: 'much' is no number"),
    "export: onto something": bad(
        "export x --output model", "--output model holds something other than an earlier", make=model_without_weights
    ),
    "replay: nothing": bad("replay", "raykd replay needs"),
    "replay: no trial": bad("replay x", "'x' names no trial: give STUDY/trial-0007"),
    "replay: no study": bad("replay nothing/trial-0001", "no study 'nothing'"),
    "replay: a run of nowhere": bad(f"replay {'0' * 32}", "with --uri"),
    "replay: no MLflow": bad(f"replay {'0' * 32} --uri mlflow", "is not an address that MLflow can log to"),
    "replay: misspelt option": bad("replay x/trial-0001 --data-rot y", "did you mean '--data_root'?"),
    "confirm: nothing": bad("confirm", "raykd confirm needs a study first"),
    "confirm: settings alone": bad("confirm --confirm.seeds 3", "raykd confirm needs a study first"),
    "confirm: no study": bad("confirm nothing", "no study 'nothing'"),
    "confirm: a path of nothing": bad("confirm no/such/study", "no study 'no/such/study'"),
    "confirm: nobody's home": bad("confirm ~nobody-here/x", "'~nobody-here/x' is no path"),
    "confirm: one seed": bad(
        "confirm x --confirm.seeds 1", "confirm.seeds: Input should be greater than or equal to 2"
    ),
    "confirm: misspelt setting": bad("confirm x --confirm.sedes 3", "did you mean '--confirm.seeds'?"),
    "bank: misspelt command": bad("bank biuld x", "unknown command 'biuld' in raykd bank: did you mean 'build'?"),
    "bank: no study": bad("bank build nothing", "no study 'nothing'"),
    "bank: no teacher named": bad("bank clear", "name the teachers", "or give --all"),
    "bank: no such teacher": bad("bank clear x --cache cache", "unknown teacher 'x' in raykd bank list"),
    "bank: unknown option": bad(
        "bank list --cahce x", "unknown option '--cahce' in raykd bank list: did you mean '--cache'?"
    ),
    "bank: an unknown store": bad("bank list --storage ftp://x", "unknown store 'ftp'"),
    "plan: misspelt option": bad("plan --seconds-per-epcoh 3", "did you mean '--seconds_per_epoch'?"),
    "plan: misspelt setting": bad("plan --study.trails 3", "did you mean '--study.trials'?"),
    "plan: no GPUs": bad("plan --sizes 0", "--sizes must be counts of GPUs, 1 or more"),
    "plan: a word for a number": bad("plan --sizes many", "--sizes cannot be 'many'"),
    "plan: time runs backwards": bad("plan --seconds-per-epoch -1", "seconds-per-epoch"),
    "plan: endless epochs": bad("plan --seconds-per-epoch nan", "seconds-per-epoch"),
    "plan: no such space": bad("plan --study.space dkd_bais --seconds-per-epoch 1", "did you mean 'dkd_bias'?"),
    "plan: on the test split": bad("plan --config x.yaml", "cannot read x.yaml: No such file"),
    "plan: a file for nothing": bad("plan --seconds-per-epoch 1 --json nowhere/plan.json", "nowhere/plan.json"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_refused(case: Bad, refuse: Refuse) -> None:
    refuse(case)
