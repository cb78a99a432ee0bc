"""The resident process of a session: starts the X server, ends it when the target has ended, leaves nothing.

It runs alone, as ``python -I -S -c KEEPER_BOOTSTRAP keeper.py DISPLAY TARGET_PID TARGET_START TARGET_PIDFD SOCKET
COOKIE_FILE LISTENERS START_TIMEOUT TIMEOUT GRACE PICTURE WORDS [RECORDER]... SERVER [ARGUMENT]...``, on the standard
library and little of it, since it stays for as long as the target. Whoever starts it gives it these descriptors and
reaps its first process; the second one is in nobody's way.

====  ==========================================================================================
0     /dev/null
1     the control socket: it says its PID there, then READY when the server says that it is, and obeys READY
      (the launcher has seen that), GROUP, HOLD (its own end is the session's), RELEASE and END; to READY, it answers
      ``RECORDER_PID`` where there is one
2     the server's messages (and its own), a memfd
3, 4  the display's listening sockets, for the server; LISTENERS is 2 (or 0: the server makes its own)
5     the X authority file: COOKIE_FILE, whose POSIX lock names the keeper for as long as it lives, and which is
      removed at the end; or a memfd, where that is empty
6     what there is to be said of the session, a memfd that all append to
7     the log
8     the launcher's standard error, until the server is ready; with a TIMEOUT, until the end
10    what the recorder says, a memfd; only where there is one
11    a pidfd of the target; only where TARGET_PIDFD says so
====  ==========================================================================================

The launcher reaches the memfds as ``/proc/KEEPER_PID/fd/N``: there is no file to be left behind.

The launcher may become the target before the server is ready: clients can connect all the same, and wait. Should the
server then end, or not be ready within START_TIMEOUT seconds, it is the keeper that says so.

TIMEOUT seconds after the launcher has become the target (0: never), it saves the screen as PICTURE, if that is not
empty, and sends SIGTERM to the target, and to its process group where that is its own; GRACE seconds later, SIGKILL.
Both are said on standard error.

RECORDER is a command of WORDS words, which films the display from READY until the end, see
:mod:`anaheadless.session.recorder`.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time

from anaheadless.session.protocol import (
    CONTROL,
    COOKIE,
    END,
    FINISH,
    FIRST_LISTENER,
    GROUP,
    HOLD,
    IGNORED_SIGNALS,
    LATE,
    LOG,
    MESSAGES,
    READY,
    RECORDER,
    RELEASE,
    SAYS_READY,
    STATUS,
    STDERR,
    STOP,
    STOPPED,
    TARGET,
)
from anaheadless.system import processes
from anaheadless.system.light_stdlib import signal, suppress
from anaheadless.x11 import server_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# How the lines of the keyboard compiler begin in the server's messages: as long as the server works, they mean nothing.
XKBCOMP = ("The XKEYBOARD keymap compiler", "> ", "Errors from xkbcomp are not fatal")

POLL_SECONDS = 0.1
HELPER_SECONDS = 5.0
SAY_SECONDS = 1.0
RECORDER_SECONDS = 3.0

# Not as a script, which Python would compile each time. What the launcher waits for is done first. The package is a
# makeshift: to look for it, Python would list a folder with all that is installed.
KEEPER_BOOTSTRAP = """\
import sys
sys.path[:] = filter(None, sys.path)  # with PYTHONHOME, the working directory is in it
import os
try:
    os.setsid()  # ^Z, or a KILL of the target's group, is not for us
    if os.fork():
        os._exit(0)
    try:
        os.write(1, b"%d" % os.getpid())
    except OSError:  # the launcher is gone, but what it has made is to be removed
        pass
    package = sys.modules["anaheadless"] = type(sys)("anaheadless")
    package.__path__ = [sys.argv[1].rpartition("/")[0].rpartition("/")[0]]
    from anaheadless.session import keeper
    keeper.main(sys.argv[2:])
except OSError as error:  # on standard error, where the launcher finds it
    sys.exit(f"the keeper: {error.strerror}")
