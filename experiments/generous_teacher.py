"""The generous teacher in three stages: a standard teacher, the generous one that it teaches, and a student of each.

    python experiments/generous_teacher.py                            # scikit-learn's digits, minutes on a laptop
    python experiments/generous_teacher.py --comparison.ablations     # without ablations: only the two teachers
    python experiments/generous_teacher.py --data.name fashion_mnist --study.name generous-fashion

The same student is trained with each teacher, and without one, at the same budget over several seeds. Settings: --help.
Results: outputs/<study.name>/ and MLflow.
"""

import raykd

EXPERIMENT = raykd.Experiment(
    data=raykd.DataSettings(name="digits"),
    teacher=raykd.TeacherSettings(
        model=raykd.ModelSettings(name="resnet20"),
        training=raykd.TrainingSettings(epochs=30, batch_size=64, learning_rate=0.05, decay="cosine"),
        generous=raykd.GenerousSettings(warmup_epochs=5),
    ),
    student=raykd.ModelSettings(name="resnet8", arguments={"width": 0.5}),
    training=raykd.TrainingSettings(epochs=16, batch_size=32, learning_rate=0.05, decay="cosine"),
    objective=raykd.ObjectiveSettings(ce_weight=0.1, kd_weight=0.9),
    method=raykd.MethodSettings(name="kd"),
    temperature=raykd.TemperatureSettings(policy="constant", value=4.0),
    bias=raykd.BiasSettings(form="keep"),
    comparison=raykd.ComparisonSettings(
        ablations=("fixed_temperature", "full_kl", "full_dkd", "masked"),
        seeds=3,
    ),
    study=raykd.StudySettings(name="digits-generous"),
)


def main(experiment: raykd.Experiment) -> None:
    """Compare teachers by their students: train the standard and the generous one, and the same student with each."""
    raykd.compare_teachers(experiment)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT)
