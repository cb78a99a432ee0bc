"""A session: the keeper, its X server, and the way to reach and to end them."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

from anaheadless.errors import LIMITS_HINT, LaunchError, print_stderr
from anaheadless.options import RunLimits, Screen
from anaheadless.session import keeper, leftovers, protocol
from anaheadless.session.discovery import SessionStatus
from anaheadless.system import private_files, processes
from anaheadless.system.light_stdlib import Record
from anaheadless.system.memfile import memory_file
from anaheadless.system.processes import Process
from anaheadless.system.programs import this_python
from anaheadless.x11 import authority, display_number, server_process
from anaheadless.x11.connection import RefusedError, connect, has_extension
from anaheadless.x11.servers import xvfb
from anaheadless.x11.servers.kind import ServerCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

# What a server may need to run at all, or to draw; nothing that was meant for the target, LD_PRELOAD above all.
SERVER_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
ATTEMPTS = 6
END_SECONDS = 5.0
PROMPT_SECONDS = 0.2


class ServerOptions(Record):
    """What the X server is to be.

    :param program: the path of Xvfb.
    :param dpi: dots per inch, or None for the server's own default.
    :param glx: whether to load GLX: without it, a server starts in half the time.
    :param extra: further arguments for it.
    :param start_timeout: seconds until it must be ready.
    :param further_authority: X authority entries of other displays, to stand after ours.
    :param folders: where to put the cookie, see :func:`anaheadless.system.private_files.folders`.
    :param target: the PID of the process that the session lives as long as, or None for this one.
    :param ffmpeg: the path of ffmpeg, where the watch is to make a film.
    """

    program: str
    screen: Screen
    dpi: int | None
    glx: bool
    extra: tuple[str, ...]
    start_timeout: float
    further_authority: bytes
    folders: tuple[str, ...] = ()
    limits: RunLimits = RunLimits()
    target: int | None = None
    ffmpeg: str = ""


class Session(Record):
    """A display with an X server.

    :param authority: the X authority file.
    :param control: the keeper's control socket; the session ends when END is said there, or with the target.
    :param glx: whether the server advertises GLX.
    :param starter: the PID of the process that has started it.
    """

    display: str
    authority: str
    keeper: int
    control: socket.socket
    glx: bool
    starter: int

    def note(self, notes: SessionStatus) -> None:
        """Have the keeper say *notes* to whoever looks at the session, see :mod:`anaheadless.session.discovery`.

        :raises LaunchError: there is no keeper any more.
        """
        try:
            with open(f"/proc/{self.keeper}/fd/{protocol.STATUS}", "ab") as file:
                file.write(notes.as_text().encode("utf-8", "surrogateescape"))
        except OSError as error:
            if _was_stopped(self.control):
                raise _stopped() from error
            raise LaunchError(
                f"the keeper has ended: {error.strerror}", hint="Something has killed it. Try again."
            ) from error

    def release(self) -> None:
        """Have it live on without us, where it has another process for its target."""
        with suppress(OSError):  # the keeper has ended: whoever has been told of the display finds out
            self.control.send(protocol.RELEASE, socket.MSG_NOSIGNAL)

    def accepts_early_clients(self) -> bool:
        """Whether the server took our sockets, and says that it is ready: the next one need not be waited for.

        Asked of one that is ready, and takes PROMPT_SECONDS when it does not say so.
        """
        self.control.settimeout(PROMPT_SECONDS)
        try:
            return self.control.recv(1) == protocol.READY
        except OSError:
            return False

    def end(self) -> None:
        """End the X server, and wait (END_SECONDS at most) until nothing is left of it."""
        if os.getpid() == self.starter:
            _end(self.control)
        else:  # a child that was forked: it is the parent's
            self.control.close()


class _NoKeeperError(Exception):
    """The keeper ended before it had said anything on the control socket."""


class _DisplayInUseError(Exception):
    """The server found its display in use.

    :param by_sockets: our own sockets may have been in its way.
    """

    def __init__(self, by_sockets: bool) -> None:
        super().__init__()
        self.by_sockets = by_sockets


def start(
    options: ServerOptions,
    environ: Mapping[str, str],
    known_glx: Callable[[], bool | None] = lambda: None,
    began: Callable[[Session], object] = lambda _: None,
) -> Session:
    """Start an X server that lives no longer than its target, and wait until it is ready.

    :param environ: where the server's own variables are taken from.
    :param known_glx: asked while it starts: whether it has GLX, where that is known and the server need not be waited
        for. Clients can connect all the same; should it fail, the keeper says so.
    :param began: called with a session whose server is waited for, and may not be ready by then.
    :raises LaunchError: it could not be started, or was not ready in time; nothing is left of it.
    """
    deadline = time.monotonic() + options.start_timeout
    if options.target is not None and not processes.is_alive(options.target):
        raise LaunchError(
            f"there is no process {options.target}", hint="--pid takes the PID of the process to keep the display for."
        )
    how: Callable[[], bool | None] | None = known_glx
    try:
        for _ in range(ATTEMPTS):
            try:
                return _start(options, environ, deadline, began, how)
            except _DisplayInUseError as error:
                # A server that was built without systemd's socket activation (Alpine's) finds our own sockets in its
                # way. It can take a display only by itself, where another server may come first.
                how = None if error.by_sockets else how
    except OSError as error:
        # The descriptors that a keeper gets are copied to high numbers first: EINVAL says that there are none.
        reason = os.strerror(errno.EMFILE) if error.errno == errno.EINVAL else error.strerror or error
        raise LaunchError(f"the display can't be started: {reason}", hint=LIMITS_HINT) from error
    raise LaunchError(f"the X server found {ATTEMPTS} displays in a row in use", hint="Try again.")


def _start(
    options: ServerOptions,
    environ: Mapping[str, str],
    deadline: float,
    began: Callable[[Session], object],
    known_glx: Callable[[], bool | None] | None = None,
) -> Session:
    """:param known_glx: see :func:`start`; None: the server has to make its sockets itself."""
    cookie = os.urandom(16)
    with ExitStack() as stack:
        messages = stack.enter_context(memory_file("messages")).fileno()
        notes = stack.enter_context(memory_file("notes")).fileno()
        fcntl.fcntl(notes, fcntl.F_SETFL, os.O_APPEND)
        log = stack.enter_context(_open_output("log", options.limits.log)).fileno()
        is_new_film = options.limits.recording != "" and not os.path.lexists(options.limits.recording)
        film = stack.enter_context(_open_output("film", options.limits.recording)).fileno()
        if is_new_film:
            stack.push(lambda kind, *_: None if kind is None else server_process.remove(options.limits.recording))
        if options.limits.recording and not stat.S_ISREG(os.fstat(film).st_mode):
            raise LaunchError(
                f"can't write the film: {options.limits.recording}: it is not a regular file",
                hint="Choose another --record FILE.mp4.",
            )
        # A ^C between the claim and its hand-over to the keeper would leave the socket file.
        with _signals_blocked():
            claim = stack.enter_context(display_number.claim())
            entries = authority.authority(claim.number, cookie, os.uname().nodename) + options.further_authority
            cookie_file, cookie_descriptor = _store_cookie(stack, claim.number, entries, options.folders)
            command = xvfb.command(
                ServerCall(
                    options.program,
                    claim.number,
                    options.screen,
                    options.dpi,
                    options.glx,
                    options.extra,
                    activate=known_glx is not None,
                )
            )
            descriptors = {
                protocol.MESSAGES: messages,
                protocol.COOKIE: cookie_descriptor,
                protocol.STATUS: notes,
                protocol.LOG: log,
            }
            descriptors[protocol.STDERR] = _stderr(stack)
            if options.limits.recording:
                descriptors[protocol.RECORDER] = stack.enter_context(memory_file("recorder")).fileno()
            if known_glx is not None:
                descriptors.update(enumerate((s.fileno() for s in claim.listeners), protocol.FIRST_LISTENER))
            else:
                claim.release()
            control, first = _spawn_keeper(claim.number, cookie_file, command, descriptors, environ, options)
            stack.callback(first.close)
            # Whatever goes wrong from here on, a ^C too: without this, the keeper would see the launcher go, and stay.
            stack.push(lambda kind, *_: None if kind is None else _abandon(control, first))
        # From here on, the end of server and keeper is the end of the connections to them.
        claim.close()
        leftovers.sweep(folders=options.folders)  # while keeper and server start
        glx = known_glx() if known_glx is not None else None
        # By the abstract name: the owner of the socket folder could have put another socket in the place of the file.
        address = (
            display_number.abstract_name(claim.number)
            if known_glx is not None
            else display_number.socket_path(claim.number)
        )
        try:
            pid = _await_keeper(control, first, deadline)
            path = cookie_file or f"/proc/{pid}/fd/{protocol.COOKIE}"
            session = Session(f":{claim.number}", path, pid, control, bool(glx), os.getpid())
            if glx is None or options.limits.recording:
                began(session)
                glx = _await_ready(address, cookie, control, deadline)
                if options.limits.recording:
                    os.ftruncate(film, 0)  # whatever it was; that there is something in it says that ffmpeg films
                control.send(protocol.READY, socket.MSG_NOSIGNAL)
        except (OSError, RefusedError, _NoKeeperError) as error:
            was_stopped = _was_stopped(control)
            _abandon(control, first)
            said = os.pread(messages, 1 << 16, 0)
            if was_stopped:
                raise _stopped() from error
            if b"already running" in said or b"already active" in said:
                raise _DisplayInUseError(by_sockets=True) from error
            if b"keyboard" in said and display_number.has_foreign_keymap(claim.number):
                raise _DisplayInUseError(by_sockets=False) from error
            raise _not_ready(error, said, options.program, options.start_timeout) from error
        if options.limits.recording and not _films(control, film, deadline):
            words = os.pread(descriptors[protocol.RECORDER], 1 << 16, 0).decode(errors="replace")
            raise LaunchError(
                f"can't record the screen with {options.ffmpeg}",
                details=tuple(words.splitlines()[-8:]) or ("(it said nothing)",),
                hint=_film_hint(words, options.limits.recording),
            )
    return session.replace(glx=glx)


def _store_cookie(stack: ExitStack, number: int, entries: bytes, folders: Sequence[str]) -> tuple[str, int]:
    """The path and the descriptor of a file with the *entries*, which is removed if the session can't be started.

    The path is empty if the file is only in memory: programs with fewer rights than the keeper can't read it then, and
    xauth can't lock it.
    """
    stored = private_files.create_cookie_file(number, entries, folders)
    if stored is None:
        file = stack.enter_context(memory_file("authority"))
        file.write(entries)
        return "", file.fileno()
    stack.push(lambda kind, *_: None if kind is None else server_process.remove(stored.path))
    stack.callback(os.close, stored.descriptor)
    return stored.path, stored.descriptor


def _stopped() -> LaunchError:
    return LaunchError("the session was stopped while it was starting", hint="anaheadless stop did that. Start again.")


def _was_stopped(control: socket.socket) -> bool:
    """Whether a keeper has said, before it ended, that somebody stopped it."""
    control.settimeout(0.0)
    with suppress(OSError):
        while word := control.recv(64):
            if word == protocol.STOPPED:
                return True
    return False


def _film_hint(words: str, path: str) -> str:
    if os.strerror(errno.ENOSPC) in words:
        return f"Make room for {path}, or choose another --record FILE.mp4."
    return "Your ffmpeg needs x11grab and libx264. If it is only slow to start, raise --start-timeout."


def _open_output(what: str, path: str) -> BinaryIO:
    try:
        # Not to wait for whoever reads a FIFO.
        return open(
            os.open(path or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666),
            "wb",
            buffering=0,
        )
    except OSError as error:
        if not path:
            raise
        raise LaunchError(
            f"can't write the {what}: {path}: {error.strerror}",
            hint="Choose a file that you can write to, in a folder that exists.",
        ) from error


def _stderr(stack: ExitStack) -> int:
    """The descriptor of our standard error, or of what does in its place when it is closed."""
    try:
        os.fstat(2)
    except OSError:
        return stack.enter_context(open(os.devnull, "wb")).fileno()
    return 2


def _spawn_keeper(
    number: int,
    cookie_file: str,
    command: Sequence[str],
    descriptors: Mapping[int, int],
    environ: Mapping[str, str],
    options: ServerOptions,
) -> tuple[socket.socket, Process]:
    """Start the keeper; return the control socket, and its first process, which is to be reaped."""
    limits = options.limits
    keeper_environ = {name: environ[name] for name in SERVER_ENVIRONMENT if name in environ}
    isolated = "-I"
    if "PYTHONHOME" in os.environ and not sys.flags.ignore_environment:
        # An interpreter that was moved finds its own library only through this, and -I would have it ignored.
        isolated, keeper_environ["PYTHONHOME"] = "-s", os.environ["PYTHONHOME"]
    recording = []
    if limits.recording:
        from anaheadless.session import recorder  # only here, as all that a run has seldom need of

        recording = recorder.command(options.ffmpeg, number, limits.recording)
    with ExitStack() as stack:
        target = stack.enter_context(closing(processes.open_process(options.target or os.getpid())))
        if target.pidfd is not None:
            descriptors = {**descriptors, protocol.TARGET: target.pidfd}
        arguments = [
            *(this_python(), isolated, "-S", "-c", keeper.KEEPER_BOOTSTRAP, keeper.__file__),
            *(f":{number}", str(target.pid), target.start, str(protocol.TARGET if target.pidfd is not None else "")),
            *(display_number.socket_path(number), cookie_file, str(2 if protocol.FIRST_LISTENER in descriptors else 0)),
            *(str(options.start_timeout), str(limits.timeout), str(limits.grace), limits.screenshot),
            *(str(len(recording)), *recording),
            *command,
        ]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(theirs.close)
        stack.push(lambda kind, *_: None if kind is None else ours.close())
        if options.target is not None:
            ours.send(protocol.HOLD)
        null = stack.enter_context(open(os.devnull, "rb"))
        actions = []
        for wanted, descriptor in {0: null.fileno(), protocol.CONTROL: theirs.fileno(), **descriptors}.items():
            # Out of the way first: with standard input closed, ours may have the very numbers that are wanted.
            copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 16)
            stack.callback(os.close, copy)
            actions.append((os.POSIX_SPAWN_DUP2, copy, wanted))
        first = os.posix_spawn(
            arguments[0],
            arguments,
            keeper_environ,
            file_actions=actions,
            setsigmask=(*protocol.IGNORED_SIGNALS, protocol.STOP),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    return ours, processes.open_process(first)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, protocol.IGNORED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _await_keeper(control: socket.socket, first: Process, deadline: float) -> int:
    """The keeper's PID; its first process is reaped, so that the target has no child."""
    try:
        control.settimeout(max(0.001, deadline - time.monotonic()))
        said = control.recv(64)
    finally:
        _reap(first)
    if not said.isdigit():
        raise _NoKeeperError
    return int(said)


