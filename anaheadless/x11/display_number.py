"""The X server's outside: display number and sockets, cookie, command line."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from anaheadless.errors import LIMITS_HINT, LaunchError
from anaheadless.system import processes
from anaheadless.system.light_stdlib import Record
from anaheadless.x11 import server_process

SOCKET_FOLDER = "/tmp/.X11-unix"

# Above the numbers of real screens, of ssh (:10 and up), of xvfb-run (:99 and up) and of VirtualGL (:1024).
NUMBERS = range(2000, 10000)


class Claim(Record):
    """A display number that is ours, and the listening sockets that make it so: file, then abstract.

    As a context, it is withdrawn on an exception, and otherwise closed: it is somebody else's by then.
    """

    number: int
    listeners: tuple[socket.socket, socket.socket]
    identity: tuple[int, int] | None

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.withdraw()

    def close(self) -> None:
        """Close our copies of the sockets."""
        for listener in self.listeners:
            listener.close()

    def withdraw(self) -> None:
        """Give the number up."""
        if self.listeners[1].fileno() >= 0:
            self._remove()
            self.close()
        else:  # the keeper's, if there was one; or by now another launch's, whose file may be the very inode
            with suppress(OSError), bind(abstract_name(self.number)):
                self._remove()

    def _remove(self) -> None:
        if self.identity is not None and server_process.file_identity(socket_path(self.number)) == self.identity:
            os.unlink(socket_path(self.number))


def socket_path(number: int) -> str:
    return f"{SOCKET_FOLDER}/X{number}"


def abstract_name(number: int) -> str:
    return "\0" + socket_path(number)


def claim() -> Claim:
    """Take a free display number; both its sockets listen when this returns, so nobody else can have it.

    The number is taken by binding, never by looking first. The abstract socket comes first: whoever holds it may
    also remove a dead socket file of that number.

    :raises LaunchError: the socket folder can't be used, or no number is free.
    """
    _make_socket_folder()
    for number in numbers():
        try:
            abstract = bind(abstract_name(number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _cannot_listen(error) from error
            continue
        try:
            remove_if_dead(number)
            if os.path.lexists(server_process.lock_path(str(number))) or has_foreign_keymap(number):
                raise OSError(errno.EADDRINUSE, "the server would refuse the number")
            file = bind(socket_path(number))
            for listener in (file, abstract):
                listener.listen(128)
        except OSError as error:
            abstract.close()
            if error.errno != errno.EADDRINUSE:
                raise _cannot_listen(error) from error
            continue
        return Claim(number, (file, abstract), server_process.file_identity(socket_path(number)))
    raise LaunchError(
        f"all display numbers from :{NUMBERS[0]} to :{NUMBERS[-1]} are in use",
        hint=f"See whose they are: anaheadless list, and ls -l {SOCKET_FOLDER}.",
    )


def has_foreign_keymap(number: int) -> bool:
    """Whether another user's file is where the server would put its compiled keymap: it would fail."""
    return any(
        os.path.lexists(path) and not server_process.is_ours(path) for path in server_process.keymap_paths(str(number))
    )


def numbers() -> Iterator[int]:
    """Every number, from a random one on: launches at the same time seldom meet."""
    start = int.from_bytes(os.urandom(4), "little") % len(NUMBERS)
    yield from NUMBERS[start:]
    yield from NUMBERS[:start]


def bind(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The cookie is what keeps others out. Not a chmod, later: in a folder that is somebody else's, the name may
        # lead to another file by then.
        os.fchmod(listener.fileno(), 0o700)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _make_socket_folder() -> None:
    try:
        os.mkdir(SOCKET_FOLDER)
        os.chmod(SOCKET_FOLDER, 0o1777)  # as every X server makes it
    except FileExistsError:
        pass
    except OSError as error:
        raise _cannot_listen(error) from error


def _cannot_listen(error: OSError) -> LaunchError:
    hint = (
        f"X programs look for it there, so {SOCKET_FOLDER} has to be a folder that you can write to (mode 1777), on a "
        "file system that is neither full nor read-only."
    )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = LIMITS_HINT
    return LaunchError(f"can't make the display's socket in {SOCKET_FOLDER}: {error.strerror}", hint=hint)


def paths(number: int) -> list[str]:
    """All files that there may be of a display."""
    text = str(number)
    return [
        socket_path(number),
        server_process.lock_path(text),
        server_process.draft_path(text),
        *server_process.keymap_paths(text),
    ]


def remove_if_dead(number: int) -> list[str] | None:
    """Remove the files of display *number* that are ours, where nobody listens; which those were. None: somebody may.

    The caller holds the abstract socket, so nobody in this network namespace can be about to listen. Another
    namespace may share /tmp: a file that is younger than a second may be between its bind and its listen there.
    """
    path, lock, *others = paths(number)
    dead = [path] if os.path.lexists(path) else []
    if dead and not (server_process.is_ours(path) and is_old(path) and _is_dead(path)):
        return None
    removed = []
    dead += [
        each
        for each in (lock, *others)
        if server_process.is_ours(each) and is_old(each) and (each != lock or _is_stale(lock))
    ]
    for each in dead:
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(each)
            removed.append(each)
    return removed


def is_old(path: str) -> bool:
    try:
        # A clock that was set back makes a file of yesterday one of tomorrow.
        return abs(time.time() - os.lstat(path).st_mtime) >= 1
    except FileNotFoundError:
        return False


def _is_dead(path: str) -> bool:
    """Whether *path* is a socket that nobody listens on; to connect to another file is refused just so."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)  # a server whose queue is full is not dead
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
        return False


def _is_stale(lock: str) -> bool:
    """Whether an X lock file names no process."""
    try:
        return processes.state(server_process.read_lock(lock))[0] == ""
    except (OSError, ValueError):
        return False
