"""Pictures show what is on the screen, pixel by pixel, in every layout that a server may have."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless import virtual_display
from anaheadless.x11 import screenshot
from anaheadless.x11.screenshot import Format, parse_setup, to_rgb
from tests.support.displays import python
from tests.support.helpers import (
    holding,
    wait_until,
)
from tests.support.pictures import Colour, picture, pixel
from tests.support.x_client import painting

# --- pictures


def widened(value: int, bits: int) -> int:
    """A part of a colour, of that many bits, as 8 bits: as near to the same part of the whole as can be."""
    return value * 255 // ((1 << bits) - 1) if bits < 8 else value >> (bits - 8)


@pytest.mark.parametrize(
    ("depth", "bits"), [(24, (8, 8, 8)), (30, (10, 10, 10)), (16, (5, 6, 5)), (15, (5, 5, 5))], ids=[24, 30, 16, 15]
)
@pytest.mark.parametrize(("width", "height"), [(321, 7), (1, 1), (61, 60)])
def test_colours(depth: int, bits: Colour, width: int, height: int, tmp_path: Path) -> None:
    """Every pixel, at widths whose rows are padded: exact, or to the step of the depth."""
    random_ = random.Random(depth)
    with virtual_display(gl="none", screen=f"{width}x{height}x{depth}") as display, painting(display) as client:
        expected = bytearray()
        for y in range(height):
            for x in range(0, width, 20):
                colour = [random_.randrange(1 << size) for size in bits]
                client.paint((colour[0] << bits[1] | colour[1]) << bits[2] | colour[2], x, y, 20, 1)
                expected += bytes(map(widened, colour, bits)) * min(20, width - x)
        client.sync()
        display.screenshot(tmp_path / "x.png")
    found = picture(tmp_path / "x.png")
    assert found[:2] == (width, height)
    wrong = max(abs(a - b) for a, b in zip(found[2], expected))
    assert len(found[2]) == len(expected)
    assert wrong <= (1 if depth < 24 else 0)


@pytest.mark.parametrize("kind", [(), ("-cc", "3"), ("-cc", "1")], ids=["default", "PseudoColor", "GrayScale"])
def test_colours_of_a_colormap(kind: tuple[str, ...], tmp_path: Path) -> None:
    colours: list[Colour] = [(10, 200, 30), (255, 0, 0), (0, 0, 1), (254, 255, 255)]
    if "1" in kind:
        colours = [(100, 100, 100), (7, 7, 7), (255, 255, 255), (0, 0, 0)]
    with virtual_display(gl="none", screen="13x4x8", server_args=kind) as display, painting(display) as client:
        assert client.form.masks is None
        for y, colour in enumerate(colours):
            red, green, blue = colour
            client.paint(client.allocate(red * 257, green * 257, blue * 257), 0, y, 13, 1)
        client.sync()
        display.screenshot(tmp_path / "x.png")
    assert picture(tmp_path / "x.png") == (13, 4, b"".join(bytes(colour) * 13 for colour in colours))


def test_colours_of_eight_bits_without_a_colormap(tmp_path: Path) -> None:
    with virtual_display(gl="none", screen="5x3x8", server_args=("-cc", "4")) as display, painting(display) as client:
        masks = client.form.masks
        assert masks is not None
        for y, mask in enumerate(masks):
            client.paint(mask, 0, y, 5, 1)
        client.sync()
        display.screenshot(tmp_path / "x.png")
    expected = b"".join(bytes(255 * (channel == y) for channel in range(3)) * 5 for y in range(3))
    assert picture(tmp_path / "x.png") == (5, 3, expected)


def test_widget_that_qt_draws(tmp_path: Path) -> None:
    code = """
