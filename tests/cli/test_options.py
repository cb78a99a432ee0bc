"""An option is the same wherever it is given: one table says what there is."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import anaheadless
from anaheadless import options
from anaheadless.api.keywords import annotation
from anaheadless.cli import app, entry
from anaheadless.launch import run as launch
from anaheadless.options import FILE, FLAG, LIST, PROGRAM, TABLE, Option
from tests.support.helpers import run

# Of each option, a value as on the command line, and the same in Python.
VALUES: dict[str, tuple[str, Any]] = {
    "screen": ("640x480", "640x480"),
    "dpi": ("120", 120),
    "server": ("xwayland", "xwayland"),
    "wm": ("focus", "focus"),
    "display-number": ("77", 77),
    "server-arg": ("-dpms", ["-dpms"]),
    "start-timeout": ("2.5", 2.5),
    "gl": ("mesa", "mesa"),
    "gpu": ("0000:01:00.0", "0000:01:00.0"),
    "vgl-display": ("egl1", "egl1"),
    "probe-timeout": ("7", 7),
    "require": ("egl", ["egl"]),
    "timeout": ("1.5m", 90.0),
    "grace": ("3", 3.0),
}
FLAGS = {option.name: ("", not option.default) for option in TABLE if option.kind is FLAG}
# Another interpreter is no other launch: see tests/launch/test_interpreter.py.
ROWS = [option for option in TABLE if option.kind not in (FILE, PROGRAM) and option.name != "uv"]
SAMPLES = [(option, *{**VALUES, **FLAGS}[option.name]) for option in ROWS]
COMMANDS = ("run", "exec", "start", "doctor")


class LaunchedError(Exception):
    """The launch that a command line has led to; its argument is the options."""


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What a command line, with these variables and this script, would launch."""

    def stop(_: object, wanted: options.Options, *__: object) -> None:
        raise LaunchedError(wanted)

    def ask(words: list[str], text: str = "", *, by_click: bool = True, **variables: str) -> options.Options:
        script = tmp_path / "script.py"
        script.write_text(text)
        environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
        command = ["run", *words, str(script)]
        with monkeypatch.context() as patch:
            patch.setattr(launch, "inherited_environment", lambda: environ)
            patch.setattr(launch, "run", stop)
            patch.setattr(sys, "argv", ["anaheadless", *command])
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(LaunchedError) as raised:
                app.cli.main(command) if by_click else entry._main()
        (wanted,) = raised.value.args
        assert isinstance(wanted, options.Options)
        return wanted

    return ask


def written(option: Option, text: str) -> list[str]:
    return [f"--{option.name}={text}"] if text else [f"--{option.name}"]


@pytest.mark.parametrize(("option", "text", "value"), SAMPLES, ids=lambda each: getattr(each, "name", ""))
def test_an_option_means_the_same_everywhere(option: Option, text: str, value: Any, launched: Any) -> None:
    wanted = options.build(
        {option.field: tuple(value) if option.kind is LIST else option.kind.parse(text) if text else value}
    )
    assert wanted != options.Options() or option.name == "grace"
    more = ["--timeout", "9"] if option.name == "grace" else []
    if more:
        wanted = wanted.replace(limits=wanted.limits.replace(timeout=9.0))
    words = [*more, *written(option, text)]
    assert launched(words) == wanted
    assert launched(words, by_click=False) == wanted
    assert launched(more, **{option.variable: text or "1"}) == wanted
    assert launched(more, by_click=False, **{option.variable: text or "1"}) == wanted
    toml = "true" if option.kind is FLAG else f'["{text}"]' if option.kind is LIST else f'"{text}"'
    block = f"# /// script\n# [tool.anaheadless]\n# {option.name} = {toml}\n# ///\n"
    assert launched(more, block) == wanted
    assert launched(more, block, by_click=False) == wanted
    if option.in_python:
        assert options.from_keywords("test", {option.field: value}) == wanted


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_options_in_their_groups(command: str) -> None:
    output = run(command, "--help", env={**os.environ, "COLUMNS": "100"})
    assert output.returncode == 0
    assert max(map(len, output.stdout.splitlines())) in range(90, 101)
    sections = re.split(r"^(\S.*):$", output.stdout, flags=re.MULTILINE)
    shown = {
        heading: re.findall(r"^  (?:-\w, )?--([\w-]+)", text, re.MULTILINE)
        for heading, text in zip(sections[1::2], sections[2::2])
    }
    wanted: dict[str, list[str]] = {}
    for option in options.options_of(command):
        wanted.setdefault(option.group, []).append(option.name)
    assert {heading: shown[heading] for heading in wanted} == wanted


