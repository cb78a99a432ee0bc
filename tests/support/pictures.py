"""Pictures, as a PNG file has them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

Colour = tuple[int, int, int]


class Picture(NamedTuple):
    """Width and height, and three bytes for each pixel: red, green and blue."""

    width: int
    height: int
    rgb: bytes

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def colour_at(self, x: int, y: int) -> Colour:
        start = 3 * (y * self.width + x)
        red, green, blue = self.rgb[start : start + 3]
        return red, green, blue


def filled(width: int, height: int, colour: Colour) -> Picture:
    return Picture(width, height, bytes(colour) * (width * height))


def read_png(path: str | os.PathLike[str]) -> Picture:
    """Read a PNG file such as ours are: one chunk of pixels, not interlaced, no filters."""
    data = Path(path).read_bytes()
    width, height = struct.unpack_from(">II", data, 16)
    (length,) = struct.unpack_from(">I", data, 33)
    rows = zlib.decompress(data[41 : 41 + length])
    stride = 1 + 3 * width  # the first byte of a row names its filter
    assert len(rows) == height * stride
    return Picture(width, height, b"".join(rows[at + 1 : at + stride] for at in range(0, len(rows), stride)))
