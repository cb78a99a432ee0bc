"""The commands on systems other than Linux: there, programs run without a virtual display.

What is for Linux only can't be imported there, and neither can click, where that is to be had with it alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import NoReturn

from anaheadless import __version__
from anaheadless.cli.xvfb_run_options import XVFB_RUN_OPTIONS
from anaheadless.errors import USAGE, LaunchError, print_stderr
from anaheadless.launch import target
from anaheadless.launch.target import Target
from anaheadless.options import FLAG, options_of
from anaheadless.system import programs

SYSTEMS = {"darwin": "macOS", "win32": "Windows"}
HELP = """\
Usage: anaheadless [run | exec] [OPTIONS] PROGRAM [ARGS]...

anaheadless gives programs a virtual display on Linux. On this system, run and exec run the program without one; their
options have no effect, but for -q (no note about that), --python and --uv. start and stop do nothing.
"""


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the command ``anaheadless`` with these *arguments*."""
    command, *words = arguments or ["--help"]
    if command in ("-V", "--version"):
        print(f"anaheadless {__version__}")
    elif command in ("-h", "--help", "help") or (command in ("run", "exec") and words[:1] in (["-h"], ["--help"])):
        print(HELP, end="")
    elif command in ("run", "exec"):
        launch(command, words)
    elif command in ("start", "stop"):
        _note(quiet=False)
        if "--json" in words:
            print("{}")
    else:
        raise LaunchError(
            f"anaheadless {command} works on Linux only", hint="Here, run and exec run programs without a display."
        )
    sys.exit()


def launch(command: str, words: Sequence[str]) -> NoReturn:
    """Become the target of *command*: run, exec, or python, all of whose words are the interpreter's."""
    given, rest = ({}, list(words)) if command == "python" else split(command, words)
    for row in options_of(command):
        if os.environ.get(row.variable) and row.name in ("quiet", "python"):
            given.setdefault(row.name, os.environ[row.variable])
    if not rest and command != "python":
        raise LaunchError("nothing to run", hint="Give a program.", exit_code=USAGE)
    _note(quiet=bool(given.get("quiet")))
    search = os.get_exec_path()
    if command == "exec":
        _become(target.command(shutil.which(rest[0]) or rest[0], rest[1:], search))
    if given.get("uv") and not rest[0].startswith("-"):
        _become(target.command(shutil.which("uv") or "uv", ["run", "--script", *rest], search))
    python = given.get("python") or programs.default_python(os.environ)[0]
    _become(target.python_call(shutil.which(python) or python, rest, search))


def split(command: str, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return what the leading options among *words* ask for, by their names, and the words after them.

    :raises LaunchError: there is no such option, or its value is missing.
    """
    takes_value = {f"--{row.name}": row.kind is not FLAG for row in options_of(command)}
    short = {f"-{row.short}": f"--{row.name}" for row in options_of(command) if row.short}
    for names, metavar, _ in XVFB_RUN_OPTIONS if command == "exec" else ():
        takes_value[names[1]] = bool(metavar)
        short[names[0]] = names[1]
    given: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest[0]
        if command == "run" and word[:2] in ("-m", "-c"):
            break
        del rest[0]
        if word == "--":
            break
        if not word.startswith("--"):  # letters that may stand together
            name, value = short.get(word[:2], word[:2]), word[2:]
            if value and not takes_value.get(name, True):
                rest.insert(0, f"-{value}")
                value = ""
            has_value = bool(value)
        else:
            name, equals, value = word.partition("=")
            has_value = bool(equals)
        if name not in takes_value:
            raise LaunchError(f"no such option: {name}", hint="See anaheadless --help.", exit_code=USAGE)
        if takes_value[name] and not has_value:
            if not rest:
                raise LaunchError(f"{name} needs a value", hint="See anaheadless --help.", exit_code=USAGE)
            value = rest.pop(0)
        given[name[2:]] = value if takes_value[name] else "1"
    return given, rest


def _note(*, quiet: bool) -> None:
    if not quiet:
        system = SYSTEMS.get(sys.platform, sys.platform)
        print_stderr(f"anaheadless: this is {system}, not Linux: programs run without a virtual display (-q: no note)")


def _become(program: Target) -> NoReturn:
    if sys.platform == "win32":  # where exec starts another process, and its caller waits for none
        import subprocess

        sys.exit(subprocess.call(program.argv, executable=program.executable))
    try:
        os.execv(program.executable, program.argv)
    except OSError as error:
        raise programs.cannot_execute(program.executable, error) from error
