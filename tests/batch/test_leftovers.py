"""Nothing is left: of an item when the next one begins, and of a map however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import time

import psutil
import pytest

from tests.support.helpers import ANAHEADLESS, wait_until
from tests.support.maps import Maps
from tests.support.namespaces import in_namespaces, needs_namespaces

DAEMON = """
import os, subprocess, sys, time
print(os.environ["DISPLAY"], flush=True)
if sys.argv[1] == "a":
    if not os.fork():  # an orphan, soon
        os.setsid()
        if os.fork():
            os._exit(0)
        open("daemon", "w").write(str(os.getpid()))
        time.sleep(1000)
    subprocess.Popen(["sleep", "1000"], env={**os.environ, "SLEEPER": "1"})
    while not os.path.exists("daemon") or not os.path.getsize("daemon"):
        time.sleep(0.01)
else:
    os.kill(int(open("daemon").read()), 0)
"""
# Without a library: a window that stays when its client has gone (RetainPermanent).
WINDOW = """
import os, struct, sys, time
from anaheadless.x11 import authority, connection as x
print(os.environ["DISPLAY"], flush=True)
if sys.argv[1] == "a":
    number = int(os.environ["DISPLAY"][1:])
    with open(os.environ["XAUTHORITY"], "rb") as file:
        cookie = authority.find_cookie(file.read(), number)
    with x.connect(f"\\0/tmp/.X11-unix/X{number}", cookie, time.monotonic() + 20) as connection:
        base, = struct.unpack_from("<I", connection.setup, 4)
        from anaheadless.x11 import screenshot
        root = screenshot.parse_setup(connection.setup).root
        create = struct.pack("<BBHIIhhHHHHII", 1, 0, 8, base, root, 0, 0, 9, 9, 0, 1, 0, 0)
        connection.socket.sendall(create + struct.pack("<BBH", 112, 1, 1))
        connection.ask(43, 0, b"")  # GetInputFocus: it has been done
"""
SERVER = """
import os, signal, sys
from anaheadless.session import discovery
print(os.environ["DISPLAY"], flush=True)
if sys.argv[1] == "a":
    os.kill(discovery.current(os.environ).status.server, signal.SIGKILL)
