"""Commands in namespaces of their own: what a test does to /tmp, or to all processes, meets nobody else there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.helpers import ANAHEADLESS, CHECKOUT, PROGRAMS, Session, run, wait_until

# What a command of ours needs, wherever it lies: a mount may hide it.
_NEEDED = (CHECKOUT, Path(sys.prefix), Path(sys.base_prefix))

_UNSHARE = ("unshare", *(() if os.geteuid() == 0 else ("-r",)), "-m")


def _shell(setup: str, last: str, needed: tuple[Path, ...] = _NEEDED) -> list[str]:
    """What runs a command after *setup*, with what that hides of *needed* put back, and then *last*."""
    numbered = [(number, shlex.quote(str(path))) for number, path in enumerate(needed, 3)]
    hold = "".join(f"exec {number}<{path}; " for number, path in numbered)
    # Without -c, mount would look for the file under the name that it had before.
    put_back = "".join(
        f"[ /proc/self/fd/{number} -ef {path} ] || "
        f"{{ mkdir -p {path}; mount -c --bind /proc/self/fd/{number} {path}; }}; exec {number}<&-; "
        for number, path in numbered
    )
    return ["sh", "-c", f'set -e; {hold}{setup}; {put_back}{last}; exec "$@"', "sh"]


def namespaces(setup: str = "true", last: str = "true") -> list[str]:
    """What to put in front of a command for it to be PID 1 in mount and PID namespaces, after *setup* by a shell.

    :param last: what the shell does then, when the checkout is certain to be visible.
    """
    return [*_UNSHARE, "-p", "-f", "--kill-child", "--mount-proc", *_shell(setup, last)]


def in_namespaces(
    *command: str | Path, setup: str = "true", last: str = "true", **settings: Any
) -> subprocess.CompletedProcess[str]:
    settings = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL, **settings}
    return subprocess.run([*namespaces(setup, last), *command], **settings)


CAN_UNSHARE = subprocess.run([*namespaces(), "true"], capture_output=True).returncode == 0
needs_namespaces = pytest.mark.skipif(not CAN_UNSHARE, reason="this machine forbids namespaces")


@dataclass(frozen=True)
class PrivateTmp:
    """A mount and a network namespace with a /tmp of their own, so that no display there is seen from elsewhere.

    :param folder: what that /tmp is from outside.
    :param enter: what to put in front of a command for it to be run there. It becomes that command, with its PID.
    """

    folder: Path
    enter: tuple[str, ...]

    def run(self, *args: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
        """``anaheadless ARGS`` there, to its end; *command* for another program."""
        command = settings.pop("command", ANAHEADLESS)
        return run(*self.enter[1:], command, *args, command=self.enter[0], **settings)

    @contextmanager
    def holding(self, *options: str, **settings: Any) -> Iterator[Session]:
        """A session there; see :func:`~tests.support.helpers.holding`."""
        command = [*self.enter, ANAHEADLESS, "run", *options, str(PROGRAMS / "hold.py")]
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **streams, **settings) as process:
            yield Session(process)

    @property
    def sockets(self) -> Path:
        return self.folder / ".X11-unix"

    def left(self) -> set[str]:
        """The files of X servers: sockets, locks and keymaps."""
        patterns = (".X11-unix/*", ".X*-lock", ".tX*-lock", "server-*.xkm", "xkb/*")
        return {str(path.relative_to(self.folder)) for pattern in patterns for path in self.folder.glob(pattern)}

    def wait_until_left(self, *names: str) -> None:
        with suppress(AssertionError):  # the next one says what there is
            wait_until(lambda: self.left() == {*names})
        left = self.left()
        assert left == {*names}, left

    def wait_until_nothing_is_left(self) -> None:
        self.wait_until_left()


@contextmanager
def private(*needed: Path) -> Iterator[PrivateTmp]:
    """A :class:`PrivateTmp` in which the folders *needed* are seen, too."""
    # The name is short: that of a socket has to be.
    folder = Path(tempfile.mkdtemp(prefix="anaheadless-test-"))
    try:
        folder.chmod(0o1777)
        (folder / "xkb").mkdir()
        keymaps = f"[ ! -d /var/lib/xkb ] || mount --bind {folder}/xkb /var/lib/xkb"
        shell = _shell(f"{keymaps}; mount --bind {folder} /tmp", "echo", (*_NEEDED, *needed))
        # An ordinary user stays one, so that nothing but /tmp is other than outside.
        ordinary = os.geteuid() != 0
        made = ("--map-current-user", "--keep-caps") if ordinary else ()
        entered = ("-U", "--preserve-credentials") if ordinary else ()
        with subprocess.Popen(
            ["unshare", *made, "-m", "-n", *shell, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == b"\n"
            yield PrivateTmp(folder, ("nsenter", "-t", str(process.pid), *entered, "-m", "-n", "--"))
    finally:

        def is_gone() -> bool:
            shutil.rmtree(folder, ignore_errors=True)  # a keeper may still be removing what it has made
            return not folder.exists()

        wait_until(is_gone, f"{folder} is gone")
