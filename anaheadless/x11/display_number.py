"""The X server's outside: display number and sockets, cookie, command line."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice

from anaheadless.session import discovery, keeper
from anaheadless.system import private_files, processes
from anaheadless.x11 import server_process
from anaheadless.errors import LIMITS_HINT, LaunchError
from anaheadless.system.light_stdlib import Record, signal
from anaheadless.x11.client import COOKIE_NAME

SOCKET_FOLDER = "/tmp/.X11-unix"

# Above the numbers of real screens, of ssh (:10 and up), of xvfb-run (:99 and up) and of VirtualGL (:1024).
NUMBERS = range(2000, 10000)
SWEEP_LIMIT = 64  # a connection attempt each

# What Xvfb makes a screen of; OpenGL finds no visual below 24 (server 21.1: depths 1, 4, 12 and 32 are refused).
DEPTHS = (8, 15, 16, 24, 30)
MAX_MEMORY = 2**31 - 2**16  # Xvfb counts the bytes of its screen, and some more, in an int
MAX_SIDE = 32767  # a coordinate is a signed 16-bit number in the X protocol


class Screen(Record):
    """A screen's width and height in pixels, and its depth in bits per pixel."""

    width: int = 1280
    height: int = 1024
    depth: int = 24

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.depth}"

    @property
    def memory(self) -> int:
        """What the X server needs for its pixels, in bytes."""
        pixel_bytes = 1 if self.depth == 8 else 2 if self.depth < 24 else 4
        return self.width * self.height * pixel_bytes


def parse_screen(text: str) -> Screen:
    """``WIDTHxHEIGHT[xDEPTH]`` as a :class:`Screen`; :raises ValueError: with a sentence that says what would do."""
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})(?:x(\d{1,9}))?", text, re.ASCII)
    if not match:
        raise ValueError(f"{text!r} is not WIDTHxHEIGHT or WIDTHxHEIGHTxDEPTH, as in 1280x1024x24.")
    width, height = int(match[1]), int(match[2])
    depth = int(match[3] or Screen.depth)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"{text!r}: width and height have to be 1 to {MAX_SIDE} pixels.")
    if depth not in DEPTHS:
        *some, last = map(str, DEPTHS)
        raise ValueError(f"{text!r}: the depth has to be {', '.join(some)} or {last} bits; 24 is the usual one.")
    screen = Screen(width, height, depth)
    if screen.memory >= MAX_MEMORY:
        size = f"{screen.memory / 2**30:.1f} GiB"
        raise ValueError(f"{text!r}: this screen would take {size} of memory, and Xvfb can't use more than 2 GiB.")
    return screen


def server_command(
    program: str, number: int, screen: Screen, dpi: int | None, *, glx: bool, extra: Sequence[str], activate: bool
) -> list[str]:
    """The X server's command line; *extra* comes last, so that it has the last word.

    :param activate: it gets its sockets from us, see systemd's sd_listen_fds(3).
    """
    return [
        program,
        f":{number}",
        *("-screen", "0", str(screen)),
        *(("-dpi", str(dpi)) if dpi else ()),
        *("-auth", f"/proc/self/fd/{keeper.COOKIE}"),
        # With this, it makes no lock file: our sockets keep others off the display, and it can't be left behind.
        *(("-displayfd", str(server_process.READINESS)) if activate else ()),
        *("-nolisten", "tcp"),
        # Without it the server starts afresh when a probe was its only client, and may refuse the next one.
        "-noreset",
        *(() if glx else ("-extension", "GLX")),
        *extra,
    ]


def authority(number: int, cookie: bytes, host: str) -> bytes:
    """The contents of an X authority file, Xau(3), for display *number* on this *host*."""

    def entry(family: int, address: bytes) -> bytes:
        fields = (address, b"%d" % number, COOKIE_NAME, cookie)
        return struct.pack(">H", family) + b"".join(struct.pack(">H", len(field)) + field for field in fields)

    # FamilyLocal, and FamilyWild for programs that ask under another host name; python-xlib knows only the first.
    return entry(256, host.encode(errors="surrogateescape")) + entry(65535, b"")