import sys
from PyQt5.QtWidgets import QApplication, QWidget
app = QApplication([])
widget = QWidget()
widget.setStyleSheet("background: rgb(10, 200, 30)")
widget.setGeometry(40, 30, 100, 50)
widget.show()
app.processEvents()
widget.repaint()
app.sync()
print("drawn", flush=True)
sys.stdin.read()
"""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        virtual_display(gl="none", screen="200x100") as display,
        subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-c", code], env=display.environ, **streams
        ) as process,
    ):
        try:
            assert process.stdout.readline() == "drawn\n"
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
            display.screenshot(tmp_path / "x.png")
        finally:
            process.kill()
    found = picture(tmp_path / "x.png")
    assert found[:2] == (200, 100)
    assert {pixel(found, x, y) for x, y in ((40, 30), (139, 79), (90, 50))} == {(10, 200, 30)}
    assert {pixel(found, x, y) for x, y in ((39, 30), (40, 29), (140, 79), (139, 80))} == {(0, 0, 0)}


def test_picture_of_a_stopped_target(tmp_path: Path) -> None:
    with holding("--gl", "none", "--screen", "70x50") as session:
        session.target.suspend()
        wait_until(lambda: session.target.status() == psutil.STATUS_STOPPED)
        screenshot.save(session.display, session.authority, str(tmp_path / "x.png"))
    assert picture(tmp_path / "x.png") == (70, 50, bytes(3 * 70 * 50))


def test_png_as_others_read_it(tmp_path: Path) -> None:
    with virtual_display(gl="none", screen="321x7") as display, painting(display) as client:
        client.paint(0x0AC81E, 320, 6, 1, 1)
        client.sync()
        display.screenshot(tmp_path / "x.png")
    code = """
