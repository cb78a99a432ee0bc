"""The story of a run, top to bottom: check, start the session, build the environment, become the target."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress

from anaheadless.errors import LaunchError, print_stderr
from anaheadless.launch import environment
from anaheadless.launch.find_opengl import Search
from anaheadless.launch.target import Target
from anaheadless.opengl import hardware
from anaheadless.opengl.candidates import Candidate, Selection, advice
from anaheadless.options import OpenGLRequest, Options
from anaheadless.session import protocol, session
from anaheadless.session.discovery import SessionStatus
from anaheadless.system import private_files
from anaheadless.system.light_stdlib import Record
from anaheadless.system.programs import cannot_execute, this_python
from anaheadless.x11 import authority
from anaheadless.x11.servers import xvfb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class Launch(Record):
    """A session that is ready for a target.

    :param environ: what the target is to get.
    :param selection: where its OpenGL comes from, or None where none was asked for.
    :param remembered: whether that is an earlier run's.
    """

    session: session.Session
    environ: dict[str, str]
    selection: Selection | None
    remembered: bool = False


def run(
    target: Target,
    options: Options,
    environ: Mapping[str, str],
    python: str | None = None,
    *,
    without: str = "--gl none",
) -> NoReturn:
    """Become *target*, with a display of its own; or in a container's first process, have a child become it.

    :param environ: the environment that the target is to get, but for what the session puts in.
    :param python: the interpreter that OpenGL is proved in: the target's own, where it has one.
    :param without: how to ask for no OpenGL.
    :raises LaunchError: the target was not started, and nothing is left of what was.
    """
    # Of a container's first process, the kernel wants more than of any other: it has to reap orphans, and dies of no
    # signal that it does not handle. A target knows nothing of that.
    say_keeper = None
    if options.supervise or os.getpid() == 1:
        from anaheadless.launch import supervisor  # only here: ctypes is no small import

        say_keeper = supervisor.stay_in_front()
    ready = start(options, environ, python, without=without, purpose="run", eager=True)
    try:
        if say_keeper is not None:
            say_keeper(ready.session.keeper)
        if options.verbose:
            print_stderr(f"anaheadless: target: {' '.join(target.argv)}")
        if options.limits.timeout and not _has_terminal():
            # As coreutils' timeout does it: the end of the time is for all that the target has started. Not on a
            # terminal, whose ^C would reach it no more.
            with suppress(OSError):  # the keeper was killed just now
                if os.getpgrp() != os.getpid():  # else it is forbidden, where we lead a session
                    os.setpgid(0, 0)
                ready.session.control.send(protocol.GROUP)
        _execute(target, ready.environ)
    except BaseException:
        ready.session.end()
        raise


def start(
    options: Options,
    environ: Mapping[str, str],
    python: str | None = None,
    *,
    without: str = "--gl none",
    **details: Any,
) -> Launch:
    """Start a session, which has OpenGL if that is asked for.

    :param without: how to ask for none.
    :param details: as of :func:`prepare`.
    :raises LaunchError: there is no session, or no OpenGL; nothing is left of it.
    """
    ready = prepare(options, environ, python, **details)
    try:
        if options.verbose:
            for line in report(options, ready):
                print_stderr(f"anaheadless: {line}")
        if ready.selection is not None and ready.selection.chosen is None:
            raise no_opengl(options, ready.selection, without)
        if ready.selection is not None and ready.selection.chosen is not None and ready.selection.chosen.warning:
            print_stderr(f"anaheadless: {ready.selection.chosen.warning}")
    except BaseException:
        ready.session.end()
        raise
    return ready


def prepare(
    options: Options,
    environ: Mapping[str, str],
    python: str | None = None,
    *,
    running: bool = False,
    target: int | None = None,
    purpose: str = "display",
    eager: bool = False,
) -> Launch:
    """Start a session and find its OpenGL, if there is one.

    :param target: the PID of the process that it is to live as long as, or None for this one.
    :param purpose: see :class:`anaheadless.session.discovery.SessionStatus`.
    :param running: the target is this very process: what is preloaded in others, it will load by itself.
    :param eager: whether not to wait for an X server that is known to start, see
        :func:`anaheadless.session.session.start`.
    :raises LaunchError: there is no session; nothing is left of it.
    """
    check_proc()
    folders = private_files.folders(environ)
    # Qt complains on stderr where there is none, and cron mails that.
    runtime_folder = None if private_files.is_private(environ.get("XDG_RUNTIME_DIR")) else next(iter(folders), None)
    ffmpeg = ""
    if options.limits.recording:
        from anaheadless.session import recorder  # only here, as all that a run has seldom need of

        ffmpeg = recorder.find(environ)
    known = hardware.detect(environ)
    program = xvfb.find(environ)
    server = session.ServerOptions(
        program=program,
        screen=options.screen,
        dpi=options.dpi,
        glx=options.opengl is not None,
        extra=options.server_args,
        start_timeout=options.start_timeout,
        # VirtualGL renders on the caller's own display, whose cookie is in the file that ours is put in front of.
        further_authority=authority.read_authority(environ) if known.virtualgl is not None else b"",
        folders=folders,
        limits=options.limits,
        target=target,
        ffmpeg=ffmpeg,
    )

    def environment_with(candidate: Candidate | None, started: session.Session) -> dict[str, str]:
        return environment.build(
            environ,
            display=started.display,
            authority=started.authority,
            keeper=started.keeper,
            runtime_folder=runtime_folder,
            opengl=candidate,
            shim=options.shim,
        )

    started: session.Session | None = None
    try:
        with Search(options, environ, known, program, python or this_python(), environment_with, running) as search:
            started = session.start(server, environ, lambda: search.known_glx(eager), search.begin)
            selection = search.selection(started)
            chosen, result = (selection.chosen, selection.result) if selection is not None else (None, None)
            glx, backend, renderer = int(started.glx), "none", ""
            if chosen is not None and result is not None:
                glx, backend, renderer = 2, chosen.name, result.renderer
            started.note(SessionStatus(glx, backend, renderer, environ.get("DISPLAY", ""), purpose, search.source))
            return Launch(started, environment_with(chosen, started), selection, bool(search.source))
    except BaseException:
        if started is not None:
            started.end()
        raise


def inherited_environment() -> dict[str, str]:
    """The environment that this process was started with.

    Not :data:`os.environ`: in the C locale Python puts an LC_CTYPE there that nobody asked for (PEP 538).
    """
    check_proc()
    with open("/proc/self/environ", "rb") as file:
        return environment.parse_block(file.read())


def check_proc() -> None:
    """Cookie and processes are reached through /proc: it must be there, and be that of our own PID namespace.

    :raises LaunchError: it is not.
    """
    try:
        ours = os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        ours = False
    if not ours:
        raise LaunchError(
            "/proc is not mounted here, or is that of other processes than ours",
            hint="In a container or PID namespace, mount it: as with unshare --mount-proc.",
        )
    if not os.access("/proc/self/environ", os.R_OK):
        python = this_python()
        raise LaunchError(
            "the kernel lets this process see nothing of itself in /proc",
            hint="It was started with changed privileges; start it without them."
            if os.access(python, os.R_OK)
            else f"Its interpreter must not only be executable, but readable: chmod a+r {python}",
        )


def report(options: Options, ready: Launch) -> list[str]:
    """What was started and decided, a line each."""
    started, selection = ready.session, ready.selection
    lines = [f"display {started.display}, {options.screen} (keeper {started.keeper})"]
    if selection is None:
        return [*lines, "OpenGL: none, as asked for"]
    for candidate, result in selection.attempts:
        how = "remembered" if ready.remembered else f"{result.seconds:.2f} s"
        lines.append(f"tried {candidate}: {result} ({how})")
    return [*lines, f"OpenGL: {selection.chosen or 'none could be proved'}"]


def no_opengl(options: Options, selection: Selection, without: str) -> LaunchError:
    """Why there is no OpenGL: a line for each candidate, and what to do."""
    request = options.opengl or OpenGLRequest()
    return LaunchError(
        "no OpenGL: nothing could be drawn" if selection.attempts else f"no OpenGL: {request.backend} is not there",
        details=tuple(f"{candidate}: {result}" for candidate, result in selection.attempts),
        hint=f"{advice(selection)} To go without OpenGL: {without}. To see more: anaheadless doctor.",
    )


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _execute(target: Target, environ: Mapping[str, str]) -> NoReturn:
    # Python ignores these two for itself, and what is ignored stays so through an exec: `yes | head -1` would say
    # "Broken pipe".
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(target.executable, target.argv, environ)
    except OSError as error:
        raise cannot_execute(target.executable, error) from error
