"""Distil one student with the settings as they are: a single run in a classroom like those of a study's trials.

    python experiments/distill.py
    python experiments/distill.py --method kd --temperature.policy constant --temperature.value 4

Settings: --help. Results: outputs/<study.name>/student and MLflow.
"""

import raykd

EXPERIMENT = raykd.Experiment(
    data=raykd.DataSettings(name="digits"),
    teacher=raykd.TeacherSettings(
        model=raykd.ModelSettings(name="resnet20"),
        training=raykd.TrainingSettings(epochs=30, batch_size=64, learning_rate=0.05, decay="cosine"),
    ),
    student=raykd.ModelSettings(name="resnet8", arguments={"width": 0.5}),
    training=raykd.TrainingSettings(epochs=16, batch_size=32, learning_rate=0.05, decay="cosine"),
    study=raykd.StudySettings(name="digits-distill"),
)


def main(experiment: raykd.Experiment) -> None:
    """Distil one student: train its teacher or take it from the cache, train the student once, and keep it."""
    raykd.distill(experiment)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT)
