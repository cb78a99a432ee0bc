"""The story of a run, top to bottom: check, start the session, build the environment, become the target."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from anaheadless import environment, session
from anaheadless.display import Screen
from anaheadless.errors import NOT_EXECUTABLE, LaunchError
from anaheadless.target import Target, find_program

Gl = Literal["auto", "native", "none"]


@dataclass(frozen=True)
class Options:
    """What a run can be asked for, whatever its target.

    :param gl: where OpenGL comes from; ``none`` asks for none.
    :param server_args: further arguments for the X server.
    :param start_timeout: seconds until the X server must be ready.
    """

    screen: Screen = Screen()
    dpi: int | None = None
    gl: Gl = "auto"
    server_args: tuple[str, ...] = ()
    start_timeout: float = 30.0
    verbose: bool = False


def run(target: Target, options: Options, environ: Mapping[str, str]) -> NoReturn:
    """Become *target*, with a display of its own.

    :param environ: the environment that the target is to get, but for what the session puts in.
    :raises LaunchError: the target was not started, and nothing is left of what was.
    """
    # A ^C while the server starts ends us as it ends any program; the keeper sees it and cleans up.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    runtime_folder = None if _is_private(environ.get("XDG_RUNTIME_DIR")) else _private_folder()
    server = session.ServerOptions(
        program=_find_server(environ),
        screen=options.screen,
        dpi=options.dpi,
        glx=options.gl != "none",
        extra=options.server_args,
        start_timeout=options.start_timeout,
    )
    started = session.start(server, environ)
    try:
        _check_opengl(options.gl, started)
        target_environ = environment.build(
            environ,
            display=started.display,
            authority=started.authority,
            keeper=started.keeper,
            runtime_folder=runtime_folder,
        )
        if options.verbose:
            _report(target, options, started)
        _execute(target, target_environ)
    except BaseException:
        started.end()
        raise


def inherited_environment() -> dict[str, str]:
    """The environment that this process was started with.

    Not :data:`os.environ`: in the C locale Python puts an LC_CTYPE there that nobody asked for (PEP 538).
    """
    with open("/proc/self/environ", "rb") as file:
        return environment.parse_block(file.read())


def search_path(environ: Mapping[str, str]) -> Sequence[str]:
    """The folders in which *environ* has programs looked for."""
    return os.get_exec_path(environ)


def _find_server(environ: Mapping[str, str]) -> str:
    # Beside the interpreter too: a conda environment brings its own, activated or not.
    program = find_program("Xvfb", [*search_path(environ), os.path.dirname(sys.executable)])
    if program is None:
        from anaheadless import packages  # only here: a run that goes well has no need of it

        raise LaunchError("Xvfb is not installed", hint=packages.install_hint("Xvfb"))
    return program


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


def _check_opengl(gl: Gl, started: session.Session) -> None:
    if gl != "none" and not started.glx:
        raise LaunchError(
            "the X server has no GLX, so there is no OpenGL",
            hint="Look at --server-arg and at the X server's package, or go without OpenGL: --gl none.",
        )


def _report(target: Target, options: Options, started: session.Session) -> None:
    gl = "native (the X server advertises GLX)" if options.gl != "none" else "none"
    for line in (
        f"display {started.display}, {options.screen} (X server {started.server}, keeper {started.keeper})",
        f"OpenGL: {gl}",
        f"target: {' '.join(target.argv)}",
    ):
        print(f"anaheadless: {line}", file=sys.stderr)
    sys.stderr.flush()


def _execute(target: Target, environ: Mapping[str, str]) -> NoReturn:
    # Python ignores these two for itself, and what is ignored stays so through an exec: `yes | head -1` would say
    # "Broken pipe".
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(target.executable, target.argv, environ)
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            hint = "It is no program for this machine, or a script without a #! line."
        elif error.errno == errno.E2BIG:
            hint = "Its arguments and the environment are too long together."
        else:
            hint = "The interpreter that its first line names may be missing."
        raise LaunchError(
            f"{target.executable} can't be executed: {error.strerror}", hint=hint, exit_code=NOT_EXECUTABLE
        ) from error
