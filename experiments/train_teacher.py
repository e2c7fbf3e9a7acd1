"""Train a teacher into the cache, where studies find it: a standard one, or a generous one that the standard teaches.

    python experiments/train_teacher.py
    python experiments/train_teacher.py --teacher.kind generous

Settings: --help. Results: <teacher.cache>/teachers/, outputs/<study.name>/ and MLflow.
"""

import raykd

EXPERIMENT = raykd.Experiment(
    data=raykd.DataSettings(name="digits"),
    teacher=raykd.TeacherSettings(
        model=raykd.ModelSettings(name="resnet20"),
        training=raykd.TrainingSettings(epochs=30, batch_size=64, learning_rate=0.05, decay="cosine"),
        generous=raykd.GenerousSettings(warmup_epochs=5),
    ),
    study=raykd.StudySettings(name="digits-teacher"),
)


def main(experiment: raykd.Experiment) -> None:
    """Train a teacher: the standard one, and with --teacher.kind generous the generous one that it teaches."""
    raykd.train_teacher(experiment)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT)
