"""Pixels are understood in every layout that an X server may have; what makes no sense is refused. No server runs."""

from __future__ import annotations

import contextlib
import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.x11.screenshot import Format, parse_setup, to_rgb

pytestmark = pytest.mark.any_server

RED_GREEN_BLUE = {
    "888": (4, (0xFF0000, 0x00FF00, 0x0000FF)),
    "888, the other way round": (4, (0x0000FF, 0x00FF00, 0xFF0000)),
    "888 in the upper bytes": (4, (0xFF000000, 0x00FF0000, 0x0000FF00)),
    "888, packed": (3, (0xFF0000, 0x00FF00, 0x0000FF)),
    "10 bits": (4, (0x3FF00000, 0x000FFC00, 0x000003FF)),
    "565": (2, (0xF800, 0x07E0, 0x001F)),
    "555": (2, (0x7C00, 0x03E0, 0x001F)),
    "444 in 4 bytes": (4, (0x0F00, 0x00F0, 0x000F)),
    "332": (1, (0xE0, 0x1C, 0x03)),
    "233, as Xvfb has it": (1, (0x07, 0x38, 0xC0)),
    "111": (1, (4, 2, 1)),
}


def rgb_of(pixel: bytes, form: Format) -> bytes:
    """The slow way to the colour of one pixel: bit by bit."""
    assert form.masks is not None
    value = int.from_bytes(pixel, "big" if form.big_endian else "little")
    found = []
    for mask in form.masks:
        bits = "".join(str(value >> place & 1) for place in range(31, -1, -1) if mask >> place & 1)
        found.append(int((bits * 8)[:8], 2))
    return bytes(found)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("row_bits", [8, 16, 32])
