"""Pictures of one colour, found by Qt in a process of its own: what a program has written may crash who reads it."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

from anaheadless.system.programs import this_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

ANSWER_SECONDS = 30.0
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".webp", ".tif", ".tiff"))


def is_picture(path: str) -> bool:
    """Return whether a file's name says that it is a picture."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


class Looker:
    """A process that looks at pictures; there is none before the first one, and a new one after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def is_blank(self, path: str) -> bool:
        """Return whether a picture has one colour only; one that can't be read has none."""
        if self._process is None:
            import subprocess  # only here: few maps look at pictures

            self._process = subprocess.Popen(
                [this_python(), "-m", "anaheadless.batch.blank"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None, "it is a pipe"
        assert answers is not None, "it is a pipe"
        answer = b""
        with suppress(BrokenPipeError):
            asked.write(os.fsencode(path) + b"\0")
            if select.select([answers], [], [], ANSWER_SECONDS)[0]:
                answer = answers.read(1) or b""
        if not answer:
            self.close()
        return answer == b"1"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            with self._process:
                self._process = None


def has_one_colour(path: str) -> bool:
    """Look at a picture, in this process."""
    from PyQt5.QtCore import QByteArray
    from PyQt5.QtGui import QImage

    try:
        with open(path, "rb") as file:  # not by Qt, to which a name is characters
            picture = QImage.fromData(QByteArray(file.read()))
    except OSError:
        return False
    if picture.isNull():
        return False
    picture = picture.convertToFormat(QImage.Format_ARGB32)
    plain = picture.copy()
    plain.fill(picture.pixel(0, 0))
    return bool(plain == picture)


if __name__ == "__main__":
    unread = b""
    while chunk := os.read(0, 1 << 16):
        *names, unread = (unread + chunk).split(b"\0")
        for name in names:
            os.write(sys.stdout.fileno(), b"1" if has_one_colour(os.fsdecode(name)) else b"0")
