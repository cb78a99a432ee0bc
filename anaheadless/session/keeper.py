"""The resident process of a session: starts the X server, ends it when the target has ended, leaves nothing.

It runs alone, as ``python -I -S -c KEEPER_BOOTSTRAP keeper.py DISPLAY TARGET_PID TARGET_START TARGET_PIDFD SOCKET
COOKIE_FILE LISTENERS INHERITED VARIABLES SIZE START_TIMEOUT TIMEOUT GRACE SCREENSHOT LOG_FORMAT WM_WORDS
[WINDOW_MANAGER]... WORDS [RECORDER]... SERVER [ARGUMENT]...``, on the standard library and little of it, since it
stays for as long as the target. Whoever starts it gives it these descriptors:

====  ==========================================================================================
0     /dev/null
1     the control socket: the keeper says READY there when the server says that it is ready, and obeys READY (the
      launcher has seen that), GROUP, HOLD (the launcher's end is the session's), RELEASE and END; to READY, it
      answers with the recorder's PID where there is one
2     the server's messages (and the keeper's own), a memfd
3, 4  the display's listening sockets, for the server; LISTENERS is 2 (or 0: the server makes its own)
5     the X authority file: COOKIE_FILE, whose POSIX lock names the keeper for as long as it lives, and which is
      removed at the end; or a memfd, where that is empty
6     the session's status, a memfd that launcher and keeper append to
7     the log; LOG_FORMAT is ``json`` or empty
8     the launcher's standard error, until the server is ready; with a TIMEOUT, until the end
10    the recorder's messages, a memfd; only where there is one
11    a pidfd of the target; only where TARGET_PIDFD says so
12    a pipe for its PID; only with FORKING_BOOTSTRAP
13    the compositor's end of a socket pair, for a server that needs a compositor: one with an output of SIZE, which is
      WIDTHxHEIGHT (or empty: there is none)
14    what else the server inherits: the other end of that socket pair, its configuration file, or another socket
15    the window manager's messages, a memfd; only where there is one
====  ==========================================================================================

The server may know its descriptors by other numbers: INHERITED has words such as ``6=14``, first the number in the
server and then the number here. VARIABLES are words for its environment.

The launcher reaches the memfds as ``/proc/KEEPER_PID/fd/N``: there is no file to be left behind.

The launcher may become the target before the server is ready: clients can connect all the same, and wait. Should the
server then end, or not be ready within START_TIMEOUT seconds, the keeper says so.

TIMEOUT seconds after the launcher has become the target (0: never), the keeper saves the screen as SCREENSHOT, if that
is not empty, and sends SIGTERM to the target, and to its process group where that is its own; GRACE seconds later,
SIGKILL. Both are said on standard error.

WINDOW_MANAGER is a command of WM_WORDS words (0: the built-in one; empty: none), which runs as long as the server, see
:mod:`anaheadless.session.window_manager`.

RECORDER is a command of WORDS words, which records the display from READY until the end, see
:mod:`anaheadless.session.recorder`.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time

from anaheadless.session.helpers import (
    HELPER_SECONDS,
    RECORDER_CODE,
    REPORT_FAILURE_CODE,
    SCREENSHOT_CODE,
    WINDOW_MANAGER_CODE,
    Log,
    await_exit,
    log,
    log_lines,
    log_output,
    print_stderr,
    run_helper,
    start_helper,
)
from anaheadless.session.protocol import (
    COMPOSITOR,
    CONTROL,
    COOKIE,
    END,
    FINISH,
    FIRST_LISTENER,
    FOR_SERVER,
    GROUP,
    HOLD,
    IGNORED_SIGNALS,
    LOG,
    MESSAGES,
    READY,
    RECORDER,
    RELEASE,
    STATUS,
    STDERR,
    STOP,
    STOPPED,
    TARGET,
    WINDOW_MANAGER,
)
from anaheadless.session.time_limit import TimeLimit
from anaheadless.system import processes
from anaheadless.system.light_stdlib import signal, suppress
from anaheadless.x11 import server_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from anaheadless.x11.null_compositor import Link


# How the lines of the keyboard compiler begin in the server's messages: as long as the server works, they mean nothing.
XKBCOMP = ("The XKEYBOARD keymap compiler", "> ", "Errors from xkbcomp are not fatal")

POLL_SECONDS = 0.1
RECORDER_SECONDS = 3.0

# Events besides the launcher's words, see wait_for_end(): the server says that it is ready, or is not ready in time.
SERVER_READY, TIMED_OUT = b"S", b"L"


def main(argv: list[str]) -> None:
    """Keep a session, and leave nothing of it."""
    # The starter has blocked these signals, so that none could come before they are ignored, or STOP before it is
    # handled.
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(STOP, stop)
    keeper = Keeper(argv)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            keeper.keep()
        finally:
            for number in STOP, signal.SIGALRM:  # nothing is to interrupt what comes now
                signal.signal(number, signal.SIG_IGN)
    finally:
        keeper.clean_up()
    os._exit(0)  # Python's own end takes milliseconds, and nobody is to wait for them


class Keeper:
    """A session: its settings, from the command line, and its state.

    *own_group*: the target leads a process group that was made for it. *server_ready*: the server is ready, or was.
    *launcher_gone*: the launcher has become the target, or has ended. *ready_timed_out*: the server was not ready in
    time. *launcher_holds_session*: the launcher is not the target, and its end is the session's. *has_failed*: the
    server has failed, or may have.
    """

    def __init__(self, argv: list[str]) -> None:
        self.display, target, start, pidfd, self.socket_path, self.cookie_file, listeners, *rest = argv
        inherited, variables, size, start_timeout, timeout, grace, self.screenshot, log_format, wm_words, *rest = rest
        Log.as_json = log_format == "json"
        self.window_manager_command = rest[: int(wm_words)] if wm_words else None
        words, *rest = rest[int(wm_words or 0) :]
        self.target = processes.Process(int(target), start, int(pidfd) if pidfd else None)
        self.activated = listeners != "0"
        pairs = (word.split("=") for word in inherited.split())
        self.inherited = [(int(number), int(descriptor)) for number, descriptor in pairs]
        self.variables = dict(word.split("=", 1) for word in variables.split())
        self.start_timeout, self.timeout = float(start_timeout), float(timeout)
        self.time_limit = TimeLimit(self.target, self.timeout, float(grace), self.save_screenshot)
        self.recorder_command, self.server_command = rest[: int(words)], rest[int(words) :]
        self.mask = os.umask(0o077)
        os.chdir("/")
        private = {CONTROL, STATUS, LOG, STDERR} | ({TARGET} if pidfd else set())
        # What is copied for the server, under its own number, is not passed on under this one.
        private |= {descriptor for _, descriptor in self.inherited if descriptor == FOR_SERVER}
        if size:
            private.add(COMPOSITOR)
        if self.window_manager_command is not None:
            private.add(WINDOW_MANAGER)
        passed_on = {0, MESSAGES, COOKIE} | ({FIRST_LISTENER, FIRST_LISTENER + 1} if self.activated else set())
        if self.recorder_command:
            passed_on.add(RECORDER)
        # Who waits for the end of a pipe must not wait for the keeper.
        processes.close_descriptors_except(private | passed_on)
        for descriptor in private:
            os.set_inheritable(descriptor, False)
        if self.cookie_file:
            with suppress(OSError):  # a file system without locks
                os.lockf(COOKIE, os.F_TLOCK, 0)
        self.lock = server_process.lock_path(self.display[1:])
        self.identity = server_process.file_identity(self.socket_path) if self.activated else None
        self.link: Link | None = None
        if size:
            from anaheadless.x11 import null_compositor  # only here: most servers need none

            width, height = map(int, size.split("x"))
            self.link = null_compositor.Link(COMPOSITOR, null_compositor.NullCompositor(width, height))
        self.server: int | None = None
        self.recorder: int | None = None
        self.window_manager: int | None = None
        self.own_group = self.server_ready = self.has_failed = False
        self.launcher_gone = self.launcher_holds_session = self.ready_timed_out = False

    def keep(self) -> None:
        """Start the server; wait until the target or the server ends."""
        try:
            self.server, readiness = server_process.start(
                self.server_command, self.inherited, self.variables, MESSAGES, IGNORED_SIGNALS
            )
        except OSError as error:  # no process is to be had
            os.write(MESSAGES, f"{self.server_command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
        if self.activated:
            # The abstract socket stays open here: nobody gets the number before all is cleaned up.
            os.close(FIRST_LISTENER)
        with suppress(OSError):  # there is none
            os.close(FOR_SERVER)
        if self.server is None:
            self.server_has_failed()
            return
        log(f"display {self.display} for process {self.target.pid}: X server {self.server}, keeper {os.getpid()}")
        os.write(STATUS, b"server: %d\n" % self.server)
        word, deadline = b"", time.monotonic() + self.start_timeout
        server = processes.open_process(self.server)
        for word in wait_for_end(self.target, server, readiness, deadline, self.link):
            self.handle(word)
            if not word and self.launcher_holds_session:
                word = END
                break
            if self.ready_timed_out and self.launcher_gone:  # a launcher that is there says so itself
                break
        if word == END:
            log("given up by the launcher")
            self.has_failed = not self.server_ready
        elif processes.is_running(self.server) and not (self.ready_timed_out and self.launcher_gone):
            log("the target has ended")
            if processes.has_failed(self.target):
                forget_cached_result()
        else:
            self.server_has_failed()

    def handle(self, word: bytes) -> None:
        """Handle an event, see :func:`wait_for_end`."""
        if word == SERVER_READY:
            with suppress(OSError):  # the launcher is gone
                os.write(CONTROL, READY)
        if word in (READY, SERVER_READY) and not self.server_ready:
            self.server_ready = True
            if not self.timeout:
                os.close(STDERR)
            if self.window_manager_command is not None:
                words = [str(os.getpid()), self.display, *self.window_manager_command]
                self.window_manager = start_helper(WINDOW_MANAGER_CODE, words, WINDOW_MANAGER)
                os.write(STATUS, b"window_manager: %d\n" % self.window_manager)
        if word == READY and self.recorder_command:
            words = [str(os.getpid()), f"/proc/{os.getpid()}/fd/{COOKIE}", *self.recorder_command]
            self.recorder = start_helper(RECORDER_CODE, words, RECORDER)
            with suppress(OSError):  # the launcher is gone
                os.write(CONTROL, b"%d" % self.recorder)
        if word == GROUP:
            self.own_group = True
        if word in (HOLD, RELEASE):
            self.launcher_holds_session = word == HOLD
        if not word:
            self.launcher_gone = True
            self.start_time_limit()
        self.ready_timed_out = not self.server_ready and (self.ready_timed_out or word == TIMED_OUT)

    def start_time_limit(self) -> None:
        """Let the target's time run: the launcher has become the target."""
        if self.timeout:
            self.time_limit.start(own_group=self.own_group)

    def server_has_failed(self) -> None:
        """Let the launcher report the failure, or do it here; if the target's time is limited, wait for its end."""
        self.has_failed = True
        log("the X server was not ready in time" if self.ready_timed_out else "the X server has ended")
        if not self.launcher_gone and (self.timeout if self.server_ready else self.activated):
            self.refuse_clients()
            words = last_words()
            self.own_group = self.own_group or GROUP in words
            self.launcher_gone = END not in words
            if self.launcher_gone:
                self.start_time_limit()
        forget_cached_result()  # only now: the launcher publishes which file that is
        if self.launcher_gone and not self.server_ready:
            self.report_failure()
        if self.launcher_gone and self.timeout:  # the target has to end in time all the same
            self.kill_server()
            self.server = self.identity = None
            self.refuse_clients()
            for _ in wait_for_end(self.target):
                pass
            log("the target has ended")

    def report_failure(self) -> None:
        """Write why the server failed to the launcher's stderr: the launcher has already become the target."""
        program, seconds = self.server_command[0], self.start_timeout if self.ready_timed_out else 0.0
        messages = f"/proc/{os.getpid()}/fd/{MESSAGES}"
        if not run_helper(REPORT_FAILURE_CODE, [program, messages, str(seconds)], STDERR):
            from anaheadless.errors import LIMITS_HINT, LaunchError  # only here: the keeper stays for hours

            # No process is to be had, or the helper has waited for a reader in vain.
            message = f"the X server {'was not ready in time' if seconds else 'ended before it was ready'}: {program}"
            lines = os.pread(MESSAGES, 1 << 10, 0).decode(errors="replace").splitlines()
            print_stderr(str(LaunchError(message, details=tuple(lines), hint=LIMITS_HINT)))
        if not self.timeout:
            os.close(STDERR)

    def refuse_clients(self) -> None:
        """Close the socket, so that clients are refused instead of hanging."""
        if self.activated:
            with suppress(OSError):  # it is closed already
                os.close(FIRST_LISTENER + 1)

    def kill_server(self) -> None:
        server_process.kill(self.server, self.lock, self.socket_path, self.identity)

    def clean_up(self) -> None:
        """End the recorder and the server, and remove what there is of the session."""
        try:
            if self.recorder is not None:
                stop_recorder(self.recorder, self.recorder_command[-1])
            # Where only the server has ended, the map goes on without it.
            if published(b"purpose") == b"map" and not self.target.is_alive():
                from anaheadless.session import members  # only here: the keeper stays for hours

                members.end_all(self.display, os.getpid())
        finally:
            if self.window_manager is not None:
                os.kill(self.window_manager, signal.SIGKILL)
                os.waitpid(self.window_manager, 0)
                log_output(WINDOW_MANAGER, "window manager")
            self.kill_server()
            if self.cookie_file:
                for suffix in "", "-c", "-l", "-n":  # and what xauth makes beside it, when it is killed
                    server_process.remove(self.cookie_file + suffix)
            log_output(MESSAGES, "X server", () if self.has_failed else XKBCOMP)
            log("nothing is left")

    def save_screenshot(self) -> None:
        """Save the screen, if that is wanted and the target is alive; a failure is in the log."""
        if not self.screenshot:
            return
        with suppress(OSError):  # the helper will say what is wrong
            if not stat.S_ISREG(os.stat(self.screenshot).st_mode):  # a FIFO may keep its writer waiting
                log(f"the screen is not saved: {self.screenshot} is not a regular file")
                return
        words = [self.display, f"/proc/{os.getpid()}/fd/{COOKIE}", self.screenshot]
        try:
            said, output = os.pipe()
        except OSError as error:  # no descriptors are left
            log(f"the screen could not be saved: {error.strerror}")
            return
        os.umask(self.mask)
        try:
            saved = run_helper(SCREENSHOT_CODE, words, output, self.target.is_alive)
        finally:
            os.umask(0o077)
            os.close(output)
        log_lines(os.read(said, 1 << 16), "screenshot")
        os.close(said)
        log(f"the screen is saved as {self.screenshot}" if saved else "the screen could not be saved")


