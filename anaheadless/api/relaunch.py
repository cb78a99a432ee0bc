"""Scripts that start themselves again under anaheadless."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from anaheadless.api.keywords import with_keywords
from anaheadless.errors import LaunchError, print_stderr

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from anaheadless.options import Keywords


@with_keywords
def relaunch(**options: Unpack[Keywords]) -> None:
    """Start this program again with a display, as ``anaheadless run`` would; call this at the top of a script.

    If the program already runs under anaheadless, the call does nothing. Otherwise the program starts again from its
    beginning, in the same process and with the same arguments: lines before the call run twice. On failure, it prints
    the error and exits with the status that ``anaheadless run`` would use. On systems other than Linux, it does
    nothing.

    :param options: see :func:`anaheadless.virtual_display`.
    :raises LaunchError: this program can't be started again: it is an interactive or embedded interpreter, a Jupyter
        kernel, a worker of multiprocessing, a script from standard input, or one that has changed its arguments.
    :raises ValueError: an option has a wrong value; likewise TypeError.
    """
    if not sys.platform.startswith("linux"):
        return
    from anaheadless.launch import run as launch
    from anaheadless.launch.target import Target
    from anaheadless.options import from_keywords
    from anaheadless.session import discovery

    wanted = from_keywords("relaunch", options)
    if discovery.current({**os.environ, "DISPLAY": os.environ.get("ANAHEADLESS_SESSION", "").partition(",")[0]}):
        return
    if any(session.target == os.getpid() and session.is_run() for session in discovery.sessions()):
        raise LaunchError(
            "this program was started by anaheadless, but ANAHEADLESS_SESSION has been changed or removed",
            hint="Something that runs before your program, perhaps a sitecustomize.py, does that.",
        )
    target = Target(sys.executable, (sys.executable, *_arguments()))
    for stream in sys.stdout, sys.stderr:
        if stream is not None and not stream.closed:
            stream.flush()
    try:
        launch.run(target, wanted, os.environ, sys.executable, without='gl="none"', fork=False)
    except LaunchError as error:
        print_stderr(str(error))
        sys.exit(error.exit_code)


def _arguments() -> list[str]:
    """Return the arguments of the interpreter.

    :raises LaunchError: they are not known, or the program can't be started again with them.
    """
    argv = getattr(sys, "orig_argv", None)
    if argv is None:  # Python 3.9
        with open("/proc/self/cmdline", "rb") as file:
            argv = os.fsdecode(file.read()).split("\0")[:-1]
    reason = _why_not(argv)
    if reason is not None:
        raise LaunchError(
            f"this program can't be relaunched: {reason}",
            hint="Start it with 'anaheadless run', or use anaheadless.setup_headless() in it.",
        )
    return list(argv[1:])


def _why_not(argv: Sequence[str]) -> str | None:
    """Return why the program can't be started again with the command line *argv*, or None."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    workers = getattr(sys.modules.get("multiprocessing"), "parent_process", None)
    if shell is not None and shell() is not None:
        return "it is an IPython shell or a Jupyter kernel"
    if hasattr(sys, "ps1") or sys.flags.interactive:
        return "it is an interactive interpreter"
    if getattr(sys, "frozen", False) or not _is_this_program(sys.executable):
        return "its interpreter is embedded in another program"
    if workers is not None and workers() is not None:
        return "it is a worker process of multiprocessing"
    if sys.argv[:1] in ([], [""], ["-"]):
        return "it was read from standard input"
    if os.path.exists(sys.argv[0]) and not (os.path.isfile(sys.argv[0]) or os.path.isdir(sys.argv[0])):
        return "it was read from a pipe"
    if argv[len(argv) - len(sys.argv) + 1 :] != sys.argv[1:]:
        return "its arguments have been changed"
    return None


def _is_this_program(path: str | None) -> bool:
    try:
        return path is not None and os.path.samefile(path, "/proc/self/exe")
    except OSError:
        return False
