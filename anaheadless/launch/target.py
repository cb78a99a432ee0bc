"""The program to execute: resolved, or refused, before anything is started."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence

from anaheadless.errors import NOT_EXECUTABLE, NOT_FOUND, LaunchError
from anaheadless.system.light_stdlib import Record
from anaheadless.system.programs import find_program


class Target(Record):
    """A program for :func:`os.execve`: its file, and its arguments including ``argv[0]``."""

    executable: str
    argv: tuple[str, ...]


def command(name: str, args: Sequence[str], search: Sequence[str]) -> Target:
    """Resolve any program, as a shell finds it."""
    return Target(_executable("command", name, search), (name, *args))


def python(name: str, args: Sequence[str], search: Sequence[str]) -> Target:
    """Resolve a Python interpreter with its own arguments, ``-m MODULE`` and the like included."""
    interpreter = _executable("Python interpreter", name, search)
    if os.path.basename(os.path.realpath(interpreter)).startswith("anaheadless"):
        raise LaunchError(
            f"the Python interpreter is the launcher itself: {interpreter}",
            hint="Give --python a Python interpreter instead.",
        )
    # Not *name*: an interpreter finds its virtual environment through argv[0].
    return Target(interpreter, (interpreter, *args))


def script(name: str, path: str, args: Sequence[str], search: Sequence[str]) -> Target:
    """Resolve a script: a file, ``-`` for standard input, or a directory or zip file with a ``__main__``."""
    if path != "-":
        _check_script(path, args, search)
    # Python would take a script that is called -x.py for options of its own.
    guard = ("--",) if path.startswith("-") and path != "-" else ()
    return python(name, (*guard, path, *args), search)


def python_call(name: str, args: Sequence[str], search: Sequence[str]) -> Target:
    """Resolve a Python interpreter with any arguments; if a script comes first, it is checked."""
    if args and not args[0].startswith("-"):
        return script(name, args[0], args[1:], search)
    return python(name, args, search)


def script_among(args: Sequence[str]) -> str | None:
    """Return the file that python would run with these arguments, or None when it would run something else."""
    words = iter(args)
    for word in words:
        if word in ("-", "--") or not word.startswith("-"):
            script = next(words, "-") if word == "--" else word
            return None if script == "-" else script
        if re.match("-[^cmWX-]*[cm]", word):
            return None
        if re.fullmatch("-[^cmWX-]*[WX]|--check-hash-based-pycs", word):  # its value is the next word
            next(words, None)
    return None


def _executable(kind: str, name: str, search: Sequence[str]) -> str:
    path = find_program(name, search)
    if path is not None:
        return path
    if os.sep in name:
        if os.path.isdir(name):
            raise LaunchError(
                f"{kind} is a directory: {name}", hint="Give a program in that folder.", exit_code=NOT_EXECUTABLE
            )
        if os.path.lexists(name):
            raise LaunchError(
                f"{kind} is not executable: {name}",
                hint=f"A script can do without that: anaheadless run {name}"
                if name.endswith(".py")
                else "Check its permissions (chmod +x), and those of the folders above it.",
                exit_code=NOT_EXECUTABLE,
            )
        hint = _where(name)
    elif any(os.path.isfile(os.path.join(folder, name)) for folder in search):
        raise LaunchError(
            f"{kind} is on PATH but not executable: {name}",
            hint="Check its permissions (chmod +x).",
            exit_code=NOT_EXECUTABLE,
        )
    elif os.path.isfile(name):
        hint = f"exec looks on PATH only. Did you mean: anaheadless {meant_by((name,), search)}"
    else:
        hint = f"Give its full path, or add its folder to PATH ({os.pathsep.join(search)})."
    raise LaunchError(f"{kind} not found: {name}", hint=hint, exit_code=NOT_FOUND)


def meant_by(words: Sequence[str], search: Sequence[str]) -> str:
    """Return how the command line begins that runs *words*, or nothing: they are no program, and no script."""
    name, *rest = words
    is_command = os.sep not in name and find_program(name, search) is not None
    if is_command and rest and re.fullmatch(r"python[\d.]*", name):
        return f"run {' '.join(rest[: 2 if rest[0].startswith('-') else 1])}"
    if name.endswith(".py") or os.path.isdir(name) or (os.path.isfile(name) and not os.access(name, os.X_OK)):
        return f"run {name}"
    if os.path.isfile(name):
        return f"exec {name if os.sep in name else f'./{name}'}"
    return f"exec {name}" if is_command else ""


def _where(path: str) -> str:
    """Say what to do about a *path* that leads to nothing."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        return "The working directory has been removed."
    return "Check the path." if os.path.isabs(path) else f"Check the path; the working directory is {folder}."


def _check_script(path: str, args: Sequence[str], search: Sequence[str]) -> None:
    try:
        directory = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            hint = _where(path)
            if os.sep not in path and find_program(path, search) is not None:
                hint = f"{path} is a command. Did you mean: anaheadless {meant_by((path, *args), search)}"
            raise LaunchError(f"script not found: {path}", hint=hint, exit_code=NOT_FOUND) from error
        raise LaunchError(
            f"script can't be reached: {path}: {error.strerror}",
            hint="Check the permissions of the folders above it.",
            exit_code=NOT_EXECUTABLE,
        ) from error
    if not os.access(path, os.R_OK):
        raise LaunchError(f"script is not readable: {path}", hint="Check its permissions.", exit_code=NOT_EXECUTABLE)
    mains = (os.path.join(path, main) for main in ("__main__.py", "__main__.pyc"))
    if directory and not any(map(os.path.exists, mains)):
        raise LaunchError(
            f"directory has no __main__.py: {path}",
            hint="Give a script in that folder, or -m for a package.",
            exit_code=NOT_FOUND,
        )
