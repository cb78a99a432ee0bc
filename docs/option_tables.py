"""A directive for Sphinx that shows the table of options: ``.. option-table:: variables`` or ``keywords``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from anaheadless.api.keywords import annotation
from anaheadless.options import TABLE, Option


def variables() -> list[list[str]]:
    """Return the rows of all options: as they are called, their variables, their meaning, their commands."""
    header = ["Option", "Variable", "Meaning", "Commands"]
    return [header, *([_call(row), f"``{row.variable}``", _meaning(row), _commands(row)] for row in TABLE)]


def keywords() -> list[list[str]]:
    """Return the rows of the options that the Python functions have."""
    header = ["Keyword", "Type", "Default", "Option"]
    rows = (
        [f"``{row.field}``", f"``{annotation(row)}``", _default(row), f"``--{row.name}``: {_meaning(row)}"]
        for row in TABLE
        if row.in_python
    )
    return [header, *rows]


def _call(row: Option) -> str:
    metavar = row.metavar or row.kind.metavar
    name = f"``--{row.name} {metavar}``" if metavar else f"``--{row.name}``"
    return f"``-{row.short}``, {name}" if row.short else name


def _meaning(row: Option) -> str:
    return row.help if row.help.endswith(".") else f"{row.help}."


def _default(row: Option) -> str:
    default = f"``{row.default!r}``" if isinstance(row.default, (str, bool, float, tuple)) else f"``{row.default}``"
    return f"{default}: {row.shown_default}" if row.shown_default else default


def _commands(row: Option) -> str:
    return ", ".join("anaheadless-python" if name == "python" else name for name in row.commands)


class OptionTable(SphinxDirective):
    """The directive ``option-table``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = {"variables": variables, "keywords": keywords}[self.arguments[0]]()
        lines = [".. list-table::", "   :class: stack", "   :header-rows: 1", ""]
        for row in rows:
            lines += [f"   {'* ' if not number else '  '}- {cell}" for number, cell in enumerate(row)]
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source="option-table"), self.content_offset, container)
        return container.children


def setup(app: Any) -> dict[str, bool]:
    """Add the directive to Sphinx."""
    app.add_directive("option-table", OptionTable)
    return {"parallel_read_safe": True}
