"""Screenshots of a display, requested from its X server.

Source: X Window System Protocol, X Version 11, Encoding (connection setup; GetImage; QueryColors).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from anaheadless.errors import LaunchError
from anaheadless.options import MAX_SIDE
from anaheadless.system import file_types, png
from anaheadless.x11.connection import RefusedError
from anaheadless.x11.open_display import open_display

GET_IMAGE, QUERY_COLORS = 73, 91
Z_PIXMAP, ALL_PLANES = 2, 0xFFFFFFFF
TRUE_COLOR, DIRECT_COLOR = 4, 5
TIMEOUT = 20.0  # seconds


@dataclass(frozen=True)
class Format:
    """The size of a server's first screen, and the layout of its pixels.

    :param row_bits: the unit of a row's length: each row is padded to a multiple of it.
    :param masks: the bits of red, green and blue in a pixel, or None if a pixel is an index into the colormap.
    """

    root: int
    colormap: int
    width: int
    height: int
    pixel_bytes: int
    row_bits: int
    big_endian: bool
    masks: tuple[int, int, int] | None


def save(display: str, authority: str, path: str, area: tuple[int, int, int, int] | None = None) -> None:
    """Save a screenshot of *display* as a PNG file, as :func:`take` takes it.

    :raises LaunchError: as there; or *path* is named like another type of file.
    :raises OSError: *path* can't be written.
    """
    file_types.check(path, file_types.PICTURE)
    data = take(display, authority, area)
    with open(path, "wb") as file:
        file.write(data)


def take(display: str, authority: str, area: tuple[int, int, int, int] | None = None) -> bytes:
    """Return a screenshot of *display* as a PNG file has it: its whole first screen, without the pointer.

    :param authority: the X authority file of the display.
    :param area: the part of the screen to take: width, height, and x and y of its upper left corner, in pixels.
    :raises LaunchError: the server does not answer, or not as expected.
    """
    try:
        width, rows = _capture(display, authority, area)
    except (OSError, ValueError, KeyError, struct.error, RefusedError) as error:
        raise LaunchError(
            f"can't take a screenshot of display {display}: {error}",
            hint="Its session may have ended, or its X server hangs.",
        ) from error
    return png.encode(width, rows)


def _capture(display: str, authority: str, area: tuple[int, int, int, int] | None) -> tuple[int, list[bytes]]:
    with open_display(display, authority, time.monotonic() + TIMEOUT) as connection:
        layout = parse_setup(connection.setup)
        width, height, x, y = area or (layout.width, layout.height, 0, 0)
        if x + width > layout.width or y + height > layout.height:
            raise LaunchError(
                f"--crop goes beyond the screen of display {display}, which is {layout.width}x{layout.height}",
                hint="--crop takes WIDTHxHEIGHT+X+Y, in pixels from the upper left corner.",
            )
        request = struct.pack("<IhhHHI", layout.root, x, y, width, height, ALL_PLANES)
        size = row_bytes(layout, width) * height
        pixels = connection.ask(GET_IMAGE, Z_PIXMAP, request, size + -size % 4)[32:]
        palette = None
        if layout.masks is None:
            request = struct.pack("<257I", layout.colormap, *range(256))
            colours = connection.ask(QUERY_COLORS, 0, request, 8 * 256)[32:]
            palette = [colours[high::8] for high in (1, 3, 5)]  # 16 bits each, the lower byte first
    return width, to_rgb(pixels, replace(layout, width=width, height=height), palette)


def parse_setup(setup: bytes) -> Format:
    """Parse what a server says of its first screen, see :attr:`anaheadless.x11.connection.Connection.setup`.

    :raises ValueError: it makes no sense; likewise KeyError and struct.error.
    """
    vendor, formats, big_endian = struct.unpack_from("<16xHxxxBB", setup)
    start = 32 + vendor + -vendor % 4
    sizes = {depth: rest for depth, *rest in struct.iter_unpack("<BBB5x", setup[start : start + 8 * formats])}
    start += 8 * formats
    root, colormap, width, height, visual, depth, depths = struct.unpack_from("<II12xHH8xIxxBB", setup, start)
    pixel_bits, row_bits = sizes[depth]
    if pixel_bits not in (8, 16, 24, 32) or row_bits not in (8, 16, 32, 64) or max(width, height) > MAX_SIDE:
        raise ValueError(f"a screen of {width}x{height} pixels of {pixel_bits} bits, in units of {row_bits}")
    start += 40
    masks = None
    for _ in range(depths):
        (visuals,) = struct.unpack_from("<xxHxxxx", setup, start)
        for number, kind, *found in struct.iter_unpack("<IBxxxIIIxxxx", setup[start + 8 : start + 8 + 24 * visuals]):
            if number == visual and kind in (TRUE_COLOR, DIRECT_COLOR):
                masks = (found[0], found[1], found[2])
        start += 8 + 24 * visuals
    return Format(root, colormap, width, height, pixel_bits // 8, row_bits, bool(big_endian), masks)


def row_bytes(layout: Format, width: int) -> int:
    """Return how many bytes a row of *width* pixels has."""
    return -(-width * layout.pixel_bytes * 8 // layout.row_bits) * layout.row_bits // 8


def to_rgb(pixels: bytes, layout: Format, palette: Sequence[bytes] | None = None) -> list[bytes]:
    """Convert *pixels* to rows of RGB triples, one byte each.

    :param palette: the red, green and blue values of the colormap's first 256 entries, for a *layout* without masks.
    """
    size = layout.pixel_bytes
    stride = row_bytes(layout, layout.width)
    # A loop over pixels would be slow. Instead, a table translates each byte of all pixels at once, and the results are
    # combined.
    tables = [_tables(mask, size) for mask in layout.masks or ()]
    rows = []
    for start in range(0, layout.height * stride, stride):
        row = pixels[start : start + layout.width * size]
        parts = [row[index::size] for index in range(size)]  # the lowest byte of each pixel first
        if layout.big_endian:
            parts.reverse()
        rgb = bytearray(3 * layout.width)
        for channel in range(3):
            if layout.masks is None:
                rgb[channel::3] = parts[0].translate((palette or ())[channel])
            else:
                values = 0
                for part, table in zip(parts, tables[channel]):
                    values |= int.from_bytes(part.translate(table), "little")
                rgb[channel::3] = values.to_bytes(layout.width, "little")
        rows.append(bytes(rgb))
    return rows


def _tables(mask: int, size: int) -> list[bytes]:
    """Make a table for each byte of a pixel: what each value of the byte adds to the 8 bits of the channel of *mask*.

    The bits of a narrower channel are repeated from the highest one on, so that all bits set make 255.
    """
    sources = [bit for bit in range(8 * size) if mask >> bit & 1][::-1]
    wired = [(sources[index % len(sources)], 7 - index) for index in range(8)]
    return [
        bytes(
            sum((value >> bit - 8 * byte & 1) << out for bit, out in wired if bit // 8 == byte) for value in range(256)
        )
        for byte in range(size)
    ]
