"""Queries about the display, OpenGL and Qt of the running process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from anaheadless.errors import LaunchError, print_stderr
from anaheadless.system import libraries, processes

if TYPE_CHECKING:
    from anaheadless.session.discovery import LiveSession

ONE_TRY_SECONDS = 5.0

# Outcomes of a probe, see anaheadless.opengl.candidates.ProbeResult: GLX is advertised; and the display works.
GLX_ADVERTISED = ("no config", "refused", "wrong pixels")
DISPLAY_WORKS = ("drawn", "no GLX", *GLX_ADVERTISED)


def current_session() -> LiveSession | None:
    """Return the session that this process is in, with its status, or None outside of a session."""
    from anaheadless.session import discovery

    for _ in range(1000):
        found = discovery.current(os.environ)
        # The launcher may have become this process before the keeper has started the server.
        if found is None or found.status is None or found.status.server:
            break
        time.sleep(0.005)
    if found is None or found.status is None:
        return None
    # The keeper ends last: the server, or the target that has started this process, may have ended before.
    return found if found.has_target and processes.is_alive(found.status.server) else None


def _with_optional_need_opengl(test: Callable[..., int | None]) -> Callable[..., int | None]:
    """Let callers of *test* leave out its first argument, *need_opengl*, which soma-base has added in 6.0.17."""

    @wraps(test)
    def with_optional_need_opengl(*args: Any, **kwargs: Any) -> int | None:
        if args and not isinstance(args[0], bool):
            args = (True, *args)
        return test(*args, **kwargs)

    return with_optional_need_opengl


@_with_optional_need_opengl
def test_glx(
    need_opengl: bool = True,
    glxinfo_cmd: str | Sequence[str] | None = None,
    xdpyinfo_cmd: str | Sequence[str] | int | None = None,
    timeout: float = 5.0,
) -> int | None:
    """Test the OpenGL of the display: return 2 if it draws, 1 if GLX is only advertised, 0 if there is none.

    In a program that anaheadless has started, the result is known. In any other program, a separate process draws a
    test picture. If you give a command, its output is used instead: 2 if *glxinfo_cmd* lists visuals, else 1 if
    *xdpyinfo_cmd* lists GLX. A command that can't be executed is skipped.

    :param need_opengl: if False, the result is None. Positional calls may leave it out, as up to soma-base 6.0.15:
        ``test_glx("glxinfo", "xdpyinfo")`` is ``test_glx(True, "glxinfo", "xdpyinfo")``.
    :param glxinfo_cmd: a command such as ``glxinfo`` or ``["vglrun", "glxinfo"]``, likewise ``xdpyinfo_cmd``, where 0
        also means none.
    :param timeout: seconds to wait for an X server that is still starting. With 0, there is one try, of at most 5
        seconds.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0.
    """
    if not need_opengl:
        return None
    if not glxinfo_cmd and not xdpyinfo_cmd:
        if not sys.platform.startswith("linux"):
            return 0
        session = current_session()
        if session is not None and session.status is not None:
            return session.status.glx
        from anaheadless.api import in_process

        return _poll(timeout, lambda limit: glx_grade(in_process.probe_display(limit).outcome))
    commands = [(glxinfo_cmd, "GLX Visuals", 2), (xdpyinfo_cmd, "GLX", 1)]
    asked = [(command, word, grade) for command, word, grade in commands if command and not isinstance(command, int)]
    return _poll(timeout, lambda limit: _grade_by_commands(asked, limit))


def _poll(timeout: float, attempt: Callable[[float], int | None]) -> int:
    """Call *attempt* with a time limit, again and again, until it returns a grade or the time is up.

    :param attempt: returns None if there is no display yet.
    """
    deadline = time.monotonic() + timeout
    limit = timeout or ONE_TRY_SECONDS
    while True:
        grade = attempt(limit)
        limit = deadline - time.monotonic()
        if grade is not None or limit <= 0:
            return grade or 0
        time.sleep(min(0.02, limit))


def glx_grade(outcome: str) -> int | None:
    """Return the grade for the *outcome* of a probe, see :func:`test_glx`; None if there is no display."""
    if outcome == "no display":
        return None
    return 2 if outcome == "drawn" else int(outcome in GLX_ADVERTISED)


def _grade_by_commands(asked: Sequence[tuple[str | Sequence[str], str, int]], timeout: float) -> int | None:
    """Return the grade of the first command whose output has its word; None if a command finds no display."""
    from anaheadless.opengl.probe import run_command

    for command, word, grade in asked:
        try:
            argv = [command] if isinstance(command, str) else command
            result = run_command(argv, os.environ, timeout / len(asked))
        except OSError:
            continue
        if result.status != 0 and "unable to open display" in result.errors:
            return None
        if word in result.output:
            return grade
    return 0


def test_opengl(pid: int | None = None, verbose: bool = False) -> set[str]:
    """Return the paths of the libGL libraries that a process has loaded.

    :param pid: the process; default: this one.
    :param verbose: print the paths to stderr, too.
    :raises LaunchError: there is no such process, or it is another user's.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0. (psutil would give the same more slowly, and this also runs for
    interpreters that have no psutil.)
    """
    try:
        found = {path for path in libraries.loaded_libraries(pid) if "libGL.so." in path}
    except OSError as error:
        raise LaunchError(
            f"the libraries of process {pid} can't be seen: {error.strerror}",
            hint="It has ended, or it is another user's.",
        ) from error
    if verbose:
        for path in sorted(found):
            print_stderr(path)
    return found


def test_qapp() -> str | None:
    """Find the Qt application of this process, of PyQt5, PyQt6, PySide2 or PySide6, without importing any of them.

    :return: ``QApp`` for a QApplication or QGuiApplication, which is connected to a display and stays so; ``QtCore``
        for a QCoreApplication; None if there is none.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0.
    """
    from anaheadless.api import qt

    application = qt.application()
    if application is None:
        return None
    return "QApp" if qt.has_display(application) else "QtCore"


def find_mesa() -> str | None:
    """Find the ``libGL.so.1`` of a software Mesa in a folder of its own; return its path, or None.

    The search covers ``mesa``, ``mesalib/lib`` and ``../mesalib/lib`` beside each folder of LD_LIBRARY_PATH, of ld.so's
    cache, and of the libraries that this process has loaded.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0.
    """
    if not sys.platform.startswith("linux"):
        return None
    from anaheadless.opengl import hardware

    folder = hardware.find_mesa()
    return None if folder is None else os.path.join(folder, "libGL.so.1")
