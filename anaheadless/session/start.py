"""The start of a session: claim a display, start the keeper, wait for the X server."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

from anaheadless.errors import LIMITS_HINT, USAGE, LaunchError
from anaheadless.options import RunLimits, Screen
from anaheadless.session import keeper_process, leftovers, protocol, server_failure
from anaheadless.session.server_failure import MESSAGES_LIMIT, NoKeeperError
from anaheadless.session.session import Session, close_keeper, stopped, was_stopped
from anaheadless.system import private_files, processes
from anaheadless.system.light_stdlib import Record
from anaheadless.system.memfile import memory_file
from anaheadless.system.processes import Process
from anaheadless.x11 import authority, connection, display_number, server_process
from anaheadless.x11.servers.kind import Descriptors, ServerCall, ServerKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

# What a server may need to run at all, or to draw; nothing that was meant for the target, LD_PRELOAD above all.
SERVER_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


class ServerOptions(Record):
    """What the X server and its keeper are to be.

    :param kind: the kind of X server.
    :param program: the path of its program.
    :param dpi: dots per inch, or None for the server's own default.
    :param number: of the display, or None for any that is free.
    :param glx: whether to load GLX: without it, a server starts in half the time.
    :param extra: further arguments for the server.
    :param start_timeout: seconds until the server must be ready.
    :param further_authority: X authority entries of other displays, to stand after ours.
    :param folders: where to put the cookie, see :func:`anaheadless.system.private_files.folders`.
    :param target: the PID of the process that the session lives as long as, or None for this one.
    :param window_manager: the command line of a window manager, without words for the built-in one; or None for none.
    :param ffmpeg: the path of ffmpeg, where there is to be a recording.
    """

    kind: ServerKind
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
    window_manager: tuple[str, ...] | None = None
    number: int | None = None


class DisplayInUseError(Exception):
    """An X server that found its display in use: another number may do.

    :param by_sockets: our own sockets may have been in its way. A server that was built without systemd's socket
        activation (Alpine's) has to make its own.
    """

    def __init__(self, by_sockets: bool) -> None:
        super().__init__()
        self.by_sockets = by_sockets


class StartingSession(Record):
    """A session whose X server is not known to be ready.

    :param messages: the descriptor of the memfd with the output of the server; *status* likewise, for what the keeper
        publishes.
    :param recording: the descriptors of the recording, and of the memfd with what ffmpeg has said; or none.
    :param window_manager: the descriptor of the memfd with what the window manager has said, or None.
    """

    session: Session
    options: ServerOptions
    number: int
    cookie: bytes
    activated: bool
    deadline: float
    messages: int
    status: int
    recording: tuple[int, int] | None
    window_manager: int | None

    def wait_until_ready(self) -> bool:
        """Wait for the server, its window manager and the recording; return whether the server has GLX.

        :raises DisplayInUseError: another number may do.
        :raises LaunchError: the server has ended, or is not ready in time.
        """
        control = self.session.control
        # By the abstract name: the owner of the socket folder could have put another socket in the place of the file.
        name = display_number.abstract_name if self.activated else display_number.socket_path
        try:
            glx = _await_server(name(self.number), self.cookie, control, self.deadline)
            if self.recording is not None:
                os.ftruncate(self.recording[0], 0)  # once something is in the file, ffmpeg records
            control.send(protocol.READY, socket.MSG_NOSIGNAL)
            if self.window_manager is not None:
                self._await_window_manager(name(self.number), self.window_manager)
        except (OSError, connection.RefusedError) as error:
            raise self._failure(error) from error
        if self.recording is not None:
            self._await_recording(*self.recording)
        return glx

    def check_keeper(self) -> None:
        """Raise LaunchError if the keeper has ended already.

        It was executed, which is all that a run waits for: the keeper's interpreter is this one, which takes more
        milliseconds to come up than all that is still to be done here.
        """
        self.session.control.settimeout(0.0)
        with suppress(BlockingIOError):
            if not self.session.control.recv(1, socket.MSG_PEEK):
                raise self._failure(ConnectionError("the keeper has ended"))

    def _keeper_runs(self) -> bool:
        """Return whether the keeper's interpreter has written its line, before or after what is published."""
        return b"\nkeeper: " in b"\n" + os.pread(self.status, MESSAGES_LIMIT, 0)

    def _failure(self, error: Exception) -> Exception:
        if was_stopped(self.session.control):
            return stopped()
        close_keeper(self.session.control)
        output = os.pread(self.messages, MESSAGES_LIMIT, 0)
        if not self._keeper_runs() and not isinstance(error, socket.timeout):
            error = NoKeeperError()
        if b"already running" in output or b"already active" in output:
            return DisplayInUseError(by_sockets=True)
        if b"keyboard" in output and display_number.has_foreign_keymap(self.number):
            return DisplayInUseError(by_sockets=False)
        return server_failure.describe(error, output, self.options.program, self.options.start_timeout)

    def _await_window_manager(self, address: str, messages: int) -> None:
        """Wait until a window manager tells all clients that it is there.

        :raises OSError: the server has ended, or hangs; likewise RefusedError.
        """
        from anaheadless.x11.client import Client  # only here: most runs have no window manager

        with connection.connect(address, self.cookie, self.deadline) as server:
            client = Client(server)
            sign = client.intern_atom("_NET_SUPPORTING_WM_CHECK")
            while not client.property(client.root, sign):
                late = time.monotonic() > self.deadline
                if late or self._window_manager_has_ended():
                    output = os.pread(messages, MESSAGES_LIMIT, 0).decode(errors="replace")
                    program = (self.options.window_manager or ("the built-in one",))[0]
                    raise LaunchError(
                        f"the window manager {'was not ready in time' if late else 'ended'}: {program}",
                        details=tuple(output.splitlines()[-8:]) or ("(it said nothing)",),
                        hint="Choose another --wm: focus is built in, and always there.",
                    )
                time.sleep(0.002)

    def _window_manager_has_ended(self) -> bool:
        status = os.pread(self.status, MESSAGES_LIMIT, 0).decode().splitlines()
        pids = [int(line.partition(": ")[2]) for line in status if line.startswith("window_manager: ")]
        return bool(pids) and not processes.is_alive(pids[0])

    def _await_recording(self, file: int, messages: int) -> None:
        if _records(self.session.control, file, self.deadline):
            return
        output = os.pread(messages, MESSAGES_LIMIT, 0).decode(errors="replace")
        hint = "Your ffmpeg needs x11grab and libx264. If it is only slow to start, raise --start-timeout."
        if os.strerror(errno.ENOSPC) in output:
            hint = f"Make room for {self.options.limits.recording}, or choose another --record FILE.mp4."
        raise LaunchError(
            f"can't record the screen with {self.options.ffmpeg}",
            details=tuple(output.splitlines()[-8:]) or ("(it said nothing)",),
            hint=hint,
        )


@contextmanager
def start(
    options: ServerOptions, environ: Mapping[str, str], deadline: float, *, activate: bool, fork: bool
) -> Iterator[StartingSession]:
    """Claim a display and start its keeper, which starts the X server meanwhile.

    Use it as a context: an exception in it ends the session, of which nothing is left.

    :param environ: where the server's own variables are taken from.
    :param deadline: of all waiting, in seconds of :func:`time.monotonic`.
    :param fork: this process is a launcher's own, and may be forked.
    :param activate: the server takes our sockets, by systemd's socket activation.
    :raises LaunchError: the session could not be started.
    """
    if options.target is not None and not processes.is_alive(options.target):
        raise LaunchError(
            f"there is no process {options.target}", hint="--pid takes the PID of the process to keep the display for."
        )
    with ExitStack() as stack:
        try:
            starting = _start(stack, options, environ, deadline, activate=activate, fork=fork)
        except OSError as error:
            # The descriptors that a keeper gets are copied to high numbers first: EINVAL says that there are none.
            reason = os.strerror(errno.EMFILE) if error.errno == errno.EINVAL else error.strerror or error
            raise LaunchError(f"the display can't be started: {reason}", hint=LIMITS_HINT) from error
        yield starting


def _start(
    stack: ExitStack,
    options: ServerOptions,
    environ: Mapping[str, str],
    deadline: float,
    *,
    activate: bool,
    fork: bool,
) -> StartingSession:
    """Do what :func:`start` says; *stack* undoes it on an exception, and otherwise closes what is no longer needed."""

    def undo(function: object, *args: object) -> None:
        stack.push(lambda kind, *_: None if kind is None else function(*args))  # type: ignore[operator]

    limits = options.limits
    messages = stack.enter_context(memory_file("messages")).fileno()
    status = stack.enter_context(memory_file("status")).fileno()
    fcntl.fcntl(status, fcntl.F_SETFL, os.O_APPEND)
    descriptors = {
        0: stack.enter_context(open(os.devnull, "rb")).fileno(),  # noqa: SIM115  # the stack closes it
        protocol.MESSAGES: messages,
        protocol.STATUS: status,
        protocol.LOG: stack.enter_context(_open_output("log", limits.log)).fileno(),
        protocol.STDERR: _stderr(stack),
    }
    recording = None
    if limits.recording:
        is_new = not os.path.lexists(limits.recording)
        recording = _open_recording(stack, limits), stack.enter_context(memory_file("recorder")).fileno()
        descriptors[protocol.RECORDER] = recording[1]
        if is_new:
            undo(server_process.remove, limits.recording)
    window_manager = None
    if options.window_manager is not None:
        window_manager = stack.enter_context(memory_file("window-manager")).fileno()
        descriptors[protocol.WINDOW_MANAGER] = window_manager
    only_handed_over = stack.enter_context(ExitStack())
    descriptors.update(_descriptors_of_kind(only_handed_over, options))
    cookie = os.urandom(16)
    # A ^C between the claim and its hand-over to the keeper would leave the socket file.
    with _signals_blocked():
        claim = stack.enter_context(display_number.claim(options.number))
        entries = authority.authority(claim.number, cookie, os.uname().nodename) + options.further_authority
        cookie_file, descriptors[protocol.COOKIE] = _store_cookie(stack, claim.number, entries, options.folders)
        if activate:
            descriptors.update(enumerate((s.fileno() for s in claim.listeners), protocol.FIRST_LISTENER))
        else:
            claim.release()
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo(close_keeper, control)  # without this, the keeper would see the launcher go, and stay
        with theirs, closing(processes.open_process(options.target or os.getpid())) as target:
            descriptors[protocol.CONTROL] = theirs.fileno()
            if target.pidfd is not None:
                descriptors[protocol.TARGET] = target.pidfd
            if options.target is not None:
                control.send(protocol.HOLD)
            arguments = _keeper_arguments(options, claim.number, cookie_file, target, activate)
            variables = {name: environ[name] for name in SERVER_ENVIRONMENT if name in environ}
            try:
                keeper = keeper_process.start(arguments, descriptors, variables, deadline, fork=fork)
            except (NoKeeperError, socket.timeout) as error:
                output = os.pread(messages, MESSAGES_LIMIT, 0)
                raise server_failure.describe(error, output, options.program, options.start_timeout) from error
    # From here on, the end of server and keeper is the end of the connections to them.
    claim.close()
    only_handed_over.close()
    leftovers.sweep(folders=options.folders)  # while keeper and server start
    path = cookie_file or f"/proc/{keeper}/fd/{protocol.COOKIE}"
    session = Session(f":{claim.number}", path, keeper, control, os.getpid())
    outputs = (messages, status, recording, window_manager)
    return StartingSession(session, options, claim.number, cookie, activate, deadline, *outputs)


def _keeper_arguments(
    options: ServerOptions, number: int, cookie_file: str, target: Process, activate: bool
) -> list[str]:
    """Build the arguments that :func:`anaheadless.session.keeper.main` reads."""
    limits = options.limits
    kind, screen = options.kind, options.screen
    command = kind.command(
        ServerCall(
            options.program,
            number,
            screen,
            options.dpi,
            options.glx,
            options.extra,
            activate,
            knows_geometry=kind.knows_geometry is None or kind.knows_geometry(options.program),
        )
    )
    size = f"{screen.width}x{screen.height}" if kind.descriptors.compositor is not None else ""
    recorder_command = []
    if limits.recording:
        from anaheadless.session import recorder  # only here: most runs record nothing

        recorder_command = recorder.command(options.ffmpeg, number, limits.recording)
    return [
        *(f":{number}", str(target.pid), target.start, str(protocol.TARGET if target.pidfd is not None else "")),
        *(display_number.socket_path(number), cookie_file, str(2 if activate else 0)),
        *(_inherited(kind.descriptors, activate), _variables(kind, activate), size),
        *(str(options.start_timeout), str(limits.timeout), str(limits.grace), limits.screenshot),
        "json" if limits.log.endswith(".jsonl") else "",
        *([""] if options.window_manager is None else [str(len(options.window_manager)), *options.window_manager]),
        *(str(len(recorder_command)), *recorder_command),
        *command,
    ]


def _descriptors_of_kind(stack: ExitStack, options: ServerOptions) -> dict[int, int]:
    """Open what the keeper needs for a server of this kind only, by the keeper's numbers."""
    kind = options.kind
    if kind.descriptors.compositor is not None:
        pair = [stack.enter_context(end).fileno() for end in socket.socketpair()]
        return dict(zip((protocol.COMPOSITOR, protocol.FOR_SERVER), pair))
    if kind.configure is not None:
        file = stack.enter_context(memory_file("configuration"))
        file.write(kind.configure(options.screen).encode())
        return {protocol.FOR_SERVER: file.fileno()}
    if kind.descriptors.vnc:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind("")  # the kernel chooses a name, in no folder
        listener.listen(1)
        return {protocol.FOR_SERVER: listener.fileno()}
    return {}


def _inherited(descriptors: Descriptors, activate: bool) -> str:
    """Say which numbers the server knows its descriptors by, as the keeper reads it."""
    own = {descriptors.cookie: protocol.COOKIE}
    if activate:
        own.update(zip(descriptors.listeners, (protocol.FIRST_LISTENER, protocol.FIRST_LISTENER + 1)))
    for number in (descriptors.compositor, descriptors.configuration, *descriptors.vnc):
        if number is not None:
            own[number] = protocol.FOR_SERVER
    # The highest first: so none is overwritten before it is copied itself.
    return " ".join(f"{number}={own[number]}" for number in sorted(own, reverse=True) if number != own[number])


def _variables(kind: ServerKind, activate: bool) -> str:
    variables = dict(kind.variables)
    if activate and kind.activation:
        variables["LISTEN_FDS"] = str(kind.activation)
    return " ".join(f"{name}={value}" for name, value in variables.items())


def _store_cookie(stack: ExitStack, number: int, entries: bytes, folders: Sequence[str]) -> tuple[str, int]:
    """Store the *entries* in a file, which is removed if the session can't be started; return path and descriptor.

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


def _open_output(what: str, path: str) -> BinaryIO:
    try:
        # O_NONBLOCK: do not wait for the reader of a FIFO.
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


def _open_recording(stack: ExitStack, limits: RunLimits) -> int:
    path = limits.recording
    file = stack.enter_context(_open_output("recording", path)).fileno()
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise LaunchError(
            f"can't write the recording: {path}: it is not a regular file", hint="Choose another --record FILE.mp4."
        )
    if status.st_size and not limits.force:
        raise LaunchError(
            f"can't write the recording: {path}: there is a film already",
            hint="To overwrite it: --force.",
            exit_code=USAGE,
        )
    return file


def _stderr(stack: ExitStack) -> int:
    """Return the descriptor of standard error, or of /dev/null where that is closed."""
    try:
        os.fstat(2)
    except OSError:
        return stack.enter_context(open(os.devnull, "wb")).fileno()
    return 2


@contextmanager
def _signals_blocked() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, protocol.IGNORED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _await_server(address: str, cookie: bytes, control: socket.socket, deadline: float) -> bool:
    """Wait for the server; return whether it has GLX.

    :raises OSError: it does not become ready; likewise RefusedError.
    """
    while True:
        try:
            with connection.connect(address, cookie, deadline) as server:
                return connection.has_extension(server, "GLX")
        except (FileNotFoundError, ConnectionRefusedError):
            # A server that makes its own sockets is not there yet, or has ended: then the keeper ends, too. But our own
            # socket was there from the start: the keeper has closed it, and may be waiting for us.
            if address.startswith("\0"):
                raise
            if time.monotonic() > deadline:
                raise socket.timeout from None
            control.settimeout(0.005)
            with suppress(socket.timeout):
                if not control.recv(1):
                    raise ConnectionError("the server ended") from None


def _records(control: socket.socket, recording: int, deadline: float) -> bool:
    """Return whether something comes to be in the file *recording*."""
    with suppress(OSError, ValueError):  # a keeper that has ended says nothing
        control.settimeout(max(0.001, deadline - time.monotonic()))
        while (word := control.recv(64)) == protocol.READY:
            pass
        while processes.is_alive(int(word)) and time.monotonic() < deadline:
            if os.fstat(recording).st_size:
                return True
            time.sleep(0.005)
    return False
