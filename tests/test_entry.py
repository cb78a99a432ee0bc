"""A call that leaves all options alone goes around click: it does the same, and imports little."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anaheadless import keeper
from helpers import BIN, run

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


def test_launch_imports_little(tmp_path: Path) -> None:
    environ = ["env", f"XDG_CACHE_HOME={tmp_path}"]
    command = [*environ, sys.executable, "-m", "anaheadless", "exec", "true"]
    found = [imported(*command) for _ in range(2)]
    assert "subprocess" in found[0], "the first one proves"
    assert found[1] & HEAVY == set()
    assert {name for name in found[1] if name.startswith("anaheadless.")} == {
        f"anaheadless.{name}"
        for name in (
            *("__main__", "configuration", "display", "entry", "environment", "errors", "facts", "keeper", "launch"),
            *("live", "memfile", "memory", "opengl", "options", "lean", "search", "session", "target", "xproto"),
            *("processes", "xserver"),
        )
    } - {"anaheadless.__main__"}


def test_keeper_imports_less() -> None:
    code = keeper.KEEP.partition("    keeper.main")[0].replace("    os.setsid()", "    os.dup2(2, 1)") + "finally: pass"
    found = imported(sys.executable, "-X", "importtime", "-I", "-S", "-c", code, keeper.__file__)
    assert {"anaheadless.keeper", "anaheadless.xserver"} <= found
    assert found & (HEAVY | {"enum", "json", "re", "signal", "socket", "struct", "collections", "contextlib"}) == set()


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
def test_same_with_an_option(words: list[str], tmp_path: Path) -> None:
    for name in "script.py", "-script.py", "__main__.py":
        (tmp_path / name).write_text("import sys; print(__name__, sys.argv, sys.stdin.read())")
    plain, by_click = (run("run", *options, *words, cwd=tmp_path, input="", stdin=None) for options in ((), HARMLESS))
    assert (plain.returncode, plain.stdout, plain.stderr) == (by_click.returncode, by_click.stdout, by_click.stderr)


@pytest.mark.parametrize(
    "words", [["true"], ["sh", "-c", "exit 3", "--help"], ["no such command"], ["-v"], ["--", "true"]]
)
def test_exec_with_an_option(words: list[str]) -> None:
    plain, by_click = (run("exec", "--gl", "none", *options, *words) for options in ((), HARMLESS))
    assert (plain.returncode, plain.stdout) == (by_click.returncode, by_click.stdout)
    plain = run("exec", *words)
    assert (plain.returncode, plain.stdout) == (by_click.returncode, by_click.stdout) or words == ["-v"]


def test_variables_are_heeded() -> None:
    for command in ((), ("run",)):
        program = str(BIN / ("anaheadless" if command else "anaheadless-python"))
        output = run(*command, "-c", "1", command=program, env={**os.environ, "ANAHEADLESS_SCREEN": "huge"})
        assert output.returncode == 2
        assert "'huge' is not WIDTHxHEIGHT" in output.stderr
