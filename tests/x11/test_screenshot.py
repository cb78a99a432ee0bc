"""A screenshot shows what is on the screen, to the pixel and whatever the program does, in a file that others read."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from anaheadless.x11 import screenshot
from tests.support.displays import virtual_display
from tests.support.helpers import holding, run_python, wait_until
from tests.support.pictures import Colour, Picture, filled, read_png
from tests.support.x_client import painting

BLACK = (0, 0, 0)


def in_eight_bits(value: int, bits: int) -> int:
    """A part of a colour, of that many bits, as 8 bits: as near to the same part of the whole as can be."""
    return value * 255 // ((1 << bits) - 1) if bits < 8 else value >> (bits - 8)


@pytest.mark.parametrize(
    ("depth", "bits"), [(24, (8, 8, 8)), (30, (10, 10, 10)), (16, (5, 6, 5)), (15, (5, 5, 5))], ids=[24, 30, 16, 15]
)
@pytest.mark.parametrize(("width", "height"), [(321, 7), (1, 1), (61, 60)])
def test_every_pixel_has_its_colour(depth: int, bits: Colour, width: int, height: int, tmp_path: Path) -> None:
    """At widths whose rows are padded, too; in less than 24 bits, to the step of the depth."""
    random_ = random.Random(depth)
    step = 20  # pixels of one colour
    with virtual_display(gl="none", screen=f"{width}x{height}x{depth}") as display, painting(display) as painter:
        expected = bytearray()
        for y in range(height):
            for x in range(0, width, step):
                red, green, blue = [random_.randrange(1 << size) for size in bits]
                painter.fill((red << bits[1] | green) << bits[2] | blue, x, y, step, 1)
                expected += bytes(map(in_eight_bits, (red, green, blue), bits)) * min(step, width - x)
        painter.wait_until_painted()
        display.screenshot(tmp_path / "x.png")
    found = read_png(tmp_path / "x.png")
    assert found.size == (width, height)
    assert len(found.rgb) == len(expected)
    assert max(abs(a - b) for a, b in zip(found.rgb, expected)) <= (1 if depth < 24 else 0)


@pytest.mark.parametrize("kind", [(), ("-cc", "3"), ("-cc", "1")], ids=["default", "PseudoColor", "GrayScale"])
def test_colours_of_a_colormap_are_looked_up(kind: tuple[str, ...], tmp_path: Path) -> None:
    colours: list[Colour] = [(10, 200, 30), (255, 0, 0), (0, 0, 1), (254, 255, 255)]
    if "1" in kind:
        colours = [(100, 100, 100), (7, 7, 7), (255, 255, 255), (0, 0, 0)]
    with virtual_display(gl="none", screen="13x4x8", server_args=kind) as display, painting(display) as painter:
        assert painter.screen.masks is None
        for y, (red, green, blue) in enumerate(colours):
            painter.fill(painter.allocate_colour(red * 257, green * 257, blue * 257), 0, y, 13, 1)
        painter.wait_until_painted()
        display.screenshot(tmp_path / "x.png")
    assert read_png(tmp_path / "x.png") == Picture(13, 4, b"".join(bytes(colour) * 13 for colour in colours))


def test_eight_bits_need_no_colormap(tmp_path: Path) -> None:
    """A row in the whole of red, of green, and of blue."""
    with virtual_display(gl="none", screen="5x3x8", server_args=["-cc", "4"]) as display, painting(display) as painter:
        assert painter.screen.masks is not None
        for y, mask in enumerate(painter.screen.masks):
            painter.fill(mask, 0, y, 5, 1)
        painter.wait_until_painted()
        display.screenshot(tmp_path / "x.png")
    colours = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert read_png(tmp_path / "x.png") == Picture(5, 3, b"".join(bytes(colour) * 5 for colour in colours))


def test_widget_of_a_stopped_program_is_shown(tmp_path: Path) -> None:
    code = """
import sys
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication, QWidget
app = QApplication([])
widget = QWidget()
widget.setStyleSheet("background: rgb(10, 200, 30)")
widget.setGeometry(40, 30, 100, 50)
widget.show()
assert QTest.qWaitForWindowExposed(widget, 20000)
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
    found = read_png(tmp_path / "x.png")
    inside, outside = ((40, 30), (139, 79), (90, 50)), ((39, 30), (40, 29), (140, 79), (139, 80))
    assert found.size == (200, 100)
    assert {found.colour_at(x, y) for x, y in inside} == {(10, 200, 30)}
    assert {found.colour_at(x, y) for x, y in outside} == {BLACK}


@pytest.mark.server("xvfb", "xwayland", "xvnc")
def test_screen_of_a_stopped_program_is_shown(tmp_path: Path) -> None:
    with holding("--gl", "none", "--screen", "70x50") as session:
        session.target.suspend()
        wait_until(lambda: session.target.status() == psutil.STATUS_STOPPED)
        screenshot.save(session.display, session.authority, str(tmp_path / "x.png"))
    assert read_png(tmp_path / "x.png") == filled(70, 50, BLACK)


def test_other_programs_read_the_file(tmp_path: Path) -> None:
    with virtual_display(gl="none", screen="321x7") as display, painting(display) as painter:
        painter.fill(0x0AC81E, 320, 6, 1, 1)
        painter.wait_until_painted()
        display.screenshot(tmp_path / "x.png")
    code = """
import sys
from PyQt5.QtGui import QImage
image = QImage(sys.argv[1], "PNG")
print(image.width(), image.height(), image.hasAlphaChannel(), *(image.pixelColor(x, 6).name() for x in (320, 319)))
"""
    output = run_python("-c", code, tmp_path / "x.png")
    assert (output.stdout, output.stderr) == ("321 7 False #0ac81e #000000\n", "")


def test_any_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is replaced if it is there; what can't be written is refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.png").write_bytes(b"x" * 100_000)
    with virtual_display(gl="none", screen="30x20") as display:
        for path in "a.png", Path("b.png"), tmp_path / "c.png", "old.png", os.fsdecode(b"\xff.png"):
            taken = display.screenshot(path)
            assert taken == Path(path).read_bytes() == display.screenshot()
            assert read_png(path) == filled(30, 20, BLACK)
        for path in tmp_path / "missing" / "x.png", tmp_path, "/dev/full", "":
            with pytest.raises(OSError, match="Errno"):
                display.screenshot(path)
        with pytest.raises(ValueError, match="null"):
            display.screenshot("a\0b.png")
