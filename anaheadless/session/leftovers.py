"""The files that dead sessions have left, and keepers that were stopped."""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import chain, islice

from anaheadless.session import discovery
from anaheadless.system import private_files, processes
from anaheadless.system.light_stdlib import signal
from anaheadless.x11 import display_number, server_process

SWEEP_LIMIT = 64  # a connection attempt each


def sweep(limit: int | None = SWEEP_LIMIT, folders: Sequence[str] = ()) -> list[str]:
    """Remove our dead sockets, locks, keymaps and cookie files; a batch system that kills a whole session leaves them.

    Keepers that were stopped and whose target has ended are continued, so that they end.

    :param limit: how many display numbers to look at, or None for all of them.
    :param folders: where cookie files may be, see :func:`anaheadless.system.private_files.folders`.
    :return: the paths that were removed.
    """
    removed = []
    with suppress(OSError):
        places = filter(os.path.isdir, {display_number.SOCKET_FOLDER, *server_process.KEYMAP_FOLDERS})
        names = [name for folder in places for name in os.listdir(folder)]
        pattern = re.compile(r"(?:\.?t?X|server-)(\d{1,9})(?:-lock|\.xkm)?")
        cookies: dict[int, list[str]] = {}
        for number, path in private_files.cookie_files(folders):
            cookies.setdefault(number, []).append(path)
        found = {int(match[1]) for match in map(pattern.fullmatch, names) if match}.union(cookies)
        ours = (
            n
            # Somebody may have chosen another number: one that has a cookie of ours.
            for n in chain(display_number.numbers(), (n for n in cookies if n not in display_number.NUMBERS))
            if n in found and (n in cookies or any(map(server_process.is_ours, display_number.paths(n))))
        )
        for number in islice(ours, limit):
            try:
                with display_number.bind(display_number.abstract_name(number)):
                    dead = display_number.remove_if_dead(number)
                    if dead is not None:
                        removed += dead + _remove_cookies(cookies.get(number, ()))
            except OSError:  # it is alive
                for path in cookies.get(number, ()):
                    _wake_keeper(path)
    return removed


def _remove_cookies(files: Sequence[str]) -> list[str]:
    """Remove cookie *files* whose keeper has ended, and return them."""
    removed = []
    for path in files:
        with suppress(OSError):  # another start has come first
            if display_number.is_old(path) and not private_files.is_locked(path):
                os.unlink(path)
                removed.append(path)
    return removed


def _keeper_of(cookie_file: str) -> int:
    """Return the PID of the keeper that locks a cookie file; 0: there is none, or not in this PID namespace.

    :raises OSError: the file can't be opened.
    """
    layout = "hhqqi"  # struct flock, <fcntl.h>
    with private_files.open_cookie_file(cookie_file) as file:
        asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, pid = struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else pid


def _wake_keeper(cookie_file: str) -> None:
    """Continue a keeper that was stopped, perhaps by its target, so that it notices that its target has ended."""
    with suppress(OSError):
        pid = _keeper_of(cookie_file)
        if pid <= 0 or processes.state(pid)[0] != "T":
            return
        with closing(processes.open_process(pid)) as process:
            session = discovery.inspect_keeper(pid)  # only now is it the right one
            if session is not None and not session.has_target:
                process.send(signal.SIGCONT)
