"""A display for the running process: the session that it is in, or one that is started for it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from anaheadless.api import queries
from anaheadless.api.keywords import with_keywords
from anaheadless.errors import LaunchError
from anaheadless.options import IN_PROCESS, from_keywords
from anaheadless.system import libraries, processes
from anaheadless.system.light_stdlib import signal

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from anaheadless.api.in_process import Changes
    from anaheadless.api.screenshots import Screenshot
    from anaheadless.options import InProcessKeywords, Options
    from anaheadless.session.discovery import LiveSession
    from anaheadless.session.session import Session

WITHOUT_OPENGL = "setup_headless(need_opengl=False)"
PROBE_SECONDS = 10.0


@dataclass(frozen=True)
class ServerProcess:
    """The X server of a virtual display, with the methods of :class:`subprocess.Popen` that programs use on one.

    :param start: the server's start time, see :func:`anaheadless.system.processes.state`.
    :param session: the session that the server belongs to.
    """

    pid: int
    start: str = field(repr=False)
    session: LiveSession = field(repr=False)

    def poll(self) -> int | None:
        """Return None while the server runs, then 0."""
        return None if processes.is_alive(self.pid, self.start) else 0

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the server has ended.

        :raises subprocess.TimeoutExpired: it still runs after *timeout* seconds.
        """
        seconds = float("inf") if timeout is None else timeout
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() >= deadline:
                from subprocess import TimeoutExpired  # only here: slow to import

                raise TimeoutExpired(f"X server {self.pid} of display {self.session.display}", seconds)
            time.sleep(0.005)
        return 0

    def terminate(self) -> None:
        """End the session, but not the program: server and keeper end, and no files remain."""
        from anaheadless.session import protocol

        with closing(processes.open_process(self.session.keeper)) as keeper:
            # Checked only now that the process is open: before that, another process may have got its PID.
            if self._inspect_session() is not None:
                with suppress(ProcessLookupError):
                    for number in protocol.STOP, signal.SIGCONT:  # the keeper may be stopped
                        keeper.send(number)

    kill = terminate  # killing the server alone would leave its socket behind

    def has_target(self) -> bool:
        """Tell whether the session still has its target; the server outlives the target by a moment."""
        session = self._inspect_session()
        return self.poll() is None and session is not None and session.has_target

    def _inspect_session(self) -> LiveSession | None:
        """Return the session as it is now, or None if it has ended."""
        from anaheadless.session import discovery

        session = discovery.inspect_keeper(self.session.keeper)
        return session if self.session.is_same(session) else None


