"""Nothing is left of a virtual_display(), however it ends, and no program waits for a part of it that has gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from anaheadless import LaunchError, virtual_display
from anaheadless.session import discovery, keeper
from anaheadless.x11 import screenshot
from tests.support.displays import parts, watch
from tests.support.drivers import HANG, broken_gl
from tests.support.helpers import (
    PATIENCE,
    PROGRAMS,
    Session,
    is_running,
    keepers_of,
    remove_socket,
    wait_until,
    write_program,
)
from tests.support.namespaces import PrivateTmp


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_an_exception_in_the_block_ends_it_and_is_raised(kind: type[BaseException]) -> None:
    failure = kind("of the program")
    lefts = []

    def use() -> None:
        with virtual_display(gl="none") as display:
            lefts.append(watch(display))
            raise failure

    with pytest.raises(kind) as raised:
        use()
    assert raised.value is failure
    wait_until(lambda: not any(left() for left in lefts))
    assert lefts


def test_after_its_end_a_picture_is_refused(tmp_path: Path) -> None:
    with virtual_display(gl="none") as display:
        display.screenshot(tmp_path / "x.png")
    with pytest.raises(
        LaunchError,
        match=f"^anaheadless: can't take a screenshot of display {display.display}: .*\n  Its session may have ended",
    ):
        display.screenshot(tmp_path / "y.png")
    assert not (tmp_path / "y.png").exists()
    assert discovery.current(display.environ) is None


@pytest.mark.parametrize("which", [0, 1], ids=["keeper", "server"])
def test_a_killed_part_has_pictures_refused_and_the_block_end_quietly(which: int, tmp_path: Path) -> None:
    with virtual_display(gl="none") as display:
        processes = parts(display)
        processes[which].kill()
        wait_until(lambda: not any(map(is_running, processes)))
        with pytest.raises(LaunchError):
            display.screenshot(tmp_path / "x.png")
        assert discovery.current(display.environ) is None
    assert not (tmp_path / "x.png").exists()
    remove_socket(int(display.display[1:]))  # nobody was left to do it; the next one would


def test_a_server_that_hangs_is_not_waited_for_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screenshot, "TIMEOUT", 0.1)
    with virtual_display(gl="none") as display:
        server = parts(display)[1]
        server.suspend()
        with pytest.raises(LaunchError, match="timed out"):
            display.screenshot(tmp_path / "x.png")
        left = watch(display)
    wait_until(lambda: not left())  # a stopped server ends as well


HOLD = f"""
import os, runpy, sys
from anaheadless import virtual_display
with virtual_display(gl="none") as display:
    os.environ.update(display.environ)
    hold = {str(PROGRAMS / "hold.py")!r}
    sys.argv = [hold]
    runpy.run_path(hold)
    os._exit(3)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_nothing_outlives_a_process_that_ends_in_the_block(number: signal.Signals | None) -> None:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", HOLD], text=True, **streams) as process:  # type: ignore[call-overload]
        try:
            session = Session(process)
            if number is None:
                process.stdin.close()  # which has it leave with os._exit()
            else:
                process.send_signal(number)
            status = process.wait(PATIENCE)
        finally:
            process.kill()
    assert status == (3 if number is None else -number)
    session.wait_until_nothing_is_left()


# A program that is interrupted while its display is set up, and goes on; it says when, and waits for its end.
INTERRUPTED = """
import os, sys
from anaheadless import virtual_display
print(os.getpid(), flush=True)
try:
    with virtual_display(gl=sys.argv[1], virtualgl=False):
        print("set up", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.read()
"""


@contextmanager
def interrupted(gl: str, *enter: str, **environ: str) -> Iterator[psutil.Process]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [*enter, sys.executable, "-c", INTERRUPTED, gl]
    with subprocess.Popen(command, text=True, env={**os.environ, **environ}, **streams) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == f"{process.pid}\n"
            assert process.stdout.readline() == "interrupted\n"
            yield psutil.Process(process.pid)
        finally:
            process.kill()


@pytest.mark.parametrize("then", ["exec", "sleep 300; exit; exec"], ids=["starts", "hangs"])
def test_nothing_is_left_of_a_display_that_is_interrupted_while_its_server(
    then: str, tmp_path: Path, private_tmp: PrivateTmp
) -> None:
    """The program itself goes on."""
    keeper_file = os.path.basename(keeper.__file__)
    # Of its parent's arguments, the keeper's, the second after its file is whom it is for.
    find = f"tr '\\0' '\\n' </proc/$PPID/cmdline | grep -A 2 /{keeper_file} | tail -n 1"
    write_program(tmp_path / "bin" / "Xvfb", f"kill -INT $({find})", f'{then} {shutil.which("Xvfb")} "$@"')
    with interrupted("none", *private_tmp.enter, PATH=f"{tmp_path}/bin:{os.environ['PATH']}") as process:
        wait_until(lambda: not keepers_of(process.pid), "the keeper ends", timeout=10)
        assert process.children(recursive=True) == []
        assert not any("socket:" in x for x in descriptors(process.pid))
        private_tmp.wait_until_nothing_is_left()


def test_nothing_is_left_of_a_display_that_is_interrupted_while_opengl_is_tried(tmp_path: Path) -> None:
    path = broken_gl(tmp_path / "lib", f"-DON_LOAD=kill(getppid(), SIGINT); {HANG}")
    write_program(tmp_path / "bin" / "Xvfb", "unset LD_LIBRARY_PATH", f'exec {shutil.which("Xvfb")} "$@"')
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(path.parent)}
    with interrupted("native", **environ) as process:
        wait_until(lambda: not keepers_of(process.pid), "the keeper ends", timeout=10)
        assert process.children(recursive=True) == []


def descriptors(pid: int) -> list[str]:
    return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.mark.soak
def test_nothing_is_left_of_a_display_that_is_interrupted_at_any_moment() -> None:
    code = """
import os, signal, sys
from anaheadless import virtual_display
from anaheadless.opengl import probe
from anaheadless.session import discovery, session
def stop(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, stop)
with virtual_display(gl="none"):
    pass
for milliseconds in [*range(1, 60)] * 3:
    try:
        signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
        try:
            with virtual_display(gl="none"):
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        pass
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        assert not file.read(), milliseconds
print(os.getpid(), flush=True)
sys.stdin.read()
"""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **streams) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == f"{process.pid}\n", process.stderr.read()
            wait_until(lambda: not keepers_of(process.pid), "no keeper is left", timeout=10)
        finally:
            process.kill()
