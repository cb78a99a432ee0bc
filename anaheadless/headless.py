"""The in-process side: what code asks for that runs inside a launched program, or was started without one.

The functions are those of BrainVISA's ``anatomist.headless``, with its names and meanings, and two more for
everybody: :func:`relaunch` and :func:`virtual_display`. Importing this loads neither Qt nor OpenGL, and little else.

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anaheadless import processes
from anaheadless.errors import LaunchError, say
from anaheadless.relaunching import relaunch
from anaheadless.virtual import VirtualDisplay, virtual_display

if TYPE_CHECKING:
    from anaheadless.inprocess import Changes
    from anaheadless.live import Notes
    from anaheadless.session import Session

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
    """The X server of a virtual display; it ends with its session, and is not to be ended otherwise."""

    pid: int

    def poll(self) -> int | None:
        """None as long as it runs, then 0, as of :class:`subprocess.Popen`."""
        return None if processes.is_alive(self.pid) else 0


@dataclass
class HeadlessInfo:
    """What :func:`setup_headless` has found or done; not frozen, since soma puts its QApplication in.

    :param virtual_display_proc: the X server (``pid``, ``poll()``), or None where the display is a regular one.
    :param original_display: DISPLAY before, as ``:0``, or None.
    :param display: DISPLAY now, as ``:2000``, or None.
    :param glx: 2: OpenGL has drawn; 1: GLX is advertised only; 0: there is none; None: it was not asked for.
    :param virtualgl: whether VirtualGL renders.
    :param mesa: whether a software Mesa was chosen for it.
    :param headless: whether the display is a virtual one.
    :param qtapp: what :func:`test_qapp` said at first.
    :param qapp: the QApplication that was made for the caller, where there was one to make (for soma only).
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
    with _lock:
        if _state.anatomist is None:
            name = _find_implementation(implementation)
            info = setup_headless(allow_virtualgl, force_virtualgl, need_opengl=True)
            found = _import_implementation(*name)(*args, **kwargs)
            found.headless_info = info
            _state.anatomist = found
        return _state.anatomist


Anatomist = HeadlessAnatomist


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
    allow_virtualgl: bool = True, force_virtualgl: bool = False, need_opengl: bool | None = True
) -> HeadlessInfo:
    """Give this process a display that needs no screen, with OpenGL that has drawn.

    Inside a launched program there is one already, whatever the parameters. Otherwise a session is started, which ends
    with this process, and :data:`os.environ` is changed as the environment of a launched program is, PYTHONPATH apart;
    :func:`stop_headless` undoes that. Its screen has 1280x1024 pixels of 24 bits. A second call returns the same
    object, and starts nothing.

    Where it comes too late, less is done. With a QApplication, the display is what it is: the regular one, if it works.
    With a QCoreApplication, QtGui, libGL or libX11 in the process, nothing can be put in front of them: VirtualGL, and
    a Mesa in a folder of its own, are left out. Where nothing draws, the regular display is used if that does;
    ``headless`` then is False. On systems other than Linux nothing is done, and ``headless`` is False, too.

    :param allow_virtualgl: whether VirtualGL may render.
    :param force_virtualgl: have VirtualGL render where it can, even if in software.
    :param need_opengl: whether there has to be OpenGL; without, less is started.
    :raises LaunchError: there is neither a virtual display nor a regular one that would do; nothing is left, and the
        environment is as before.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0 and ``anatomist.headless``.
    """
    with _lock:
        if _state.info is None:
            _state.info = _set_up(allow_virtualgl, force_virtualgl, need_opengl is not False)
        return _state.info


def _set_up(allow_virtualgl: bool, force_virtualgl: bool, need_opengl: bool) -> HeadlessInfo:
    info = HeadlessInfo(display=os.environ.get("DISPLAY"), original_display=os.environ.get("DISPLAY"))
    info.qtapp = test_qapp()
    if not sys.platform.startswith("linux"):
        return info
    notes = _session_notes()
    if notes is not None:
        return _report(info, notes, need_opengl)
    if info.qtapp == "QApp":
        return _stay_on_display(info, need_opengl, _too_late(info))
    from anaheadless import inprocess

    try:
        ready = inprocess.start(need_opengl, allow_virtualgl, force_virtualgl, WITHOUT_OPENGL)
    except LaunchError as failure:
        return _stay_on_display(info, need_opengl, failure)
    _state.session = ready.session
    atexit.register(ready.session.control.close)  # lest Python say that nobody has
    _state.changes += (inprocess.change(ready.environ),)
    notes = _session_notes()
    assert notes is not None, "a session that has just been started"
    return _report(info, notes, need_opengl)


