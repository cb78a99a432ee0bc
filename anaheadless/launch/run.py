"""One run, from top to bottom: check, start the session, find OpenGL, build the environment, become the target."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from anaheadless.errors import LaunchError, print_stderr
from anaheadless.launch import environment, find_opengl
from anaheadless.launch.find_opengl import Question
from anaheadless.launch.target import Target
from anaheadless.opengl import hardware
from anaheadless.opengl.candidates import Selection, advice
from anaheadless.opengl.hardware import HostCapabilities
from anaheadless.options import OpenGLRequest, Options
from anaheadless.session import protocol
from anaheadless.session import start as session_start
from anaheadless.session.discovery import SessionStatus
from anaheadless.session.session import Session
from anaheadless.session.start import DisplayInUseError, ServerOptions
from anaheadless.system import private_files
from anaheadless.system.light_stdlib import Record
from anaheadless.system.programs import cannot_execute, this_python
from anaheadless.x11 import authority, display_number
from anaheadless.x11.servers.choice import KINDS, NoServerError, ServerRequest, choose_server
from anaheadless.x11.servers.kind import ServerKind, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

DISPLAYS_TO_TRY = 6
PATIENCE = 1.0  # seconds


class Role(Record):
    """What a session is started for.

    :param purpose: see :class:`anaheadless.session.discovery.SessionStatus`.
    :param target: the PID of the process that the session lives as long as, or None for this one.
    :param in_process: the target is this very process: what is preloaded in others, it loads by itself.
    :param wait_for_server: whether to wait for an X server that is known to accept early clients.
    :param fork: this process is a launcher's own, and may be forked.
    """

    purpose: str = "display"
    target: int | None = None
    in_process: bool = False
    wait_for_server: bool = True
    fork: bool = False


_FOR_PROGRAMS = Role()


class Launch(Record):
    """A session that is ready for a target.

    :param environ: the environment of the target.
    :param selection: where its OpenGL comes from, or None where none was asked for.
    :param cached: whether that is the result of an earlier run.
    :param glx: whether the X server advertises GLX.
    :param server: the kind of X server, and *server_reason* why it was taken.
    :param gpu: the GPU that the job was given, and what has decided that; empty if nothing has.
    """

    session: Session
    environ: dict[str, str]
    selection: Selection | None
    cached: bool
    glx: bool
    server: str
    server_reason: str
    gpu: str = ""


def run(
    target: Target,
    options: Options,
    environ: Mapping[str, str],
    python: str | None = None,
    *,
    without: str = "--gl none",
    fork: bool = True,
    purpose: str = "run",
    look: Callable[[Launch], None] | None = None,
) -> NoReturn:
    """Become *target*, with a display of its own; or in a container's first process, let a child become it.

    :param environ: the environment that the target gets, but for what the session adds.
    :param python: the interpreter that draws the probes: the target's own, where it has one.
    :param without: how to ask for no OpenGL.
    :param fork: this process is a launcher's own, and may be forked.
    :param purpose: see :class:`anaheadless.session.discovery.SessionStatus`.
    :param look: called with the session that is ready, before the target starts.
    :raises LaunchError: the target was not started, and nothing is left of what was.
    """
    # 1. Where this is a container's first process, stay in front of the target. The kernel wants more of that process
    #    than of any other: it has to reap orphans, and dies of no signal that it does not handle.
    tell_supervisor = None
    if options.supervise or os.getpid() == 1:
        from anaheadless.launch import supervisor  # only here: ctypes is slow to import

        tell_supervisor = supervisor.stay_in_front()
    # 2. Start the session.
    ready = start(options, environ, python, Role(purpose, wait_for_server=False, fork=fork), without=without)
    try:
        if tell_supervisor is not None:
            tell_supervisor(ready.session.keeper)
        if options.auth_file:
            _copy_cookie(ready.session, options.auth_file)
        if options.verbose:
            print_stderr(f"anaheadless: target: {' '.join(target.argv)}")
        if look is not None:
            look(ready)
        # 3. With a time limit, lead a process group: as with coreutils' timeout, the end of the time is for everything
        #    that the target has started. Not on a terminal, whose ^C would reach the target no more.
        if options.limits.timeout and not _has_terminal():
            with suppress(OSError):  # the keeper was killed just now
                if os.getpgrp() != os.getpid():  # setpgid is forbidden to the leader of a session
                    os.setpgid(0, 0)
                ready.session.control.send(protocol.GROUP)
        # 4. Become the target.
        _execute(target, environment.for_program(ready.environ, target.executable))
    except BaseException:
        ready.session.close()
        raise


def start(
    options: Options,
    environ: Mapping[str, str],
    python: str | None = None,
    role: Role = _FOR_PROGRAMS,
    *,
    without: str = "--gl none",
) -> Launch:
    """Start a session, which has OpenGL if that is asked for.

    :param without: how to ask for none.
    :raises LaunchError: there is no session, or no OpenGL; nothing is left of it.
    """
    ready = prepare(options, environ, python, role)
    try:
        if options.verbose:
            for line in report(options, ready):
                print_stderr(f"anaheadless: {line}")
        if ready.selection is not None:
            if ready.selection.chosen is None:
                if options.needs_opengl:
                    raise no_opengl(options, environ, ready, without)
            elif ready.selection.chosen.warning:
                print_stderr(f"anaheadless: {ready.selection.chosen.warning}")
        if options.require:
            from anaheadless.launch import requirements  # only here: most runs require nothing

            requirements.check(options, python or this_python(), ready.environ)
    except BaseException:
        ready.session.close()
        raise
    return ready


def prepare(
    options: Options, environ: Mapping[str, str], python: str | None = None, role: Role = _FOR_PROGRAMS
) -> Launch:
    """Start a session and find its OpenGL, if there is one.

    :raises LaunchError: there is no session; nothing is left of it.
    """
    # 1. Look up what this machine has; nothing is started yet.
    check_proc()
    environ, host, gpu = _job_gpu(options, environ, hardware.detect(environ))
    server, why = _server_options(options, environ, host, role.target)
    question = find_opengl.Question(options, environ, host, server.program, python or this_python(), role.in_process)
    # 2. Try display numbers until the X server takes one.
    deadline = time.monotonic() + options.start_timeout
    activate = True
    for _ in range(DISPLAYS_TO_TRY):
        try:
            ready = _prepare_on_a_display(question, server, why, role, deadline, activate=activate)
            return ready.replace(gpu=gpu)
        except DisplayInUseError as error:
            # A server that can't take our sockets makes its own; then another server may come first.
            activate = activate and not error.by_sockets
    if options.display_number is not None:
        raise display_number.in_use(options.display_number)
    raise LaunchError(f"the X server found {DISPLAYS_TO_TRY} displays in a row in use", hint="Try again.")


def _prepare_on_a_display(
    question: Question, server: ServerOptions, why: str, role: Role, deadline: float, *, activate: bool
) -> Launch:
    """Do what :func:`prepare` says, on one display number; :raises DisplayInUseError: another one may do."""
    options, environ = question.options, question.environ
    # 3. Claim a display and start the keeper, which starts the X server.
    with session_start.start(server, environ, deadline, activate=activate, fork=role.fork) as starting:
        session = starting.session
        environment_with = partial(
            environment.build,
            environ,
            display=session.display,
            authority=session.authority,
            keeper=session.keeper,
            runtime_folder=_runtime_folder(environ, server.folders),
            shim=options.shim,
        )
        # 4. Meanwhile, look into the cache.
        key = find_opengl.cache_key(question)
        entry = find_opengl.cached(question, key)
        may_hurry = activate and not role.wait_for_server and not options.limits.recording and options.wm == "none"
        if entry is not None and entry.accepts_early_clients and may_hurry:
            # 5a. The target's first connection waits for the X server; should that fail, the keeper says so.
            glx, selection = entry.glx, entry.selection
        elif entry is not None:
            # 5b. Wait for the X server.
            glx, selection = starting.wait_until_ready(), entry.selection
        else:
            # 5c. Let the first candidate start while the X server does; choose, and keep the result for later runs.
            with _patience(options, role), find_opengl.first_probe(question, environment_with) as first:
                glx = starting.wait_until_ready()
                selection = find_opengl.select(question, environment_with, first)
            # With a recording, the keeper has said more than that the server is ready.
            if key is not None and find_opengl.is_lasting(selection) and not options.limits.recording:
                find_opengl.store(question, key, session.accepts_early_clients(), glx, selection)
        # 6. Publish what the session has.
        cache_file = key.path if key is not None and entry is not None else ""
        chosen, result = (selection.chosen, selection.result) if selection is not None else (None, None)
        status = SessionStatus(
            int(glx),
            "none",
            original_display=environ.get("DISPLAY", ""),
            purpose=role.purpose,
            cache_file=cache_file,
            server_kind=server.kind.name,
            server_reason=why,
        )
        if chosen is not None and result is not None:
            status = status.replace(glx=2, backend=chosen.name, renderer=result.renderer, hardware=int(result.hardware))
        session.publish(status)
        built = environment_with(opengl=chosen, result=result)
        starting.check_keeper()
        return Launch(session, built, selection, entry is not None, glx, server.kind.name, why)


@contextmanager
def _patience(options: Options, role: Role) -> Iterator[None]:
    """Say on a terminal what takes so long, if the context takes longer than PATIENCE."""
    if not role.fork or options.verbose or options.quiet or options.opengl is None or not os.isatty(2):
        yield
        return
    import _thread  # not threading, which is slow to import

    is_over = _thread.allocate_lock()
    is_over.acquire()

    def wait() -> None:
        if not is_over.acquire(timeout=PATIENCE):
            print_stderr("anaheadless: testing OpenGL, once for the next hour; -v shows more")

    _thread.start_new_thread(wait, ())
    try:
        yield
    finally:
        is_over.release()


def _copy_cookie(session: Session, path: str) -> None:
    """Put the cookie of the session into an X authority file; other displays' entries stay there.

    :raises LaunchError: it can't be written.
    """
    try:
        with open(session.authority, "rb") as file:
            entries = authority.entries_of(file.read(), int(session.display[1:]))
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            others = authority.entries_of(file.read(), int(session.display[1:]), others=True)
            file.seek(0)
            file.truncate()
            file.write(entries + others)
    except OSError as error:
        raise LaunchError(
            f"can't write the cookie: {path}: {error.strerror}",
            hint="Choose a file that you can write to, in a folder that exists.",
        ) from error


def _job_gpu(
    options: Options, environ: Mapping[str, str], host: HostCapabilities
) -> tuple[Mapping[str, str], HostCapabilities, str]:
    """Return *environ* and *host* with the GPU that the job was given, and what has decided that."""
    asked = options.gpu != "auto"
    if not asked and not (host.gpus and any(name in environ for name in hardware.JOB_VARIABLES)):
        return environ, host, ""
    from anaheadless.opengl import allocation, devices  # only here: most runs may use any GPU

    gpus = devices.find_gpus()
    allowed = allocation.allocate(environ, gpus, options.gpu, devices.pbs_gpus(environ))
    added = allocation.variables(allowed, gpus)
    environ = {**environ, **added} if asked else {**added, **environ}
    return environ, allocation.limit(host, allowed, gpus, asked=asked), str(allowed)


def _server_options(
    options: Options, environ: Mapping[str, str], host: HostCapabilities, target: int | None
) -> tuple[ServerOptions, str]:
    """Find the programs, and say what the X server is to be, and why it is of that kind."""
    ffmpeg = ""
    if options.limits.recording:
        from anaheadless.session import recorder  # only here: most runs record nothing

        ffmpeg = recorder.find(environ)
    wanted = ServerRequest(options.screen, options.server, options.opengl is not None)
    kind, program, why = _find_server(wanted, environ)
    window_manager = None
    if options.wm != "none":
        from anaheadless.session.window_manager import find_window_manager  # only here: most runs have none

        window_manager = find_window_manager(options.wm, environ)
    server = ServerOptions(
        kind=kind,
        program=program,
        screen=options.screen,
        dpi=options.dpi,
        number=options.display_number,
        glx=options.opengl is not None,
        extra=options.server_args,
        start_timeout=options.start_timeout,
        # VirtualGL renders on the caller's own display, whose cookie is in the file that ours replaces.
        further_authority=authority.read_authority(environ) if host.virtualgl is not None else b"",
        folders=private_files.folders(environ),
        limits=options.limits,
        target=target,
        ffmpeg=ffmpeg,
        window_manager=window_manager,
    )
    return server, why


def _find_server(request: ServerRequest, environ: Mapping[str, str]) -> tuple[ServerKind, str, str]:
    """Choose among the X servers of this machine; return the kind, the path of its program, and why it is taken.

    :raises LaunchError: none can do what is asked for.
    """
    programs = {kind.name: program for kind in KINDS if (program := find(kind, environ)) is not None}
    try:
        kind, why = choose_server(programs, request)
    except NoServerError as error:
        from anaheadless import packages  # only here: a run that succeeds does not need it

        if request.kind != "auto" and error.programs:
            raise packages.not_installed(error.programs[0], os.get_exec_path(environ)) from error
        hint = packages.install_hint(error.programs[0]) if error.programs else "Choose another --server or --screen."
        raise LaunchError(str(error), hint=hint) from error
    return kind, programs[kind.name], why


def _runtime_folder(environ: Mapping[str, str], folders: Sequence[str]) -> str | None:
    """Return what XDG_RUNTIME_DIR is to be, or None where it is good as it is.

    Qt complains on stderr where there is none, and cron mails that.
    """
    return None if private_files.is_private(environ.get("XDG_RUNTIME_DIR")) else next(iter(folders), None)


def inherited_environment() -> dict[str, str]:
    """Return the environment that this process was started with.

    Not :data:`os.environ`: in the C locale Python puts an LC_CTYPE there that nobody asked for (PEP 538).
    """
    check_proc()
    with open("/proc/self/environ", "rb") as file:
        return environment.parse_block(file.read())


def check_proc() -> None:
    """Check that /proc is there, and that of our own PID namespace: cookie and processes are reached through it.

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
    """Write what was started and decided, a line each."""
    started, selection = ready.session, ready.selection
    lines = [
        f"display {started.display}, {options.screen} (keeper {started.keeper})",
        f"X server: {ready.server}, {ready.server_reason}",
    ]
    if ready.gpu:
        lines.append(f"GPU: {ready.gpu}")
    if selection is None:
        return [*lines, "OpenGL: none, as asked for"]
    for candidate, result in selection.attempts:
        how = "cached" if ready.cached else f"{result.seconds:.2f} s"
        lines.append(f"tried {candidate}: {result} ({how})")
    return [*lines, f"OpenGL: {selection.chosen or 'none could be proved'}"]


def no_opengl(options: Options, environ: Mapping[str, str], ready: Launch, without: str) -> LaunchError:
    """Make the error that says why there is no OpenGL: a line for each candidate, and what to do."""
    request, selection = options.opengl or OpenGLRequest(), ready.selection or Selection(None)
    message = "no OpenGL: nothing could be drawn"
    if not selection.attempts:
        message = f"no OpenGL: {request.backend} is not there"
    elif any(result.drawn for _, result in selection.attempts):
        message = "no OpenGL in software" if request.backend == "software" else "no OpenGL on hardware"
    from anaheadless.opengl import causes  # only here: a run that succeeds does not need it

    said = " ".join(result.message for _, result in selection.attempts)
    known = [causes.no_3d_server(said)]
    if request.backend == "hardware":
        known += causes.why_not("glx", causes.this_machine(environ))
        if ready.gpu:
            known.append(f"The GPU for this job: {ready.gpu}.")
    no_gpu = " ".join(filter(None, known))
    return LaunchError(
        message,
        details=tuple(f"{candidate}: {result}" for candidate, result in selection.attempts),
        hint=f"{advice(selection, no_gpu)} To go without OpenGL: {without}. To see more: anaheadless doctor.",
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
