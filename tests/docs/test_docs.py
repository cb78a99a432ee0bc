"""What docs/ shows is what happens, and nothing that is public is missing there."""

from __future__ import annotations

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
FUNCTIONS = [name for name in anaheadless.__all__ if inspect.isroutine(getattr(anaheadless, name))]


@pytest.mark.parametrize("command", [line[2:] for line in BLOCKS["from-xvfb-run"].splitlines()])
@pytest.mark.needs("xdpyinfo")
def test_commands_for_those_who_come_from_xvfb_run_work(command: str, home: Path) -> None:
    output = shell(command, home)
    assert_well(output)
    if "--screen" in command:
        assert re.search(r"dimensions: +1920x1080 .*\s+resolution: +96x96", output.stdout)


@pytest.mark.needs("xdpyinfo")
def test_what_takes_the_place_of_xvfb_run_works(home: Path) -> None:
    (home / "bin" / "anaheadless-xvfb-run").symlink_to(CHECKOUT / "bin" / "anaheadless-xvfb-run")
    output = shell(BLOCKS["xvfb-run"], home)
    assert_well(output)
    assert re.search("dimensions: +800x600", output.stdout)


@pytest.mark.parametrize(("name", "last"), [("from-pyvirtualdisplay", "800x600"), ("from-xvfbwrapper", "1280x720")])
@pytest.mark.needs("xdpyinfo")
def test_code_for_those_who_come_from_a_package_works(name: str, last: str, home: Path) -> None:
    (home / "script.py").write_text(BLOCKS[name])
    output = shell("python script.py", home)
    assert_well(output)
    assert re.findall(r"dimensions: +(\S+)", output.stdout)[-1] == last


@pytest.mark.parametrize(("name", "said"), [("from-soma", "xcb\n"), ("from-anatomist", "True 2\n")])
def test_code_for_those_who_come_from_brainvisa_works(name: str, said: str, home: Path) -> None:
    (home / "script.py").write_text(BLOCKS[name])
    output = shell(f"PYTHONPATH={DOUBLES} {ANAHEADLESS} run script.py", home)
    assert_well(output)
    assert output.stdout == said


def test_every_public_name_is_on_the_api_page() -> None:
    shown = re.findall(
        r"^\.\. (?:autofunction|autoclass|autoexception|data):: anaheadless\.(\w+)\b(?!\.)", API, re.MULTILINE
    )
    assert sorted(shown) == sorted([*anaheadless.__all__, "MapResult", "map"])


def test_every_command_is_on_its_page() -> None:
    """Those of a directive are in an order that is chosen, and others would be left out without a word."""
    page = (DOCS / "reference" / "command-line.rst").read_text()
    (listed,) = re.findall("^   :commands: (.*)$", page, re.MULTILINE)
    assert sorted(listed.split(", ")) == sorted(cli.commands)


@pytest.mark.parametrize("name", [*FUNCTIONS, "VirtualDisplay.screenshot", "HeadlessInfo", "VirtualDisplay"])
def test_described_parameters_are_those_of_the_signature(name: str) -> None:
    found: Any = anaheadless
    for part in name.split("."):
        found = getattr(found, part)
    parameters = [parameter for parameter in inspect.signature(found).parameters if parameter != "self"]
    described = re.findall(r":param (\w+):", found.__doc__)
    if "options" in described:  # which stand for all that the table has
        described += [option.field for option in options.TABLE if option.in_python and option.field in parameters]
        described.remove("options")
    assert set(described) <= set(parameters)
    # What is not described on its own is named in the description of another, or stands for all the rest.
    assert all(
        parameter == "kwargs" or f"``{parameter}``" in found.__doc__ for parameter in {*parameters} - {*described}
    )


def test_keywords_are_named_in_the_docstring() -> None:
    doc = inspect.getdoc(anaheadless.virtual_display) or ""
    for option in options.TABLE:
        assert not option.in_python or f"``{option.field}" in doc, option
