"""What the keeper says, and what it has done in processes of their own.

What is slow to import, or may hang as the server does, is not done in the keeper, which stays for as long as the
target. This is part of the keeper, so it imports next to nothing.
"""

from __future__ import annotations

import os
import select
import sys
import time

from anaheadless.session.protocol import FINISH, LOG, STDERR
from anaheadless.system.light_stdlib import signal, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HELPER_SECONDS = 5.0
PRINT_SECONDS = 1.0

_PATH = "import sys; sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]\n"
_LIMIT = "import signal; signal.alarm(10)\n"
SCREENSHOT_CODE = _PATH + _LIMIT + "from anaheadless.x11 import screenshot; screenshot.save(*sys.argv[1:])"
REPORT_FAILURE_CODE = (
    _PATH + _LIMIT + "from anaheadless.session import server_failure; server_failure.report(*sys.argv[1:])"
)
WINDOW_MANAGER_CODE = _PATH + "from anaheadless.session import window_manager; window_manager.become(*sys.argv[1:])"
RECORDER_CODE = _PATH + "from anaheadless.session import recorder; recorder.become(*sys.argv[1:])"


def run_helper(code: str, words: list[str], output: int, is_wanted: Callable[[], bool] = lambda: True) -> bool:
    """Run Python *code* in a process of its own, for HELPER_SECONDS and while it *is_wanted*; return its success.

    :param output: the descriptor for its output.
    """
    try:
        child = start_helper(code, words, output)
    except OSError as error:  # no memory, or the interpreter is there no more
        log(f"{sys.executable} can't be executed: {error.strerror}")
        return False
    return await_exit(child, HELPER_SECONDS, is_wanted) == 0


def start_helper(code: str, words: list[str], output: int) -> int:
    """Start a process that runs Python *code* with its output going to *output*; return its PID."""
    package = __file__.rpartition("/anaheadless/session/")[0]
    isolated = "-I" if sys.flags.isolated else "-s"
    command = [sys.executable, isolated, "-S", "-c", code, package, *words]
    streams = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    return os.posix_spawn(command[0], command, os.environ, file_actions=streams, setsigdef=[signal.SIGALRM, FINISH])


def await_exit(child: int, seconds: float, is_wanted: Callable[[], bool] = lambda: True) -> int | None:
    """Return the status of a child that ends within *seconds* and while it *is_wanted*; else kill it: None."""
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


def print_stderr(text: str) -> None:
    """Print *text* on the launcher's standard error, from a process of its own: its reader may be slow, or hang."""
    data = f"{text}\n".encode(errors="surrogateescape")
    with suppress(OSError):  # nobody reads it
        try:
            child = os.fork()
        except OSError:  # no process is to be had
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
        await_exit(child, PRINT_SECONDS)


class Log:
    """How the log is written: lines for people, or JSON."""

    as_json = False


def log(event: str, source: str = "") -> None:
    """Append a line to the log.

    :param source: who has said that, if it is not the keeper.
    """
    if Log.as_json:
        import json  # only here: the keeper stays in memory for hours

        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        line = {"time": f"{now[:-2]}:{now[-2:]}", "keeper": os.getpid(), "source": source or "keeper", "event": event}
        text = json.dumps(line)
    else:
        # Whoever reads it may do so in a terminal.
        event = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in event)
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} anaheadless: {f'{source}: ' if source else ''}{event}"
    with suppress(OSError):  # its disk is full: no reason to leave a server behind
        os.write(LOG, f"{text}\n".encode(errors="surrogateescape"))


def log_output(output: int, source: str, harmless: tuple[str, ...] = ()) -> None:
    """Append to the log what the server or the recorder has said.

    :param output: the memfd that holds it.
    :param harmless: the beginnings of lines to leave out.
    """
    with suppress(OSError):
        log_lines(os.pread(output, 1 << 16, 0), source, harmless)


def log_lines(said: bytes, source: str, harmless: tuple[str, ...] = ()) -> None:
    for line in said.decode(errors="replace").splitlines():
        if not line.startswith(harmless):
            log(line, source)
