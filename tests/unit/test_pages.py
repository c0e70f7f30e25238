"""The pages hold together: a link leads somewhere, and the README starts with a call that works."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings as GitHub names them, and explicit anchors."""
    text = prose(page)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def links(page: Path) -> list[str]:
    """The links of a page that stay in the repository."""
    return [link for link in _LINK.findall(prose(page)) if not link.startswith("http")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading or anchor that is in it."""
    broken = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_a_page_is_python(page: Path) -> None:
    """Each block compiles; what it does is tested elsewhere."""
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S):
        ast.parse(block)


def test_the_readme_shows_a_call_and_its_answer_within_twenty_lines() -> None:
    """A stranger knows after one look how to ask and what comes back."""
    top = "\n".join((ROOT / "README.md").read_text().splitlines()[:20])
    assert "from local_llm_service import generate" in top
    assert ".get(timeout=60)" in top
    assert "'The capital of France is Paris.'" in top


def test_every_fault_of_the_stock_worker_has_an_anchor() -> None:
    """Comments in the code cite docs/delivery.md by these: F1, F2, and so on."""
    page = ROOT / "docs" / "delivery.md"
    faults = [f"f{number}" for number in range(1, 13)]
    assert set(faults) <= anchors(page)
