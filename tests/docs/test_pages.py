"""The pages of the documentation: they are complete, they can be built, and their links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from docutils import nodes

from tests.support.documentation import PAGES
from tests.support.helpers import CHECKOUT

ON_A_FRONT_PAGE = ("README.rst", "CONTRIBUTING.rst", "SECURITY.rst")
_SPHINX = ("sphinx", "furo", "sphinx_click", "sphinx_copybutton")


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.targets: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name == "id" and value:
                self.targets.add(value)


@pytest.mark.skipif(not all(map(importlib.util.find_spec, _SPHINX)), reason="the extra 'docs' is not installed")
def test_pages_are_built_and_their_links_lead_somewhere(tmp_path: Path) -> None:
    options = ("-q", "-W", "--keep-going", "-n", "-d", str(tmp_path / "doctrees"))
    command = [sys.executable, "-m", "sphinx", *options, str(CHECKOUT / "docs"), str(tmp_path / "html")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert (built.returncode, built.stderr) == (0, "")
    pages = {path: Page(path.read_text()) for path in (tmp_path / "html").rglob("*.html")}
    assert len(pages) > len(list((CHECKOUT / "docs").rglob("*.rst")))
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert found.exists(), (path.name, link)
            if found in pages:
                assert unquote(parts.fragment) in pages[found].targets, (path.name, link)


def test_readme_is_short() -> None:
    assert len((CHECKOUT / "README.rst").read_text().splitlines()) <= 200


def test_readme_needs_neither_sphinx_nor_the_repository() -> None:
    """PyPI shows it, too; relative links would be dead there."""
    assert not re.search(r":\w+:`", (CHECKOUT / "README.rst").read_text())
    links = [link.get("refuri", "") for link in PAGES["README.rst"].findall(nodes.reference)]
    assert [link for link in links if "://" not in link] == []


def test_picture_is_there() -> None:
    (image,) = PAGES["README.rst"].findall(nodes.image)
    assert (CHECKOUT / image["uri"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", ON_A_FRONT_PAGE)
def test_files_that_are_named_are_there(page: str) -> None:
    named = {literal.astext() for literal in PAGES[page].findall(nodes.literal)}
    paths = {name for name in named if re.fullmatch(r"(anaheadless|docs|examples|tests)/[\w./-]+|[A-Z]+\.rst", name)}
    assert {path for path in paths if not (CHECKOUT / path).exists()} == set()


def messages(path: Path) -> Iterator[str]:
    """The longest part that does not vary of each message with which a launch can fail, to its first punctuation."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "LaunchError":
            said = node.args[0]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "wrong":
            said = node.args[1]
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "message":
            said = node.value
        else:
            continue
        for text in (said.body, said.orelse) if isinstance(said, ast.IfExp) else (said,):
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            known = [str(part.value) for part in parts if isinstance(part, ast.Constant)]
            yield re.split("[:;,(]", max(known, key=len, default="").strip(" :,'({"))[0].strip()


def test_every_message_is_explained() -> None:
    text = " ".join((CHECKOUT / "docs" / "troubleshooting.rst").read_text().split())
    found = {message for path in (CHECKOUT / "anaheadless").rglob("*.py") for message in messages(path)}
    assert len(found) > 50
    assert "\n".join(sorted(message for message in found if message not in text)) == ""
