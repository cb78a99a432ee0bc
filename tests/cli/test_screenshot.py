"""``anaheadless screenshot``: what a program shows, also when it hangs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from PyQt5.QtGui import QColor, QImage

from tests.support.helpers import ANAHEADLESS, hanging, holding, run, wait_until


@pytest.mark.parametrize(
    ("depth", "pixel", "colour"),
    [(24, 0xFF8001, "#ff8001"), (16, 0b11111_100000_00001, "#ff8208"), (30, 0x3FF, "#0000ff")],
)
def test_a_program_that_hangs_can_be_looked_at(depth: int, pixel: int, colour: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    with hanging("--screen", f"321x123x{depth}", pixel=pixel) as process:
        output = run("screenshot", str(process.pid), picture)
        assert (output.returncode, output.stdout, output.stderr) == (0, "", "")
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (321, 123)
    assert {image.pixelColor(*place).name() for place in ((0, 0), (320, 0), (160, 60), (320, 122))} == {colour}


def test_a_part_of_the_screen_can_be_saved(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    code = (
        "from PyQt5.QtWidgets import *; app = QApplication([]); w = QWidget(); w.setStyleSheet('background: lime');"
        "w.setGeometry(40, 30, 20, 10); w.show(); print(flush=True); app.exec()"
    )
    command = [ANAHEADLESS, "run", "--gl", "none", "--screen", "200x100", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        name = str(process.pid)

        def taken() -> QImage:
            assert run("screenshot", "--crop", "21x10+40+30", name, picture).returncode == 0
            return QImage(str(picture))

        wait_until(lambda: taken().pixelColor(0, 0) == QColor("lime"), "painted")
        image = QImage(str(picture))
        assert (image.width(), image.height()) == (21, 10)
        assert image.pixelColor(19, 9) == QColor("lime")
        assert image.pixelColor(20, 5) == QColor("black")
        output = run("screenshot", "--crop", "200x100+1+0", name, tmp_path / "more.png")
        assert output.returncode == 125
        assert "which is 200x100" in output.stderr
        process.kill()
    for odd in "0x10+0+0", "10x10", "10x10+-1+0":
        assert run("screenshot", "--crop", odd, tmp_path / "more.png").returncode == 2
    assert not (tmp_path / "more.png").exists()


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with holding("--gl", "none") as session:
        output = run("screenshot", session.display, tmp_path / "gone" / "picture.png")
    assert output.returncode == 125
    assert output.stderr.startswith(f"anaheadless: can't save the picture: {tmp_path}/gone/picture.png: No such file")


@pytest.mark.parametrize("words", [(), ("a", "b", "c")])
def test_a_file_has_to_be_named(words: tuple[str, ...]) -> None:
    assert run("screenshot", *words).returncode == 2
