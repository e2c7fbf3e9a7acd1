"""The page docs/methods.md: what combines with what, and the explanation of every method.

python -m raykd.report.methods_page > docs/methods.md
"""

from __future__ import annotations

from raykd.knowledge.methods import METHODS
from raykd.report.combinations import KIND_DESCRIPTIONS
from raykd.report.explanation import Explanation, explain
from raykd.report.terminal import shell_lines

HEAD = """# Methods

Generated from the code by `python -m raykd.report.methods_page > docs/methods.md`; a test keeps it current.
`raykd explain METHOD` shows the same on a terminal. A method of your own: [own_method.md](own_method.md).

## What combines with what

Temperature, bias and schedule are raykd's, not the method's: every method with a teacher works under every
`temperature.policy`, `bias.form`, `bias.denominator` and `schedule.form`. Three things differ.

- Some methods compare logits themselves. A repair that takes all probability from a class would make its logit minus
  infinity; such settings are refused before training, with an error that names the method.
- The loss of a feature method is added to that of a method of answers (`method.beside`, usually kd), whose weight is
  `objective.kd_weight`; temperature, bias and schedule apply to the method of answers.
- With several workers, methods that compare samples with each other see on each worker only that worker's samples.

Schedule and denominator weigh right answers of the teacher against repaired ones. With `bias.form` keep, which does not
separate the two, they change nothing. `schedule.hand_over` says where the weight goes that the schedule takes away: to
the labels of the same images (default), to repaired answers alone (rectified, as in the paper: where the teacher is
hardly wrong, distillation fades), or nowhere, as right answers keep theirs (right).
"""


def methods_page() -> str:
    """The whole page, in Markdown."""
    explanations = [explain(name) for name in METHODS]
    contents = ["| method | |", "| --- | --- |"]
    contents += [f"| [{method.name}](#{method.name}) | {KIND_DESCRIPTIONS[method.kind]} |" for method in explanations]
    return "\n".join([HEAD, *contents, "", *map(_section, explanations)])


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
