"""The process of an X server: its start, its end, and the files that it may leave.

Part of the keeper, which stays for as long as its target: it imports next to nothing.
"""

from __future__ import annotations

import os

from anaheadless.system import processes
from anaheadless.system.light_stdlib import signal, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

READINESS = 9  # the descriptor with which it says that it is ready
KEYMAP_FOLDERS = ("/tmp", "/var/lib/xkb")


def start(command: list[str], activated: bool, messages: int, ignored: Sequence[int]) -> tuple[int, int]:
    """Fork and execute the server, as the leader of its own process group.

    :param activated: it inherits its listening sockets, as descriptors 3 and 4.
    :param messages: the descriptor for what it has to say.
    :param ignored: the signals that are ignored here, but not there.
    :return: its PID, and the pipe that it writes to when it is ready.
    """
    parent = os.getpid()
    readiness, theirs = os.pipe()
    server = os.fork()
    if server:
        os.close(theirs)
        with suppress(PermissionError):  # it has done so itself, and more
            os.setpgid(server, server)
        return server, readiness
    try:
        os.setpgid(0, 0)
        processes.end_with(parent)
        # Blocked, not ignored: the server installs handlers of its own. SIGUSR1 must not stay ignored: to an X
        # server that means a parent that waits for one.
        signal.pthread_sigmask(signal.SIG_BLOCK, set(ignored) - {signal.SIGALRM})  # that is its own
        for number in ignored:
            signal.signal(number, signal.SIG_DFL)
        os.dup2(messages, 1)
        os.dup2(theirs, READINESS)
        environ = processes.environment_of(command[0], os.environ)
        if activated:
            # sd_listen_fds(3); the kind of socket is seen by the server itself.
            environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
        os.execve(command[0], command, environ)
    except BaseException as error:
        os.write(messages, f"{command[0]}: {error}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(127)


def end(server: int | None, lock: str, socket_path: str, identity: tuple[int, int] | None) -> None:
    """End the server, and remove the files that are its own or, by *identity*, the launcher's."""
    ours = False
    if server is not None:
        ours = names(lock, server)
        os.killpg(server, signal.SIGKILL)
        os.waitpid(server, 0)
        ours = ours or names(lock, server)
    if ours:
        remove(lock)
    if ours or (identity is not None and file_identity(socket_path) == identity):
        remove(socket_path)
        number = socket_path.rpartition("X")[2]
        for path in (draft_path(number), *keymap_paths(number)):
            if is_ours(path):
                remove(path)


def lock_path(number: str) -> str:
    return f"/tmp/.X{number}-lock"


def draft_path(number: str) -> str:
    """Its lock while it is not finished: it stays there when /tmp is full."""
    return f"/tmp/.tX{number}-lock"


def keymap_paths(number: str) -> list[str]:
    """Where an X server has its keyboard compiled; it removes that, unless it is killed meanwhile (seen with 21.1)."""
    return [f"{folder}/server-{number}.xkm" for folder in KEYMAP_FOLDERS]


def names(lock: str, server: int) -> bool:
    """Whether the X lock file *lock* names *server*, or a process that it started (Xvfb may be a wrapper script)."""
    try:
        return os.getpgid(read_lock(lock)) == server
    except (OSError, ValueError, OverflowError):
        return False


def read_lock(lock: str) -> int:
    """The PID in an X lock file; :raises ValueError: there is none in it, or it is another user's; OSError likewise.

    Anybody can make anything of that name, when the server's own is gone: a FIFO is not to be waited for.
    """
    descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise ValueError(f"{lock} is another user's")
        return int(os.read(descriptor, 16))
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    # It has been removed; or is another user's by now, who can make a folder of that name, too.
    with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
        os.unlink(path)


def is_ours(path: str) -> bool:
    """Whether *path* is there, and this user's."""
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
