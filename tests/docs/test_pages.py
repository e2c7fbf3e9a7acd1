"""What the pages of docs/ say and show: pictures, errors, the quick start, and that the site has all of them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import raykd
from tests.helpers.pages import commands
from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pictures() -> dict[str, Any]:
    """What docs/pictures.py defines."""
    return runpy.run_path(str(DOCS / "pictures.py"))


def test_the_pictures_are_those_of_the_script_and_are_shown(pictures: dict[str, Any]) -> None:
    assert {path.stem for path in (DOCS / "pictures").iterdir()} == set(pictures["PICTURES"])
    shown = set(re.findall(r"\(pictures/(\w+)\.svg\)", (DOCS / "papers.md").read_text()))
    assert shown == set(pictures["PICTURES"])


def test_a_picture_is_drawn_anew_as_it_was(pictures: dict[str, Any], tmp_path: Path) -> None:
    def curve(file: Path) -> np.ndarray:
        """The coordinates of the first plotted line."""
        (path,) = re.findall(r'<g id="line2d_\d+">\s*<path d="([^"]{500,})"', file.read_text())[:1]
        return np.array(re.findall(r"-?\d+\.?\d*", path), dtype=float)

    np.testing.assert_allclose(
        curve(pictures["draw"]("strength", tmp_path)), curve(DOCS / "pictures/strength.svg"), atol=2.0
    )


def test_pictured_repairs_are_those_of_the_page(pictures: dict[str, Any]) -> None:
    answer, repairs = pictures["ANSWER"], pictures["REPAIRS"]
    after = {name: pictures["repaired"](answer, bias)[0] for name, bias in repairs.items()}
    assert all(torch.isclose(each.sum(), torch.tensor(1.0), atol=1e-5) for each in after.values())
    # The authors' formula on the page, at s = 1/2, worked out by hand.
    label, wrong = 0.22, 0.50
    total = label + wrong
    scale = total / (0.5 * total + 0.5)
    assert after["pair, strength 0.5"][:2].tolist() == pytest.approx(
        [scale * (0.5 * label + 0.5), scale * 0.5 * wrong], abs=1e-5
    )
    assert after["margin 0.4"][0] - after["margin 0.4"][1] == pytest.approx(0.4, abs=1e-5)


def test_margin_and_revision_are_one_family(pictures: dict[str, Any]) -> None:
    from raykd.knowledge.bias import BiasSettings

    for share in (0.1, 0.2, 0.7):
        margin = pictures["repaired"](pictures["ANSWER"], BiasSettings(form="margin", margin=share))
        revision = pictures["repaired"](pictures["ANSWER"], BiasSettings(form="revision", eta=1 - share))
        torch.testing.assert_close(margin, revision)


def test_errors_of_the_page_are_those_of_raykd() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "raykd").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # one text over several lines
    headings = re.findall(r"^### (.*`.*)$", (DOCS / "faq.md").read_text(), re.MULTILINE)
    quoted = [part for each in headings for quote in re.findall(r"`([^`]+)`", each) for part in quote.split(" ... ")]
    assert len(quoted) > 25
    assert [part for part in quoted if part not in source] == []


def test_the_quick_starts_commands_are_those_that_run_in_the_test_of_readme() -> None:
    begin, readme = (list(commands(file, inline=False)) for file in (DOCS / "quick_start.md", ROOT / "README.md"))
    assert len(begin) == 6 and [command for command in begin if command not in readme] == []


def test_the_site_has_every_page_and_needs_nothing_foreign() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    site = yaml.safe_load(text)
    named = set(re.findall(r"[\w/]+\.md", str(site["nav"])))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert written - named == set()
    assert named - written == {"index.md", "contributing.md", "changelog.md", "benchmarks.md"}
    assert site["theme"]["font"] is False
    assert "extra_javascript" not in site and "://" not in text


def test_the_citation_and_the_changelog_are_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", raykd.__version__)
    assert re.search(rf"^## .*\b{re.escape(raykd.__version__)}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_page_of_settings_has_all_sections() -> None:
    rows = re.findall(r"^\| `(\w+)` \| \[`(\w+)`\]", (DOCS / "api/settings.md").read_text(), re.MULTILINE)
    fields = raykd.Experiment.model_fields.items()
    assert rows == [(name, getattr(field.annotation, "__name__", "")) for name, field in fields]


def test_the_api_reference_has_all_public_names() -> None:
    described = {
        name for page in (DOCS / "api").glob("*.md") for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)
    }
    public = {f"raykd.{name}" for name in raykd.__all__ if name != "losses"}
    assert described >= public | {f"raykd.losses.{name}" for name in raykd.losses.__all__}