@pytest.mark.parametrize(("size", "masks"), RED_GREEN_BLUE.values(), ids=RED_GREEN_BLUE)
def test_pixels_become_red_green_and_blue(
    size: int, masks: tuple[int, int, int], row_bits: int, big_endian: bool
) -> None:
    for width in 1, 2, 3, 7, 32:
        form = Format(0, 0, width, 3, size, row_bits, big_endian, masks)
        stride = -(-width * size * 8 // row_bits) * row_bits // 8
        data = random.Random(width).randbytes(3 * stride) if width > 1 else b"\xff" * (3 * stride)
        rows = [data[start : start + width * size] for start in range(0, 3 * stride, stride)]
        expected = [b"".join(rgb_of(row[at : at + size], form) for at in range(0, len(row), size)) for row in rows]
        assert to_rgb(data, form) == expected
        if width == 1:
            assert expected == [b"\xff\xff\xff"] * 3


def test_known_pixels_become_known_colours() -> None:
    form = Format(0, 0, 1, 1, 4, 32, False, (0xFF0000, 0x00FF00, 0x0000FF))
    assert to_rgb(b"\x03\x02\x01\xff", form) == [b"\x01\x02\x03"]
    assert to_rgb(b"\xff\x01\x02\x03", replace(form, big_endian=True)) == [b"\x01\x02\x03"]
    form = replace(form, pixel_bytes=2, masks=(0xF800, 0x07E0, 0x001F))
    assert to_rgb(b"\x1f\xf8\0\0", form) == [b"\xff\x00\xff"]
    assert to_rgb(b"\x84\x10\0\0", replace(form, big_endian=True)) == [bytes((0b10000100, 0b10000010, 0b10000100))]


@pytest.mark.parametrize("big_endian", [False, True])
def test_pixels_of_a_colormap_are_looked_up(big_endian: bool) -> None:
    palette = [bytes((factor * value) % 256 for value in range(256)) for factor in (1, 3, 7)]
    form = Format(0, 0, 3, 2, 1, 32, big_endian, None)
    padding = b"\x63"
    pixels = bytes([0, 1, 2]) + padding + bytes([255, 128, 7]) + padding
    assert to_rgb(pixels, form, palette) == [
        bytes([0, 0, 0, 1, 3, 7, 2, 6, 14]),
        bytes([255, 253, 249, 128, 128, 128, 7, 21, 49]),
    ]


# What a server says of itself, in the words of the protocol: a vendor, the formats of pixmaps, and screens. A screen
# has depths, a depth has visuals, and one of the visuals is that of the root window.

STATIC_GRAY, GRAY_SCALE, STATIC_COLOR, PSEUDO_COLOR, TRUE_COLOR, DIRECT_COLOR = range(6)
ROOT, COLORMAP, ROOT_VISUAL, OTHER_VISUALS = 11, 22, 77, (76, 78)


def pixmap_format(depth: int, pixel_bits: int, row_bits: int) -> bytes:
    return struct.pack("<BBB5x", depth, pixel_bits, row_bits)


def visual(number: int, kind: int, *masks: int) -> bytes:
    bits_per_value, entries = 8, 256
    return struct.pack("<IBBHIII4x", number, kind, bits_per_value, entries, *masks)


def depth_with(depth: int, *visuals: bytes) -> bytes:
    return struct.pack("<BxH4x", depth, len(visuals)) + b"".join(visuals)


def screen_with(depth: int, *depths: bytes, size: tuple[int, int] = (321, 7)) -> bytes:
    white, black, event_masks, millimetres, installed_maps, backing, save_unders = 1, 0, 0, (80, 2), (1, 1), 0, 0
    numbers = ROOT, COLORMAP, white, black, event_masks, *size, *millimetres, *installed_maps, ROOT_VISUAL
    return struct.pack("<IIIIIHHHHHHIBBBB", *numbers, backing, save_unders, depth, len(depths)) + b"".join(depths)


def setup_with(vendor: bytes, formats: list[bytes], screens: list[bytes], *, big_endian: bool = False) -> bytes:
    release, first_identifier, identifier_mask, motion_buffer, longest_request = 1, 2, 3, 0, 65535
    bits_of_bitmaps, keycodes = (0, 32, 32), (8, 255)
    start = struct.pack(
        "<IIIIHHBBBBBBBB4x",
        *(release, first_identifier, identifier_mask, motion_buffer, len(vendor), longest_request),
        *(len(screens), len(formats), big_endian, *bits_of_bitmaps, *keycodes),
    )
    return start + vendor + bytes(-len(vendor) % 4) + b"".join(formats + screens)


def setup(vendor: bytes, *, kind: int = TRUE_COLOR, depth: int = 24, big_endian: bool = False) -> bytes:
    """A server with two screens, whose root window has the second visual of the second of three depths."""
    formats = [pixmap_format(*each) for each in ((1, 1, 32), (8, 8, 32), (16, 16, 16), (24, 32, 64))]
    before, after = visual(OTHER_VISUALS[0], TRUE_COLOR, 1, 2, 3), visual(OTHER_VISUALS[1], TRUE_COLOR, 7, 8, 9)
    own = visual(ROOT_VISUAL, kind, 4, 5, 6)
    screen = screen_with(depth, depth_with(1), depth_with(depth, before, own), depth_with(32, after))
    return setup_with(vendor, formats, [screen, screen], big_endian=big_endian)


@pytest.mark.parametrize("vendor", [b"", b"X", b"The X.Org Foundation", b"\xff" * 7])
def test_format_is_that_of_the_first_screen(vendor: bytes) -> None:
    expected = Format(ROOT, COLORMAP, 321, 7, 4, 64, False, (4, 5, 6))
    assert parse_setup(setup(vendor)) == expected
    assert parse_setup(setup(vendor, kind=DIRECT_COLOR)) == expected
    assert parse_setup(setup(vendor, big_endian=True)) == replace(expected, big_endian=True)
    assert parse_setup(setup(vendor, depth=16)) == replace(expected, pixel_bytes=2, row_bits=16)
    for kind in STATIC_GRAY, GRAY_SCALE, STATIC_COLOR, PSEUDO_COLOR:
        expected = Format(ROOT, COLORMAP, 321, 7, 1, 32, False, None)
        assert parse_setup(setup(vendor, kind=kind, depth=8)) == expected


@pytest.mark.parametrize(("pixel_bits", "row_bits", "width"), [(0, 32, 9), (32, 0, 9), (255, 32, 9), (32, 32, 40000)])
def test_screen_that_makes_no_sense_is_refused(pixel_bits: int, row_bits: int, width: int) -> None:
    formats = [pixmap_format(24, pixel_bits, row_bits)]
    with pytest.raises(ValueError, match="a screen of"):
        parse_setup(setup_with(b"", formats, [screen_with(24, size=(width, 9))]))


@given(st.binary())
def test_whatever_a_server_says_of_itself_is_read_or_refused(words: bytes) -> None:
    """screenshot.save() knows these errors."""
    with contextlib.suppress(ValueError, KeyError, struct.error):
        parse_setup(words)