@dataclass
class HeadlessInfo:
    """The result of :func:`setup_headless`; not frozen, because soma stores its QApplication in it.

    In a ``with`` statement, it ends what the call has started.

    :param virtual_display_proc: the X server, or None if the display is a regular one. It has ``pid``, ``poll()``,
        ``wait(timeout)``, ``terminate()`` and ``kill()``, as a :class:`subprocess.Popen` has; the last two end the
        session. Programs that are connected to its display usually end with it.
    :param original_display: DISPLAY before the call, such as ``:0``, or None.
    :param display: DISPLAY now, such as ``:2000``, or None.
    :param glx: 2 if OpenGL has drawn, 1 if GLX is only advertised, 0 if there is none, None if you did not ask for it.
    :param virtualgl: whether VirtualGL renders.
    :param mesa: whether a software Mesa renders that was chosen for this display.
    :param headless: whether the display is a virtual one.
    :param qtapp: the result of :func:`test_qapp` before the call.
    :param qapp: the QApplication, if you asked for it or Anatomist has made it, otherwise None.
    :param backend: where OpenGL comes from: ``virtualgl``, ``nvidia``, ``native``, ``mesa`` or ``none``.
    :param renderer: GL_RENDERER of the OpenGL that drew, or None.
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

    def screenshot(self, path: str | os.PathLike[str] | None = None) -> Screenshot:
        """Take a screenshot of the virtual display, as :func:`anaheadless.screenshot` does."""
        from anaheadless.api import screenshots

        server = self.virtual_display_proc
        return screenshots.of_session(None if server is None else server.session, path)

    def __enter__(self) -> Self:
        with lock:
            state.blocks.append(state.is_new)
            state.is_new = False
        return self

    def __exit__(self, *_: object) -> None:
        with lock:
            if state.blocks.pop():
                stop_headless()


@dataclass
class _State:
    """The set-up of this process.

    :param is_new: whether the latest call has made *info*, and not found it.
    :param blocks: for each ``with`` statement that is entered, whether it ends the set-up.
    :param session: the session that this process has started; None in a program that anaheadless has started, and on
        the regular display.
    """

    info: HeadlessInfo | None = None
    is_new: bool = False
    blocks: list[bool] = field(default_factory=list)
    session: Session | None = None
    changes: tuple[Changes, ...] = ()
    anatomist: Any = None


state = _State()
# Reentrant: the Anatomist of anatomist.notebook makes a HeadlessAnatomist of another implementation.
lock = threading.RLock()


@partial(with_keywords, rows=IN_PROCESS)
def setup_headless(
    allow_virtualgl: bool = True,
    force_virtualgl: bool = False,
    need_opengl: bool | None = True,
    *,
    qapp: bool = False,
    **options: Unpack[InProcessKeywords],
) -> HeadlessInfo:
    """Give this process a display that needs no screen, with OpenGL that has been tested by drawing.

    In a program that anaheadless has started, this returns details of the existing display, whatever the parameters.
    In any other program, it starts a session that ends with this process. It changes :data:`os.environ` as
    ``anaheadless run`` does, except for PYTHONPATH; :func:`stop_headless` undoes that, and so does the end of a
    ``with`` statement that has started the session. A second call returns the same object and starts nothing, whatever
    the parameters, unless the session has ended meanwhile (as when a forked child outlives its parent): then it sets up
    the display again.

    Call it before Qt and OpenGL are loaded; later, it can do less. If there is a QApplication, the process keeps its
    regular display, if that works. If there is a QCoreApplication, or if QtGui, libGL or libX11 is loaded, VirtualGL
    and a Mesa in a folder of its own can't be used. If no OpenGL draws on the virtual display, the process keeps its
    regular display, if OpenGL draws there and you have left ``gl`` and ``gpu`` alone; ``headless`` is then False. On
    systems other than Linux this does nothing, and ``headless`` is False, too.

    :param allow_virtualgl: whether VirtualGL may render.
    :param force_virtualgl: use VirtualGL if it is installed, even if it renders in software.
    :param need_opengl: whether OpenGL is required; without it, less has to be started.
    :param qapp: whether to make a QApplication as well, unless there is one, so that you can make widgets at once. It
        lives as long as the process, and replaces a QCoreApplication. The binding is the one that soma's
        ``qt_backend`` has chosen, if that is imported, else the one that is imported, else the first of PyQt5, PyQt6,
        PySide2 and PySide6 that is installed.
    :param options: those of :func:`virtual_display`, such as ``screen="1280x1024x24"`` and ``wm="none"``, but not
        ``shim``. ``gl="none"`` is ``need_opengl=False``, and ``virtualgl=False`` is ``allow_virtualgl=False``.
    :raises LaunchError: neither a virtual display nor the regular one can be used; no processes or files remain, and
        the environment is as before. Also if the display has ended while a QApplication is connected to it, or if you
        ask for ``qapp`` and no Qt is installed.
    :raises ValueError: an option has a wrong value; likewise TypeError.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0 and ``anatomist.headless``, which always make a QApplication.
    """
    from anaheadless.api import qt

    if not allow_virtualgl:
        options["virtualgl"] = False
    wanted = from_keywords("setup_headless", options, IN_PROCESS)
    request = wanted.opengl if need_opengl is not False else None
    if request is not None:
        request = request.replace(force_virtualgl=request.virtualgl and force_virtualgl)
    wanted = wanted.replace(opengl=request)
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
        state.is_new = state.info is None
        if state.info is None:
            state.info = _set_up(wanted)
        if binding is not None:
            state.info.qapp = qt.ensure_application(binding)
        return state.info


def _has_ended(info: HeadlessInfo) -> bool:
    server = info.virtual_display_proc
    return server is not None and not server.has_target()


def check_application(info: HeadlessInfo) -> None:
    """Check that Qt is not connected to a display that has ended, which can't be undone.

    :raises LaunchError: it is.
    """
    from anaheadless.api import qt

    if _has_ended(info) and queries.test_qapp() == "QApp" and qt.uses_x():
        raise LaunchError(
            f"display {info.display} has ended with its session, and this process's QApplication is connected to it",
            hint="A process that forks must do so before it makes a QApplication, and must outlive its children.",
        )


def _set_up(options: Options) -> HeadlessInfo:
    need_opengl = options.opengl is not None
    info = HeadlessInfo(display=os.environ.get("DISPLAY"), original_display=os.environ.get("DISPLAY"))
    info.qtapp = queries.test_qapp()
    if not sys.platform.startswith("linux"):
        return info
    session = queries.current_session()
    if session is not None:
        return _report(info, session, need_opengl)
    if info.qtapp == "QApp":
        return _use_regular_display(info, need_opengl, _qapplication_exists(info))
    from anaheadless.api import in_process

    try:
        ready = in_process.start_session(options, WITHOUT_OPENGL)
    except LaunchError as failure:
        if options.opengl is not None and options.opengl.backend != "auto":
            raise
        return _use_regular_display(info, need_opengl, failure)
    state.session = ready.session
    atexit.register(ready.session.control.close)  # otherwise Python warns of an open socket
    state.changes += (in_process.set_environment(ready.environ),)
    session = queries.current_session()
    assert session is not None, "the session has just been started"
    return _report(info, session, need_opengl)


def _report(info: HeadlessInfo, session: LiveSession, need_opengl: bool) -> HeadlessInfo:
    status = session.status
    assert status is not None, "see queries.current_session()"
    info.virtual_display_proc = ServerProcess(status.server, processes.state(status.server)[1], session)
    info.original_display = status.original_display or None
    info.display = os.environ["DISPLAY"]
    info.headless = True
    info.glx = status.glx if need_opengl else None
    info.backend = status.backend
    info.renderer = status.renderer or None
    info.virtualgl, info.mesa = status.backend == "virtualgl", status.backend == "mesa"
    return info


def _qapplication_exists(info: HeadlessInfo) -> LaunchError:
    return LaunchError(
        f"a QApplication exists already, and its display ({info.display or 'DISPLAY is not set'}) can't be used",
        hint="Call setup_headless() before you make it, or start the program with 'anaheadless run'.",
    )


def _use_regular_display(info: HeadlessInfo, need_opengl: bool, failure: LaunchError) -> HeadlessInfo:
    """Complete *info* for the regular display.

    :raises LaunchError: the regular display doesn't work; this is *failure*, with the reason added.
    """
    from anaheadless.api import in_process, qt

    if not (need_opengl or qt.uses_x()):
        return info
    result = in_process.probe_display(PROBE_SECONDS)
    info.glx = (queries.glx_grade(result.outcome) or 0) if need_opengl else None
    if not (info.glx if need_opengl else result.outcome in queries.DISPLAY_WORKS):
        failure.details += (f"DISPLAY {info.display or 'is not set'}: {result}",)
        raise failure
    info.renderer = result.renderer or None
    return info


def stop_headless() -> None:
    """Undo :func:`setup_headless`: restore the environment, and end the session.

    If Qt is still connected to the display, the session goes on until the process ends: without a display, Qt would
    end the process ("XIO: fatal IO error"). In a program that anaheadless has started, the session goes on, too.
    Libraries that have been loaded stay loaded.
    """
    with lock:
        state.info = None
        for changes in reversed(state.changes):
            from anaheadless.api import in_process

            in_process.restore_environment(changes)
        state.changes = ()
        session, state.session = state.session, None
        if session is not None:
            session.control.close() if queries.test_qapp() == "QApp" else session.close()
        soma = sys.modules.get("anaheadless.api.soma")
        if soma is not None:
            soma.describe(None)


def setup_virtualGL() -> bool:  # noqa: N802
    """Use VirtualGL for this process, on the display that it has; return whether VirtualGL renders.

    In a program that anaheadless has started, this only reports. In any other program, VirtualGL first has to draw in
    a separate process. It is then loaded into this one, if none of QtGui, libGL and libX11 is loaded yet. It renders on
    VGL_DISPLAY, else on the first GPU, else on a software EGL device. :func:`stop_headless` restores the variables.

    :raises LaunchError: VirtualGL has drawn in a separate process, but can't be loaded into this one.

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
        environ = in_process.virtualgl_for_display(PROBE_SECONDS)
        if environ is None:
            return False
        state.changes += (in_process.set_environment(environ),)
        return True