"""

# What is no small import, or may hang as the server does, is done in a process of its own.
HELPER_BOOTSTRAP = """\
import sys
sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]
import signal
signal.alarm(10)
"""
SCREENSHOT_CODE = HELPER_BOOTSTRAP + "from anaheadless.x11 import screenshot; screenshot.save(*sys.argv[1:])"
REPORT_FAILURE_CODE = HELPER_BOOTSTRAP + "from anaheadless.session import session; session.explain(*sys.argv[1:])"
RECORDER_CODE = """\
import sys
sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]
from anaheadless.session import recorder
recorder.become(*sys.argv[1:])
"""


def main(argv: list[str]) -> None:
    # Whoever started us has blocked these, so that none could come before we are deaf, or STOP before we can obey.
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
    """A session: what it is to be, by our command line, and what has become of it.

    *own_group*: the target leads a process group that was made for it. *is_ready*: the server is, or was.
    *launcher_gone*: the launcher has become the target, or is gone. *ready_timed_out*: the server was not ready in
    time. *launcher_holds_session*: the launcher is not the target, and its end is the session's. *has_failed*: the
    server has, or may have.
    """

    def __init__(self, argv: list[str]) -> None:
        self.display, target, start, pidfd, self.socket_path, self.cookie_file, listeners, *rest = argv
        start_timeout, timeout, grace, self.picture, words, *rest = rest
        self.target = processes.Process(int(target), start, int(pidfd) if pidfd else None)
        self.activated = listeners != "0"
        self.start_timeout, self.timeout, self.grace = float(start_timeout), float(timeout), float(grace)
        self.recording, self.command = rest[: int(words)], rest[int(words) :]
        self.mask = os.umask(0o077)
        os.chdir("/")
        private = {CONTROL, STATUS, LOG, STDERR} | ({TARGET} if pidfd else set())
        passed_on = {0, MESSAGES, COOKIE} | ({FIRST_LISTENER, FIRST_LISTENER + 1} if self.activated else set())
        if self.recording:
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
        self.server: int | None = None
        self.recorder: int | None = None
        self.own_group = self.is_ready = self.launcher_gone = self.ready_timed_out = self.launcher_holds_session = (
            self.has_failed
        ) = False

    def keep(self) -> None:
        """The story, to its end, whichever that is."""
        try:
            self.server, readiness = server_process.start(self.command, self.activated, MESSAGES, IGNORED_SIGNALS)
        except OSError as error:  # no process is to be had
            os.write(MESSAGES, f"{self.command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
        if self.activated:
            # The abstract socket stays open here: nobody gets the number before all is cleaned up.
            os.close(FIRST_LISTENER)
        if self.server is None:
            self.server_has_failed()
            return
        log(f"display {self.display} for process {self.target.pid}: X server {self.server}, keeper {os.getpid()}")
        os.write(STATUS, b"server: %d\n" % self.server)
        word, deadline = b"", time.monotonic() + self.start_timeout
        server = processes.open_process(self.server)
        for word in wait_for_end(self.target, server, readiness, deadline):
            self.handle(word)
            if not word and self.launcher_holds_session:
                word = END
                break
            if (
                self.ready_timed_out and self.launcher_gone
            ):  # as long as the launcher is there, it is the launcher's to say so
                break
        if word == END:
            log("given up by the launcher")
            self.has_failed = not self.is_ready
        elif processes.is_running(self.server) and not (self.ready_timed_out and self.launcher_gone):
            log("the target has ended")
            if processes.has_failed(self.target):
                forget()
        else:
            self.server_has_failed()

    def handle(self, word: bytes) -> None:
        """Do what is to be done when *word* comes, see :func:`wait_for_end`."""
        if word == SAYS_READY:
            with suppress(OSError):  # the launcher is gone
                os.write(CONTROL, READY)
        if word in (READY, SAYS_READY) and not self.is_ready:
            self.is_ready = True
            if not self.timeout:
                os.close(STDERR)
        if word == READY and self.recording:
            self.recorder = spawn(RECORDER_CODE, [str(os.getpid()), *self.recording], RECORDER)
            with suppress(OSError):  # the launcher is gone
                os.write(CONTROL, b"%d" % self.recorder)
        if word == GROUP:
            self.own_group = True
        if word in (HOLD, RELEASE):
            self.launcher_holds_session = word == HOLD
        if not word:
            self.launcher_gone = True
            self.limit_the_target()
        self.ready_timed_out = not self.is_ready and (self.ready_timed_out or word == LATE)

    def limit_the_target(self) -> None:
        """The launcher has become the target: its time runs."""
        if self.timeout:

            def camera() -> None:
                photograph(self.display, self.picture, self.mask, self.target.is_alive)

            limit(self.target, self.own_group, self.timeout, self.grace, camera)

    def server_has_failed(self) -> None:
        """Have it said, by the launcher or for it; and if the target's time is limited, wait for its end."""
        self.has_failed = True
        log("the X server was not ready in time" if self.ready_timed_out else "the X server has ended")
        if not self.launcher_gone and (self.timeout if self.is_ready else self.activated):
            self.close_display()
            words = last_words()
            self.own_group = self.own_group or GROUP in words
            self.launcher_gone = END not in words
            if self.launcher_gone:
                self.limit_the_target()
        forget()  # only now: it is the launcher that notes what was remembered
        if self.launcher_gone and not self.is_ready:
            self.say_why()
        if self.launcher_gone and self.timeout:  # the target has to end in time all the same
            server_process.kill(self.server, self.lock, self.socket_path, self.identity)
            self.server = self.identity = None
            self.close_display()
            for _ in wait_for_end(self.target):
                pass
            log("the target has ended")

    def say_why(self) -> None:
        """Have the launcher's standard error say what the launcher can't any more."""
        program, late = self.command[0], self.start_timeout if self.ready_timed_out else 0.0
        if not run_helper(REPORT_FAILURE_CODE, [program, f"/proc/{os.getpid()}/fd/{MESSAGES}", str(late)], STDERR):
            from anaheadless.errors import LIMITS_HINT, LaunchError  # only here: the keeper stays for hours

            # No process is to be had, or it has waited for a reader in vain: we don't.
            message = f"the X server {'was not ready in time' if late else 'ended before it was ready'}: {program}"
            lines = os.pread(MESSAGES, 1 << 10, 0).decode(errors="replace").splitlines()
            print_stderr(str(LaunchError(message, details=tuple(lines), hint=LIMITS_HINT)))
        if not self.timeout:
            os.close(STDERR)

    def close_display(self) -> None:
        """Nobody is to wait for an answer there."""
        if self.activated:
            with suppress(OSError):  # that has been done
                os.close(FIRST_LISTENER + 1)

    def clean_up(self) -> None:
        try:
            if self.recorder is not None:
                finish(self.recorder, self.recording[-1])
        finally:
            server_process.kill(self.server, self.lock, self.socket_path, self.identity)
            if self.cookie_file:
                for suffix in "", "-c", "-l", "-n":  # and what xauth makes beside it, when it is killed
                    server_process.remove(self.cookie_file + suffix)
            log_messages(MESSAGES, "X server", () if self.has_failed else XKBCOMP)
            log("nothing is left")


