"""The pytest plugin: one display for each test run, and a screenshot of each failed test, if that is asked for.

pytest imports this module wherever anaheadless is installed. Without ``--headless``, it only declares its options.
"""

from __future__ import annotations

import argparse
import base64
import copy
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anaheadless.options import FLAG, IN_PROCESS, LIST, Option, Options, Screen, build, parse_screen

if TYPE_CHECKING:
    from anaheadless.api.suite_display import SuiteDisplay
    from anaheadless.api.virtual_display import VirtualDisplay

FOLDER = "headless-screenshots"
FILM = "Also film each test with ffmpeg, and keep the films of failed tests."
ASKED = "Run the tests on a virtual display, one for each worker of xdist."
# The options of pytest-xvfb, and their defaults. Its depth counts as not given: OpenGL finds no visual below 24.
XVFB_SCREEN = {"xvfb_width": "800", "xvfb_height": "600", "xvfb_colordepth": "16"}

FILMS = "anaheadless-films"
_RUNNING: pytest.StashKey[SuiteDisplay] = pytest.StashKey()
ASKED_BY = "anaheadless"  # where the flags store their value: other plugins may have a ``headless`` of their own
_LONGEST_NAME = 200  # bytes; a file name may have 255


class Hooks:
    """The hook that this plugin offers."""

    def pytest_headless_disable(self, config: pytest.Config) -> bool:  # type: ignore[empty-body]
        """Return true to run the tests on the regular display, in spite of ``--headless``."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    group = parser.getgroup("anaheadless", "virtual display (anaheadless)")
    parser.addini("headless", ASKED, "bool", default=False)
    where = "Folder for the screenshots of failed tests, relative to pytest's root folder."
    group.addoption("--headless-screenshots", metavar="FOLDER", help=f"{where} Default: {FOLDER}.")
    parser.addini("headless_screenshots", where, default=FOLDER)
    group.addoption("--headless-film", action="store_true", default=None, help=FILM)
    parser.addini("headless_film", FILM, "bool", default=False)
    for option in IN_PROCESS:
        how: dict[str, Any] = {"action": "append" if option.kind is LIST else "store", "metavar": option.kind.metavar}
        group.addoption(
            f"--headless-{option.name}",
            default=None,
            help=option.help.replace("--server-arg", "--headless-server-arg").replace("%", "%%"),
            **({"action": "store_true"} if option.kind is FLAG else how),
        )
        kind: Any = {FLAG: "bool", LIST: "args"}.get(option.kind)
        parser.addini(ini_name(option), option.help, kind, default=None)
    # pytest-xvfb would fail where its options are known already.
    if pluginmanager.is_blocked("xvfb") or importlib.util.find_spec("pytest_xvfb") is None:
        group.addoption("--no-xvfb", action="store_true", help="The same as --no-headless, as with pytest-xvfb.")
        for name, default in XVFB_SCREEN.items():
            parser.addini(name, "A part of headless_screen, as with pytest-xvfb.", default=default)
        parser.addini("xvfb_args", "The same as headless_server_arg, as with pytest-xvfb.", "args")


def _add_flags(parser: pytest.Parser) -> None:
    """Declare --headless and --no-headless, unless another plugin has an option of that name (SeleniumBase, Dash)."""
    group = parser.getgroup("anaheadless")
    flags = {"--headless": ("store_true", ASKED), "--no-headless": ("store_false", "Use the regular display.")}
    for name, (action, text) in flags.items():
        if name in parser.parse_known_and_unknown_args([name])[1]:
            group.addoption(name, action=action, dest=ASKED_BY, default=None, help=text)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    """Start the display before anything can import Qt: a conftest.py, or pytest-qt."""
    # Only now are the options of all plugins known; two that declare the same one would keep pytest from starting.
    _add_flags(parser)
    given = parser.parse_known_args(args, namespace=copy.copy(early_config.known_args_namespace))
    # Whether this is a worker of xdist, pytest knows only later. Whatever is wrong here, pytest_configure puts right.
    if _is_wanted(early_config, given) and ("PYTEST_XDIST_WORKER" in os.environ or not _has_workers(given)):
        _start(early_config, given)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for name in "no_headless", "no_xvfb":
        config.addinivalue_line("markers", f"{name}: skip the test if it would run on a virtual display.")
    # By now, the hooks of each conftest.py are known, and xdist has decided.
    wanted, has_workers = _is_wanted(config, config.option), _has_workers(config.option)
    if not wanted or has_workers:
        _stop(config)
    elif _RUNNING not in config.stash:
        _start(config, config.option)
    if wanted and has_workers:
        _try_out(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xvfb_disable(config: pytest.Config) -> bool:
    """Keep pytest-xvfb from starting a second display."""
    return _RUNNING in config.stash


def _is_wanted(config: pytest.Config, given: argparse.Namespace) -> bool:
    """Tell whether a virtual display is asked for, and can be had."""
    if given.help or given.version or getattr(given, "no_xvfb", False) or not sys.platform.startswith("linux"):
        return False
    flag = getattr(given, ASKED_BY, None)
    asked = config.getini("headless") if flag is None else flag
    return asked and not any(config.hook.pytest_headless_disable(config=config))


def _has_workers(given: argparse.Namespace) -> bool:
    """Tell whether xdist is to run the tests in other processes."""
    distributes = getattr(given, "dist", "no") != "no" or getattr(given, "distload", False)
    return bool(distributes or getattr(given, "numprocesses", None))


def _start(config: pytest.Config, given: argparse.Namespace) -> None:
    from anaheadless.api import suite_display

    with _as_usage_errors():
        options = build(_values(config, given))
        ffmpeg = _find_ffmpeg(config, given, options)
        running = config.stash[_RUNNING] = suite_display.start(options)
    config.add_cleanup(lambda: _stop(config))  # also if a conftest.py can't be imported
    if ffmpeg:
        from anaheadless.api import suite_films

        films = suite_films.Films(running.display, ffmpeg, lambda item: _file(item, ".mp4"))
        config.pluginmanager.register(films, FILMS)


def _try_out(config: pytest.Config) -> None:
    """Report once what would go wrong in each worker, which xdist would start again and again."""
    from anaheadless.api import suite_display

    with _as_usage_errors():
        options = build(_values(config, config.option))
        _find_ffmpeg(config, config.option, options)
        suite_display.try_out(options)


def _find_ffmpeg(config: pytest.Config, given: argparse.Namespace, options: Options) -> str:
    """Return the path of ffmpeg if the tests are to be filmed, else an empty string.

    :raises LaunchError: they can't be.
    :raises ValueError: the screen can't be.
    """
    if not (given.headless_film or config.getini("headless_film")):
        return ""
    from anaheadless.session import recorder

    if options.screen.depth not in recorder.DEPTHS:
        raise ValueError("--headless-film needs a screen of 15, 16 or 24 bits: ffmpeg reads no other.")
    return recorder.find(os.environ)


@contextmanager
def _as_usage_errors() -> Iterator[None]:
    """Raise errors as those that pytest reports without a traceback."""
    from anaheadless.errors import LaunchError

    try:
        yield
    except (LaunchError, ValueError) as error:
        raise pytest.UsageError(str(error)) from error


def _stop(config: pytest.Config) -> None:
    running = config.stash.get(_RUNNING, None)
    if running is not None:
        films = config.pluginmanager.get_plugin(FILMS)
        if films is not None:
            config.pluginmanager.unregister(films)
            films.end()
        del config.stash[_RUNNING]
        running.stop()


def _values(config: pytest.Config, given: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the options that are given: on the command line, else in the configuration file.

    :raises ValueError: one makes no sense.
    """
    values: dict[str, Any] = {}
    parts = {name: _xvfb_ini(config, name, default) for name, default in XVFB_SCREEN.items()}
    if parts != XVFB_SCREEN:
        values["screen"] = _xvfb_screen(parts)
    if arguments := _xvfb_ini(config, "xvfb_args", []):
        values["server_args"] = tuple(arguments)
    for option in IN_PROCESS:
        ini = ini_name(option)
        named, value = f"--headless-{option.name}", getattr(given, ini)
        if value is None:
            named, value = ini, config.getini(ini)
        if not value:
            continue
        try:
            values[option.field] = _parse(option, value)
        except ValueError as error:
            raise ValueError(f"{named}: {error}") from error
    return values


