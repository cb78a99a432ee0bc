"""A call with no options, or plain ones, goes around click: it does the same, and imports little."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anaheadless.cli import app, entry
from anaheadless.errors import LaunchError
from anaheadless.launch import run as launch
from anaheadless.options import SESSION_VARIABLES
from anaheadless.session import keeper_process
from tests.support.helpers import BIN, run

HARMLESS = ("--start-timeout", "29")
# Each takes milliseconds, and all that most of them bring is of no use here.
HEAVY = {
    *("PyQt5", "argparse", "asyncio", "click", "configparser", "ctypes", "dataclasses", "datetime", "email", "glob"),
    *("hashlib", "http", "importlib.metadata", "inspect", "logging", "pathlib", "pkg_resources", "psutil", "random"),
    *("shutil", "subprocess", "tempfile", "threading", "tomllib", "typing", "typing_extensions", "unittest", "urllib"),
}


def imported(*command: str, **settings: object) -> set[str]:
    """The modules that a Python imports, which site did not import anyway."""
    environ = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    output = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    names = re.findall(r"^import time: .*\| +([\w.]+)$", output.stderr, re.MULTILINE)
    assert names
    return set(names[names.index("site") + 1 :] if "site" in names else names)


def test_a_launch_imports_little(tmp_path: Path) -> None:
    around = [f"{name}=x" for name in SESSION_VARIABLES]  # of a session around this one
    environ = ["env", f"XDG_CACHE_HOME={tmp_path}", *around]
    options = ["--gl", "auto", "--screen=640x480", "--timeout", "1h"]
    command = [*environ, "ANAHEADLESS_SCREEN=800x600", sys.executable, "-m", "anaheadless", "exec", *options, "true"]
    found = [imported(*command) for _ in range(2)]
    assert "subprocess" in found[0], "the first one proves"
    assert found[1] & HEAVY == set()
    assert {name for name in found[1] if name.startswith("anaheadless.")} == {
        f"anaheadless.{name}"
        for name in (
            *("cli", "cli.config_file", "cli.entry", "errors", "options"),
            *("launch", "launch.environment", "launch.find_opengl", "launch.run", "launch.target"),
            *("session", "session.discovery", "session.keeper_process"),
            *("session.leftovers", "session.protocol", "session.server_failure", "session.session", "session.start"),
            *("opengl", "opengl.cache", "opengl.candidates", "opengl.hardware"),
            *("x11", "x11.authority", "x11.connection", "x11.display_number", "x11.server_process"),
            *("x11.servers", "x11.servers.choice", "x11.servers.kind", "x11.servers.xorg", "x11.servers.xvfb"),
            *("x11.servers.xvnc", "x11.servers.xwayland", "system", "system.libraries", "system.light_stdlib"),
            *("system.memfile", "system.private_files", "system.processes", "system.programs"),
        )
    }


def test_the_keeper_imports_less() -> None:
    imports = keeper_process.KEEPER_BOOTSTRAP.partition("    keeper.main")[0].partition("has not started\n")[2]
    code = f"import sys\n{imports}finally: pass"
    found = imported(sys.executable, "-X", "importtime", "-I", "-S", "-c", code, keeper_process.KEEPER)
    assert {"anaheadless.session.keeper", "anaheadless.x11.server_process"} <= found
    assert found & (HEAVY | {"enum", "json", "re", "signal", "socket", "struct", "collections", "contextlib"}) == set()


class Launched(Exception):  # noqa: N818
    """Its arguments are what would have been launched."""


def outcome(call: Callable[[], object], monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> object:
    def launch_run(*args: object, **_: object) -> None:
        raise Launched(*args)

    with monkeypatch.context() as patch:
        patch.setattr(launch, "inherited_environment", lambda: dict(environ))
        patch.setattr(launch, "run", launch_run)
        for name, value in environ.items():
            patch.setenv(name, value)
        said = io.StringIO()
        try:
            with redirect_stderr(said), redirect_stdout(said):
                call()
        except Launched as launched:
            return launched.args
        except SystemExit as end:
            return end.code, said.getvalue()
        except LaunchError as error:
            return str(error), error.exit_code
    raise AssertionError


PLAIN = ["--gl mesa", "--gl=none", "--gl auto", "--screen=8x8x8", "--screen 640x480", "--timeout 90", "--timeout=1.5m"]
PLAIN += ["-v", "--verbose", "--fresh", "--no-shim", "--supervise"]
OTHERS = [
    "--gl gold",
    "--gl",
    "--screen=x",
    "--timeout -1",
    "--verbose=1",
    "-vv",
    "--f",
    "--dpi 90",
    "--help",
    "--grace 3",
]
ENDS = [
    "true",
    "-c pass --gl x",
    "-m this -v",
    "-",
    "- -",
    "-- true",
    "-c",
    "-m",
    "",
    f"{__file__} --gl=none",
    "-cpass",
]
VARIABLES = {"GL": ["none", "gold", ""], "SCREEN": ["9x9", "x"], "TIMEOUT": ["1h", ""], "FRESH": ["1", "0", "no"]}
VARIABLES |= {"VERBOSE": ["", "1"], "VIEWS": ["3"], "GRACE": ["3"], "SESSION": ["{}"]}


@given(
    st.sampled_from(["run", "exec"]),
    st.lists(st.sampled_from(PLAIN), max_size=4),
    st.sampled_from(["", "", "", *OTHERS]),
    st.sampled_from(ENDS),
    st.dictionaries(st.sampled_from(sorted(VARIABLES)), st.integers(0, 2), max_size=2),
)
@settings(max_examples=400)
def test_the_fast_path_does_what_click_does(
    command: str, plain: list[str], other: str, end: str, variables: dict[str, int]
) -> None:
    words = " ".join([*plain, other, end]).split()
    environ = {f"ANAHEADLESS_{name}": VARIABLES[name][n % len(VARIABLES[name])] for name, n in variables.items()}
    environ |= {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["anaheadless", command, *words])
        by_click = outcome(lambda: app.cli.main([command, *words], prog_name="anaheadless"), patch, environ)
        assert outcome(entry._main, patch, environ) == by_click


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "import sys; print(sys.argv)", "a", "--gl", "-v", ""],
        ["-c", "import sys; sys.exit(7)"],
        ["-c"],
        ["-cprint(1)"],
        ["-m"],
        ["-m", "no.such.module", "--help"],
        ["-m", "this", "-h"],
        ["-", "--gl", "none"],
        ["--", "script.py", "--", "-c"],
        ["script.py", "--", "--gl"],
        ["./script.py", "-c", "pass"],
        ["-script.py"],
        [".", "x"],
        ["missing.py"],
        [""],
        [],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_the_fast_path_does_the_same_with_an_option(words: list[str], tmp_path: Path) -> None:
    for name in "script.py", "-script.py", "__main__.py":
        (tmp_path / name).write_text("import sys; print(__name__, sys.argv, sys.stdin.read())")
    plain, by_click = (run("run", *options, *words, cwd=tmp_path, input="", stdin=None) for options in ((), HARMLESS))
    assert (plain.returncode, plain.stdout, plain.stderr) == (by_click.returncode, by_click.stdout, by_click.stderr)


@pytest.mark.parametrize(
    "words", [["true"], ["sh", "-c", "exit 3", "--help"], ["no such command"], ["-v"], ["--", "true"]]
)
def test_the_fast_path_of_exec_does_the_same_with_an_option(words: list[str]) -> None:
    plain, by_click = (run("exec", "--gl", "none", *options, *words) for options in ((), HARMLESS))
    assert (plain.returncode, plain.stdout) == (by_click.returncode, by_click.stdout)
    plain = run("exec", *words)
    assert (plain.returncode, plain.stdout) == (by_click.returncode, by_click.stdout) or words == ["-v"]


def test_the_fast_path_heeds_variables() -> None:
    for command in ((), ("run",)):
        program = str(BIN / ("anaheadless" if command else "anaheadless-python"))
        output = run(*command, "-c", "1", command=program, env={**os.environ, "ANAHEADLESS_SCREEN": "huge"})
        assert output.returncode == 2
        assert "'huge' is not WIDTHxHEIGHT" in output.stderr
