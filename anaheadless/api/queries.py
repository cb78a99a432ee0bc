"""Questions about this process's display, OpenGL and Qt."""

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

# Results of a proof that has found a display, see anaheadless.opengl.Proof; and of those, where GLX is advertised.
ADVERTISED = ("no config", "refused", "wrong pixels")
SHOWS_A_DISPLAY = ("drawn", "no GLX", *ADVERTISED)


def current_session() -> LiveSession | None:
    """The session that this process is in, with what its keeper says of it, or None where it is in none."""
    from anaheadless.session import discovery

    for _ in range(1000):
        found = discovery.current(os.environ)
        # The launcher may have become this process before the keeper had started the server.
        if found is None or found.status is None or found.status.server:
            break
        time.sleep(0.005)
    if found is None or found.status is None:
        return None
    # The keeper ends last: the server may have ended already, or the target, of which this may be a child.
    return found if found.has_target and processes.is_alive(found.status.server) else None


def _in_either_order(test: Callable[..., int | None]) -> Callable[..., int | None]:
    """*test*, but *need_opengl*, its first argument, may be left out: soma's function has it since soma-base 6.0.17."""

    @wraps(test)
    def in_either_order(*args: Any, **kwargs: Any) -> int | None:
        if args and not isinstance(args[0], bool):
            args = (True, *args)
        return test(*args, **kwargs)

    return in_either_order


@_in_either_order
def test_glx(
    need_opengl: bool = True,
    glxinfo_cmd: str | Sequence[str] | None = None,
    xdpyinfo_cmd: str | Sequence[str] | int | None = None,
    timeout: float = 5.0,
) -> int | None:
    """How far the OpenGL of the display can be trusted: 2: it has drawn; 1: it is advertised only; 0: there is none.

    Inside a launched program, that is known. Otherwise a picture is drawn in another process. With a command, its word
    is taken: 2 if *glxinfo_cmd* lists visuals, else 1 if *xdpyinfo_cmd* lists GLX. One that can't be executed says
    nothing.

    :param need_opengl: False: the answer is None. Positional calls may leave it out, as up to soma-base 6.0.15:
        ``test_glx("glxinfo", "xdpyinfo")`` is ``test_glx(True, "glxinfo", "xdpyinfo")``.
    :param glxinfo_cmd: a command, as ``glxinfo`` or ``["vglrun", "glxinfo"]``, likewise ``xdpyinfo_cmd``, where 0
        also means none.
    :param timeout: seconds to wait for an X server that is only starting. 0: there is one try, of 5 seconds at most.

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

        return _poll(timeout, lambda limit: grade(in_process.look_at_display(limit).outcome))
    commands = [(glxinfo_cmd, "GLX Visuals", 2), (xdpyinfo_cmd, "GLX", 1)]
    asked = [(command, word, grade) for command, word, grade in commands if command and not isinstance(command, int)]
    return _poll(timeout, lambda limit: _grade_by_commands(asked, limit))


def _poll(timeout: float, attempt: Callable[[float], int | None]) -> int:
    """What *attempt*, which is given a time limit, says in the end; None from it means that it is too early to say."""
    deadline = time.monotonic() + timeout
    limit = timeout or ONE_TRY_SECONDS
    while True:
        said = attempt(limit)
        limit = deadline - time.monotonic()
        if said is not None or limit <= 0:
            return said or 0
        time.sleep(min(0.02, limit))


def grade(result: str) -> int | None:
    """The grade that a proof's *result* stands for, or None where there is no display."""
    if result == "no display":
        return None
    return 2 if result == "drawn" else int(result in ADVERTISED)


def _grade_by_commands(asked: Sequence[tuple[str | Sequence[str], str, int]], timeout: float) -> int | None:
    """The grade of the first command whose output has its word; None: they say that there is no display."""
    from anaheadless.opengl.probe import run

    for command, word, grade in asked:
        try:
            ended = run([command] if isinstance(command, str) else command, os.environ, timeout / len(asked))
        except OSError:
            continue
        if ended.status != 0 and "unable to open display" in ended.errors:
            return None
        if word in ended.output:
            return grade
    return 0


def test_opengl(pid: int | None = None, verbose: bool = False) -> set[str]:
    """The paths of the libGL libraries that a process has loaded.

    :param pid: which process; default: this one.
    :param verbose: say them on stderr, too.
    :raises LaunchError: there is no such process, or it is another user's.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0. (psutil would give the same, and more slowly; but this runs in
    targets that have none.)
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
    """What Qt application there is, of PyQt5, PyQt6, PySide2 or PySide6; none of them is imported.

    :return: ``QApp``: a QApplication or QGuiApplication, which has its display and keeps it; ``QtCore``: a
        QCoreApplication; or None.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0.
    """
    from anaheadless.api import qt

    application = qt.application()
    if application is None:
        return None
    return "QApp" if qt.has_display(application) else "QtCore"


def find_mesa() -> str | None:
    """The path of a software Mesa's ``libGL.so.1`` that stands apart from the system's, or None.

    It is looked for in ``mesa``, ``mesalib/lib`` and ``../mesalib/lib``, seen from each folder of LD_LIBRARY_PATH, of
    ld.so's cache, and of the libraries that this process has loaded.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0.
    """
    if not sys.platform.startswith("linux"):
        return None
    from anaheadless.opengl import hardware

    folder = hardware.find_mesa()
    return None if folder is None else os.path.join(folder, "libGL.so.1")
