"""The documents: what they name exists, and what the code cites of them can be opened."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
FOLDERS = [*sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()), "benchmarks", "docs", "examples"]
NOT_IN_THE_REPOSITORY = re.compile(r"\bspec(_\w+)?\.md\b|\bresearch/|(?<!docs/)\bdesign\.md\b|\.\./shared\b")


def headings(text: str) -> set[str]:
    return set(re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE))


def sources() -> list[Path]:
    """Python files of the rooms and of the root."""
    return [*ROOT.glob("*.py"), *(path for folder in [*FOLDERS, "tests"] for path in (ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_paths_and_links_lead_somewhere(document) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", text)
    assert sorted({name for name in named if not (ROOT / name).exists()}) == []
    linked = re.findall(r"\]\(([^):#]+)\)(?:, ([A-Z][\w ]+))?", text)
    assert [target for target, _ in linked if not (document.parent / target).exists()] == []
    cited = {(target, heading.strip()) for target, heading in linked if heading}
    assert [one for one in cited if one[1] not in headings((document.parent / one[0]).read_text(encoding="utf-8"))] == []


def test_what_the_code_cites_of_a_document_is_there() -> None:
    missing = []
    for path in sources():
        for name, heading in re.findall(r"docs/(\w+\.md)(?:, ([A-Z][\w\- ]+\w))?", path.read_text(encoding="utf-8")):
            document = ROOT / "docs" / name
            if not document.exists() or (heading and not any(heading.startswith(one) for one in headings(document.read_text("utf-8")))):
                missing.append(f"{path.relative_to(ROOT)}: docs/{name}, {heading}")
    assert missing == []


def test_the_code_cites_nothing_that_a_reader_cannot_open() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}" for path in sources() for match in NOT_IN_THE_REPOSITORY.finditer(path.read_text("utf-8"))
    ]
    own = f"{Path(__file__).relative_to(ROOT)}: "
    assert [one for one in found if not one.startswith(own)] == []
