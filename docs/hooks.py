"""What the site has besides the files of docs/: documents of other folders as pages, and formulas as MathML.

The pages link to files outside of docs/ as GitHub shows them (`../search_spaces/dkd_bias.yaml`). Here each of these
files, or folders, becomes a page of the site, and the links lead there.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages that lie outside of docs/, and their names on the site."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".sbatch": "bash", ".cff": "yaml", ".toml": "toml"}
"""Files that are shown; of others a folder's page has the names alone."""
CODE_OR_LINK = re.compile(
    r"^```.*?^```|(?P<text>!?\[[^\]]*\])\((?P<target>[^)\s]+)\)|`[^`]+`", re.DOTALL | re.MULTILINE
)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/, and those of the files that are linked to."""
    for path, uri in DOCUMENTS.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    linked = {path for page in files.documentation_pages() for path in _outside(page)}
    for path in sorted(linked):
        page = _page_of(ROOT / path)
        files.append(File.generated(config, _uri(path), content=page, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    origin = _path(page.file.src_uri)

    def moved(found: re.Match[str]) -> str:
        path, anchor = _target(found, origin)
        if path is None:
            return found.group()
        uri = posixpath.relpath(_uri(path), posixpath.dirname(page.file.src_uri) or ".")
        return f"{found['text']}({uri}{anchor})"

    return CODE_OR_LINK.sub(moved, markdown)


def on_page_content(page_html: str, **_: Any) -> str:
    """Replace formulas, which arithmatex has marked, by MathML; PluginError where one cannot be drawn."""

    def drawn(found: re.Match[str]) -> str:
        block = found[1] == "div"
        formula = convert(html.unescape(found[2]).strip(), display="block" if block else "inline")
        if "\\" in formula:
            raise PluginError(f"a formula has a command that latex2mathml does not know: {found[2]}")
        return f'<div class="formula">{formula}</div>' if block else formula

    return FORMULA.sub(drawn, page_html)


def _outside(page: File) -> Iterator[str]:
    """The files and folders outside of docs/ that a page links to."""
    for found in CODE_OR_LINK.finditer(page.content_string):
        path, _ = _target(found, _path(page.src_uri))
        if path is not None and not path.startswith("docs/") and path not in DOCUMENTS and (ROOT / path).exists():
            yield path


def _target(found: re.Match[str], origin: str) -> tuple[str | None, str]:
    """The repository's file that a link leads to, and the anchor in it; None where it leads elsewhere."""
    target = found["target"]
    if target is None or target.startswith("#") or re.match(r"\w+:", target):
        return None, ""
    path, mark, anchor = target.partition("#")
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), path)), mark + anchor


def _path(uri: str) -> str:
    """Where a page of the site lies in the repository."""
    return {uri: path for path, uri in DOCUMENTS.items()}.get(uri, f"docs/{uri}")


def _uri(path: str) -> str:
    """Where a file of the repository lies on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return DOCUMENTS.get(path, f"files/{path}.md")


def _page_of(path: Path) -> str:
    """A file, or what lies in a folder, as a page."""
    if path.is_file():
        return f"# {path.name}\n\n{_shown(path)}"
    files = sorted(each for each in path.iterdir() if each.is_file())
    names = "\n".join(f"- `{each.name}`" for each in files)
    shown = [f"## {each.name}\n\n{_shown(each)}" for each in files if each.suffix in LANGUAGES]
    return "\n\n".join([f"# {path.relative_to(ROOT)}", names, *shown])


def _shown(path: Path) -> str:
    return f"````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text(encoding='utf-8')}\n````"