def _reap(first: Process) -> None:
    """Reap the keeper's first process, which has nothing more to do; if it still runs, or is stopped, kill it."""
    with suppress(OSError):  # it has been reaped: by us, or by the kernel, where SIGCHLD is ignored
        if os.waitpid(first.pid, os.WNOHANG) == (0, 0):
            first.send(signal.SIGKILL)
            os.waitpid(first.pid, 0)


def _await_ready(address: str, cookie: bytes, control: socket.socket, deadline: float) -> bool:
    """Whether the server has GLX; OSError or RefusedError when it does not become ready."""
    while True:
        try:
            with connect(address, cookie, deadline) as connection:
                return has_extension(connection, "GLX")
        except (FileNotFoundError, ConnectionRefusedError):
            # Not there yet (a server that makes its own sockets), or no more: then the keeper ends. But our own socket
            # was there from the start: the keeper has closed it, and may be waiting for us.
            if address.startswith("\0"):
                raise
            if time.monotonic() > deadline:
                raise socket.timeout from None
            control.settimeout(0.005)
            with suppress(socket.timeout):
                if not control.recv(1):
                    raise ConnectionError("the server ended") from None


def _films(control: socket.socket, film: int, deadline: float) -> bool:
    """Whether there comes to be something in the *film*."""
    with suppress(OSError, ValueError):  # nothing is said by a keeper that has ended
        control.settimeout(max(0.001, deadline - time.monotonic()))
        while (said := control.recv(64)) == protocol.READY:
            pass
        while processes.is_alive(int(said)) and time.monotonic() < deadline:
            if os.fstat(film).st_size:
                return True
            time.sleep(0.005)
    return False


