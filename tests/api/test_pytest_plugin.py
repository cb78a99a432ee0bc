"""The pytest plugin, in real runs of pytest: which display the tests get, and what is kept of those that fail."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from anaheadless.pytest_plugin import file_name
from tests.support.helpers import run as run_anything
from tests.support.helpers import run_python, wait_until, write_program
from tests.support.pictures import read_png

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]
PATIENCE = 120.0  # for a whole run
DESKTOP = ":987654"  # nobody's
WITHOUT_OPENGL = "--headless-gl=none"
PICTURES = Path("headless-screenshots")

# A red window in the upper left corner, and a test that fails while it can be seen.
RED_WINDOW = """\
import pytest
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication, QWidget

application = QApplication([])

@pytest.fixture
def window():
    window = QWidget()
    window.setWindowTitle("Rot, größer")
    window.setStyleSheet("background: #ff0000")
    window.setGeometry(10, 20, 300, 200)
    window.show()
    assert QTest.qWaitForWindowExposed(window, 30000)
    QTest.qWait(0)
    window.repaint()
    application.sync()
    yield window
    window.close()
"""


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on what looks like a desktop, with our plugin and those that are named."""
    for name in "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS", "ANAHEADLESS_SESSION":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("DISPLAY", DESKTOP)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-987654")
    monkeypatch.setenv("QT_QPA_PLATFORM", "wayland;xcb")

    def run(*args: str, plugins: tuple[str, ...] = ()) -> pytest.RunResult:
        chosen = [word for name in ("anaheadless", *plugins) for word in ("-p", name)]
        return pytester.runpytest_subprocess(*chosen, "-p", "no:cacheprovider", *args, timeout=PATIENCE)

    return run


def test_nothing_is_started_or_imported_unless_it_is_asked_for(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        f"""
        import os, sys, pytest

        def test_environment():
            assert os.environ["DISPLAY"] == {DESKTOP!r}
            assert "ANAHEADLESS_SESSION" not in os.environ
            assert not [name for name in sys.modules if name.startswith(("anaheadless.api", "anaheadless.session"))]

        def test_display(display):
            raise AssertionError

        @pytest.mark.no_headless
        def test_desktop():
            pass
        """
    )
    result = run("-rs", "--strict-markers")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*there is no virtual display: pytest --headless starts one*"])
    result.stdout.no_fnmatch_line("headless: *")


