"""What docs/ shows is what happens, and nothing that is public is missing there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import anaheadless
from anaheadless import options
from anaheadless.cli.app import cli
from tests.support.documentation import BLOCKS, assert_well, shell
from tests.support.helpers import ANAHEADLESS, CHECKOUT, DOUBLES

DOCS = CHECKOUT / "docs"
API = (DOCS / "reference" / "python-api.rst").read_text()
KEYWORDS = (DOCS / "reference" / "python-keywords.rst").read_text()
FUNCTIONS = [name for name in anaheadless.__all__ if inspect.isroutine(getattr(anaheadless, name))]


@pytest.mark.parametrize("command", [line[2:] for line in BLOCKS["from-xvfb-run"].splitlines()])
@pytest.mark.needs("xdpyinfo")
def test_coming_from_xvfb_run(command: str, home: Path) -> None:
    output = shell(command, home)
    assert_well(output)
    if "--screen" in command:
        assert re.search(r"dimensions: +1920x1080 .*\s+resolution: +96x96", output.stdout)


@pytest.mark.parametrize(("name", "last"), [("from-pyvirtualdisplay", "800x600"), ("from-xvfbwrapper", "1280x720")])
@pytest.mark.needs("xdpyinfo")
def test_coming_from_a_package(name: str, last: str, home: Path) -> None:
    (home / "script.py").write_text(BLOCKS[name])
    output = shell("python script.py", home)
    assert_well(output)
    assert re.findall(r"dimensions: +(\S+)", output.stdout)[-1] == last


@pytest.mark.parametrize(("name", "said"), [("from-soma", "xcb\n"), ("from-anatomist", "True 2\n")])
def test_coming_from_brainvisa(name: str, said: str, home: Path) -> None:
    (home / "script.py").write_text(BLOCKS[name])
    output = shell(f"PYTHONPATH={DOUBLES} {ANAHEADLESS} run script.py", home)
    assert_well(output)
    assert output.stdout == said


def test_every_public_name_is_on_the_api_page() -> None:
    shown = re.findall(r"^\.\. (?:autofunction|autoclass|autoexception|data):: anaheadless\.(\w+)", API, re.MULTILINE)
    assert sorted(shown) == sorted(anaheadless.__all__)


def test_every_command_is_on_its_page() -> None:
    """Those of a directive are in an order that is chosen, and others would be left out without a word."""
    page = (DOCS / "reference" / "command-line.rst").read_text()
    (listed,) = re.findall("^   :commands: (.*)$", page, re.MULTILINE)
    assert sorted(listed.split(", ")) == sorted(cli.commands)


@pytest.mark.parametrize("name", [*FUNCTIONS, "VirtualDisplay.screenshot", "HeadlessInfo", "VirtualDisplay"])
def test_parameters_are_those_of_the_signature(name: str) -> None:
    found: Any = anaheadless
    for part in name.split("."):
        found = getattr(found, part)
    parameters = [parameter for parameter in inspect.signature(found).parameters if parameter != "self"]
    described = re.findall(r":param (\w+):", found.__doc__)
    assert set(described) <= set(parameters)
    # What is not described on its own is named in the description of another, or stands for all the rest.
    assert all(
        parameter == "kwargs" or f"``{parameter}``" in found.__doc__ for parameter in {*parameters} - {*described}
    )


def test_options_are_those_of_the_functions() -> None:
    """Names and defaults, in the docstring of virtual_display() and in the table."""
    doc = inspect.getdoc(anaheadless.virtual_display) or ""
    for name, parameter in inspect.signature(options.checked).parameters.items():
        row = re.search(rf"^   \* - ``{name}``\n(?:     .*\n)+", KEYWORDS, re.MULTILINE)
        assert row, name
        assert str(parameter.default).split("x")[0] in row[0], name
        assert f"``{name}" in doc, name


WINGS = ("cli", "api", "diagnostics", "launch", "session", "opengl", "x11", "system")
FOR_ALL = ("options", "errors", "packages")


def wing_of(module: str) -> str:
    """The wing of a module, as ``session.keeper``; the face of the API is in that one."""
    first = module.partition(".")[0]
    return "api" if first == "headless" else first


def imports_of(path: Path) -> set[str]:
    """The modules of ours that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return {name.partition(".")[2] for name in found if name.startswith("anaheadless.")}


def test_wings_import_only_what_is_below_them() -> None:
    package = CHECKOUT / "anaheadless"
    wrong = []
    for wing in (*WINGS, *(f"{name}.py" for name in FOR_ALL)):
        for path in sorted((package / wing).rglob("*.py")) or [package / wing]:
            # What is for all of them stands below the launch, and above what it is made of.
            place = WINGS.index(wing) if wing in WINGS else WINGS.index("system") - 1
            for name in sorted(imports_of(path)):
                imported = wing_of(name)
                if imported in WINGS and WINGS.index(imported) < place:
                    wrong.append(f"{path.relative_to(package)} imports {name}")
    assert wrong == []


def test_every_module_is_described() -> None:
    text = (DOCS / "explanation" / "architecture.rst").read_text()
    described = dict(re.findall(r"^``(\w+)``: .*\n\n((?:(?:=|``).*\n)+)", text, re.MULTILINE))
    assert tuple(described) == WINGS
    for wing, table in described.items():
        folder = CHECKOUT / "anaheadless" / wing
        modules = [str(path.relative_to(folder)) for path in folder.rglob("*.py") if path.stem != "__init__"]
        assert sorted(re.findall(r"^``([\w/]+\.py)``", table, re.MULTILINE)) == sorted(modules)
