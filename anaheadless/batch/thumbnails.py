"""Small copies of pictures, made by Qt in a process of its own: what a program has written may crash who reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from anaheadless.system.programs import this_python

SIDE = 240
MAX_PIXELS = 200_000_000
SECONDS = 600.0


def make(paths: Sequence[str]) -> dict[str, str]:
    """Make a thumbnail of each picture that can be read, as a ``data:`` URL, by its path."""
    found: dict[str, str] = {}
    left = list(paths)
    while left:
        command = [this_python(), "-m", "anaheadless.batch.thumbnails"]
        data = b"\0".join(map(os.fsencode, left))
        try:
            ended = subprocess.run(
                command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            return found
        made = ended.stdout.decode("ascii").split("\n")[:-1]
        found.update({path: url for path, url in zip(left, made) if url})
        left = left[len(made) + 1 :]  # one has crashed it, or it is through
    return found


def _thumbnail(path: str) -> str:
    """Make one; nothing: it is no picture."""
    from PyQt5.QtCore import QBuffer, QByteArray, QIODevice, QSize, Qt
    from PyQt5.QtGui import QImageReader

    try:
        with open(path, "rb") as file:  # not by Qt, to which a name is characters
            source = QBuffer()
            source.setData(QByteArray(file.read()))
    except OSError:
        return ""
    reader = QImageReader(source)
    reader.setAutoTransform(True)
    size = reader.size()
    if not size.isValid() or size.width() * size.height() > MAX_PIXELS:
        return ""
    if size.width() > SIDE or size.height() > SIDE:
        reader.setScaledSize(size.scaled(QSize(SIDE, SIDE), Qt.KeepAspectRatio).expandedTo(QSize(1, 1)))
    picture = reader.read()
    buffer = QBuffer()
    buffer.open(QIODevice.WriteOnly)
    if picture.isNull() or not picture.save(buffer, "PNG"):
        return ""
    return "data:image/png;base64," + bytes(buffer.data().toBase64()).decode()


if __name__ == "__main__":
    for name in sys.stdin.buffer.read().split(b"\0"):
        print(_thumbnail(os.fsdecode(name)), flush=True)
