"""The in-process side: what code asks for that runs inside a launched program, or was started without one.

The functions are those of BrainVISA's ``anatomist.headless``, with its names and meanings, and two more for
everybody: :func:`relaunch` and :func:`virtual_display`. Importing this loads neither Qt nor OpenGL, and little else.
What differs under the name ``anatomist.headless`` itself is in :mod:`anaheadless.api.seed`.

Inside a launched program, nothing is started: the functions report the session. Outside, they do what can still be done
in a process that runs.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

from anaheadless.api.relaunching import relaunch
from anaheadless.api.virtual_display import VirtualDisplay, virtual_display
from anaheadless.errors import LaunchError, print_stderr
from anaheadless.system import libraries, processes
from anaheadless.system.light_stdlib import signal

if TYPE_CHECKING:
    from anaheadless.api.in_process import Changes
    from anaheadless.session.discovery import LiveSession
    from anaheadless.session.session import Session

__all__ = [
    "Anatomist",
    "HeadlessAnatomist",
    "HeadlessInfo",
    "LaunchError",
    "VirtualDisplay",
    "find_mesa",
    "relaunch",
    "setup_headless",
    "setup_virtualGL",
    "stop_headless",
    "test_glx",
    "test_opengl",
    "test_qapp",
    "virtual_display",
]

WITHOUT_OPENGL = "setup_headless(need_opengl=False)"
PROOF_SECONDS = 10.0
ONE_TRY_SECONDS = 5.0

# Results of a proof that has found a display, see anaheadless.opengl.Proof; and of those, where GLX is advertised.
ADVERTISED = ("no config", "refused", "wrong pixels")
SHOWS_A_DISPLAY = ("drawn", "no GLX", *ADVERTISED)


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


_state = _State()
# Reentrant: anatomist.notebook's Anatomist is a HeadlessAnatomist of another implementation.
_lock = threading.RLock()


def HeadlessAnatomist(  # noqa: N802
    *args: Any,
    implementation: str | None = None,
    allow_virtualgl: bool = True,
    force_virtualgl: bool = False,
    **kwargs: Any,
) -> Any:
    """The one Anatomist of this process, on a display that needs no screen.

    The display is set up by :func:`setup_headless` first; what that has found is the Anatomist's ``headless_info``.
    A second call returns the same object, whatever its arguments.

    :param implementation: ``direct``, ``threaded``, ``nbanatomist`` or the like, or a module and a class in it, as
        ``anatomist.direct.api.Anatomist``. Default: what ``anatomist.setDefaultImplementation()`` was told, which is
        ``direct`` unless it was told.
    :param allow_virtualgl: see :func:`setup_headless`, likewise ``force_virtualgl``.
    :param args: for the constructor of that class, and likewise all other keyword arguments.
    :raises ImportError: Anatomist is not installed, or has no such implementation.
    :raises LaunchError: there is no display to be had.

    Source: ``anatomist.headless`` of BrainVISA 6.0; that one ignores the constructor's arguments.
    """

    def set_up() -> HeadlessInfo:
        return setup_headless(allow_virtualgl, force_virtualgl, need_opengl=True)

    return the_anatomist(set_up, implementation, *args, **kwargs)


Anatomist = HeadlessAnatomist


def the_anatomist(set_up: Callable[[], HeadlessInfo], implementation: str | None, *args: Any, **kwargs: Any) -> Any:
    """The Anatomist that there is, or one on the display that *set_up* gives."""
    from anaheadless.api import qt

    with _lock:
        if _state.anatomist is None:
            name = _find_implementation(implementation)
            info = set_up()
            found = _import_implementation(*name)(*args, **kwargs)
            info.qapp = qt.application_with_display()  # Anatomist makes it, if nobody has
            found.headless_info = info
            _state.anatomist = found
        elif _state.info is not None:
            _check_application(_state.info)
        return _state.anatomist


def anatomist_so_far() -> Any:
    """The Anatomist that has been made, or None."""
    return _state.anatomist


def _find_implementation(name: str | None) -> tuple[str, str]:
    """Module and class that *name* stands for. Only looked for: Anatomist's implementations load Qt."""
    try:
        anatomist = importlib.import_module("anatomist")
        default = anatomist.getDefaultImplementationModuleName().rpartition(".")[2]
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"Anatomist is not installed for this Python, or does not work ({error}). It comes "
            "with BrainVISA (https://brainvisa.info/download.html): run this with BrainVISA's own Python, from a "
            "program as 'anaheadless run --python PATH'.",
            name="anatomist",
        ) from error
    if name is None:
        name = default if default != "headless" else "direct"  # headless: this very function
    if name == "nbanatomist":  # what it was called before BrainVISA 5
        name = "anatomist.notebook.api.NotebookAnatomist"
    module, _, attribute = (name if "." in name else f"anatomist.{name}.Anatomist").rpartition(".")
    if module not in sys.modules and importlib.util.find_spec(module) is None:
        raise ImportError(f"there is no implementation {name!r} of Anatomist: no module {module}", name=module)
    return module, attribute


