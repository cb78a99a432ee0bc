"""Display numbers: how one is claimed through its two sockets, and what dead X servers leave."""

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
    """A display number that this process has claimed by listening on its two sockets.

    A ``with`` block releases the number on an exception. Otherwise it only closes the sockets: the keeper has its own
    copies by then.

    :param listeners: the socket that is a file, and the abstract one.
    :param identity: the device and inode of the socket file.
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
            self.release()

    def close(self) -> None:
        """Close this process's copies of the sockets."""
        for listener in self.listeners:
            listener.close()

    def release(self) -> None:
        """Give the number up, and remove its socket file."""
        if self.listeners[1].fileno() >= 0:
            self._remove()
            self.close()
        else:
            # The sockets have been handed to a keeper, or another launch has taken the number since: then the abstract
            # name is in use. Another launch's socket file may even have the same inode.
            with suppress(OSError), bind(abstract_name(self.number)):
                self._remove()

    def _remove(self) -> None:
        if self.identity is not None and server_process.file_identity(socket_path(self.number)) == self.identity:
            os.unlink(socket_path(self.number))


def socket_path(number: int) -> str:
    return f"{SOCKET_FOLDER}/X{number}"


def abstract_name(number: int) -> str:
    return "\0" + socket_path(number)


def claim(wanted: int | None = None) -> Claim:
    """Claim a free display number, or the *wanted* one.

    Both its sockets listen when this returns, so nobody else can have it.

    Binding the sockets claims the number; a check beforehand would be a race. The abstract socket comes first: its
    owner may also remove a dead socket file of that number.

    :raises LaunchError: the socket folder can't be used, or no number is free, or not the *wanted* one.
    """
    _make_socket_folder()
    for number in numbers() if wanted is None else (wanted,):
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
    if wanted is not None:
        raise in_use(wanted)
    raise LaunchError(
        f"all display numbers from :{NUMBERS[0]} to :{NUMBERS[-1]} are in use",
        hint=f"See whose they are: anaheadless list, and ls -l {SOCKET_FOLDER}.",
    )


def in_use(number: int) -> LaunchError:
    """Return the error for a display number that was asked for, and that another X server has."""
    hint = (
        f"Choose another --display-number, or leave the choice to anaheadless. See whose it is: ls -l {SOCKET_FOLDER}"
    )
    return LaunchError(f"display :{number} is in use", hint=hint)


def has_foreign_keymap(number: int) -> bool:
    """Tell whether another user has a file in the place of the server's compiled keymap: the server would fail."""
    return any(
        os.path.lexists(path) and not server_process.is_ours(path) for path in server_process.keymap_paths(str(number))
    )


def numbers() -> Iterator[int]:
    """Yield every number, from a random one on, so that launches at the same time seldom try the same."""
    start = int.from_bytes(os.urandom(4), "little") % len(NUMBERS)
    yield from NUMBERS[start:]
    yield from NUMBERS[:start]


def bind(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The cookie keeps other users out; the mode is only a second lock. A chmod after the bind could hit another
        # file: the owner of the folder may have replaced the socket by then.
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
    """List all files that an X server with this display number may have."""
    text = str(number)
    return [
        socket_path(number),
        server_process.lock_path(text),
        server_process.unfinished_lock_path(text),
        *server_process.keymap_paths(text),
    ]


def remove_if_dead(number: int) -> list[str] | None:
    """Remove this user's files of display *number*, if no X server listens there.

    The caller holds the abstract socket, so nobody in this network namespace can be about to listen. Another
    namespace may share /tmp: a file that is younger than a second may be between its bind and its listen there.

    :return: the removed files, or None if an X server may listen there.
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
        # If the clock has been set back, an old file may seem to be from the future.
        return abs(time.time() - os.lstat(path).st_mtime) >= 1
    except FileNotFoundError:
        return False


def _is_dead(path: str) -> bool:
    """Tell whether *path* is a socket that nobody listens on."""
    # A connection to a file of another type is refused with the same error.
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
    """Tell whether an X lock file names a process that no longer exists."""
    try:
        return processes.state(server_process.read_lock(lock))[0] == ""
    except (OSError, ValueError):
        return False