def last_words() -> bytes:
    """What the launcher says when the server has failed: in the end END, but not if it has become the target."""
    words = b""
    poll = select.poll()
    poll.register(CONTROL, select.POLLIN)
    while poll.poll(HELPER_SECONDS * 1000):
        with suppress(ConnectionResetError):  # it has not read all that we said; what it said itself comes after this
            word = os.read(CONTROL, 1)
            words += word
            if word in (END, b""):
                return words
    return words + END


def stop(*_: object) -> None:
    signal.signal(STOP, signal.SIG_IGN)
    log("stopped")
    with suppress(OSError):  # the launcher has become the target, or is gone
        os.write(CONTROL, STOPPED)
    sys.exit()


def limit(
    target: processes.Process, own_group: bool, timeout: float, grace: float, photograph: Callable[[], None]
) -> None:
    """Have the target end within *timeout* and *grace* seconds.

    :param own_group: it leads a process group that was made for it, and whose signals these are, too.
    """
    steps = [(signal.SIGKILL, "SIGKILL", grace), (signal.SIGTERM, "SIGTERM", timeout)]
    due = time.monotonic() + timeout

    def step(*_: object) -> None:
        nonlocal due
        left = due - time.monotonic()
        if left > 0:  # somebody else's signal
            signal.setitimer(signal.ITIMER_REAL, left)
            return
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # nor is one meant that comes meanwhile, or after the last step
        number, name, seconds = steps.pop()
        if number == signal.SIGTERM:
            photograph()
        if not target.is_alive():
            return
        event = f"PID {target.pid} was still running after {in_words(seconds)}: {name}"
        log(event)
        print_stderr(f"anaheadless: {event}")
        for each in number, signal.SIGCONT:  # it may be stopped
            try:
                send(target, own_group, each)
            except ProcessLookupError:
                break
            except PermissionError as error:  # it has become another user's
                event = f"PID {target.pid} can't be ended: {error.strerror}"
                log(event)
                print_stderr(f"anaheadless: {event}")
                break
        if steps:
            due = time.monotonic() + grace
            signal.signal(signal.SIGALRM, step)
            signal.setitimer(signal.ITIMER_REAL, grace)

    signal.signal(signal.SIGALRM, step)
    signal.setitimer(signal.ITIMER_REAL, timeout)


