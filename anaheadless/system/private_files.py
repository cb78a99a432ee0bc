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

COOKIE_FILE = re.compile(r"Xauthority-(\d{1,9})-[0-9a-f]{8}(?:-[cln])?")  # the letters are those of xauth's own files


class CookieFile(Record):
    """An X authority file, open for reading and writing.

    :param path: empty where it has no name.
    """

    path: str
    descriptor: int


def folders(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The private folders of this user, the best one first: one below /tmp, made if necessary, and XDG_RUNTIME_DIR."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    return tuple(dict.fromkeys(folder for folder in (_folder_in_tmp(), runtime) if folder and is_private(folder)))


def is_private(folder: str | None, *, follow: bool = True) -> bool:
    """Whether *folder* is what XDG_RUNTIME_DIR has to be; the variable may be left from a login that has ended.

    :param follow: whether it may be a link.
    """
    if not os.path.isabs(folder or ""):
        return False
    try:
        status = os.stat(folder or "", follow_symlinks=follow)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def create_cookie_file(number: int, entries: bytes, folders: Sequence[str]) -> CookieFile | None:
    """A file with the X authority *entries* of display *number*, in the first of the *folders* that takes it.

    It is locked as long as any copy of the descriptor is open: first the launcher's, then the keeper's.
    """
    for folder in folders:
        path = os.path.join(folder, f"Xauthority-{number}-{os.urandom(4).hex()}")
        with suppress(OSError):  # a full disk, perhaps
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
    """A cookie file, to ask for its locks; :raises OSError: it can't be opened."""
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def is_locked(cookie_file: str) -> bool:
    """Whether the session of a cookie file lives, or is only starting; :raises OSError: it can't be opened."""
    with open_cookie_file(cookie_file) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def cookie_files(folders: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The cookie files in *folders*, those that xauth makes beside them included: their displays, and their paths."""
    for folder in folders:
        with suppress(OSError):
            for name in os.listdir(folder):
                match = COOKIE_FILE.fullmatch(name)
                if match:
                    yield int(match[1]), os.path.join(folder, name)


def _folder_in_tmp() -> str | None:
    """A private folder below /tmp; None: there can be none.

    Where another user has taken its name, a folder of another name is made, which later calls find again.
    """
    usual = f"/tmp/anaheadless-{os.geteuid()}"
    try:
        if not _keeps_names("/tmp"):
            return None
        if _make(usual):
            return usual
        others = (path for name in sorted(os.listdir("/tmp")) if (path := f"/tmp/{name}").startswith(f"{usual}-"))
        another = next(filter(_is_private_itself, others), f"{usual}-{os.urandom(4).hex()}")
        return another if _make(another) else None
    except OSError:
        return None


def _keeps_names(folder: str) -> bool:
    """Whether nobody else can rename or replace our files in *folder*."""
    mode = os.stat(folder).st_mode
    return bool(mode & stat.S_ISVTX) or not mode & (stat.S_IWGRP | stat.S_IWOTH)


def _make(folder: str) -> bool:
    """Make *folder*, if nothing has its name; return whether it is private, and not a link."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    else:
        os.chmod(folder, 0o700)  # whatever the umask
    return _is_private_itself(folder)


def _is_private_itself(folder: str) -> bool:
    return is_private(folder, follow=False)  # asked once: between two questions, somebody else could make a link of it