def ini_name(option: Option) -> str:
    """Return the name of an option in the configuration file of pytest."""
    return f"headless-{option.name}".replace("-", "_")


def _parse(option: Option, value: Any) -> Any:
    if option.kind is FLAG:
        return not option.default
    return tuple(value) if option.kind is LIST else option.kind.parse(value)


def _xvfb_ini(config: pytest.Config, name: str, default: Any) -> Any:
    try:
        return config.getini(name)
    except ValueError:  # pytest-xvfb is installed, but was not loaded: nobody has declared it
        return default


def _xvfb_screen(parts: Mapping[str, str]) -> Screen:
    width, height, depth = (parts[name].strip() for name in XVFB_SCREEN)
    if depth == XVFB_SCREEN["xvfb_colordepth"]:
        depth = str(Screen.depth)
    try:
        return parse_screen(f"{width}x{height}x{depth}")
    except ValueError as error:
        raise ValueError(f"{', '.join(XVFB_SCREEN)}: {error}") from error


def pytest_report_header(config: pytest.Config) -> str | None:
    running = config.stash.get(_RUNNING, None)
    if running is not None:
        display = running.display
        size, opengl = "x".join(map(str, display.size)), display.renderer or display.backend
        return f"headless: display {display.display}, {size}, OpenGL: {opengl}"
    if _is_wanted(config, config.option):
        return "headless: a display for each worker"
    return None


