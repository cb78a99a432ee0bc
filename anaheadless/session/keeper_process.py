"""The start of the keeper's process: nobody's child, with the descriptors that it needs."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from anaheadless.session import protocol
from anaheadless.session.server_failure import NoKeeperError
from anaheadless.system.programs import this_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

FIRST_COPY = 16  # above all numbers that the keeper knows descriptors by
SETTABLE_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
SIGNAL_MASK = (*protocol.IGNORED_SIGNALS, protocol.STOP)

KEEPER = os.path.join(os.path.dirname(__file__), protocol.KEEPER_FILE)

# Not as a script, which Python would compile each time. The package is a makeshift: to look for it, Python would list
# a folder with all that is installed.
KEEPER_BOOTSTRAP = """\
import os, sys
os.write(6, b"keeper: %d\\n" % os.getpid())  # without this line, the keeper has not started
sys.path[:] = filter(None, sys.path)  # with PYTHONHOME, the working directory is in it
package = sys.modules["anaheadless"] = type(sys)("anaheadless")
package.__path__ = [sys.argv[1].rpartition("/")[0].rpartition("/")[0]]
try:
    from anaheadless.session import keeper
    keeper.main(sys.argv[2:])
except OSError as error:  # on standard error, where the launcher finds it
    sys.exit(f"the keeper: {error.strerror}")
"""

# For a launcher that does not fork itself.
FORKING_BOOTSTRAP = f"""\
import os, sys
try:
    os.setsid()  # ^Z, or a SIGKILL of the target's group, is not for the keeper
    if os.fork():
        os._exit(0)
    try:
        os.write(12, b"%d\\n" % os.getpid())
    except OSError:  # the launcher is gone, but what it has made is to be removed
        pass
    os.close(12)
except OSError as error:
    sys.exit(f"the keeper: {{error.strerror}}")
{KEEPER_BOOTSTRAP}"""


def start(
    arguments: Sequence[str],
    descriptors: Mapping[int, int],
    environ: Mapping[str, str],
    deadline: float,
    *,
    fork: bool,
) -> int:
    """Start the keeper and return its PID; the process between it and this one has ended.

    The caller has blocked the signals that the keeper ignores.

    :param arguments: as :func:`anaheadless.session.keeper.main` takes them.
    :param descriptors: by the numbers that the keeper knows them by.
    :param deadline: in seconds of :func:`time.monotonic`.
    :param fork: fork this process, which takes a millisecond or two. Otherwise a fresh interpreter forks, which takes
        some more: in somebody's program, nobody knows how large it is, and what its libraries do after a fork.
    :raises OSError: it can't be executed, or no process is to be had; or time is up (``socket.timeout``).
    :raises NoKeeperError: its interpreter ended.
    """
    report, theirs = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, report)
        try:
            first = _fork_or_spawn(arguments, {**descriptors, protocol.REPORT: theirs}, dict(environ), fork=fork)
        finally:
            os.close(theirs)
        try:
            return _read_pid(report, deadline)
        finally:
            _reap(first)


def _fork_or_spawn(
    arguments: Sequence[str], descriptors: Mapping[int, int], environ: dict[str, str], *, fork: bool
) -> int:
    """Start the process that forks the keeper, and return its PID."""
    isolated = "-I"
    if "PYTHONHOME" in os.environ and not sys.flags.ignore_environment:
        # An interpreter that was moved finds its own library only through this variable, which -I ignores.
        isolated, environ["PYTHONHOME"] = "-s", os.environ["PYTHONHOME"]
    python = [this_python(), isolated, "-S", "-c"]
    with ExitStack() as stack:
        copies = {}
        for wanted, descriptor in descriptors.items():
            # Out of the way first: with standard input closed, ours may have the very numbers that are wanted.
            copies[wanted] = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_COPY)
            stack.callback(os.close, copies[wanted])
        if not fork:
            return os.posix_spawn(
                python[0],
                [*python, FORKING_BOOTSTRAP, KEEPER, *arguments],
                environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, copy, wanted) for wanted, copy in copies.items()],
                setsigmask=SIGNAL_MASK,
                setsigdef=SETTABLE_SIGNALS,
            )
        first = os.fork()
        if not first:
            _become_keeper([*python, KEEPER_BOOTSTRAP, KEEPER, *arguments], copies, environ)
        return first


def _become_keeper(command: Sequence[str], copies: Mapping[int, int], environ: Mapping[str, str]) -> NoReturn:
    """Fork once more, and execute the keeper: report its PID, or the number of the error."""
    report = copies[protocol.REPORT]  # closed by the exec, which is how the launcher hears of it
    try:
        os.setsid()  # ^Z, or a SIGKILL of the target's group, is not for the keeper
        if os.fork():
            os._exit(0)
        os.write(report, b"%d " % os.getpid())
        for wanted, copy in copies.items():
            if wanted != protocol.REPORT:
                os.dup2(copy, wanted)
        for number in SETTABLE_SIGNALS:  # what is ignored would stay so through the exec
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, SIGNAL_MASK)
        os.execve(command[0], list(command), environ)
    except BaseException as error:
        os.write(report, b"error %d\n" % (getattr(error, "errno", None) or errno.EIO))
    finally:
        os._exit(127)


def _read_pid(report: int, deadline: float) -> int:
    """Read what the keeper's starter reports, up to a newline, or to the exec that closes the pipe."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    text = b""
    while not text.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise socket.timeout("timed out")
        chunk = os.read(report, 64)
        if not chunk:
            break
        text += chunk
    pid, _, error = text.decode().partition("error ")
    if error:
        raise OSError(int(error), os.strerror(int(error)))
    if not pid:
        raise NoKeeperError
    return int(pid)


def _reap(first: int) -> None:
    """Reap the process that has forked the keeper; if it still runs, or is stopped, kill it: it has no more to do."""
    with suppress(OSError):  # it is reaped: the kernel does that where SIGCHLD is ignored
        if os.waitpid(first, os.WNOHANG) == (0, 0):
            os.kill(first, signal.SIGKILL)
            os.waitpid(first, 0)