import sys
from PyQt5.QtGui import QImage
image = QImage(sys.argv[1], "PNG")
print(image.width(), image.height(), image.hasAlphaChannel(), *(image.pixelColor(x, 6).name() for x in (320, 319)))
"""
    output = python("-c", code, tmp_path / "x.png")
    assert (output.stdout, output.stderr) == ("321 7 False #0ac81e #000000\n", "")


def test_where_pictures_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.png").write_bytes(b"x" * 100_000)
    with virtual_display(gl="none", screen="30x20") as display:
        for path in "a.png", Path("b.png"), tmp_path / "c.png", "old.png", os.fsdecode(b"\xff.png"):
            display.screenshot(path)
            assert picture(path) == (30, 20, bytes(3 * 30 * 20))
        for path in tmp_path / "missing" / "x.png", tmp_path, "/dev/full", "":
            with pytest.raises(OSError, match="Errno"):
                display.screenshot(path)
        with pytest.raises(TypeError):
            display.screenshot(None)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="null"):
            display.screenshot("a\0b.png")


# --- pixels, without a server


def value_of(pixel: bytes, form: Format) -> int:
    return int.from_bytes(pixel, "big" if form.big_endian else "little")


def part(value: int, mask: int) -> int:
    """The slow way to what a mask selects, in 8 bits."""
    bits = "".join(str(value >> place & 1) for place in range(31, -1, -1) if mask >> place & 1)
    return int((bits * 8)[:8], 2)


MASKS = {
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


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("row_bits", [8, 16, 32])
@pytest.mark.parametrize(("size", "masks"), MASKS.values(), ids=MASKS)
def test_pixels_as_rgb(size: int, masks: tuple[int, int, int], row_bits: int, big_endian: bool) -> None:
    for width in 1, 2, 3, 7, 32:
        form = Format(0, 0, width, 3, size, row_bits, big_endian, masks)
        stride = -(-width * size * 8 // row_bits) * row_bits // 8
        data = random.Random(width).randbytes(3 * stride) if width > 1 else b"\xff" * (3 * stride)
        expected = []
        for start in range(0, 3 * stride, stride):
            row = data[start : start + width * size]
            values = [value_of(row[at : at + size], form) for at in range(0, len(row), size)]
            expected.append(bytes(part(value, mask) for value in values for mask in masks))
        assert to_rgb(data, form) == expected
        if width == 1:
            assert expected == [b"\xff\xff\xff"] * 3


def test_known_pixels_as_rgb() -> None:
    form = Format(0, 0, 1, 1, 4, 32, False, (0xFF0000, 0x00FF00, 0x0000FF))
    assert to_rgb(b"\x03\x02\x01\xff", form) == [b"\x01\x02\x03"]
    assert to_rgb(b"\xff\x01\x02\x03", replace(form, big_endian=True)) == [b"\x01\x02\x03"]
    form = replace(form, pixel_bytes=2, masks=(0xF800, 0x07E0, 0x001F))
    assert to_rgb(b"\x1f\xf8\0\0", form) == [b"\xff\x00\xff"]
    assert to_rgb(b"\x84\x10\0\0", replace(form, big_endian=True)) == [bytes((0b10000100, 0b10000010, 0b10000100))]


@pytest.mark.parametrize("big_endian", [False, True])
def test_indexed_pixels_as_rgb(big_endian: bool) -> None:
    palette = [bytes((factor * value) % 256 for value in range(256)) for factor in (1, 3, 7)]
    form = Format(0, 0, 3, 2, 1, 32, big_endian, None)
    assert to_rgb(bytes([0, 1, 2, 99, 255, 128, 7, 99]), form, palette) == [
        bytes([0, 0, 0, 1, 3, 7, 2, 6, 14]),
        bytes([255, 253, 249, 128, 128, 128, 7, 21, 49]),
    ]


def setup(vendor: bytes, *, kind: int = 4, depth: int = 24, big_endian: bool = False) -> bytes:
    """What a server says of itself; its visual 77 is the second of the second of three depths."""

    def visual(number: int, kind: int, *masks: int) -> bytes:
        return struct.pack("<IBBHIII4x", number, kind, 8, 256, *masks)

    def depths(depth: int, *visuals: bytes) -> bytes:
        return struct.pack("<BxH4x", depth, len(visuals)) + b"".join(visuals)

    formats = [(1, 1, 32), (8, 8, 32), (16, 16, 16), (24, 32, 64)]
    screen = struct.pack("<IIIIIHHHHHHIBBBB", 11, 22, 1, 0, 0, 321, 7, 80, 2, 1, 1, 77, 0, 0, depth, 3)
    screen += (
        depths(1)
        + depths(depth, visual(76, 4, 1, 2, 3), visual(77, kind, 4, 5, 6))
        + depths(32, visual(78, 4, 7, 8, 9))
    )
    sizes = len(vendor), 65535, 2, len(formats), big_endian, 0, 32, 32, 8, 255
    start = struct.pack("<IIIIHHBBBBBBBB4x", 1, 2, 3, 0, *sizes)
    return start + vendor + bytes(-len(vendor) % 4) + b"".join(struct.pack("<BBB5x", *x) for x in formats) + screen * 2


@pytest.mark.parametrize("vendor", [b"", b"X", b"The X.Org Foundation", b"\xff" * 7])
def test_what_a_server_says_of_itself(vendor: bytes) -> None:
    expected = Format(11, 22, 321, 7, 4, 64, False, (4, 5, 6))
    assert parse_setup(setup(vendor)) == expected
    assert parse_setup(setup(vendor, kind=5)) == expected
    assert parse_setup(setup(vendor, big_endian=True)) == replace(expected, big_endian=True)
    assert parse_setup(setup(vendor, depth=16)) == replace(expected, pixel_bytes=2, row_bits=16)
    for kind in range(4):
        assert parse_setup(setup(vendor, kind=kind, depth=8)) == Format(11, 22, 321, 7, 1, 32, False, None)


@pytest.mark.parametrize(("pixel_bits", "row_bits", "width"), [(0, 32, 9), (32, 0, 9), (255, 32, 9), (32, 32, 40000)])
def test_screen_that_makes_no_sense(pixel_bits: int, row_bits: int, width: int) -> None:
    formats = struct.pack("<BBB5x", 24, pixel_bits, row_bits)
    screen = struct.pack("<II12xHH8xIxxBB", 1, 2, width, 9, 3, 24, 0)
    with pytest.raises(ValueError, match="a screen of"):
        screenshot.parse_setup(struct.pack("<16xHxxxBBxx8x", 0, 1, 0)[:32] + formats + screen)


@given(st.binary())
def test_odd_setup_of_a_server(setup: bytes) -> None:
    """screenshot.save() knows these errors."""
    with contextlib.suppress(ValueError, KeyError, struct.error):
        screenshot.parse_setup(setup)
