"""docs/notebooks.md: its cells run, one after the other, on a study."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from raykd.config import TrackingSettings
from raykd.tracking.outbox import FILE
from tests.helpers.finished_models import finished_study
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs" / "notebooks.md"


def test_the_cells_of_the_page_run(tmp_path: Path) -> None:
    experiment = finished_study(tmp_path, TrackingSettings())
    event = '{"kind": "metrics", "trial": "trial-0000", "step": 1, "metrics": {"validation_accuracy": 0.9}}'
    (experiment.folder / FILE).write_text('{"outbox": "id"}\n' + event + "\n")
    names: dict[str, Any] = {}
    cells = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    for cell in cells:
        exec(cell.replace("outputs/digits-dkd", str(experiment.folder)), names)
    assert names["finished"]["accuracy"].tolist() == [0.9]
    assert names["last"].loc["trial-0000", "validation_accuracy"] == 0.9
    assert not names["student"].training
