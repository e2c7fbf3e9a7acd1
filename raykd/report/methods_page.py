"""The page of the methods, docs/methods.md: which combinations exist, and every method explained.

python -m raykd.report.methods_page > docs/methods.md
"""

from __future__ import annotations

from raykd.knowledge.methods import METHODS
from raykd.report.combinations import DENOMINATORS, FORMS, NO_SAY, POLICIES, SCHEDULES, YES
from raykd.report.explanation import Explanation, explain
from raykd.report.explanation_shown import shell_lines

HEAD = """# Methods

Made from the code by `python -m raykd.report.methods_page > docs/methods.md`; a test keeps it so.
`raykd explain METHOD` shows the same on a terminal. A method of your own: [own_method.md](own_method.md).

## Which combinations exist
"""

LEGEND = f"""
- **kind**: *answers* compares the networks' answers, each sample for itself; *batch* compares samples among each other;
  *features* compares features. *No teacher*: temperature, bias and schedule have no say ({NO_SAY}).
- The term of a *features* method stands beside that of a method of answers (`method.beside`, here kd), weighed by
  `objective.kd_weight`. Temperature, bias and schedule apply to those answers; beside a method with a limit, its limit
  holds.
- **Bias forms** with a limit, such as `strength < 1`, are refused beyond it before training, by the method's name: it
  compares logits themselves, and a class without any probability has an infinite one.
- **Schedules**: {", ".join(SCHEDULES)}; **denominators**: {", ".join(DENOMINATORS)}. They weigh right against repaired
  answers, so under `bias.form` keep, which does not split them, they have no say; under drop the schedule fades the
  right ones out.
- **Several workers**: *as one* gives the loss of the whole batch, however it is shared out; with *each its own samples*
  a worker compares those that it has, and the losses are averaged by their shares.
- **Learned parts** are trained, saved and resumed with the student, and are no part of the finished model.
"""


def methods_page() -> str:
    """The whole page, in Markdown."""
    found = [explain(name) for name in METHODS]
    return "\n".join([HEAD, *_table(found), LEGEND, *map(_section, found)])


def _table(found: list[Explanation]) -> list[str]:
    head = ["method", "kind", *(f"T {policy}" for policy in POLICIES), *FORMS]
    head += ["schedule", "denominator", "several workers", "learned parts"]
    rows = [head, ["---"] * len(head), *map(_row, found)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _row(found: Explanation) -> list[str]:
    what = found.combinations
    cells = [f"[{found.name}](#{found.name})", what.kind, *what.policies.values(), *what.forms.values()]
    return [*cells, what.schedule, what.denominator, what.workers, YES if what.learned else "none"]


def _section(found: Explanation) -> str:
    blocks = [f"## {found.name}", found.summary]
    if found.details:
        blocks.append(found.details)
    blocks += [f"```\n{found.formula}\n```", f"Source: {found.source}."]
    if found.layers:
        blocks.append(f"Listens to {found.layers}.")
    if found.settings:
        head = "| setting | default | range | |\n| --- | --- | --- | --- |"
        rows = [f"| `{each.name}` | {each.default} | {each.range} | {each.help} |" for each in found.settings]
        blocks.append("\n".join([head, *rows]))
    blocks.append(f"As published:\n\n```\n{shell_lines(found.command, 118)}\n```")
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    print(methods_page(), end="")
