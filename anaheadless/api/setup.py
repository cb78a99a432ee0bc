"""A display for this process: the session that it is in, or one that is started for it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anaheadless.api import queries
from anaheadless.errors import LaunchError
from anaheadless.system import libraries, processes
from anaheadless.system.light_stdlib import signal

if TYPE_CHECKING:
    from anaheadless.api.in_process import Changes
    from anaheadless.session.discovery import LiveSession
    from anaheadless.session.session import Session

WITHOUT_OPENGL = "setup_headless(need_opengl=False)"
PROOF_SECONDS = 10.0


@dataclass(frozen=True)
class ServerProcess:
    """The X server of a virtual display, with the methods of :class:`subprocess.Popen` that programs use on one.

    :param start: its start time, see processes.state().
    :param session: the session that it belongs to.
    """

    pid: int
    start: str = field(repr=False)
    session: LiveSession = field(repr=False)

    def poll(self) -> int | None:
        """None while it runs, then 0."""
        return None if processes.is_alive(self.pid, self.start) else 0

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; :raises subprocess.TimeoutExpired: it still runs after *timeout* seconds."""
        seconds = float("inf") if timeout is None else timeout
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() >= deadline:
                from subprocess import TimeoutExpired  # no small import

                raise TimeoutExpired(f"X server {self.pid} of display {self.session.display}", seconds)
            time.sleep(0.005)
        return 0

    def terminate(self) -> None:
        """End the session, but not the program: server and keeper end, and leave nothing behind."""
        from anaheadless.session import protocol

        with closing(processes.open_process(self.session.keeper)) as kept:
            # Only now is it certain which process that is: another one may have got its number.
            if self._look() is not None:
                with suppress(ProcessLookupError):
                    for number in protocol.STOP, signal.SIGCONT:  # it may be stopped
                        kept.send(number)

    kill = terminate  # a server that is killed behind its keeper's back would leave its socket

    def is_to_stay(self) -> bool:
        """Whether the session goes on: the server outlives its target by a moment."""
        seen = self._look()
        return self.poll() is None and seen is not None and seen.has_target

    def _look(self) -> LiveSession | None:
        """The session as it is now, or None: it has ended."""
        from anaheadless.session import discovery

        seen = discovery.inspect_keeper(self.session.keeper)
        return seen if self.session.is_same(seen) else None


@dataclass
class HeadlessInfo:
    """What :func:`setup_headless` has found or done; not frozen, since soma puts its QApplication in.

    :param virtual_display_proc: the X server, or None where the display is a regular one. It has ``pid``, ``poll()``,
        ``wait(timeout)``, ``terminate()`` and ``kill()``, as a :class:`subprocess.Popen` has; the last two end the
        session, and programs that are connected to its display usually end with it.
    :param original_display: DISPLAY before, as ``:0``, or None.
    :param display: DISPLAY now, as ``:2000``, or None.
    :param glx: 2: OpenGL has drawn; 1: GLX is advertised only; 0: there is none; None: it was not asked for.
    :param virtualgl: whether VirtualGL renders.
    :param mesa: whether a software Mesa was chosen for it.
    :param headless: whether the display is a virtual one.
    :param qtapp: what :func:`test_qapp` said at first.
    :param qapp: the QApplication, if it was asked for or Anatomist has made it, otherwise None.
    :param backend: where OpenGL comes from: ``virtualgl``, ``nvidia``, ``native``, ``mesa`` or ``none``.
    :param renderer: GL_RENDERER of what drew, or None.
    """

    virtual_display_proc: ServerProcess | None = None
    original_display: str | None = None
    display: str | None = None
    glx: int | None = None
    virtualgl: bool = False
    mesa: bool = False
    headless: bool = False
    qtapp: str | None = None
    qapp: Any = None
    backend: str | None = None
    renderer: str | None = None


