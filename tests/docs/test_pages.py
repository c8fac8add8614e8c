"""The pages themselves: each says what it is for and can be found, every link works, every path in the code exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READ = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
IMAGE_BYTES = 300_000


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def links(path: Path) -> list[str]:
    return [t for t in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8"))) if "://" not in t]


@pytest.mark.parametrize("path", READ, ids=name)
def test_every_link_leads_somewhere(path: Path) -> None:
    wrong = []
    for target in links(path):
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_page_begins_with_what_the_reader_gets(path: Path) -> None:
    title, blank, first = path.read_text(encoding="utf-8").split("\n", 2)
    assert title.startswith("# ")
    assert blank == ""
    assert re.match(r"(This (page|guide) \w+s|In this tutorial you|Use) ", first)


def test_the_index_names_every_page() -> None:
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in links(DOCS / "index.md")}
    assert [name(p) for p in PAGES if p.resolve() not in linked and p.name != "index.md"] == []


def test_every_page_that_the_repository_names_exists() -> None:
    """Docstrings, hints and comments send a reader to docs/….md."""
    folders = ("edge_oneshot", "converters", "training", "deploy", "scripts", "benchmarks", "tests")
    files = [
        f
        for folder in folders
        for f in (ROOT / folder).rglob("*")
        if f.suffix in (".py", ".sh", ".yaml", ".json", ".md", "")
    ]
    files += [ROOT / "pyproject.toml", ROOT / "edge_oneshot" / "models" / "NOTICE"]
    missing = []
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts and file != Path(__file__):
            for path in re.findall(
                r"\bdocs/[\w/-]+\.(?:md|py|txt|json)\b", file.read_text(encoding="utf-8", errors="ignore")
            ):
                if not (ROOT / path).exists():
                    missing.append(f"{name(file)}: {path}")
    assert missing == []


def test_pictures_are_small() -> None:
    pictures = sorted((DOCS / "images").iterdir())
    assert pictures
    assert [name(p) for p in pictures if p.stat().st_size > IMAGE_BYTES] == []
