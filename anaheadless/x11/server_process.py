"""The process of an X server: its start, its end, and the files that it may leave.

The keeper imports this. It stays in memory as long as the target, so this module imports next to nothing.
"""

from __future__ import annotations

import os

from anaheadless.system import processes
from anaheadless.system.light_stdlib import signal, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY_DESCRIPTOR = 9  # the X server writes to it when it is ready
KEYMAP_FOLDERS = ("/tmp", "/var/lib/xkb")


def start(
    command: list[str],
    inherited: Sequence[tuple[int, int]],
    variables: Mapping[str, str],
    messages: int,
    ignored: Sequence[int],
) -> tuple[int, int]:
    """Fork and execute the server, as the leader of its own process group.

    :param inherited: descriptors that have another number in the server: that number, and the one here. They are
        copied in this order.
    :param variables: further environment variables for the server.
    :param messages: the descriptor for the server's output.
    :param ignored: the signals that the keeper ignores, and the server must not.
    :return: the server's PID, and the pipe that it writes to when it is ready.
    """
    parent = os.getpid()
    read_end, write_end = os.pipe()
    server = os.fork()
    if server:
        os.close(write_end)
        with suppress(PermissionError):  # the child has done so itself, and has executed the server
            os.setpgid(server, server)
        return server, read_end
    try:
        os.setpgid(0, 0)
        processes.die_with(parent)
        # Blocked, not ignored: the server installs handlers of its own. SIGUSR1 must not stay ignored: an X server
        # takes that for a parent that waits for the signal. The server uses SIGALRM itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, set(ignored) - {signal.SIGALRM})
        for number in ignored:
            signal.signal(number, signal.SIG_DFL)
        os.dup2(messages, 1)
        os.dup2(write_end, READY_DESCRIPTOR)
        for number, descriptor in inherited:
            os.dup2(descriptor, number)
        environ = processes.environment_for(command[0], os.environ)
        environ.update(variables)
        if "LISTEN_FDS" in variables:  # see sd_listen_fds(3)
            environ["LISTEN_PID"] = str(os.getpid())
        os.execve(command[0], command, environ)
    except BaseException as error:
        os.write(messages, f"{command[0]}: {error}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(127)


def kill(server: int | None, lock: str, socket_path: str, identity: tuple[int, int] | None) -> None:
    """Kill and reap the server, and remove its files.

    :param server: its PID, or None if it was not started.
    :param identity: the identity of the socket file, if the launcher has made it.
    """
    owns_lock = False
    if server is not None:
        owns_lock = is_locked_by(lock, server)
        os.killpg(server, signal.SIGKILL)
        os.waitpid(server, 0)
        owns_lock = owns_lock or is_locked_by(lock, server)
    if owns_lock:
        remove(lock)
    if owns_lock or (identity is not None and file_identity(socket_path) == identity):
        remove(socket_path)
        number = socket_path.rpartition("X")[2]
        for path in (unfinished_lock_path(number), *keymap_paths(number)):
            if is_ours(path):
                remove(path)


def lock_path(number: str) -> str:
    return f"/tmp/.X{number}-lock"


def unfinished_lock_path(number: str) -> str:
    """Return the path of a lock file that the server is still writing; it remains if /tmp is full."""
    return f"/tmp/.tX{number}-lock"


def keymap_paths(number: str) -> list[str]:
    """List the files that an X server may compile its keymap to.

    The server removes the file, unless it is killed meanwhile (seen with 21.1).
    """
    return [f"{folder}/server-{number}.xkm" for folder in KEYMAP_FOLDERS]


def is_locked_by(lock: str, server: int) -> bool:
    """Tell whether the X lock file *lock* names *server* or a process that it started: Xvfb may be a wrapper script."""
    try:
        return os.getpgid(read_lock(lock)) == server
    except (OSError, ValueError, OverflowError):
        return False


def read_lock(lock: str) -> int:
    """Read the PID in an X lock file.

    When the server's own file is gone, anybody can make a file of any type under its name; this never waits for a FIFO.

    :raises ValueError: the file holds no PID, or is another user's.
    :raises OSError: it can't be opened.
    """
    descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise ValueError(f"{lock} is another user's")
        return int(os.read(descriptor, 16))
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    # It may have been removed meanwhile, and another user may have made a file or a folder of that name.
    with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
        os.unlink(path)


def is_ours(path: str) -> bool:
    """Tell whether *path* exists and is this user's."""
    try:
        return os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return False


def file_identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