@dataclass
class _State:
    """What is done once in a process.

    :param session: of our own, or None inside a launched program, or on the regular display.
    """

    info: HeadlessInfo | None = None
    session: Session | None = None
    changes: tuple[Changes, ...] = ()
    anatomist: Any = None


state = _State()
# Reentrant: anatomist.notebook's Anatomist is a HeadlessAnatomist of another implementation.
lock = threading.RLock()


def setup_headless(
    allow_virtualgl: bool = True,
    force_virtualgl: bool = False,
    need_opengl: bool | None = True,
    *,
    qapp: bool = False,
) -> HeadlessInfo:
    """Give this process a display that needs no screen, with OpenGL that has drawn.

    Inside a launched program there is one already, whatever the parameters. Otherwise a session is started, which ends
    with this process, and :data:`os.environ` is changed as the environment of a launched program is, PYTHONPATH apart;
    :func:`stop_headless` undoes that. Its screen has 1280x1024 pixels of 24 bits. A second call returns the same
    object, and starts nothing, unless the session has ended meanwhile (as when a forked child outlives its parent):
    then the display is set up anew.

    Where it comes too late, less is done. With a QApplication, the display is what it is: the regular one, if it works.
    With a QCoreApplication, QtGui, libGL or libX11 in the process, nothing can be put in front of them: VirtualGL, and
    a Mesa in a folder of its own, are left out. Where nothing draws, the regular display is used if that does;
    ``headless`` then is False. On systems other than Linux nothing is done, and ``headless`` is False, too.

    :param allow_virtualgl: whether VirtualGL may render.
    :param force_virtualgl: have VirtualGL render where it can, even if in software.
    :param need_opengl: whether there has to be OpenGL; without, less is started.
    :param qapp: whether to make a QApplication as well, unless there is one, so that widgets can be made at once. It
        lives as long as the process, and replaces a QCoreApplication. It is made with the binding that soma's
        ``qt_backend`` has chosen, if that is imported, else with the one that is imported, else with the first of
        PyQt5, PyQt6, PySide2 and PySide6 that is installed.
    :raises LaunchError: there is neither a virtual display nor a regular one that would do; nothing is left, and the
        environment is as before. Also if the display has ended while a QApplication is connected to it, or if ``qapp``
        is asked for and there is no Qt.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0 and ``anatomist.headless``, which always make a QApplication.
    """
    from anaheadless.api import qt

    with lock:
        binding = qt.find_binding() if qapp else None
        if qapp and binding is None:
            raise LaunchError(
                f"no QApplication can be made: none of {', '.join(qt.BINDINGS)} is installed for this Python",
                hint="Install one: pip install PyQt5.",
            )
        if state.info is not None and _has_ended(state.info):
            check_application(state.info)
            stop_headless()
        if state.info is None:
            state.info = _set_up(allow_virtualgl, force_virtualgl, need_opengl is not False)
        if binding is not None:
            state.info.qapp = qt.ensure_application(binding)
        return state.info


def _has_ended(info: HeadlessInfo) -> bool:
    server = info.virtual_display_proc
    return server is not None and not server.is_to_stay()


def check_application(info: HeadlessInfo) -> None:
    """:raises LaunchError: the display has ended while Qt is connected to it, which can't be undone."""
    from anaheadless.api import qt

    if _has_ended(info) and queries.test_qapp() == "QApp" and qt.uses_x():
        raise LaunchError(
            f"display {info.display} has ended with its session, and this process's QApplication is connected to it",
            hint="A process that forks must do so before it makes a QApplication, and must outlive its children.",
        )