def _not_ready(error: Exception, messages: bytes, program: str, start_timeout: float) -> LaunchError:
    text = messages.decode(errors="replace")
    # An X server that does not know an option prints all the options that it knows, and then what is wrong.
    text = text[max(0, text.find("Fatal server error")) :]
    lines = [line.strip() for line in text.splitlines() if line.strip() not in ("", "(EE)")]
    if isinstance(error, socket.timeout):
        message = f"the X server was not ready within {start_timeout:g} s"
        hint = "Give it more time with --start-timeout, or start it by hand to see what it is waiting for."
    elif isinstance(error, _NoKeeperError):
        message = "the keeper could not be started"
        hint = LIMITS_HINT
    elif isinstance(error, RefusedError):
        message = f"the X server refused the launcher's own connection: {error}"
        hint = "Check --server-arg: something there keeps clients out."
    else:
        message = "the X server ended before it was ready"
        hint = "Check --server-arg and --screen, or start it by hand to see more."
    unknown = re.search(r"Unrecognized option: (\S+)( ?)", text)
    if unknown and unknown[1] == "-screen":
        hint = "Use --screen WIDTHxHEIGHTxDEPTH instead of --server-arg."
    elif unknown:
        hint = "Check --server-arg: give each word its own, as in --server-arg=-maxclients --server-arg=512."
    if "Couldn't add screen" in text:
        hint = "It could not get the memory for that --screen: choose a smaller one, or raise the limit (ulimit -v)."
    library = re.search("error while loading shared libraries: ([^:]+):", text)
    if library:
        hint = f"Install the package that provides {library[1]}: python3 -m anaheadless.packages lists what is missing."
    if "virtual core keyboard" in text:
        hint = (
            "The X server compiles its keyboard map with xkbcomp: check that it is installed (Debian: x11-xkb-utils, "
            "xkb-data), and the limit on processes (ulimit -u)."
        )
    if any(os.strerror(number) in text for number in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE)):
        hint = LIMITS_HINT
    if os.statvfs("/tmp").f_bavail == 0:
        hint = "There is no space left in /tmp: make room there."
    return LaunchError(f"{message}: {program}", details=tuple(lines[-8:]) or ("(it said nothing)",), hint=hint)


def explain(program: str, messages: str, start_timeout: str) -> None:
    """Say on stderr why the X server has failed, for a launcher that has not waited.

    :param messages: the file that holds what the server has said.
    :param start_timeout: the seconds that it had, if it has used them up; else 0.
    """
    error = socket.timeout() if float(start_timeout) else ConnectionError()
    said = b""
    with suppress(OSError), open(messages, "rb") as file:  # the keeper may have been killed meanwhile
        said = file.read(1 << 16)
    print_stderr(str(_not_ready(error, said, program, float(start_timeout))))


def _abandon(control: socket.socket, first: Process) -> None:
    """End a keeper that may only be starting, and reap its first process."""
    _reap(first)
    _end(control)


def _end(control: socket.socket) -> None:
    """Have the keeper end, and wait until it has; no longer than END_SECONDS, it ends all the same."""
    with control, suppress(OSError):
        control.settimeout(END_SECONDS)
        control.send(protocol.END, socket.MSG_NOSIGNAL)
        while control.recv(64):
            pass
