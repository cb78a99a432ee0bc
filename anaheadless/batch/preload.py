"""Importing once, and running a Python program in a fork of that, as the interpreter would run it.

It runs in any target: on the standard library of Python 3.8 or newer.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import os
import runpy
import socket
import stat
import sys
import traceback
from contextlib import suppress
from importlib.machinery import BuiltinImporter, SourceFileLoader
from types import ModuleType, TracebackType

from anaheadless.batch import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# OpenBLAS, which comes with numpy, starts its threads when it is imported; a program has no use for them beside others.
_ONE_THREAD = "OPENBLAS_NUM_THREADS"
_run_module = runpy._run_module_as_main  # type: ignore[attr-defined]  # what python -m itself calls
_QT = ("PyQt5", "PyQt6", "PySide2", "PySide6")


def prepare(program: dict[str, Any]) -> dict[str, Any] | None:
    """Import what is to be there for every item; return None, or the message that says why it can't be there."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "anaheadless"]:
        del sys.modules[name]  # the program may have one of its own
    _set_search_path(program)
    is_ours = _ONE_THREAD not in os.environ
    os.environ.setdefault(_ONE_THREAD, "1")
    try:
        for name in program["preload"]:
            importlib.import_module(name)
    except BaseException as error:
        return messages.refusal(f"--preload {name} fails", describe(error), "Import it by hand.")
    finally:
        if is_ours:
            del os.environ[_ONE_THREAD]
    for stream in sys.stdout, sys.stderr:
        stream.flush()  # or each fork would say it again
    # The collector writes to each object that it looks at: in a fork, that copies all of them (8 ms with PyQt5).
    gc.collect()
    gc.freeze()
    reason = obstacle()
    if reason is None:
        return None
    what = f"after --preload {' '.join(program['preload'])}" if program["preload"] else "in a new interpreter"
    return messages.refusal(f"{what}, {reason}", (), "Preload less: leave that to the program itself.")


def describe(error: BaseException) -> list[str]:
    """Tell what an import has raised, from the first line of its own on."""
    trace = error.__traceback__
    while trace is not None and _is_of_import(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).splitlines()


def _is_of_import(path: str) -> bool:
    return (
        path.startswith("<frozen importlib")
        or os.path.dirname(path) == os.path.dirname(__file__)
        or path == importlib.__file__
    )


def _set_search_path(program: dict[str, Any]) -> None:
    """Have the search begin where it begins for the program; for -c, which this runs by, that is the working folder."""
    if getattr(sys.flags, "safe_path", False):
        return
    main = program["main"]
    if program["kind"] == "script":
        sys.path[0] = _full(main) if _is_package(main) else os.path.dirname(os.path.realpath(main))
    elif program["kind"] == "module":
        sys.path[0] = os.getcwd()


def _full(path: str) -> str:
    """Name a script as Python does: since 3.9, by its full path."""
    return os.path.abspath(path) if sys.version_info >= (3, 9) else path


def _is_package(path: str) -> bool:
    """Whether *path* is a folder or a zip file, of which Python runs the __main__."""
    return os.path.isdir(path) or any(path.endswith(suffix) for suffix in (".zip", ".pyz"))


def obstacle() -> str | None:
    """Name what there is in this process that a forked child could not use; None: there is nothing."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"{threads - 1} threads are running, which a forked process would not have"
    for binding in _QT:
        core = sys.modules.get(f"{binding}.QtCore")
        if core is not None and core.QCoreApplication.instance() is not None:
            return "there is a QApplication, which a forked process can't use"
    if _has_x_connection():
        return "there is a connection to the X server, which forked processes can't share"
    return None


def _has_x_connection() -> bool:
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # not connected; or it was the one for the folder itself
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as copy:
                    if b"/.X11-unix/X" in os.fsencode(copy.getpeername() or ""):
                        return True
    return False


def become(program: dict[str, Any], task: dict[str, Any]) -> None:
    """Be the program, as if Python had just been started with it; what it raises goes on to Python itself."""
    enter(task)
    kind, main = program["kind"], program["main"]
    sys.argv[:] = [main if kind == "script" else "-c" if kind == "code" else "-m", *task["run"]]
    module = sys.modules["__main__"] = ModuleType("__main__")
    names = module.__dict__
    names.update(__builtins__=builtins)
    if sys.version_info < (3, 14):
        names.update(__annotations__={})
    if kind == "module":
        _run(lambda: _run_module(main))
    elif kind == "script" and _is_package(main):
        _run(lambda: _run_module("__main__", False))
    elif kind == "script":
        path = _full(main)
        names.update(__file__=path, __cached__=None, __loader__=SourceFileLoader("__main__", path))
        with open(main, "rb") as file:
            source = file.read()
        _run(lambda: exec(compile(source, path, "exec", dont_inherit=True), names))  # noqa: S102  # that is the program
    else:
        names.update(__loader__=BuiltinImporter)
        _run(lambda: exec(compile(main, "<string>", "exec", dont_inherit=True), names))  # noqa: S102  # that is the program


def enter(task: dict[str, Any]) -> None:
    """Make this process, a fork, one of its own."""
    # Written to a file, not to a terminal.
    for stream in sys.stdout, sys.stderr:
        if stream is sys.stdout and hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=False)
    set_folder(task)
    if "numpy.random" in sys.modules:  # all forks would draw the same numbers; of its own, Python sees to that itself
        sys.modules["numpy.random"].seed()


def set_folder(task: dict[str, Any]) -> None:
    """Have temporary files be made in the item's own folder, where it has one."""
    if "folder" in task:
        os.environ["TMPDIR"] = task["folder"]
        found: Any = sys.modules.get("tempfile")
        if found is not None:
            found.tempdir = None  # what it has found before


def _run(program: Any) -> None:
    """Run it, and have its traceback begin where it begins when Python runs it."""
    try:
        program()
    except SystemExit:
        raise
    except BaseException as error:
        error.__traceback__ = _without_ours(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        sys.excepthook = lambda *_: None  # it has been said
        raise


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace
