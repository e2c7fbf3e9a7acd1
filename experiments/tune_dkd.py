"""Tune a distillation: search temperature, bias rectification, schedule and the weights of teacher and labels.

    python experiments/tune_dkd.py                                    # scikit-learn's digits, minutes on a laptop
    python experiments/tune_dkd.py --data.name fashion_mnist --study.name fashion
    ray job submit --working-dir . -- python experiments/tune_dkd.py --resume

Settings: --help. Results: outputs/<study.name>/ and MLflow.
"""

import raykd

EXPERIMENT = raykd.Experiment(
    # Few images and epochs for a small student, which its teacher helps (benchmarks/demo_task.py); many to judge by.
    data=raykd.DataSettings(name="digits", train_images=400, validation_share=0.4),
    teacher=raykd.TeacherSettings(
        model=raykd.ModelSettings(name="resnet20"),
        training=raykd.TrainingSettings(epochs=30, batch_size=64, learning_rate=0.05, decay="cosine"),
    ),
    student=raykd.ModelSettings(name="resnet8", arguments={"width": 0.25}),
    training=raykd.TrainingSettings(epochs=16, batch_size=32, learning_rate=0.05, decay="cosine"),
    method=raykd.MethodSettings(name="dkd"),
    study=raykd.StudySettings(name="digits-dkd", space="dkd_bias", trials=32, finalist_seeds=6),
)


def main(experiment: raykd.Experiment) -> None:
    """Tune a distillation: train a teacher, search the student's hyperparameters, keep the best student."""
    raykd.tune(experiment)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT)
