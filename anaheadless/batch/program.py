"""What is run for each item: a command with placeholders, and how it is started."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from anaheadless.batch import placeholders
from anaheadless.batch.items import Item
from anaheadless.errors import USAGE, LaunchError
from anaheadless.launch import target
from anaheadless.launch.target import Target


@dataclass(frozen=True)
class Program:
    """A program, and what is done once for all its items.

    :param kind: ``exec``: it is executed; ``script``, ``module`` or ``code``: a forked interpreter runs it; ``call``: a
        process that stays calls a function.
    :param executable: the file that is executed, or the interpreter.
    :param prefix: the words of the command before those that may hold placeholders, *words*.
    :param main: the script, the module or the lines of Python that a forked interpreter runs.
    :param python: the interpreter that OpenGL is proved in, or None.
    :param preload: the modules that are imported once for all items.
    :param call: the function, as ``MODULE:FUNCTION``, or None.
    :param recycle: how many items one process calls it for; 0: all of them.
    :param max_memory: the bytes above which such a process is replaced; 0: there is no limit.
    :param values: whether what the function returns is wanted.
    """

    kind: str
    executable: str
    prefix: tuple[str, ...]
    words: tuple[str, ...]
    main: str = ""
    python: str | None = None
    preload: tuple[str, ...] = ()
    call: str | None = None
    recycle: int = 0
    max_memory: int = 0
    values: bool = False

    def command(self, item: Item, columns: Sequence[str], slot: int | None = None) -> tuple[str, ...]:
        """Make the command line of an item; of one that is not executed, it is what would have been."""
        return (*self.prefix, *placeholders.expand(self.words, item, columns, slot))

    def arguments(self, command: Sequence[str]) -> list[str]:
        """Choose of an item's command what the worker has to know."""
        return list(command if self.kind == "exec" else command[len(self.prefix) :])

    def as_message(self) -> dict[str, Any]:
        """Make the first message for a worker, see :mod:`anaheadless.batch.worker`."""
        names = ("kind", "executable", "main", "preload", "call", "recycle", "max_memory", "values")
        return {name: getattr(self, name) for name in names}

    def template(self) -> list[str]:
        """Tell what a journal is about: the command, without the interpreter, and with its placeholders."""
        return [*self.prefix[0 if self.python is None or self.kind == "call" else 1 :], *self.words]

    def with_words(self, columns: Sequence[str]) -> Program:
        """Append ``{}`` where there is no placeholder."""
        return replace(self, words=placeholders.with_default(self.words, columns))


def command(words: Sequence[str], search: Sequence[str]) -> Program:
    """Execute any program."""
    found = target.command(words[0], (), search)
    return Program("exec", found.executable, found.argv, tuple(words[1:]))


def script(python: str, words: Sequence[str], preload: Sequence[str], search: Sequence[str]) -> Program:
    """Run a Python script: the first of the *words*."""
    path, *args = words
    if path == "-":
        raise LaunchError(
            "the script can't come from standard input, where inputs may be", hint="Save it as a file.", exit_code=USAGE
        )
    return _of_python(target.script(python, path, (), search), "script", path, args, preload)


def module(python: str, name: str, args: Sequence[str], preload: Sequence[str], search: Sequence[str]) -> Program:
    """Run a module, as ``python -m`` does."""
    return _of_python(target.python(python, ("-m", name), search), "module", name, args, preload)


def code(python: str, text: str, args: Sequence[str], preload: Sequence[str], search: Sequence[str]) -> Program:
    """Run lines of Python, as ``python -c`` does."""
    return _of_python(target.python(python, ("-c", text), search), "code", text, args, preload)


def call(python: str, name: str, words: Sequence[str], preload: Sequence[str], search: Sequence[str]) -> Program:
    """Call a function, ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``, in a process that stays."""
    place, colon, attribute = name.rpartition(":")
    if not (colon and place and all(part.isidentifier() for part in attribute.split("."))):
        raise LaunchError(
            f"--call {name} names no function",
            hint="Say --call MODULE:FUNCTION or --call FILE.py:FUNCTION.",
            exit_code=USAGE,
        )
    if place.endswith(".py"):
        target.script(python, place, (), search)  # refused, if it can't be read
        name = f"{os.path.abspath(place)}:{attribute}"
    found = target.python(python, (), search)
    return Program(
        "call", found.executable, (name,), tuple(words), python=found.executable, preload=tuple(preload), call=name
    )


def _of_python(found: Target, kind: str, main: str, args: Sequence[str], preload: Sequence[str]) -> Program:
    return Program(
        kind if preload else "exec",
        found.executable,
        found.argv,
        tuple(args),
        main=main,
        python=found.executable,
        preload=tuple(preload),
    )