def _session_notes() -> Notes | None:
    """What the keeper says of the session that this process is in, or None where it is in none."""
    from anaheadless import live

    for _ in range(1000):
        found = live.current(os.environ)
        # The launcher may have become this process before the keeper had started the server.
        if found is None or found.notes is None or found.notes.server:
            break
        time.sleep(0.005)
    return None if found is None else found.notes


def _report(info: HeadlessInfo, notes: Notes, need_opengl: bool) -> HeadlessInfo:
    info.virtual_display_proc = ServerProcess(notes.server)
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
    from anaheadless import inprocess, qt

    if not (need_opengl or qt.uses_x()):
        return info
    proof = inprocess.look_at_display(PROOF_SECONDS)
    info.glx = (_grade(proof.result) or 0) if need_opengl else None
    if not (info.glx if need_opengl else proof.result in SHOWS_A_DISPLAY):
        failure.details += (f"DISPLAY {info.display or 'is not set'}: {proof}",)
        raise failure
    info.renderer = proof.renderer or None
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
            from anaheadless import inprocess

            inprocess.undo(changes)
        _state.changes = ()
        session, _state.session = _state.session, None
        if session is not None:
            session.control.close() if test_qapp() == "QApp" else session.end()


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
    from anaheadless import facts

    if any("faker" in os.path.basename(path) for path in facts.loaded_libraries()):
        return True
    if _session_notes() is not None:
        return False
    from anaheadless import inprocess

    with _lock:
        environ = inprocess.virtualgl_for_display(PROOF_SECONDS)
        if environ is None:
            return False
        _state.changes += (inprocess.change(environ),)
        return True


def test_glx(
    xdpyinfo_cmd: str | Sequence[str] | None = None,
    timeout: float = 5.0,
    glxinfo_cmd: str | Sequence[str] | None = None,
) -> int:
    """How far the OpenGL of the display can be trusted: 2: it has drawn; 1: it is advertised only; 0: there is none.

    Inside a launched program, that is known. Otherwise a picture is drawn in another process. With a command, its word
    is taken: 2 if *glxinfo_cmd* lists visuals, else 1 if *xdpyinfo_cmd* lists GLX. One that can't be executed says
    nothing. soma's function has these parameters in another order: give them by name.

    :param xdpyinfo_cmd: a command, as ``xdpyinfo`` or ``["vglrun", "xdpyinfo"]``, likewise ``glxinfo_cmd``.
    :param timeout: seconds to wait for an X server that is only starting. 0: there is one try, of 5 seconds at most.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0.
    """
    notes = _session_notes() if sys.platform.startswith("linux") else None
    if xdpyinfo_cmd is None and glxinfo_cmd is None:
        if notes is not None:
            return notes.glx
        if not sys.platform.startswith("linux"):
            return 0
        from anaheadless import inprocess

        return _poll(timeout, lambda limit: _grade(inprocess.look_at_display(limit).result))
    return _poll(timeout, lambda limit: _grade_by_commands(glxinfo_cmd, xdpyinfo_cmd, limit))


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


def _grade_by_commands(
    glxinfo: str | Sequence[str] | None, xdpyinfo: str | Sequence[str] | None, timeout: float
) -> int | None:
    """The grade that the commands, those that are given, stand for, or None where they say that there is no display."""
    from anaheadless.proof import run

    commands = [(glxinfo, "GLX Visuals", 2), (xdpyinfo, "GLX", 1)]
    asked = [(command, word, grade) for command, word, grade in commands if command]
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
    from anaheadless import facts

    try:
        found = {path for path in facts.loaded_libraries(pid) if "libGL.so." in path}
    except OSError as error:
        raise LaunchError(
            f"the libraries of process {pid} can't be seen: {error.strerror}",
            hint="It has ended, or it is another user's.",
        ) from error
    if verbose:
        for path in sorted(found):
            say(path)
    return found


def test_qapp() -> str | None:
    """What Qt application there is, of PyQt5, PyQt6, PySide2 or PySide6; none of them is imported.

    :return: ``QApp``: a QApplication or QGuiApplication, which has its display and keeps it; ``QtCore``: a
        QCoreApplication; or None.

    Source: ``soma.qt_gui.headless`` of soma-base 6.0.
    """
    from anaheadless import qt

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
    from anaheadless import facts

    folder = facts.find_mesa()
    return None if folder is None else os.path.join(folder, "libGL.so.1")
