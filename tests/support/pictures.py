"""Pictures, as a PNG file has them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

Colour = tuple[int, int, int]


def picture(path: str | os.PathLike[str]) -> tuple[int, int, bytes]:
    """Width, height and RGB pixels of a PNG file such as ours are: not interlaced, no filters."""
    data = Path(path).read_bytes()
    width, height = struct.unpack_from(">II", data, 16)
    (length,) = struct.unpack_from(">I", data, 33)
    lines = zlib.decompress(data[41 : 41 + length])
    stride = 1 + 3 * width
    assert len(lines) == height * stride
    return width, height, b"".join(lines[at + 1 : at + stride] for at in range(0, len(lines), stride))


def pixel(image: tuple[int, int, bytes], x: int, y: int) -> Colour:
    start = 3 * (y * image[0] + x)
    red, green, blue = image[2][start : start + 3]
    return red, green, blue
