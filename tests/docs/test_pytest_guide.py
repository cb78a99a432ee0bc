"""What the guide to the pytest plugin shows, run by pytest with all the plugins that are installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from anaheadless.pytest_plugin import FOLDER
from tests.support.documentation import BLOCKS, shell


def run(home: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words = "".join(f"export {name}={value}; " for name, value in variables.items())
    return shell(f"unset PYTEST_XDIST_WORKER; {words}{command}", home)


def test_tests_run_on_a_display(home: Path) -> None:
    output = run(home, BLOCKS["pytest-run"].removeprefix("$ "))
    assert output.returncode == 0, output
    assert re.search(r"^headless: display :\d+, 1280x1024, OpenGL: .*\w", output.stdout, re.MULTILINE)
    assert " 1 passed" in output.stdout


@pytest.mark.skipif(importlib.util.find_spec("pytestqt") is None, reason="pytest-qt is not installed")
def test_file_and_fixture(home: Path) -> None:
    (home / "pytest.ini").write_text(f"{BLOCKS['pytest-ini']}\nqt_api = pyqt5\n")
    (home / "tests" / "test_window.py").write_text(BLOCKS["pytest-fixture"])
    output = run(home, "pytest tests/test_window.py")
    assert output.returncode == 0, output
    assert (home / "greeting.png").read_bytes().startswith(b"\x89PNG")
    output = run(home, "pytest --no-headless -p no:pytest-qt tests/test_display.py", DISPLAY=":987654")
    assert output.returncode == 0, output
    assert "headless: " not in output.stdout


def test_failed_test(home: Path) -> None:
    (home / "tests" / "test_window.py").write_text("def test_opens(): raise RuntimeError\n")
    output = run(home, "pytest --headless --headless-gl none tests")
    assert output.returncode == 1, output
    assert BLOCKS["pytest-failed"] in output.stdout
    assert (home / BLOCKS["pytest-failed"].splitlines()[-1]).exists()


@pytest.mark.needs("ffmpeg")
def test_film(home: Path) -> None:
    (home / "tests" / "test_window.py").write_text("def test_opens(): raise RuntimeError\n")
    output = run(home, "pytest --headless --headless-gl none --headless-film tests/test_window.py")
    assert BLOCKS["pytest-film"] in output.stdout
    assert (home / BLOCKS["pytest-film"].splitlines()[-1]).exists()


def test_github_job(home: Path) -> None:
    tests, upload = yaml.safe_load(BLOCKS["pytest-github"])
    (home / "tests" / "test_window.py").write_text("def test_opens(): raise RuntimeError\n")
    assert run(home, tests["run"]).returncode == 1
    assert upload["with"]["path"] == FOLDER
    assert len(list((home / FOLDER).glob("*.png"))) == 1


@pytest.mark.parametrize(
    ("variables", "said"), [({}, "1 skipped"), ({"TEST_WALL": "1"}, "1 passed")], ids=["display", "hook"]
)
def test_marker_and_hook(variables: dict[str, str], said: str, home: Path) -> None:
    (home / "tests" / "test_display.py").write_text(BLOCKS["pytest-marker"])
    (home / "tests" / "conftest.py").write_text(BLOCKS["pytest-hook"])
    output = run(home, "pytest --headless --headless-gl none --strict-markers tests", **variables)
    assert output.returncode == 0, output
    assert f" {said}" in output.stdout


@pytest.mark.skipif(importlib.util.find_spec("pytest_xvfb") is not None, reason="pytest-xvfb is installed")
def test_settings_of_pytest_xvfb(home: Path) -> None:
    (home / "pytest.ini").write_text(BLOCKS["from-pytest-xvfb"])
    (home / "tests" / "test_display.py").write_text("def test(display): assert display.size == (1920, 1080)\n")
    output = run(home, "pytest --strict-config tests")
    assert output.returncode == 0, output
    assert " 1 passed" in output.stdout