def find_cookie(entries: bytes, number: int) -> bytes:
    """The cookie for display *number* in the contents of an X authority file; :raises ValueError: there is none."""
    while entries:
        fields = []
        entries = entries[2:]
        for _ in range(4):
            end = 2 + int.from_bytes(entries[:2], "big")
            fields.append(entries[2:end])
            entries = entries[end:]
        if fields[1:3] == [b"%d" % number, COOKIE_NAME]:
            return fields[3]
    raise ValueError(f"no cookie for display :{number}")


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
            with suppress(OSError), _bind(abstract_name(self.number)):
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
    for number in _numbers():
        try:
            abstract = _bind(abstract_name(number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _cannot_listen(error) from error
            continue
        try:
            _remove_if_dead(number)
            if os.path.lexists(server_process.lock_path(str(number))) or has_foreign_keymap(number):
                raise OSError(errno.EADDRINUSE, "the server would refuse the number")
            file = _bind(socket_path(number))
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
    return any(os.path.lexists(path) and not server_process.is_ours(path) for path in server_process.keymap_paths(str(number)))


def sweep(limit: int | None = SWEEP_LIMIT, folders: Sequence[str] = ()) -> list[str]:
    """Remove dead sockets, locks, keymaps and cookie files of ours, which are left when a batch system kills a whole
    session at once. Continue keepers that were stopped and whose target has ended.

    :param limit: how many numbers to look at, or None for all of them.
    :param folders: where cookie files may be, see :func:`anaheadless.private.folders`.
    :return: the paths that were removed.
    """
    removed = []
    with suppress(OSError):
        places = filter(os.path.isdir, {SOCKET_FOLDER, *server_process.KEYMAP_FOLDERS})
        names = [name for folder in places for name in os.listdir(folder)]
        pattern = re.compile(r"(?:\.?t?X|server-)(\d{1,9})(?:-lock|\.xkm)?")
        cookies: dict[int, list[str]] = {}
        for number, path in private_files.cookie_files(folders):
            cookies.setdefault(number, []).append(path)
        found = {int(match[1]) for match in map(pattern.fullmatch, names) if match}.union(cookies)
        ours = (n for n in _numbers() if n in found and (n in cookies or any(map(server_process.is_ours, _paths(n)))))
        for number in islice(ours, limit):
            try:
                with _bind(abstract_name(number)):
                    removed += _remove_if_dead(number, cookies.get(number, ()))
            except OSError:  # it is alive
                for path in cookies.get(number, ()):
                    _wake_keeper(path)
    return removed


def _numbers() -> Iterator[int]:
    """Every number, from a random one on: launches at the same time seldom meet."""
    start = int.from_bytes(os.urandom(4), "little") % len(NUMBERS)
    yield from NUMBERS[start:]
    yield from NUMBERS[:start]


def _bind(address: str) -> socket.socket:
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


def _paths(number: int) -> list[str]:
    """All files that there may be of a display."""
    text = str(number)
    return [socket_path(number), server_process.lock_path(text), server_process.draft_path(text), *server_process.keymap_paths(text)]


def _remove_if_dead(number: int, cookies: Sequence[str] = ()) -> list[str]:
    """Remove the files of display *number* that are ours, where nobody listens; which those were.

    The caller holds the abstract socket, so nobody in this network namespace can be about to listen. Another
    namespace may share /tmp: a file that is younger than a second may be between its bind and its listen there.

    :param cookies: its cookie files.
    """
    path, lock, *others = _paths(number)
    dead = [path] if os.path.lexists(path) else []
    if dead and not (server_process.is_ours(path) and _is_old(path) and _is_dead(path)):
        return []
    removed = []
    dead += [
        each
        for each in (lock, *others)
        if server_process.is_ours(each) and _is_old(each) and (each != lock or _is_stale(lock))
    ]
    dead += [each for each in cookies if _is_old(each) and not private_files.is_locked(each)]
    for each in dead:
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(each)
            removed.append(each)
    return removed


def _is_old(path: str) -> bool:
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


def _keeper_of(cookie_file: str) -> int:
    """The PID of the keeper that holds the lock on a cookie file; 0: there is none, or not in this PID namespace.

    :raises OSError: the file can't be opened.
    """
    layout = "hhqqi"  # struct flock, <fcntl.h>
    with open(os.open(cookie_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, pid = struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else pid


def _wake_keeper(cookie_file: str) -> None:
    """Continue a keeper that was stopped, perhaps by its target: it has to notice that its target has ended."""
    with suppress(OSError):
        pid = _keeper_of(cookie_file)
        if pid <= 0 or processes.state(pid)[0] != "T":
            return
        with closing(processes.open_process(pid)) as process:
            session = discovery.look(pid)  # only now is it the right one
            if session is not None and not session.has_target:
                process.send(signal.SIGCONT)


def _is_stale(lock: str) -> bool:
    """Whether an X lock file names no process."""
    try:
        return processes.state(server_process.read_lock(lock))[0] == ""
    except (OSError, ValueError):
        return False