def send(target: processes.Process, own_group: bool, number: int) -> None:
    """Send a signal to the target, once, and to the process group that was made for it."""
    if own_group:
        with suppress(ProcessLookupError):  # it has gone elsewhere, and was alone
            os.killpg(target.pid, number)
    if not own_group or os.getpgid(target.pid) != target.pid:
        target.send(number)


def in_words(seconds: float) -> str:
    """A time as --timeout takes it: 90s, 2h."""
    for unit, name in (86400, "d"), (3600, "h"), (60, "m"):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g}{name}"
    return f"{seconds:g}s"


def photograph(display: str, picture: str, mask: int, is_wanted: Callable[[], bool]) -> None:
    """Save the screen as the file *picture*, if that is not empty, and as long as it *is_wanted*.

    What goes wrong is in the log.
    """
    if not picture:
        return
    with suppress(OSError):  # the camera will say what is wrong
        if not stat.S_ISREG(os.stat(picture).st_mode):  # a FIFO may keep its writer waiting
            log(f"the screen is not saved: {picture} is not a regular file")
            return
    os.umask(mask)
    try:
        taken = run_helper(SCREENSHOT_CODE, [display, f"/proc/{os.getpid()}/fd/{COOKIE}", picture], LOG, is_wanted)
    finally:
        os.umask(0o077)
    log(f"the screen is saved as {picture}" if taken else "the screen could not be saved")


def run_helper(code: str, words: list[str], output: int, is_wanted: Callable[[], bool] = lambda: True) -> bool:
    """Run Python *code* in a process of its own, for ASIDE_SECONDS and while it *is_wanted*; whether that went well.

    :param output: the descriptor for what it has to say.
    """
    try:
        child = spawn(code, words, output)
    except OSError as error:  # no memory, or the interpreter is there no more
        log(f"{sys.executable} can't be executed: {error.strerror}")
        return False
    return await_end(child, HELPER_SECONDS, is_wanted) == 0


def spawn(code: str, words: list[str], output: int) -> int:
    """Start a process that runs Python *code*, and says to *output* what it has to say; return its PID."""
    package = __file__.rpartition("/anaheadless/session/")[0]
    isolated = "-I" if sys.flags.isolated else "-s"
    command = [sys.executable, isolated, "-S", "-c", code, package, *words]
    streams = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    return os.posix_spawn(command[0], command, os.environ, file_actions=streams, setsigdef=[signal.SIGALRM, FINISH])


def await_end(child: int, seconds: float, is_wanted: Callable[[], bool] = lambda: True) -> int | None:
    """The status of a child that ends within *seconds* and while it *is_wanted*; otherwise it is killed: None."""
    ended, deadline = (0, 0), time.monotonic() + seconds
    try:
        while not ended[0] and is_wanted() and time.monotonic() < deadline:
            time.sleep(0.02)
            ended = os.waitpid(child, os.WNOHANG)
    finally:
        if not ended[0]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return ended[1] if ended[0] else None


