"""Every relative link of every document leads to a file or folder, and every anchor to a heading."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_SKIPPED = {".git", ".venv", "var", "node_modules", ".hypothesis", ".pytest_cache"}
_PAGES = sorted(
    page.relative_to(_ROOT) for page in _ROOT.rglob("*.md") if not _SKIPPED & {*page.relative_to(_ROOT).parts}
)


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    anchors: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#+ +(.*?) *$", _prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = anchors[anchor] = anchors.get(anchor, -1) + 1
        found.add(f"{anchor}-{count}" if count else anchor)
    return found


def _leads_nowhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return not target.exists() or (bool(anchor) and target.suffix == ".md" and anchor not in _anchors(target))


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_every_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", _prose(_ROOT / page)) if not re.match(r"[a-z]+:", link)]
    assert [link for link in links if _leads_nowhere(_ROOT / page, link)] == []


def test_the_pages_are_found() -> None:
    assert {Path("README.md"), Path("CONTRIBUTING.md"), Path("docs/architecture.md")} <= {*_PAGES}
