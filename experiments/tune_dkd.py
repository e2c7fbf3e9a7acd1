"""Tune a distillation: search temperature, bias rectification, schedule and DKD's weights for one student.

    python experiments/tune_dkd.py                                    # scikit-learn's digits, minutes on a laptop
    python experiments/tune_dkd.py --data.name fashion_mnist --study.name fashion
    ray job submit --working-dir . -- python experiments/tune_dkd.py --resume

Settings: --help. Results: outputs/<study.name>/ and MLflow.
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
    objective=raykd.ObjectiveSettings(ce_weight=1.0, kd_weight=1.0, warmup_epochs=2),
    temperature=raykd.TemperatureSettings(loss_weight="multiplier"),
    method=raykd.MethodSettings(name="dkd"),
    study=raykd.StudySettings(name="digits-dkd", space="dkd_bias", trials=32),
)


def main(experiment: raykd.Experiment) -> None:
    """Tune a distillation: train a teacher, search the student's hyperparameters, keep the best student."""
    raykd.tune(experiment)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT)