def _import_implementation(module: str, attribute: str) -> Any:
    for path in module, f"{module}.api":
        try:
            found = getattr(importlib.import_module(path), attribute, None)
        except ModuleNotFoundError as error:
            if path == module or error.name != path:
                raise
            continue
        if found is not None:
            return found
    raise ImportError(f"there is no {attribute} in {module}, nor in {module}.api", name=module)


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

    with _lock:
        binding = qt.find_binding() if qapp else None
        if qapp and binding is None:
            raise LaunchError(
                f"no QApplication can be made: none of {', '.join(qt.BINDINGS)} is installed for this Python",
                hint="Install one: pip install PyQt5.",
            )
        if _state.info is not None and _has_ended(_state.info):
            _check_application(_state.info)
            stop_headless()
        if _state.info is None:
            _state.info = _set_up(allow_virtualgl, force_virtualgl, need_opengl is not False)
        if binding is not None:
            _state.info.qapp = qt.ensure_application(binding)
        return _state.info


def _has_ended(info: HeadlessInfo) -> bool:
    server = info.virtual_display_proc
    return server is not None and not server.is_to_stay()


def _check_application(info: HeadlessInfo) -> None:
    """:raises LaunchError: the display has ended while Qt is connected to it, which can't be undone."""
    from anaheadless.api import qt

    if _has_ended(info) and test_qapp() == "QApp" and qt.uses_x():
        raise LaunchError(
            f"display {info.display} has ended with its session, and this process's QApplication is connected to it",
            hint="A process that forks must do so before it makes a QApplication, and must outlive its children.",
        )


def _set_up(allow_virtualgl: bool, force_virtualgl: bool, need_opengl: bool) -> HeadlessInfo:
    info = HeadlessInfo(display=os.environ.get("DISPLAY"), original_display=os.environ.get("DISPLAY"))
    info.qtapp = test_qapp()
    if not sys.platform.startswith("linux"):
        return info
    session = _current_session()
    if session is not None:
        return _report(info, session, need_opengl)
    if info.qtapp == "QApp":
        return _stay_on_display(info, need_opengl, _too_late(info))
    from anaheadless.api import in_process

    try:
        ready = in_process.start(need_opengl, allow_virtualgl, force_virtualgl, WITHOUT_OPENGL)
    except LaunchError as failure:
        return _stay_on_display(info, need_opengl, failure)
    _state.session = ready.session
    atexit.register(ready.session.control.close)  # lest Python say that nobody has
    _state.changes += (in_process.change(ready.environ),)
    session = _current_session()
    assert session is not None, "a session that has just been started"
    return _report(info, session, need_opengl)


def _current_session() -> LiveSession | None:
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


def _report(info: HeadlessInfo, session: LiveSession, need_opengl: bool) -> HeadlessInfo:
    notes = session.status
    assert notes is not None, "see _current_session()"
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
    info.glx = (_grade(result.outcome) or 0) if need_opengl else None
    if not (info.glx if need_opengl else result.outcome in SHOWS_A_DISPLAY):
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
    with _lock:
        _state.info = None
        for changes in reversed(_state.changes):
            from anaheadless.api import in_process

            in_process.undo(changes)
        _state.changes = ()
        session, _state.session = _state.session, None
        if session is not None:
            session.control.close() if test_qapp() == "QApp" else session.end()
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
    if _current_session() is not None:
        return False
    from anaheadless.api import in_process

    with _lock:
        environ = in_process.virtualgl_for_display(PROOF_SECONDS)
        if environ is None:
            return False
        _state.changes += (in_process.change(environ),)
        return True


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
        session = _current_session()
        if session is not None and session.status is not None:
            return session.status.glx
        from anaheadless.api import in_process

        return _poll(timeout, lambda limit: _grade(in_process.look_at_display(limit).outcome))
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


def _grade(result: str) -> int | None:
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