def _set_up(allow_virtualgl: bool, force_virtualgl: bool, need_opengl: bool) -> HeadlessInfo:
    info = HeadlessInfo(display=os.environ.get("DISPLAY"), original_display=os.environ.get("DISPLAY"))
    info.qtapp = queries.test_qapp()
    if not sys.platform.startswith("linux"):
        return info
    session = queries.current_session()
    if session is not None:
        return _report(info, session, need_opengl)
    if info.qtapp == "QApp":
        return _stay_on_display(info, need_opengl, _too_late(info))
    from anaheadless.api import in_process

    try:
        ready = in_process.start(need_opengl, allow_virtualgl, force_virtualgl, WITHOUT_OPENGL)
    except LaunchError as failure:
        return _stay_on_display(info, need_opengl, failure)
    state.session = ready.session
    atexit.register(ready.session.control.close)  # lest Python say that nobody has
    state.changes += (in_process.change(ready.environ),)
    session = queries.current_session()
    assert session is not None, "a session that has just been started"
    return _report(info, session, need_opengl)


def _report(info: HeadlessInfo, session: LiveSession, need_opengl: bool) -> HeadlessInfo:
    notes = session.status
    assert notes is not None, "see queries.current_session()"
    info.virtual_display_proc = ServerProcess(notes.server, processes.state(notes.server)[1], session)
    info.original_display = notes.original_display or None
    info.display = os.environ["DISPLAY"]
    info.headless = True
    info.glx = notes.glx if need_opengl else None
    info.backend = notes.backend
    info.renderer = notes.renderer or None
    info.virtualgl, info.mesa = notes.backend == "virtualgl", notes.backend == "mesa"
    return info


def _too_late(info: HeadlessInfo) -> LaunchError:
    return LaunchError(
        f"a QApplication exists already, and its display ({info.display or 'DISPLAY is not set'}) does not do",
        hint="Call setup_headless() before it is made, or start the program with 'anaheadless run'.",
    )


def _stay_on_display(info: HeadlessInfo, need_opengl: bool, failure: LaunchError) -> HeadlessInfo:
    """*info* for the regular display, if that works; :raises LaunchError: *failure*, where it does not."""
    from anaheadless.api import in_process, qt

    if not (need_opengl or qt.uses_x()):
        return info
    result = in_process.look_at_display(PROOF_SECONDS)
    info.glx = (queries.grade(result.outcome) or 0) if need_opengl else None
    if not (info.glx if need_opengl else result.outcome in queries.SHOWS_A_DISPLAY):
        failure.details += (f"DISPLAY {info.display or 'is not set'}: {result}",)
        raise failure
    info.renderer = result.renderer or None
    return info


def stop_headless() -> None:
    """Undo :func:`setup_headless`: the environment is as before, variables that were not set included.

    Its session ends, unless Qt is still connected to the display: it would end this process ("XIO: fatal IO error").
    Then, the session ends with the process. Inside a launched program, the session is the launcher's, and stays.
    Libraries that were loaded stay, too.
    """
    with lock:
        state.info = None
        for changes in reversed(state.changes):
            from anaheadless.api import in_process

            in_process.undo(changes)
        state.changes = ()
        session, state.session = state.session, None
        if session is not None:
            session.control.close() if queries.test_qapp() == "QApp" else session.end()
        soma = sys.modules.get("anaheadless.api.soma")
        if soma is not None:
            soma.tell(None)


def setup_virtualGL() -> bool:  # noqa: N802
    """Have VirtualGL render for this process, on the display that it has; whether it does.

    Inside a launched program, only reported. Otherwise it has to draw in another process first, and is loaded into this
    one then: before Qt's QtGui, libGL or libX11, or not at all. It renders on VGL_DISPLAY, else on the first GPU, else
    on a software EGL device. :func:`stop_headless` undoes the variables.

    :raises LaunchError: it has drawn there, but can't be loaded here.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0, and VirtualGL's own ``vglrun``.
    """
    if not sys.platform.startswith("linux"):
        return False

    if any("faker" in os.path.basename(path) for path in libraries.loaded_libraries()):
        return True
    if queries.current_session() is not None:
        return False
    from anaheadless.api import in_process

    with lock:
        environ = in_process.virtualgl_for_display(PROOF_SECONDS)
        if environ is None:
            return False
        state.changes += (in_process.change(environ),)
        return True
