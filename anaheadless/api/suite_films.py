"""Films of the tests that fail: a part of the pytest plugin that is loaded when they are asked for."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anaheadless.errors import LaunchError
from anaheadless.session import protocol, recorder
from anaheadless.session.helpers import RECORDER_CODE, start_helper
from anaheadless.system import processes
from anaheadless.system.light_stdlib import Record
from anaheadless.system.memfile import memory_file

if TYPE_CHECKING:
    from typing import BinaryIO

    from anaheadless.api.virtual_display import VirtualDisplay

START_SECONDS = 10.0
END_SECONDS = 5.0


class Film(Record):
    """A film that is being recorded."""

    path: Path
    recorder: processes.Process
    messages: BinaryIO

    def await_start(self) -> None:
        """Wait until there is something in the film.

        :raises LaunchError: the recorder has ended, or is too slow.
        """
        deadline = time.monotonic() + START_SECONDS
        while not (self.path.exists() and self.path.stat().st_size):
            if self.recorder.await_end(0.005) or time.monotonic() > deadline:
                raise self.failure()

    def failure(self) -> LaunchError:
        said = os.pread(self.messages.fileno(), 1 << 12, 0).decode(errors="replace").strip()
        return LaunchError(f"the film can't be recorded: {said or 'ffmpeg has ended, or is too slow'}")

    def end(self) -> None:
        """Complete the film."""
        for number in protocol.FINISH, signal.SIGKILL:
            with suppress(ProcessLookupError):
                self.recorder.send(number)
            if self.recorder.await_end(END_SECONDS):
                break
        with suppress(ChildProcessError):  # the test has reaped all children of this process
            os.waitpid(self.recorder.pid, 0)
        self.recorder.close()
        self.messages.close()


def start(display: VirtualDisplay, ffmpeg: str, path: Path) -> Film:
    """Start to record *display*; wait until there is something in the film.

    :raises LaunchError: it can't be recorded; no process is left. Likewise OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [str(os.getpid()), display.authority, *recorder.command(ffmpeg, display.number, str(path))]
    messages = memory_file("film")
    try:
        film = Film(path, processes.open_process(start_helper(RECORDER_CODE, words, messages.fileno())), messages)
    except BaseException:
        messages.close()
        raise
    try:
        film.await_start()
    except BaseException:
        film.end()
        raise
    return film


class Films:
    """The hooks that record each test, and keep the films of those that fail.

    :param path_of: gives the file for the film of a test.
    """

    def __init__(self, display: VirtualDisplay, ffmpeg: str, path_of: Callable[[pytest.Item], Path]) -> None:
        self._display, self._ffmpeg, self._path_of = display, ffmpeg, path_of
        self._film: Film | None = None
        self._why_none = ""
        self._failed = False

    def pytest_runtest_setup(self, item: pytest.Item) -> None:  # after those that skip the test
        self._failed, self._why_none = False, ""
        self.end()
        try:
            self._film = start(self._display, self._ffmpeg, self._path_of(item))
        except (OSError, LaunchError) as error:
            self._why_none = str(error)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, None]:
        report: pytest.TestReport = (yield).get_result()
        film = self._film
        name = os.path.relpath(self._path_of(item), item.config.rootpath)
        if report.failed:
            self._failed = True
            if film is not None and film.recorder.await_end(0):
                self._why_none = str(film.failure())
            report.sections.append(("Film", f"none: {self._why_none}" if self._why_none else name))
        if report.when != "teardown" or film is None:
            return
        self.end()
        if not self._failed:
            with suppress(OSError):
                film.path.unlink()
        elif not self._why_none:
            report.user_properties.append(("film", name))
            html = item.config.pluginmanager.getplugin("html")
            if html is not None and item.config.getoption("htmlpath", None):
                content = base64.b64encode(film.path.read_bytes()).decode()
                report.extras = [*getattr(report, "extras", []), html.extras.mp4(content, name)]  # type: ignore[attr-defined]

    def end(self) -> None:
        """Complete the film of a test that was broken off, if there is one."""
        film, self._film = self._film, None
        if film is not None:
            film.end()
