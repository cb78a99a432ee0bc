"""What a display shows, asked of its X server, and saved.

Source: X Window System Protocol, X Version 11, Encoding (connection setup; GetImage; QueryColors).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from anaheadless.errors import LaunchError
from anaheadless.options import MAX_SIDE
from anaheadless.system import png
from anaheadless.x11.authority import find_cookie
from anaheadless.x11.connection import RefusedError, connect
from anaheadless.x11.display_number import abstract_name, socket_path

GET_IMAGE, QUERY_COLORS = 73, 91
Z_PIXMAP, ALL_PLANES = 2, 0xFFFFFFFF
TRUE_COLOR, DIRECT_COLOR = 4, 5
LIMIT = 20.0  # seconds


@dataclass(frozen=True)
class Format:
    """The first screen of a server, and how its pixels are laid out.

    :param row_bits: what the length of a row is a multiple of.
    :param masks: the bits of red, green and blue in a pixel, or None where a pixel is an index into the colormap.
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
    """Save what *display* shows now as a PNG file: all of its first screen, one pixel each, without the pointer.

    :param authority: the X authority file of the display.
    :param area: only this part of it: width, height, and the left upper corner's place, in pixels.
    :raises LaunchError: the server does not answer, or in an unknown way.
    :raises OSError: *path* can't be written.
    """
    try:
        width, rows = _take(display, authority, area)
    except (OSError, ValueError, KeyError, struct.error, RefusedError) as error:
        raise LaunchError(
            f"can't take a picture of display {display}: {error}",
            hint="Its session may have ended, or its X server hangs.",
        ) from error
    png.write_png(path, width, rows)


def _take(display: str, authority: str, area: tuple[int, int, int, int] | None) -> tuple[int, list[bytes]]:
    number = int(display.lstrip(":"))
    # Ours is the first. Who only looks like a keeper may have anything there.
    descriptor = os.open(authority, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        cookie = find_cookie(os.read(descriptor, 1 << 12), number)
    finally:
        os.close(descriptor)
    deadline = time.monotonic() + LIMIT
    try:
        connection = connect(abstract_name(number), cookie, deadline)
    except ConnectionRefusedError:  # a server that makes no abstract socket
        connection = connect(socket_path(number), cookie, deadline)
    with connection:
        form = parse_setup(connection.setup)
        width, height, x, y = area or (form.width, form.height, 0, 0)
        if x + width > form.width or y + height > form.height:
            raise LaunchError(
                f"--crop goes beyond the screen of display {display}, which is {form.width}x{form.height}",
                hint="--crop takes WIDTHxHEIGHT+X+Y, in pixels from the upper left corner.",
            )
        request = struct.pack("<IhhHHI", form.root, x, y, width, height, ALL_PLANES)
        size = row_bytes(form, width) * height
        pixels = connection.ask(GET_IMAGE, Z_PIXMAP, request, size + -size % 4)[32:]
        palette = None
        if form.masks is None:
            request = struct.pack("<257I", form.colormap, *range(256))
            colours = connection.ask(QUERY_COLORS, 0, request, 8 * 256)[32:]
            palette = [colours[high::8] for high in (1, 3, 5)]  # of 16 bits each, the lower half first
    return width, to_rgb(pixels, replace(form, width=width, height=height), palette)


def parse_setup(setup: bytes) -> Format:
    """Parse what a server says of its first screen, see :attr:`anaheadless.x11.connection.Connection.setup`.

    :raises ValueError: it makes no sense; so do KeyError and struct.error.
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


def row_bytes(form: Format, width: int) -> int:
    """The bytes of a row of *width* pixels."""
    return -(-width * form.pixel_bytes * 8 // form.row_bits) * form.row_bits // 8


def to_rgb(pixels: bytes, form: Format, palette: Sequence[bytes] | None = None) -> list[bytes]:
    """*pixels* as rows of RGB triples, one byte each.

    :param palette: where *form* has no masks: the reds, the greens and the blues of the colormap's first 256 entries.
    """
    size = form.pixel_bytes
    stride = row_bytes(form, form.width)
    # No loop over pixels: a table for each byte, and the union of what they give.
    tables = [_tables(mask, size) for mask in form.masks or ()]
    rows = []
    for start in range(0, form.height * stride, stride):
        row = pixels[start : start + form.width * size]
        parts = [row[place::size] for place in range(size)]  # of each pixel, the lowest byte first
        if form.big_endian:
            parts.reverse()
        rgb = bytearray(3 * form.width)
        for channel in range(3):
            if form.masks is None:
                rgb[channel::3] = parts[0].translate((palette or ())[channel])
            else:
                found = 0
                for part, table in zip(parts, tables[channel]):
                    found |= int.from_bytes(part.translate(table), "little")
                rgb[channel::3] = found.to_bytes(form.width, "little")
        rows.append(bytes(rgb))
    return rows


def _tables(mask: int, size: int) -> list[bytes]:
    """For each byte of a pixel, and each value of it: what it adds to the channel of *mask*, as 8 bits.

    A narrower channel is repeated from its highest bit on, so that all bits set make 255.
    """
    sources = [bit for bit in range(8 * size) if mask >> bit & 1][::-1]
    wired = [(sources[place % len(sources)], 7 - place) for place in range(8)]
    return [
        bytes(
            sum((value >> bit - 8 * byte & 1) << out for bit, out in wired if bit // 8 == byte) for value in range(256)
        )
        for byte in range(size)
    ]
