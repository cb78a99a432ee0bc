"""The story of a run, top to bottom: check, start the session, build the environment, become the target."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from anaheadless import environment, facts, keeper, session
from anaheadless.display import Screen, parse_screen
from anaheadless.errors import LaunchError, say
from anaheadless.live import Notes
from anaheadless.opengl import BACKENDS, VGL_DISPLAY, Candidate, Proof, Verdict, Wishes, advice, choose, in_process
from anaheadless.target import Target, cannot_execute, find_program, this_python


@dataclass(frozen=True)
class Options:
    """What a run can be asked for, whatever its target.

    :param wishes: where OpenGL is to come from, or None for no OpenGL.
    :param server_args: further arguments for the X server.
    :param start_timeout: seconds until the X server must be ready.
    :param probe_timeout: seconds that the proof of one candidate may take; all of them may take three times as long.
    :param shim: whether ``import anatomist.headless`` is ours in the target.
    :param watch: the time limit, and the log.
    """

    screen: Screen = Screen()
    dpi: int | None = None
    wishes: Wishes | None = Wishes()
    server_args: tuple[str, ...] = ()
    start_timeout: float = 30.0
    probe_timeout: float = 10.0
    shim: bool = True
    watch: session.Watch = session.Watch()
    verbose: bool = False


def options(
    *,
    screen: str = str(Screen()),
    dpi: int | None = None,
    gl: str = "auto",
    virtualgl: bool = True,
    vgl_display: str | None = None,
    vgl_dlfaker: bool = True,
    server_args: Sequence[str] = (),
    start_timeout: float = Options.start_timeout,
    probe_timeout: float = Options.probe_timeout,
    shim: bool = True,
) -> Options:
    """What Python code may ask for; the names are those of the command line's options.

    :raises ValueError: with a sentence that says what would do.
    """
    if not isinstance(screen, str):
        raise TypeError(f"screen is {screen!r}, but has to be text, as in '1280x1024x24'.")
    if isinstance(server_args, str) or not all(isinstance(arg, str) for arg in server_args):
        raise TypeError(f"server_args is {server_args!r}, but has to be a list of texts.")
    if dpi is not None and not (isinstance(dpi, int) and 1 <= dpi <= 1000):
        raise ValueError(f"dpi is {dpi!r}, but can be a whole number from 1 to 1000.")
    if gl not in BACKENDS:
        raise ValueError(f"gl is {gl!r}, but can be {', '.join(BACKENDS)}.")
    if gl == "virtualgl" and not virtualgl:
        raise ValueError("gl='virtualgl' and virtualgl=False contradict each other.")
    if vgl_display is not None and not VGL_DISPLAY.fullmatch(vgl_display):
        raise ValueError(f"vgl_display is {vgl_display!r}, but can be egl, eglN, /dev/dri/cardN or :N.")
    for seconds in start_timeout, probe_timeout:
        if not 0 < seconds <= 3600:
            raise ValueError(f"A time limit of {seconds} is not between 0 and 3600 seconds.")
    wishes = None
    if gl != "none":
        wishes = Wishes(gl, virtualgl, vgl_display=vgl_display, vgl_dlfaker=vgl_dlfaker)
    return Options(parse_screen(screen), dpi, wishes, tuple(server_args), start_timeout, probe_timeout, shim)


@dataclass(frozen=True)
class Launch:
    """A session that is ready for a target.

    :param environ: what the target is to get.
    :param verdict: where its OpenGL comes from, or None where none was asked for.
    """

    session: session.Session
    environ: dict[str, str]
    verdict: Verdict | None


def run(
    target: Target,
    options: Options,
    environ: Mapping[str, str],
    python: str | None = None,
    *,
    without: str = "--gl none",
) -> NoReturn:
    """Become *target*, with a display of its own.

    :param environ: the environment that the target is to get, but for what the session puts in.
    :param python: the interpreter that OpenGL is proved in: the target's own, where it has one.
    :param without: how to ask for no OpenGL.
    :raises LaunchError: the target was not started, and nothing is left of what was.
    """
    if options.watch.timeout and os.getpid() == 1:
        raise LaunchError(
            "--timeout can't end the first process of a container, to which the kernel gives no such signals",
            hint="Have another one in front: docker run --init, or tini.",
        )
    ready = start(options, environ, python, without=without, purpose="run")
    try:
        if options.verbose:
            say(f"anaheadless: target: {' '.join(target.argv)}")
        if options.watch.timeout and not _has_terminal():
            # As coreutils' timeout does it: the end of the time is for all that the target has started. Not on a
            # terminal, whose ^C would reach it no more.
            with suppress(PermissionError):  # it leads a whole session already
                os.setpgid(0, 0)
                ready.session.control.send(keeper.GROUP)
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
                say(f"anaheadless: {line}")
        if ready.verdict is not None and ready.verdict.chosen is None:
            raise no_opengl(options, ready.verdict, without)
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
) -> Launch:
    """Start a session and find its OpenGL, if there is one.

    :param target: the PID of the process that it is to live as long as, or None for this one.
    :param purpose: see :class:`anaheadless.live.Notes`.
    :param running: the target is this very process: what is preloaded in others, it will load by itself.
    :raises LaunchError: there is no session; nothing is left of it.
    """
    check_proc()
    runtime_folder = None if _is_private(environ.get("XDG_RUNTIME_DIR")) else _private_folder()
    known = facts.gather(environ)
    started = session.start(
        session.ServerOptions(
            program=_find_server(environ),
            screen=options.screen,
            dpi=options.dpi,
            glx=options.wishes is not None,
            extra=options.server_args,
            start_timeout=options.start_timeout,
            # VirtualGL renders on the caller's own display, whose cookie is in the file that ours is put in front of.
            further_authority=facts.read_authority(environ) if known.virtualgl is not None else b"",
            watch=options.watch,
            target=target,
        ),
        environ,
    )

    def environment_with(candidate: Candidate | None) -> dict[str, str]:
        return environment.build(
            environ,
            display=started.display,
            authority=started.authority,
            keeper=started.keeper,
            runtime_folder=runtime_folder,
            opengl=candidate,
            shim=options.shim,
        )

    def note(glx: int, backend: str, renderer: str = "") -> None:
        started.note(Notes(started.server, glx, backend, renderer, environ.get("DISPLAY", ""), purpose))

    try:
        if options.wishes is None:
            note(int(started.glx), "none")
            return Launch(started, environment_with(None), None)
        from anaheadless.proof import prove  # only here: subprocess is no small import

        deadline = time.monotonic() + 3 * options.probe_timeout

        def proved(candidate: Candidate) -> Proof:
            limit = min(options.probe_timeout, deadline - time.monotonic())
            tried = in_process(candidate) if running else candidate
            return prove(tried, python or this_python(), environment_with(tried), limit)

        verdict = choose(known, options.wishes, proved, lambda: facts.gather_repairs(environ, running=running))
        if verdict.chosen is not None and verdict.proof is not None:
            note(2, verdict.chosen.name, verdict.proof.renderer)
        return Launch(started, environment_with(verdict.chosen), verdict)
    except BaseException:
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


def _find_server(environ: Mapping[str, str]) -> str:
    # Beside the interpreter too: a conda environment brings its own, activated or not.
    program = find_program("Xvfb", [*os.get_exec_path(environ), os.path.dirname(this_python())])
    if program is None:
        from anaheadless import packages  # only here: a run that goes well has no need of it

        searched = os.pathsep.join(os.get_exec_path(environ))
        raise LaunchError(f"Xvfb is not installed, or not on PATH ({searched})", hint=packages.install_hint("Xvfb"))
    return os.path.abspath(program)


def _is_private(folder: str | None) -> bool:
    """Whether *folder* is what XDG_RUNTIME_DIR has to be; it may be inherited from an ended login."""
    try:
        status = os.stat(folder or "")
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _private_folder() -> str:
    """A folder for XDG_RUNTIME_DIR: Qt complains on stderr where there is none, and cron mails that."""
    folder = f"/tmp/anaheadless-{os.geteuid()}"
    hint = "Remove it, or set XDG_RUNTIME_DIR to a folder of yours that only you can enter (mode 0700)."
    try:
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        else:
            os.chmod(folder, 0o700)  # whatever the umask
        status = os.lstat(folder)
    except OSError as error:
        raise LaunchError(f"the folder {folder} can't be made: {error.strerror}", hint=hint) from error
    if stat.S_ISLNK(status.st_mode) or not _is_private(folder):
        raise LaunchError(f"{folder} is not to be trusted: it is a link, somebody else's, or open to others", hint=hint)
    return folder


def report(options: Options, ready: Launch) -> list[str]:
    """What was started and decided, a line each."""
    started, verdict = ready.session, ready.verdict
    lines = [f"display {started.display}, {options.screen} (X server {started.server}, keeper {started.keeper})"]
    if verdict is None:
        return [*lines, "OpenGL: none, as asked for"]
    lines += [f"tried {candidate}: {proof} ({proof.seconds:.2f} s)" for candidate, proof in verdict.attempts]
    return [*lines, f"OpenGL: {verdict.chosen or 'none could be proved'}"]


def no_opengl(options: Options, verdict: Verdict, without: str) -> LaunchError:
    """Why there is no OpenGL: a line for each candidate, and what to do."""
    wishes = options.wishes or Wishes()
    return LaunchError(
        "no OpenGL: nothing could be drawn" if verdict.attempts else f"no OpenGL: {wishes.backend} is not there",
        details=tuple(f"{candidate}: {proof}" for candidate, proof in verdict.attempts),
        hint=f"{advice(verdict)} To go without OpenGL: {without}. To see more: anaheadless doctor.",
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