def last_words() -> bytes:
    """Return what the launcher says when the server has failed: its last word is END, unless it is the target now."""
    words = b""
    poll = select.poll()
    poll.register(CONTROL, select.POLLIN)
    while poll.poll(HELPER_SECONDS * 1000):
        with suppress(ConnectionResetError):  # it has not read all of our words; its own come after this error
            word = os.read(CONTROL, 1)
            words += word
            if word in (END, b""):
                return words
    return words + END


def stop(*_: object) -> None:
    """End the session: somebody has sent STOP."""
    signal.signal(STOP, signal.SIG_IGN)
    log("stopped")
    with suppress(OSError):  # the launcher has become the target, or is gone
        os.write(CONTROL, STOPPED)
    sys.exit()


def stop_recorder(recorder: int, recording: str) -> None:
    """Let the recorder complete its *recording*; a failure is in the log."""
    in_time = processes.is_running(recorder)
    if in_time:
        os.kill(recorder, FINISH)
    status = await_exit(recorder, RECORDER_SECONDS)
    if in_time and status is not None and os.WIFEXITED(status):
        log(f"the recording is saved as {recording}")
    else:
        log(f"the recording may lack its end: {recording}")
        log_output(RECORDER, "recorder")


def wait_for_end(
    target: processes.Process,
    server: processes.Process | None = None,
    readiness: int = -1,
    deadline: float = 0.0,
    link: Link | None = None,
) -> Iterator[bytes]:
    """Yield events until target or server has ended, or END comes.

    An event is a word of the launcher (empty: it has become the target, or is gone), SERVER_READY when the server says
    so, or TIMED_OUT when nobody has said so by the *deadline*.

    :param server: None if it has ended: then only the target is waited for.
    :param readiness: the pipe on which the server says that it is ready.
    :param link: what the server says to its compositor is answered meanwhile.
    """
    poll = select.poll()
    watched = [target]
    if server is not None:
        watched.append(server)
        poll.register(CONTROL, select.POLLIN)
        poll.register(readiness, select.POLLIN)
    if link is not None:
        poll.register(link.descriptor, link.awaited)
    pidfds = {process.pidfd for process in watched if process.pidfd is not None}
    for descriptor in pidfds:
        poll.register(descriptor, select.POLLIN)
    polled = [process for process in watched if process.pidfd is None]
    ready_text = b""
    while all(process.is_alive() for process in polled):
        left = deadline - time.monotonic() if deadline else POLL_SECONDS
        limit = min(left, POLL_SECONDS) if polled else left if deadline else None
        asleep = time.monotonic()
        ready = [descriptor for descriptor, _ in poll.poll(limit if limit is None else max(0.0, limit) * 1000)]
        overslept = time.monotonic() - asleep - max(0.0, limit or 0.0)
        if deadline and overslept > POLL_SECONDS:  # we were stopped, and so may have been the server
            deadline += overslept
        if link is not None and link.descriptor in ready:
            if serve(link):
                poll.modify(link.descriptor, link.awaited)
            else:
                poll.unregister(link.descriptor)
                link = None
        if CONTROL in ready:
            try:
                word = os.read(CONTROL, 1)
            except ConnectionResetError:  # it has not read all of our words; its own come after this error
                continue
            if word == END:
                yield word
                return
            if not word:  # the launcher has become the target, or is gone
                poll.unregister(CONTROL)
            if word == READY:
                deadline = 0.0
            yield word
        if readiness in ready:
            # Its display number and a newline, one after the other; it dies of a pipe that is closed in between.
            chunk = os.read(readiness, 16)
            ready_text += chunk
            if not chunk or b"\n" in ready_text:
                poll.unregister(readiness)
                os.close(readiness)
            if b"\n" in ready_text:
                deadline = 0.0
                yield SERVER_READY
        if deadline and left <= 0:
            deadline = 0.0
            yield TIMED_OUT
        if not pidfds.isdisjoint(ready):
            return


def serve(link: Link) -> bool:
    """Answer what the server says to its compositor; return False when there is nothing more to answer."""
    from anaheadless.x11.null_compositor import BrokenPeerError

    try:
        if link.advance():
            return True
    except BrokenPeerError as error:
        log(f"the X server speaks no Wayland: {error}")
    os.close(link.descriptor)  # a server that still runs ends now
    return False


def forget_cached_result() -> None:
    """Let the next run probe OpenGL: the cached result that this one has used may be wrong."""
    path = published(b"cache_file")
    if path:
        log("the next run will test OpenGL again")
        with suppress(OSError):
            os.unlink(path)


def published(name: bytes) -> bytes:
    """Return what the launcher has published about the session, or nothing."""
    return dict(line.partition(b": ")[::2] for line in os.pread(STATUS, 1 << 16, 0).splitlines()).get(name, b"")