def test_help_is_as_wide_as_the_terminal() -> None:
    output = run("run", "--help", env={**os.environ, "COLUMNS": "150"})
    assert max(map(len, output.stdout.splitlines())) in range(130, 151)


def test_completion_offers_the_values() -> None:
    environ = {**os.environ, "_ANAHEADLESS_COMPLETE": "bash_complete", "COMP_WORDS": "anaheadless run --gl m"}
    output = run(env={**environ, "COMP_CWORD": "3"})
    assert output.stdout == "plain,mesa\n"


@pytest.mark.parametrize("name", ["virtual_display", "relaunch", "setup_headless"])
def test_signatures_name_the_keywords(name: str) -> None:
    shown = inspect.signature(getattr(anaheadless, name)).parameters
    rows = [option for option in TABLE if option.in_python and (name, option.field) != ("setup_headless", "shim")]
    own = {"environ", "allow_virtualgl", "force_virtualgl", "need_opengl", "qapp"}
    assert [each for each in shown if each not in own] == [option.field for option in rows]
    for option in rows:
        assert str(shown[option.field].default) == str(option.default)
        assert shown[option.field].annotation == annotation(option)


def test_types_for_editors_are_those_of_the_table() -> None:
    tree = ast.parse(Path(options.__file__).read_text())
    names = ("InProcessKeywords", "Keywords")
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name in names]
    fields = [node for each in classes for node in each.body if isinstance(node, ast.AnnAssign)]
    typed = {node.target.id: ast.unparse(node.annotation) for node in fields}  # type: ignore[union-attr]
    assert typed == {option.field: annotation(option) for option in TABLE if option.in_python}


def test_show_config_shows_every_option_of_run() -> None:
    output = run("run", "--show-config")
    assert re.findall(r"^(?:# )?([\w-]+)", output.stdout, re.MULTILINE) == [o.name for o in options.options_of("run")]


class Name(str, Enum):
    """A value that is a string all the same."""

    NONE = "none"
    SIZE = "640x480"


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"gl": Name.NONE, "screen": Name.SIZE}, {"gl": "none", "screen": "640x480"}),
        (
            {"start_timeout": Fraction(1, 2), "probe_timeout": Decimal("2.5")},
            {"start_timeout": 0.5, "probe_timeout": 2.5},
        ),
        ({"virtualgl": 0, "shim": 1}, {"virtualgl": False, "shim": True}),
        ({"server_args": {"-dpms": 1}.keys()}, {"server_args": ["-dpms"]}),
    ],
)
def test_keywords_take_values_of_like_types(given: dict[str, Any], same: dict[str, Any]) -> None:
    assert options.from_keywords("test", given) == options.from_keywords("test", same)


@pytest.mark.parametrize(
    "given", [{"gl": None}, {"dpi": 1.5}, {"dpi": True}, {"shim": None}, {"shim": "no"}, {"server_args": "-dpms"},
              {"server_args": [1]}, {"start_timeout": "5"}, {"start_timeout": True}, {"screen": 5}], ids=str,
)  # fmt: skip
def test_keywords_of_other_types_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{next(iter(given))} has to be "):
        options.from_keywords("test", given)