@pytest.mark.parametrize("order", [("other",), ()], ids=["before us", "after us"])
def test_another_plugin_may_have_an_option_headless(
    order: tuple[str, ...], pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that plugin's then, and the ini file asks for the display."""
    pytester.makepyfile(other="def pytest_addoption(parser): parser.addoption('--headless', action='store_true')")
    pytester.makepyfile(
        """
        import os
        def test(pytestconfig): assert (pytestconfig.option.headless, os.environ["DISPLAY"]) == (True, ":987654")
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    if not order:
        monkeypatch.setenv("PYTEST_PLUGINS", "other")
    words = [word for name in order for word in ("-p", name)]
    run(*words, "--headless").assert_outcomes(passed=1)
    run(*words, "-o", "headless=true", WITHOUT_OPENGL, "--headless").assert_outcomes(failed=1)


def test_display_is_there_before_the_first_conftest_is_imported(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest("import os\nat_import = dict(os.environ)\n")
    pytester.makepyfile(
        RED_WINDOW
        + """
import os, conftest

def test_display(display, window, tmp_path):
    assert conftest.at_import["DISPLAY"] == os.environ["DISPLAY"] == display.display == f":{display.number}"
    assert "WAYLAND_DISPLAY" not in os.environ
    assert application.platformName() == "xcb"
    size = application.primaryScreen().size()
    assert (size.width(), size.height()) == display.size == (640, 480)
    found, = display.windows()
    assert (found.title, found.x, found.y) == ("Rot, größer", 10, 20)
    assert (found.width, found.height) == (300, 200)
    display.screenshot(tmp_path / "screen.png")
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\\x89PNG")
"""
    )
    result = run("--headless", "--headless-screen=640x480")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.re_match_lines([r"headless: display :\d+, 640x480, OpenGL: \w+"])
    assert not PICTURES.exists()


def test_windows_become_active_with_a_window_manager(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeini("[pytest]\nheadless_wm = focus\n")
    pytester.makepyfile(
        RED_WINDOW
        + """
def test_active(window):
    assert QTest.qWaitForWindowActive(window, 30000)
"""
    )
    run("--headless", WITHOUT_OPENGL).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("ini", "args", "said"),
    [
        ("headless = true\nheadless_screen = 640x480\nheadless_dpi = 123", (), (640, 480, 123)),
        (
            "headless = true\nheadless_screen = 640x480",
            ("--headless-screen=320x200", "--headless-dpi=50"),
            (320, 200, 50),
        ),
        ("headless_server_arg = -dpi 77", ("--headless",), (1280, 1024, 77)),
        ("headless = true", ("--no-headless",), None),
        ("headless = true\nxvfb_width = 700\nxvfb_args = -dpi 88", (), (700, 600, 88)),
        (
            "headless = true\nxvfb_width = 700\nxvfb_height = 500\nheadless_screen = 300x200\nheadless_dpi = 120",
            (),
            (300, 200, 120),
        ),
        ("headless = true", ("--no-xvfb",), None),
    ],
    ids=["file", "both", "arguments", "no-headless", "xvfb", "screen-before-xvfb", "no-xvfb"],
)
def test_options_of_the_file_and_of_the_command_line(
    ini: str, args: tuple[str, ...], said: tuple[int, int, int] | None, pytester: pytest.Pytester, run: Run
) -> None:
    if importlib.util.find_spec("pytest_xvfb") and "xvfb" in f"{ini} {args}":
        pytest.skip("pytest-xvfb is installed: the names are its own")
    pytester.makeini(f"[pytest]\n{ini}\nheadless_gl = none\n")
    pytester.makepyfile(
        f"""
        import os

        def test_screen():
            if os.environ["DISPLAY"] == {DESKTOP!r}:
                assert {said!r} is None
                return
            from PyQt5.QtWidgets import QApplication
            application = QApplication([])
            size, millimetres = application.primaryScreen().size(), application.primaryScreen().physicalSize()
            width, height, dpi = {said!r}
            assert (size.width(), size.height()) == (width, height)
            assert abs(size.width() / millimetres.width() * 25.4 - dpi) < 2
        """
    )
    result = run(*args, "--strict-config")
    result.assert_outcomes(passed=1)


@needs("xdist")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--headless-screen=huge", "*--headless-screen: 'huge' is not WIDTHxHEIGHT*"),
        ("--headless-server-arg=-nonsense", "*the X server ended before it was ready*"),
    ],
)
def test_what_can_not_be_started_is_reported_once(
    option: str, said: str, workers: tuple[str, ...], pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile("def test(): raise AssertionError")
    result = run("--headless", WITHOUT_OPENGL, option, *workers, plugins=("xdist",))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])
    assert "Traceback" not in result.stderr.str()


@needs("xdist")
@pytest.mark.parametrize("inside", [False, True], ids=["on-its-own", "in-a-worker"])
def test_each_worker_has_a_display_of_its_own_and_the_controller_none(
    inside: bool, pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if inside:  # as where a test, which a worker runs, runs pytest
        monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7")
    pytester.makeconftest(
        f"""
        import os

        def pytest_sessionfinish(session):
            if not hasattr(session.config, "workerinput"):
                assert os.environ["DISPLAY"] == {DESKTOP!r}
        """
    )
    pytester.makepyfile(
        test_inner="""
        import os, pathlib

        def test_display(worker_id, display):
            pathlib.Path(worker_id).write_text(os.environ["DISPLAY"])
            raise AssertionError
        """
    )
    result = run(
        "--headless", WITHOUT_OPENGL, "--dist=each", "--tx=2*popen", "--junitxml=report.xml", plugins=("xdist",)
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["headless: a display for each worker"])
    displays = {Path(name).read_text() for name in ("gw0", "gw1")}
    assert len(displays) == 2
    assert DESKTOP not in displays
    assert linked("report.xml") == {"test_display": 2 * [str(PICTURES / "test_inner.py--test_display.png")]}


def linked(report: str, kind: str = "screenshot") -> dict[str, list[str]]:
    """The screenshots or films that a JUnit file names, by the tests that have some."""
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        for each in case.iter("property"):
            if each.attrib["name"] == kind:
                found.setdefault(case.attrib["name"], []).append(each.attrib["value"])
    return found


def test_every_failed_test_leaves_a_picture_of_what_it_had_on_the_screen(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_inner=RED_WINDOW
        + """
@pytest.fixture
def failing_set_up(window):
    raise RuntimeError

@pytest.fixture
def failing_tear_down():
    yield
    raise RuntimeError

def test_good(window):
    pass

def test_bad(window):
    raise RuntimeError

def test_set_up(failing_set_up):
    pass

def test_both(failing_tear_down):
    raise RuntimeError

@pytest.mark.xfail
def test_expected():
    raise RuntimeError
"""
    )
    PICTURES.mkdir()
    old = PICTURES / "test_inner.py--test_good.png"
    old.write_text("of an earlier run")
    result = run("--headless", WITHOUT_OPENGL, "--headless-screen=400x300", "--junitxml=report.xml")
    result.assert_outcomes(passed=1, failed=2, errors=2, xfailed=1)
    names = {
        "test_bad": ["test_bad"],
        "test_set_up": ["test_set_up-setup"],
        "test_both": ["test_both", "test_both-teardown"],
    }
    files = {name: [str(PICTURES / f"test_inner.py--{each}.png") for each in names[name]] for name in names}
    assert {str(path) for path in PICTURES.iterdir()} == {path for paths in files.values() for path in paths}
    # A JUnit file has a case for the test, and another one for its tear-down.
    assert linked("report.xml") == {**files, "test_both": [files["test_both"][0], *files["test_both"]]}
    result.stdout.fnmatch_lines(["*- Screenshot -*", files["test_bad"][0]])
    for path, colour in (files["test_bad"][0], (255, 0, 0)), (files["test_both"][0], (0, 0, 0)):
        picture = read_png(path)
        assert picture.size == (400, 300)
        assert picture.colour_at(150, 100) == colour


def test_picture_that_can_not_be_taken_is_reported(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("def test(): raise RuntimeError")
    PICTURES.write_text("a file, and no folder")
    result = run("--headless", WITHOUT_OPENGL)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["none: *headless-screenshots*"])


@pytest.mark.needs("ffmpeg")
def test_films_of_failed_tests_are_kept(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_inner=RED_WINDOW
        + """
@pytest.fixture
def failing_tear_down():
    yield
    QTest.qWait(200)
    raise RuntimeError

def test_good(window):
    pass

@pytest.mark.skipif(True, reason="not here")
def test_skipped():
    pass

def test_bad(window):
    QTest.qWait(200)
    raise RuntimeError

def test_tear_down(window, failing_tear_down):
    pass
"""
    )
    PICTURES.mkdir()
    (PICTURES / "test_inner.py--test_good.mp4").write_text("of an earlier run")
    words = ("--headless", WITHOUT_OPENGL, "--headless-screen=400x300", "--headless-film", "--junitxml=report.xml")
    plugins = ("html", "html_fixtures", "metadata") if importlib.util.find_spec("pytest_html") else ()
    result = run(*words, *(["--html=report.html"] if plugins else []), plugins=plugins)
    result.assert_outcomes(passed=2, failed=1, errors=1, skipped=1)
    films = {name: str(PICTURES / f"test_inner.py--{name}.mp4") for name in ("test_bad", "test_tear_down")}
    assert {str(path) for path in PICTURES.glob("*.mp4")} == set(films.values())
    # A JUnit file has a case for the test, and another one for its tear-down.
    assert {name: set(paths) for name, paths in linked("report.xml", "film").items()} == {
        name: {path} for name, path in films.items()
    }
    result.stdout.fnmatch_lines(["*- Film -*", films["test_bad"]])
    for path in films.values():  # of each picture, what is in the window
        command = ["ffmpeg", "-v", "error", "-i", path, "-vf", "crop=8:8:150:100,scale=1:1", "-pix_fmt", "rgb24"]
        pixels = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
        colours = [pixels[place : place + 3] for place in range(0, len(pixels), 3)]
        assert any(red > 240 and green < 15 and blue < 15 for red, green, blue in colours)
    if plugins:
        (asset,) = Path("assets").glob("*test_bad*.mp4")
        assert asset.read_bytes() == Path(films["test_bad"]).read_bytes()
        assert str(asset) in Path("report.html").read_text()


@pytest.mark.needs("ffmpeg")
def test_the_film_of_a_test_that_ends_everything_is_kept(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_inner=f"""
        import os, pathlib, signal, time

        def test():
            film = pathlib.Path({str(PICTURES / "test_inner.py--test.mp4")!r})
            size = film.stat().st_size
            while film.stat().st_size == size:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert run("--headless", WITHOUT_OPENGL, "--headless-film").ret == -signal.SIGKILL
    film = PICTURES / "test_inner.py--test.mp4"
    wait_until(
        lambda: (
            not [
                each for each in psutil.process_iter(["cmdline"]) if str(film.resolve()) in (each.info["cmdline"] or [])
            ]
        )
    )
    assert run_anything("-v", "error", "-i", str(film), "-f", "null", "-", command="ffmpeg").returncode == 0


@pytest.mark.parametrize(
    ("option", "path", "said"),
    [
        ("--headless-screen=64x48x8", None, "*--headless-film needs a screen of 15, 16 or 24 bits*"),
        ("--headless-screen=64x48", "", "*ffmpeg is not installed*"),
    ],
)
def test_what_can_not_be_filmed_is_said_before_the_tests(
    option: str, path: str | None, said: str, pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile("def test(): raise AssertionError")
    pytester.makeini("[pytest]\nheadless = true\nheadless_film = true\n")
    if path is not None:
        monkeypatch.setenv("PATH", path)
    result = run(WITHOUT_OPENGL, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_film_that_can_not_be_recorded_is_reported(
    pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(pytester.path / "bin" / "ffmpeg", "echo no x264 >&2; exit 1")
    monkeypatch.setenv("PATH", f"{pytester.path}/bin:{os.environ['PATH']}")
    pytester.makepyfile("def test_good(): pass\ndef test_bad(): raise RuntimeError")
    result = run("--headless", WITHOUT_OPENGL, "--headless-film", "--junitxml=report.xml")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*- Film -*", "none: anaheadless: the film can't be recorded: no x264"])
    assert linked("report.xml", "film") == {}


@needs("pytest_html", "pytestqt", "pytest_asyncio", "xdist")
def test_works_with_the_plugins_that_people_use(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_inner="""
        import asyncio, pytest

        def test_qt(qtbot, display):
            from PyQt5.QtWidgets import QLabel
            label = QLabel()
            qtbot.addWidget(label)
            with qtbot.waitExposed(label):
                label.show()
            assert display.windows() == []

        @pytest.mark.asyncio
        async def test_asyncio(display):
            await asyncio.sleep(0)
            assert display.windows()
        """
    )
    pytester.makeini("[pytest]\nqt_api = pyqt5\nasyncio_default_fixture_loop_scope = function\n")
    plugins = ("xdist", "pytest-qt", "asyncio", "html", "html_fixtures", "metadata")
    result = run("--headless", WITHOUT_OPENGL, "-n", "2", "--html=report.html", plugins=plugins)
    result.assert_outcomes(failed=2)
    page = Path("report.html").read_text()
    for name in "test_qt", "test_asyncio":
        assert (PICTURES / f"test_inner.py--{name}.png").exists()
        (asset,) = Path("assets").glob(f"*{name}*.png")
        assert read_png(asset).size == (1280, 1024)
        assert str(asset) in page


def test_marker_and_hook_keep_tests_off_the_display(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        f"""
        import os, pytest

        @pytest.mark.no_headless
        def test_marked():
            assert os.environ["DISPLAY"] == {DESKTOP!r}

        @pytest.mark.no_xvfb
        def test_marked_for_another_plugin():
            assert os.environ["DISPLAY"] == {DESKTOP!r}
        """
    )
    result = run("--headless", WITHOUT_OPENGL, "--strict-markers")
    result.assert_outcomes(skipped=2)
    pytester.makeconftest("def pytest_headless_disable(config): return config.rootpath.exists()")
    result = run("--headless", WITHOUT_OPENGL, "--strict-markers")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("headless: *")


def test_pytest_xvfb_beside_it_starts_no_second_server(
    pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real one would start a server for our own tests, too: this is a double."""
    pytester.makepyfile(
        pytest_xvfb="""
        class Hooks:
            def pytest_xvfb_disable(self, config): ...

        def pytest_addoption(parser):
            parser.addoption("--no-xvfb", action="store_true")
            for name, default in ("width", "800"), ("height", "600"), ("colordepth", "16"):
                parser.addini(f"xvfb_{name}", name, default=default)
            parser.addini("xvfb_args", "arguments", type="args")

        def pytest_addhooks(pluginmanager):
            pluginmanager.add_hookspecs(Hooks)

        def pytest_configure(config):
            if not any(config.hook.pytest_xvfb_disable(config=config)):
                raise RuntimeError("a second server")
        """,
        test_inner="""
        def test(display):
            assert display.size == (1920, 600)
        """,
    )
    pytester.makeini("[pytest]\nxvfb_width = 1920\n")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    result = run("--headless", WITHOUT_OPENGL, "test_inner.py", plugins=("pytest_xvfb",))
    result.assert_outcomes(passed=1)
    result = run("test_inner.py", plugins=("pytest_xvfb",))
    assert "a second server" in result.stderr.str() + result.stdout.str()


def test_run_inside_a_program_gives_its_environment_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_inner.py").write_text("def test(display): print('on display', display.display)\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "conftest.py").write_text("raise RuntimeError\n")
    program = f"""
import os, pytest
from anaheadless.session import discovery
before = dict(os.environ)
for folder, expected in ("test_inner.py", 0), ("test_inner.py", 0), ("broken", 4):
    assert pytest.main(["-s", "-p", "anaheadless", "--headless", "{WITHOUT_OPENGL}", folder]) == expected
    assert {{**os.environ, "PYTEST_VERSION": ""}} == {{**before, "PYTEST_VERSION": ""}}
    assert not [each for each in discovery.sessions() if each.target == os.getpid()]
"""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS":
        monkeypatch.delenv(name, raising=False)
    result = run_python("-c", program, cwd=tmp_path, timeout=PATIENCE)
    assert result.returncode == 0, result
    assert len(re.findall(r"on display :\d+", result.stdout)) == 2


@pytest.mark.parametrize(
    "test", ["tests/test_a.py::Test::test_b[1-x]", "a.py::b[a/b:c]", "a.py::b[a/b;c]", "../é.py::t", "t" * 999]
)
def test_file_names_are_safe_everywhere(test: str) -> None:
    name = file_name(test)
    assert re.fullmatch(r"[A-Za-z0-9_.,=+\[\]-]{1,220}", name)
    assert name != file_name(f"{test}2")