"""
SLEEP = """
import os, subprocess, sys, time
child = subprocess.Popen(["setsid", "sleep", "1000"])
open(sys.argv[1], "w").write(f"{os.getpid()} {os.getppid()} {child.pid}")
time.sleep(1000)
"""


@pytest.mark.parametrize("preload", [(), ("--preload", "json")])
def test_orphans_of_an_item_are_ended(preload: tuple[str, ...], maps: Maps) -> None:
    output = maps.run("-j1", *preload, maps.script(DAEMON), ":::", "a", "b", status=1)
    assert "ProcessLookupError" in output.stderr
    assert len(set(output.stdout.split())) == 1  # the same display
    assert maps.results() == {"a": "ok", "b": "failed"}


def test_windows_of_an_item_are_gone(maps: Maps) -> None:
    first, second, third = maps.run("-j1", maps.script(WINDOW), ":::", *"abc").stdout.split()
    assert first != second == third


@pytest.mark.parametrize("manager", ["focus", "openbox"])
def test_the_window_managers_own_windows_are_nobodys_leftovers(manager: str, maps: Maps) -> None:
    if manager != "focus" and shutil.which(manager) is None:
        pytest.skip(f"{manager} is not installed")
    output = maps.run("-j1", "--wm", manager, maps.script(WINDOW), "{}", ":::", *"xyz")
    assert len(set(output.stdout.split())) == 1
    first, second = maps.run("-j1", "--no-resume", "--wm", manager, "script.py", "{}", ":::", *"ax").stdout.split()
    assert first != second


def test_a_server_that_an_item_has_killed_is_replaced(maps: Maps) -> None:
    first, second, third = maps.run("-j1", maps.script(SERVER), ":::", *"abc").stdout.split()
    assert first != second == third
    assert set(maps.results().values()) == {"ok"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("options", [(), ("--preload", "json"), ("--display", "own")])
def test_a_signal_ends_all_and_the_map_resumes(number: int, options: tuple[str, ...], maps: Maps) -> None:
    script = maps.script(
        "import sys, time; open(sys.argv[1], 'w').write('1'); time.sleep(0 if sys.argv[1] == 'a' else 1000)"
    )
    with maps.running("-j2", *options, script, ":::", *"abcd") as process:
        for name in "abc":
            maps.wait_for(name)
        process.send_signal(number)
        assert process.wait(30) == -number
        assert process.stderr
        assert signal.Signals(number).name in process.stderr.read()
    assert maps.left() == []
    assert maps.results() == {"a": "ok"}
    assert not (maps.folder / "d").exists()
    maps.script("")
    assert "1 of 4 items are done already" in maps.run("-j2", script, ":::", *"abcd").stderr


def test_a_second_signal_does_not_wait(maps: Maps) -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); open('ready', 'w').write('1'); time.sleep(1000)"
    with maps.running("--grace", "1h", "-c", script, ":::", "a") as process:
        maps.wait_for("ready")
        for number in signal.SIGINT, signal.SIGINT:
            process.send_signal(number)
            time.sleep(0.2)
        assert process.wait(30) == -signal.SIGINT


def test_nohup_is_obeyed(maps: Maps) -> None:
    code = "import os, time\nopen('ready', 'w').write('1')\nwhile not os.path.exists('enough'): time.sleep(0.01)"
    with maps.running(
        "-c", code, ":::", "a", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ) as process:
        maps.wait_for("ready")
        process.send_signal(signal.SIGHUP)
        (maps.folder / "enough").touch()
        assert process.wait(30) == 0


@pytest.mark.parametrize("options", [(), ("--preload", "json")])
@pytest.mark.parametrize("victim", ["mapper", "slot", "item", "mapper's group", "all"])
def test_nothing_is_left_after_a_kill(victim: str, options: tuple[str, ...], maps: Maps) -> None:
    with maps.running("-j1", *options, maps.script(SLEEP), ":::", "a", start_new_session=True) as process:
        item, slot, child = map(int, maps.wait_for("a").split())
        found = [psutil.Process(pid) for pid in (item, slot, child)]
        if victim == "mapper's group":
            os.killpg(process.pid, signal.SIGKILL)
        for pid in {"mapper": [process.pid], "slot": [slot], "item": [item], "all": [process.pid, slot]}.get(
            victim, []
        ):
            os.kill(pid, signal.SIGKILL)
        if victim in ("slot", "item"):
            assert process.wait(30) == 1
            assert maps.results() == {"a": "lost" if victim == "slot" else "killed"}
        wait_until(lambda: not any(each.is_running() for each in found), "all have ended")
        wait_until(lambda: not maps.left(), "nothing is left")


@needs_namespaces
def test_the_first_process_of_a_container_can_be_a_map(maps: Maps) -> None:
    (maps.folder / "script.py").write_text(SLEEP.replace("1000)", "0 if sys.argv[1] == 'a' else 1000)"))
    command = (ANAHEADLESS, "map", "--gl", "none", "--timeout", "1s", "-j2", "script.py", ":::", "a", "b")
    output = in_namespaces(*command, cwd=maps.folder, env=maps.environ)
    assert output.returncode == 1, output
    assert maps.results() == {"a": "ok", "b": "timeout"}


def test_a_slot_that_was_lost_is_replaced(maps: Maps) -> None:
    script = "import os, sys; print(os.environ['DISPLAY'], flush=True); sys.argv[1] == 'a' and os.kill(os.getppid(), 9)"
    output = maps.run("-j1", maps.script(script), ":::", "a", "b", status=1)
    assert maps.results() == {"a": "lost", "b": "ok"}
    assert "was lost with its slot" in output.stderr
    assert len(set(output.stdout.split())) == 2


def test_a_slot_that_was_stopped_does_not_hold_up_the_end(maps: Maps) -> None:
    script = "import os, signal, sys, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(1000)"
    output = maps.run("--timeout", "1s", "--grace", "1s", "-c", script, ":::", "a", status=1)
    assert maps.results() == {"a": "timeout"}, output


def test_a_reader_that_goes_ends_the_map(maps: Maps) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        with maps.running("-j1", "-c", "print(1)", ":::", "a", "b", stdout=write) as process:
            assert process.wait(30) == -signal.SIGPIPE
            assert process.stderr
            assert process.stderr.read() == ""
    finally:
        os.close(write)
    assert maps.results() == {"a": "ok"}
