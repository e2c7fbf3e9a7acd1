"""Confirm a finished study: its best setting against baselines and teachers, on the test split, over several seeds.

    python experiments/confirm.py                                     # the study of experiments/tune_dkd.py
    python experiments/confirm.py --study.name fashion --confirm.seeds 3
    raykd confirm outputs/digits-dkd                                  # the same, for the study in this folder

Settings: --help; networks, data and training are the study's. Results: outputs/<study.name>/confirm/ and MLflow.
"""

import raykd

EXPERIMENT = raykd.Experiment(study=raykd.StudySettings(name="digits-dkd"))


def main(experiment: raykd.Experiment) -> None:
    """Confirm a study: train its best settings and the baselines again, and measure all of them on the test split."""
    raykd.confirm(experiment)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT)
