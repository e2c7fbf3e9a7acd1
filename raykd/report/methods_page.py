"""The page of the methods, docs/methods.md: what combines with what, and every method explained.

python -m raykd.report.methods_page > docs/methods.md
"""

from __future__ import annotations

from raykd.knowledge.methods import METHODS
from raykd.report.combinations import KINDS
from raykd.report.explanation import Explanation, explain
from raykd.report.explanation_shown import shell_lines

HEAD = """# Methods

Made from the code by `python -m raykd.report.methods_page > docs/methods.md`; a test keeps it current.
`raykd explain METHOD` shows the same on a terminal. A method of your own: [own_method.md](own_method.md).

## What combines with what

Temperature, bias and schedule are raykd's, not the method's: every method with a teacher works under every
`temperature.policy`, `bias.form`, `bias.denominator` and `schedule.form`. Three things differ.

- Some methods compare logits themselves. A repair that takes all probability from a class would send its logit to minus
  infinity; such settings are refused before training, with the method's name.
- A method of features stands beside a method of answers (`method.beside`, usually kd), weighed by
  `objective.kd_weight`; temperature, bias and schedule apply to those answers.
- Methods that compare samples with each other see on each of several workers that worker's samples only.

Schedule and denominator weigh right against repaired answers. Under `bias.form` keep, which does not split them, they
change nothing; under drop the schedule fades the right answers out.
"""


def methods_page() -> str:
    """The whole page, in Markdown."""
    explained = [explain(name) for name in METHODS]
    contents = ["| method | |", "| --- | --- |"]
    contents += [f"| [{each.name}](#{each.name}) | {KINDS[each.kind]} |" for each in explained]
    return "\n".join([HEAD, *contents, "", *map(_section, explained)])


def _section(method: Explanation) -> str:
    blocks = [f"## {method.name}", method.summary]
    if method.details:
        blocks.append(method.details)
    blocks += [f"```\n{method.formula}\n```", f"Source: {method.source}."]
    if method.layers:
        blocks.append(f"Listens to {method.layers}.")
    if method.settings:
        head = "| setting | default | range | |\n| --- | --- | --- | --- |"
        rows = [f"| `{each.name}` | {each.default} | {each.range} | {each.help} |" for each in method.settings]
        blocks.append("\n".join([head, *rows]))
    blocks.append(" ".join(method.combinations))
    blocks.append(f"As published:\n\n```\n{shell_lines(method.command, 118)}\n```")
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    print(methods_page(), end="")
