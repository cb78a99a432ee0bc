"""A process that stays: it imports once, keeps what it has built, and calls a function for one item after another.

It runs in any target: on the standard library of Python 3.8 or newer.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from contextlib import suppress
from types import ModuleType

from anaheadless.batch import messages, preload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

CRASHED = 1


def serve(channel: messages.Channel, name: str, *, values: bool) -> None:
    """Call the function that is called ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION`` whenever the worker asks for it.

    :param values: whether what it returns is wanted.
    """
    try:
        function = find(name)
    except BaseException as error:
        channel.send(
            messages.refusal(f"--call {name} can't be imported", preload.describe(error), "Import it by hand.")
        )
        return
    sys.argv[:] = [name]
    with suppress(EOFError):
        while True:
            for task in channel.receive():
                _reset_peak()
                messages.redirect(task)
                preload.set_folder(task)
                status, value = _call(function, task["run"], values)
                for stream in sys.stdout, sys.stderr:
                    stream.flush()
                peak, resident = _memory()
                channel.send({"status": status, "memory": peak, "resident": resident, "value": value})


def find(name: str) -> Callable[..., Any]:
    """Import the function; :raises Exception: there is none."""
    place, _, attribute = name.rpartition(":")
    found: Any = _load(place) if place.endswith(".py") else importlib.import_module(place)
    for part in attribute.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} is no function")
    return found  # type: ignore[no-any-return]


def _load(path: str) -> ModuleType:
    """Import a file; :raises Exception: it can't be imported."""
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} can't be imported")
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _call(function: Callable[..., Any], words: Sequence[str], values: bool) -> tuple[int, str | None]:
    """Call the function; return the status that a program would have ended with, and what it has returned."""
    try:
        value = function(*words)
        return 0, _pack(value) if values else None
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF, None
        print(end.code, file=sys.stderr)
        return CRASHED, None
    except BaseException as error:
        trace = error.__traceback__
        traceback.print_exception(type(error), error, trace.tb_next if trace is not None else None)
        return CRASHED, None


def _pack(value: object) -> str:
    import base64
    import pickle

    return base64.b64encode(pickle.dumps(value)).decode()


def _reset_peak() -> None:
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _memory() -> tuple[int, int]:
    """Return what this process has used since :func:`_reset_peak` at most, and what it uses now, in bytes."""
    with open("/proc/self/status") as file:
        found = dict(re.findall(r"^Vm(HWM|RSS):\s+(\d+) kB$", file.read(), re.MULTILINE))
    return int(found["HWM"]) * 1024, int(found["RSS"]) * 1024
