"""The pages of the documentation, their blocks, and a shell in which a user runs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives, roles

from tests.support.helpers import BIN, CHECKOUT

# What only Sphinx knows. `make docs` looks at it, with warnings as errors; here, it only has to be let through.
_DIRECTIVES = ("autoclass", "autoexception", "autofunction", "click", "data", "option-table", "toctree")
_ROLES = ("class", "doc", "exc", "func", "meth", "ref")


class _Skipped(Directive):
    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        return []


def _parse(path: Path) -> nodes.document:
    settings = {"report_level": 2, "halt_level": 2}
    return publish_doctree(path.read_text(), source_path=str(path), settings_overrides=settings)


def _read() -> dict[str, nodes.document]:
    # A page includes parts of others, which are read as such.
    for name in (*_DIRECTIVES, "include"):
        directives.register_directive(name, _Skipped)
    for name in _ROLES:
        roles.register_generic_role(name, nodes.inline)
    files = [*CHECKOUT.glob("*.rst"), *(CHECKOUT / "docs").rglob("*.rst")]
    return {str(path.relative_to(CHECKOUT)): _parse(path) for path in sorted(files)}


PAGES = _read()
BLOCKS = {
    name: block.astext()
    for page in PAGES.values()
    for block in page.findall(nodes.literal_block)
    for name in block["names"]
}


def shell(command: str, home: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HOME": str(home), "PATH": f"{home}/bin:{BIN}:{os.environ['PATH']}"}
    # pytest-asyncio, which the tests of our plugin need, warns on standard error in a project without its settings.
    environ["PYTEST_ADDOPTS"] = "-p no:asyncio"
    settings = {"env": environ, "cwd": home, "capture_output": True, "text": True, "timeout": 120, **settings}
    return subprocess.run(["bash", "-e", "-c", command], stdin=subprocess.DEVNULL, **settings)


def assert_well(output: subprocess.CompletedProcess[str]) -> None:
    assert (output.returncode, output.stderr) == (0, ""), output
