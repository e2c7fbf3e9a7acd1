"""The page docs/methods.md: what combines with what, and the explanation of every method.

python -m raykd.report.methods_page > docs/methods.md
"""

from __future__ import annotations

from raykd.knowledge.methods import METHODS
from raykd.knowledge.temperature import TemperatureSettings
from raykd.report.combinations import KIND_DESCRIPTIONS
from raykd.report.explanation import Explanation, explain
from raykd.report.terminal import shell_lines

HEAD = """# Methods

Generated from the code by `python -m raykd.report.methods_page > docs/methods.md`; a test keeps it current.
`raykd explain METHOD` shows the same on a terminal. A method of your own: [own_method.md](own_method.md).

## What combines with what

Temperature, bias and schedule are raykd's, not the method's: every method with a teacher works under every
`temperature.policy`, `bias.form`, `bias.denominator` and `schedule.form`. Four things differ.

- Some methods compare logits themselves. A repair that takes all probability from a class would make its logit minus
  infinity; such settings are refused before training, with an error that names the method.
- The loss of a feature method is added to that of a method of answers (`method.beside`, usually kd), whose weight is
  `objective.kd_weight`; temperature, bias and schedule apply to the method of answers.
- Mixed images (`data.mixup`, `data.cutmix`) have two labels. Cross-entropy takes both, by their shares, and so does
  the weight that a schedule hands over to the labels. A teacher's answer is right if it is the label with the larger
  share, and wrong answers are repaired towards that label. So with much mixing many answers count as wrong that name
  the other part of the image; `bias.form` keep makes no such difference. Methods that need one label refuse mixed
  images before anything starts; what each makes of the labels stands below. A method of your own gets the label with
  the larger share, or refuses mixed images if its class says `labels = "single"`.
- With several workers, methods that compare samples with each other see on each worker only that worker's samples.

Schedule and denominator weigh right answers of the teacher against repaired ones. With `bias.form` keep, which does not
separate the two, they change nothing. `schedule.hand_over` says where the weight goes that the schedule takes away: to
the labels of the same images (default), to repaired answers alone (rectified, as in the paper: where the teacher is
hardly wrong, distillation fades), or nowhere, as right answers keep theirs (right).
"""

FLOORS = """## Students whose logits hardly differ yet

The std temperature (and so a generous teacher's), logit_standardisation and dist divide the student's answers by their
own deviation, so that their scale is free. For a loss w KL(p || q) at T = m std(s), with w = T_teacher^2 or m^2, the
gradient at the student's logits s is (w / T) times the part of q - p across s: at most sqrt(2) w / (m std(s)), and
without bound as std(s) goes to 0. The papers' networks start at about a tenth of their teacher's deviation, where this
does little harm. Small heads do not: torchvision's mobilenet_v3_small and squeezenet1_1 start at about 0.004 of it,
their first steps are hundreds of times too large, and they may never recover.

So the student's deviation counts as at least `floor` (default {floor:g}) times the teacher's, sample by sample:
T = m max(std(s), floor std(teacher)).

- The gradient is at most 1 / floor times what a student gets whose logits spread as its teacher's do.
- Above the floor, loss and gradient are the papers' to the bit. To scale both networks' logits alike still changes
  nothing.
- Below it, the loss is that of constant temperatures, convex in s. Its minimum is on the floor, at s = floor * teacher:
  the student is led out of there. Value and slope across s have no jump at the floor.

`temperature.floor` is that of the std temperature, `teacher.generous.floor` that of a generous teacher, and
logit_standardisation and dist have their own. dist, under every temperature, compares centred probabilities: their
lengths, of each sample and of each class, get the same floor. A floor of 0 is the papers' form; so the commands "as
published" below differ from the papers only in the first steps of networks whose logits hardly differ.
"""


def methods_page() -> str:
    """The whole page, in Markdown."""
    explanations = [explain(name) for name in METHODS]
    contents = ["| method | |", "| --- | --- |"]
    contents += [f"| [{method.name}](#{method.name}) | {KIND_DESCRIPTIONS[method.kind]} |" for method in explanations]
    floors = FLOORS.format(floor=TemperatureSettings().floor)
    return "\n".join([HEAD, *contents, "", floors, *map(_section, explanations)])


def _section(method: Explanation) -> str:
    blocks = [f"## {method.name}", method.summary]
    if method.details:
        blocks.append(method.details)
    blocks += [f"```\n{method.formula}\n```", f"Source: {method.source}."]
    if method.layers:
        blocks.append(f"Hint layers: {method.layers}.")
    if method.settings:
        head = "| setting | default | range | |\n| --- | --- | --- | --- |"
        rows = [
            f"| `{setting.name}` | {setting.default} | {setting.range} | {setting.help} |"
            for setting in method.settings
        ]
        blocks.append("\n".join([head, *rows]))
    blocks.append(" ".join(method.combinations))
    blocks.append(f"As published:\n\n```\n{shell_lines(method.command, 118)}\n```")
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    print(methods_page(), end="")
