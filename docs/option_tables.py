"""A directive for Sphinx that shows options: ``.. option-table:: variables``, ``keywords`` or ``pytest``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from anaheadless.api.keywords import annotation
from anaheadless.options import IN_PROCESS, TABLE, Option
from anaheadless.pytest_plugin import ini_name

WIDTHS = {"variables": "42 58", "keywords": "20 20 22 38", "pytest": "42 58"}
WIDEST_CALL = 30  # characters: a wider cell would push the others off the page


def variables() -> list[list[str]]:
    """Return the rows of all options: their names and variables, and their meaning."""
    rows = (
        [f"{_call(row)} |br| ``{row.variable}``", f"{_meaning(row)}{_shown_default(row)}{_commands(row)}"]
        for row in TABLE
    )
    return [["Option and variable", "Meaning"], *rows]


def keywords() -> list[list[str]]:
    """Return the rows of the options that the Python functions have."""
    header = ["Keyword", "Type", "Default", "Option"]
    rows = (
        [f"``{row.field}``", f"``{annotation(row)}``", _default(row), f"``--{row.name}``: {_meaning(row)}"]
        for row in TABLE
        if row.in_python
    )
    return [header, *rows]


def pytest_options() -> list[list[str]]:
    """Return the rows of the options that the pytest plugin has."""
    rows = (
        [f"``--headless-{row.name}`` |br| ``{ini_name(row)}``", f"{_meaning(row)}{_shown_default(row)}"]
        for row in IN_PROCESS
    )
    return [["Option and setting", "Meaning"], *rows]


def _call(row: Option) -> str:
    name = f"--{row.name} {row.metavar or row.kind.metavar}".rstrip()
    call = f"``{name if len(name) <= WIDEST_CALL else f'--{row.name}'}``"
    return f"``-{row.short}``, {call}" if row.short else call


def _meaning(row: Option) -> str:
    meaning = row.help.replace("--server-arg=-maxclients --server-arg=512", "``--server-arg=-maxclients``.").rstrip(".")
    values = f" Values: ``{row.kind.metavar}``." if "|" in row.kind.metavar else ""
    return f"{meaning}.{values}"


def _shown_default(row: Option) -> str:
    return f" Default: {row.default_in_words}." if row.default_in_words else ""


def _default(row: Option) -> str:
    default = f"``{row.default!r}``" if isinstance(row.default, (str, bool, float, tuple)) else f"``{row.default}``"
    return f"{default}: {row.shown_default}" if row.shown_default else default


def _commands(row: Option) -> str:
    names = ["anaheadless-python" if name == "python" else name for name in row.commands]
    return "" if row.commands == TABLE[0].commands else f" Only for {', '.join(names[:-1])} and {names[-1]}."


class OptionTable(SphinxDirective):
    """The directive ``option-table``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        kind = self.arguments[0]
        rows = {"variables": variables, "keywords": keywords, "pytest": pytest_options}[kind]()
        lines = [".. |br| raw:: html", "", "   <br>", ""]
        lines += [".. list-table::", "   :class: stack", "   :header-rows: 1", f"   :widths: {WIDTHS[kind]}", ""]
        for row in rows:
            lines += [f"   {'* ' if not number else '  '}- {cell}" for number, cell in enumerate(row)]
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source="option-table"), self.content_offset, container)
        return container.children


def setup(app: Any) -> dict[str, bool]:
    """Add the directive to Sphinx."""
    app.add_directive("option-table", OptionTable)
    return {"parallel_read_safe": True}
