"""Do the papers' claims hold? Tested with seeds, intervals and equal budgets, whichever way it turns out.

    python experiments/reproduce_claims.py                           # Fashion-MNIST, hours; --resume goes on
    python experiments/reproduce_claims.py --data.train_images 19000 --study.name claims-20000
    python experiments/reproduce_claims.py --data.name cifar100 --study.name claims-cifar100
    python experiments/reproduce_claims.py --quick                   # digits, minutes: shows that it runs, no more

The design, written down before the first run and kept since:

- Claims: those of arXiv 2412.09874 (elimination, repair, schedule, students beyond their teacher), of Image and Vision
  Computing 150, 105199 (the generous teacher), of both together, and of arXiv 2104.09732 (teachers that have not seen
  what they teach). `raykd/results/questions.py` lists every comparison.
- Data: 3,000 training images of Fashion-MNIST, halved to 14x14 pixels, and 1,000 for validation. Methods are tuned on
  these; then everything learns from all 4,000 and is measured on the 10,000 test images, which tuning never sees.
- Pairs: a half-width ResNet-8 is taught by a ResNet-20 trained to the end (strong), by one stopped after a tenth of the
  epochs (weak), and by another half-width ResNet-8 (same). Besides, the strong teacher with 10, 20 and 40 % of wrong
  labels, for the teacher alone or for both; and the paper's batch and optimizer, large batches, and longer training.
- Budget: each method has eight trials: learning rate, weight decay, share of distillation and temperature, the same
  points for all. Plain training and label smoothing have as many, of what they have. What is asked about a method's
  parts is changed in the method's tuned settings. All are trained for as many epochs, except where it says so.
- Seeds: five, after the one that tuned. Each has its own views, students and teachers; the images stay.
- Precision: float32 wherever it runs, so that a GPU and a CPU train alike but for rounding. (This line is of the day of
  the published run, on a GPU; all others are older than any run.)
- Outcome: accuracy on the test split after the last epoch; for "beyond the teacher" also on those of its images that
  the standard teacher of the same seed answers wrongly.
- Statistics: the mean of the differences seed by seed, its 95 % interval by Student's t, and a two-sided p, by Holm's
  method over the comparisons of one question under one condition. Below 0.05 a claim is shown, or refuted where the
  difference is negative; everything else is not shown.
"""

import raykd

EXPERIMENT = raykd.Experiment(
    data=raykd.DataSettings(name="fashion_mnist", train_images=3000, validation_share=1 / 60, image_size=14),
    teacher=raykd.TeacherSettings(
        model=raykd.ModelSettings(name="resnet20"),
        training=raykd.TrainingSettings(
            epochs=20, batch_size=64, learning_rate=0.05, decay="cosine", precision="float32"
        ),
        generous=raykd.GenerousSettings(warmup_epochs=2),
    ),
    student=raykd.ModelSettings(name="resnet8", arguments={"width": 0.5}),
    training=raykd.TrainingSettings(epochs=10, batch_size=64, learning_rate=0.05, decay="cosine", precision="float32"),
    study=raykd.StudySettings(name="claims"),
)

QUICK = {
    "data.name": "digits",
    "data.train_images": 200,
    "data.validation_share": 0.1,
    "data.image_size": None,
    "teacher.model.name": "resnet8",
    "teacher.training.epochs": 2,
    "teacher.generous.warmup_epochs": 1,
    "student.arguments": {"width": 0.25},
    "training.epochs": 2,
    "claims.seeds": 2,
    "claims.tuning_trials": 2,
    "study.name": "claims-quick",
}
"""What --quick changes."""


def main(experiment: raykd.Experiment) -> None:
    """Test the papers' claims: tune every method alike, teach all over seeds, and compare on the test split."""
    raykd.claims(experiment)


if __name__ == "__main__":
    raykd.run(main, EXPERIMENT, quick=QUICK)
