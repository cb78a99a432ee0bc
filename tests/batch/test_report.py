"""The report about a map: a page in one file, seen in a real browser."""

from __future__ import annotations

import base64
import html
import re
import subprocess
from pathlib import Path

import pytest
from PyQt5.QtGui import QImage

from anaheadless.batch import report, thumbnails
from tests.support.maps import Maps

DRAW = """
import sys, time
from PyQt5.QtGui import QImage, qRgb
name, path = sys.argv[1:]
if name == "bad<b>":
    raise ValueError("no <such> brain")
if name == "hangs":
    time.sleep(1000)
image = QImage(600, 400, QImage.Format_RGB32)
image.fill(qRgb(0, 200, 0))
image.save(path)
"""


@pytest.fixture
def reported(maps: Maps) -> Maps:
    (maps.folder / "pages").mkdir()
    args = (
        "--expect",
        "{#}.png",
        "--timeout",
        "2s",
        "--report",
        "pages/report.html",
        maps.script(DRAW),
        "{}",
        "{#}.png",
    )
    maps.run(*args, ":::", "a & b", "bad<b>", "hangs", "c", status=1)
    return maps


def dom(page: Path, fragment: str = "") -> str:
    """What a browser has made of a page."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent}/profile"]
    url = page.as_uri() + fragment
    return subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.needs("chromium")
def test_a_browser_shows_all_or_what_is_asked_for(reported: Maps) -> None:
    page = reported.folder / "pages" / "report.html"
    everything = dom(page)
    assert re.findall(r'<figure data-result="(\w+)">', everything) == ["ok", "failed", "timeout", "ok"]
    failed = dom(page, "#failed")
    assert re.findall(r'<figure data-result="(\w+)">', failed) == ["failed"]
    assert re.findall(r'<figure data-result="(\w+)" hidden="">', failed) == ["ok", "timeout", "ok"]
    assert len(re.findall(r'aria-pressed="true">failed \(1\)</button>', failed)) == 1


def test_it_tells_what_came_of_each_and_why(reported: Maps) -> None:
    text = (reported.folder / "pages" / "report.html").read_text()
    assert "2 of 4 items are done, 1 failed, 1 timeout" in text
    assert html.escape("ValueError: no <such> brain") in text
    assert "<b>" not in text
    assert text.count("data:image/png;base64,") == 3  # two pictures, and the display of what hung
    assert [(reported.folder / "pages" / link).exists() for link in re.findall(r'href="([^"]+)"', text)] == [True] * 3
    assert "http://" not in text
    assert "https://" not in text


def test_it_can_not_be_written(reported: Maps) -> None:
    output = reported.run("--report", "nowhere/r.html", "--no-resume", "-c", "pass", ":::", "a", status=125)
    assert "can't write the report: nowhere/r.html: No such file or directory" in output.stderr


def test_thumbnails_are_small_and_only_of_pictures(tmp_path: Path) -> None:
    paths = []
    for number, (width, height) in enumerate([(1000, 500), (10, 20), (9000, 1)]):
        paths.append(str(tmp_path / f"{number}\n\udcff.png"))
        image = QImage(width, height, QImage.Format_RGB32)
        image.fill(number)
        Path(paths[-1]).write_bytes(b"")
        assert image.save(str(tmp_path / "x.png"))
        (tmp_path / "x.png").rename(paths[-1])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(Path(paths[0]).read_bytes()[:60])
    made = thumbnails.make([*paths, str(tmp_path / "text.png"), str(tmp_path / "cut.png"), str(tmp_path / "none.png")])
    sizes = []
    for path in paths:
        image = QImage.fromData(base64.b64decode(made.pop(path).partition(",")[2]))
        sizes.append((image.width(), image.height()))
    assert sizes == [(240, 120), (10, 20), (240, 1)]
    assert set(made) <= {str(tmp_path / "cut.png")}


@pytest.mark.parametrize("seconds", [[], [0.0], [0.1, 0.1, 5.0], [3.0] * 1000])
def test_durations_are_bars(seconds: list[float]) -> None:
    text = report.durations(seconds)
    assert sum(int(count) for count in re.findall(r"<title>(\d+):", text)) == len(seconds)
    assert "nan" not in text
