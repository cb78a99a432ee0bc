"""Folders that only this user can enter, and the cookie files in them."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from anaheadless.system.light_stdlib import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

COOKIE_FILE = re.compile(r"Xauthority-(\d{1,9})-[0-9a-f]{8}(?:-[cln])?")  # the letters are xauth's, for its own files


class CookieFile(Record):
    """An X authority file, open for reading and writing.

    :param path: its path, or empty if it has no name.
    """

    path: str
    descriptor: int


def folders(environ: Mapping[str, str]) -> tuple[str, ...]:
    """List the private folders of this user, the best first: one below /tmp, made if missing, and XDG_RUNTIME_DIR."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    return tuple(dict.fromkeys(folder for folder in (_folder_in_tmp(), runtime) if folder and is_private(folder)))


def is_private(folder: str | None, *, follow: bool = True) -> bool:
    """Tell whether *folder* is an existing folder that only this user can enter, as XDG_RUNTIME_DIR has to be.

    The variable may remain from a login that has ended.

    :param follow: whether the folder may be a symlink.
    """
    if not os.path.isabs(folder or ""):
        return False
    try:
        status = os.stat(folder or "", follow_symlinks=follow)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def create_cookie_file(number: int, entries: bytes, folders: Sequence[str]) -> CookieFile | None:
    """Create a file with the X authority *entries* of display *number*, in the first of *folders* that it fits in.

    The file is locked as long as any copy of its descriptor is open: first the launcher's, then the keeper's.

    :return: the file, or None if no folder can take it.
    """
    for folder in folders:
        path = os.path.join(folder, f"Xauthority-{number}-{os.urandom(4).hex()}")
        with suppress(OSError):  # such as a full disk
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.fchmod(descriptor, 0o600)  # whatever the umask
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.write(descriptor, entries) == len(entries):
                    return CookieFile(path, descriptor)
            except OSError:
                pass
            os.close(descriptor)
            os.unlink(path)
    return None


def open_cookie_file(path: str) -> BinaryIO:
    """Open a cookie file to ask for its locks.

    :raises OSError: it can't be opened.
    """
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def is_locked(cookie_file: str) -> bool:
    """Tell whether the session of a cookie file is alive or still starting.

    :raises OSError: the file can't be opened.
    """
    with open_cookie_file(cookie_file) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def cookie_files(folders: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Find the cookie files in *folders*, and the files that xauth makes beside them; yield display number and path."""
    for folder in folders:
        with suppress(OSError):
            for name in os.listdir(folder):
                match = COOKIE_FILE.fullmatch(name)
                if match:
                    yield int(match[1]), os.path.join(folder, name)


def _folder_in_tmp() -> str | None:
    """Find or make this user's private folder below /tmp; return None if that is impossible.

    If another user has taken its name, this makes a folder with another name, which later calls find again.
    """
    usual = f"/tmp/anaheadless-{os.geteuid()}"
    try:
        if not _is_protected("/tmp"):
            return None
        if _make(usual):
            return usual
        others = (path for name in sorted(os.listdir("/tmp")) if (path := f"/tmp/{name}").startswith(f"{usual}-"))
        another = next(filter(_is_private_itself, others), f"{usual}-{os.urandom(4).hex()}")
        return another if _make(another) else None
    except OSError:
        return None


def _is_protected(folder: str) -> bool:
    """Tell whether other users can't rename or replace this user's files in *folder*."""
    mode = os.stat(folder).st_mode
    return bool(mode & stat.S_ISVTX) or not mode & (stat.S_IWGRP | stat.S_IWOTH)


def _make(folder: str) -> bool:
    """Make *folder*, if its name is free; return whether it is private, and not a symlink."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    else:
        os.chmod(folder, 0o700)  # whatever the umask
    return _is_private_itself(folder)


def _is_private_itself(folder: str) -> bool:
    # One call asks for everything: between two calls, another user could replace the folder by a symlink.
    return is_private(folder, follow=False)