@pytest.fixture(scope="session")
def display(pytestconfig: pytest.Config) -> VirtualDisplay:
    """Return the virtual display of this test run; without one, skip the test."""
    running = pytestconfig.stash.get(_RUNNING, None)
    if running is None:
        pytest.skip("there is no virtual display: pytest --headless starts one")
    return running.display


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if _RUNNING not in item.config.stash:
        return
    for phase in _PHASES:
        with suppress(OSError):  # mostly, there is none of an earlier run
            _picture(item, phase).unlink()
    with suppress(OSError):
        _file(item, ".mp4").unlink()
    for name in "no_headless", "no_xvfb":
        if item.get_closest_marker(name) is not None:
            pytest.skip(f"{name}: not on a virtual display")


@pytest.hookimpl(hookwrapper=True)  # older versions of pytest know no other wrappers
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Keep what the display shows after a phase that has failed: what the test has opened is still there."""
    report: pytest.TestReport = (yield).get_result()
    running = item.config.stash.get(_RUNNING, None)
    if running is None or not report.failed:
        return
    picture = _picture(item, report.when)
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        running.display.screenshot(picture)
    except (OSError, RuntimeError) as error:  # a LaunchError is a RuntimeError
        report.sections.append(("Screenshot", f"none: {error}"))
        return
    name = os.path.relpath(picture, item.config.rootpath)
    report.sections.append(("Screenshot", name))
    # In the report of the last phase, the properties of the test are those that junitxml writes.
    for properties in item.user_properties, report.user_properties:
        properties.append(("screenshot", name))
    html = item.config.pluginmanager.getplugin("html")
    if html is not None and item.config.getoption("htmlpath", None):
        content = base64.b64encode(picture.read_bytes()).decode()
        report.extras = [*getattr(report, "extras", []), html.extras.png(content, name)]  # type: ignore[attr-defined]


_PHASES = ("setup", "call", "teardown")


def _picture(item: pytest.Item, phase: str) -> Path:
    """Return the file for a screenshot of a test, as ``tests-test_window.py--test_opens.png``."""
    return _file(item, ".png" if phase == "call" else f"-{phase}.png")


def _file(item: pytest.Item, ending: str) -> Path:
    """Return the file for a screenshot or a film of a test."""
    config = item.config
    folder: str = config.getoption("headless_screenshots") or config.getini("headless_screenshots")
    return config.rootpath / folder / f"{file_name(item.nodeid)}{ending}"


def file_name(test: str) -> str:
    """Return the ID of a test as a file name that every system and every CI can take, unlike any other test's."""
    plain = test.replace("::", "--").replace("/", "-")
    name = re.sub(r"[^A-Za-z0-9_.,=+\[\]-]", "_", plain)[:_LONGEST_NAME]
    if name == plain:
        return name
    return f"{name}-{hashlib.sha256(test.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