def finish(recorder: int, film: str) -> None:
    """Have the recorder complete its *film*; what goes wrong is in the log."""
    in_time = processes.is_running(recorder)
    if in_time:
        os.kill(recorder, FINISH)
    status = await_end(recorder, RECORDER_SECONDS)
    if in_time and status is not None and os.WIFEXITED(status):
        log(f"the film is saved as {film}")
    else:
        log(f"the film may lack its end: {film}")
        log_messages(RECORDER, "recorder")


def print_stderr(text: str) -> None:
    """Put *text* on the launcher's standard error, from a process of its own: the reader may keep it waiting."""
    data = f"{text}\n".encode(errors="surrogateescape")
    with suppress(OSError):  # nobody reads it
        try:
            child = os.fork()
        except OSError:  # none is to be had
            poll = select.poll()
            poll.register(STDERR, select.POLLOUT)
            if (STDERR, select.POLLOUT) in poll.poll(0):
                os.write(STDERR, data[: select.PIPE_BUF])
            return
        if not child:
            try:
                os.write(STDERR, data)
            finally:
                os._exit(0)
        await_end(child, SAY_SECONDS)


def log(event: str) -> None:
    # Whoever reads it may do so in a terminal.
    event = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in event)
    text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} anaheadless: {event}\n"
    with suppress(OSError):  # its disk is full: no reason to leave a server behind
        os.write(LOG, text.encode(errors="surrogateescape"))


def log_messages(messages: int, who: str, harmless: tuple[str, ...] = ()) -> None:
    """What the server, or the recorder, has said.

    :param harmless: the beginnings of the lines to leave out.
    """
    with suppress(OSError):
        for line in os.pread(messages, 1 << 16, 0).decode(errors="replace").splitlines():
            if not line.startswith(harmless):
                log(f"{who}: {line}")


def wait_for_end(
    target: processes.Process,
    server: processes.Process | None = None,
    readiness: int = -1,
    deadline: float = 0.0,
) -> Iterator[bytes]:
    """Yield what happens until target or server has ended, or END comes.

    That is each word over the control socket (nothing: the launcher has become the target, or is gone), SAYS_READY
    when the server does, and LATE when nobody has by the *deadline*.

    :param server: None: it has ended, and there is nothing to be heard any more.
    """
    poll = select.poll()
    watched = [target]
    if server is not None:
        watched.append(server)
        poll.register(CONTROL, select.POLLIN)
        poll.register(readiness, select.POLLIN)
    pidfds = {process.pidfd for process in watched if process.pidfd is not None}
    for descriptor in pidfds:
        poll.register(descriptor, select.POLLIN)
    polled = [process for process in watched if process.pidfd is None]
    said = b""
    while all(process.is_alive() for process in polled):
        left = deadline - time.monotonic() if deadline else POLL_SECONDS
        limit = min(left, POLL_SECONDS) if polled else left if deadline else None
        asleep = time.monotonic()
        ready = [descriptor for descriptor, _ in poll.poll(limit if limit is None else max(0.0, limit) * 1000)]
        overslept = time.monotonic() - asleep - max(0.0, limit or 0.0)
        if deadline and overslept > POLL_SECONDS:  # we were stopped, and so may have been the server
            deadline += overslept
        if CONTROL in ready:
            try:
                word = os.read(CONTROL, 1)
            except ConnectionResetError:  # it has not read all that we said; what it said itself comes after this
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
            said += chunk
            if not chunk or b"\n" in said:
                poll.unregister(readiness)
                os.close(readiness)
            if b"\n" in said:
                deadline = 0.0
                yield SAYS_READY
        if deadline and left <= 0:
            deadline = 0.0
            yield LATE
        if not pidfds.isdisjoint(ready):
            return


def forget() -> None:
    """Have the next run prove what this one remembered: it may have been wrong."""
    for line in os.pread(STATUS, 1 << 16, 0).splitlines():
        name, _, path = line.partition(b": ")
        if name == b"remembered" and path:
            log("the next run will test OpenGL again")
            with suppress(OSError):
                os.unlink(path)
