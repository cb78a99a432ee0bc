"""A program may be given a time limit and a last screenshot; neither is ever in its way."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PyQt5.QtGui import QImage

from anaheadless.session import helpers, protocol, time_limit
from tests.support.helpers import (
    ANAHEADLESS,
    BIN,
    PATIENCE,
    PROGRAMS,
    Session,
    holding,
    is_running,
    log_lines,
    run,
    wait_until,
    wrapped_xvfb,
)

EXEC = ("exec", "--gl", "none")
FOREVER = "1000"  # seconds, or until it is ended
SLEEP = ("sleep", FOREVER)


@pytest.fixture(scope="module", autouse=True)
def hung(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Path]]:
    """A session whose server hangs when the time is up, and its log. It takes ten seconds: time for other tests."""
    folder = tmp_path_factory.mktemp("hung")
    log = folder / "log"
    words = ("--timeout", "1", "--grace", "1h", "--screenshot-on-timeout", str(folder / "picture.png"))
    with holding("--gl", "none", *words, "--log", str(log)) as session:
        session.server.suspend()
        wait_until(lambda: len(session.keeper.children()) == 2, "taking the picture")
        for _ in range(2):
            session.keeper.send_signal(signal.SIGALRM)
        yield session, log


def struck(after: str, *signals: str, pid: str = r"\d+") -> str:
    """A pattern for what is said on stderr when the time is up, for each of the *signals*."""
    return "".join(rf"anaheadless: PID {pid} was still running after {after}: {each}\n" for each in signals)


def ignoring_term() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def blocking_term() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def test_a_program_gets_a_sigterm_when_its_time_is_up() -> None:
    with holding("--gl", "none", "--timeout", ".3") as session:
        assert session.process.wait(PATIENCE) == -signal.SIGTERM
        session.wait_until_nothing_is_left()
        output, errors = session.process.communicate()
        assert output == ""
        assert re.fullmatch(struck("0.3s", "SIGTERM", pid=str(session.process.pid)), errors)


def test_the_status_is_that_of_the_programs_own_handler() -> None:
    code = "import os, signal; signal.sigwait({signal.SIGTERM}); print('clean-up'); raise SystemExit(7)"
    output = run("run", "--gl", "none", "--timeout", ".1", "-c", code, preexec_fn=blocking_term)
    assert (output.returncode, output.stdout) == (7, "clean-up\n")
    assert re.fullmatch(struck("0.1s", "SIGTERM"), output.stderr)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ("--timeout", ".1", "--grace", ".2s", "--log", str(log))
    output = run(*EXEC, *words, *SLEEP, preexec_fn=ignoring_term)
    assert (output.returncode, output.stdout) == (-signal.SIGKILL, "")
    assert re.fullmatch(struck("0.1s", "SIGTERM") + struck("0.2s", "SIGKILL"), output.stderr)
    wait_until(lambda: "nothing is left" in log_lines(log))
    events = [line.partition(": ")[2] for line in output.stderr.splitlines()]
    assert log_lines(log)[1:] == [*events, "the target has ended", "nothing is left"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(90, "90s"), (120, "2m"), (0.3, "0.3s"), (7200, "2h"), (5400, "90m"), (86400, "1d"), (90061, "90061s")],
)
def test_times_are_said_as_they_are_given(seconds: float, words: str) -> None:
    assert time_limit.in_words(seconds) == words


@pytest.mark.parametrize("reader", ["gone", "asleep"])
def test_a_closed_standard_error_keeps_no_program_alive(reader: str) -> None:
    ours, theirs = os.pipe()
    if reader == "gone":
        os.close(ours)
    else:
        os.set_blocking(theirs, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(theirs, bytes(4096))
        os.set_blocking(theirs, True)
    process = subprocess.Popen([ANAHEADLESS, *EXEC, "--timeout", ".2", *SLEEP], stderr=theirs)
    assert process.wait(PATIENCE) == -signal.SIGTERM
    os.close(theirs)
    if reader != "gone":
        os.close(ours)


@pytest.mark.needs("xdpyinfo")
def test_a_program_that_uses_its_grace_is_not_killed() -> None:
    code = (
        "import signal; signal.sigwait({signal.SIGTERM}); import subprocess, sys; sys.exit(subprocess.call('xdpyinfo'))"
    )
    output = run("run", "--gl", "none", "--timeout", ".1", "--grace", "1m", "-c", code, preexec_fn=blocking_term)
    assert output.returncode == 0
    assert re.fullmatch(struck("0.1s", "SIGTERM"), output.stderr)
    assert "dimensions" in output.stdout


@pytest.mark.parametrize("status", [0, 3])
def test_a_program_that_ends_in_time_is_left_alone(status: int, tmp_path: Path) -> None:
    log, picture = tmp_path / "log", tmp_path / "picture.png"
    words = ("--timeout", "1d", "--screenshot-on-timeout", str(picture), "--log", str(log))
    output = run(*EXEC, *words, "sh", "-c", f"exit {status}")
    assert (output.returncode, output.stdout, output.stderr) == (status, "", "")
    wait_until(lambda: "nothing is left" in log_lines(log))
    assert log_lines(log)[1:] == ["the target has ended", "nothing is left"]
    assert not picture.exists()


def test_the_programs_group_ends_too_where_there_is_no_terminal() -> None:
    """The caller, which has no group of its own either, stays; to a shell, the signal is 143."""
    job = f"{' '.join(SLEEP)} & echo child; wait"
    caller = '"$@"; echo status=$?'
    words = (ANAHEADLESS, *EXEC, "--timeout", "1", "sh", "-c", job)
    # It ends when nobody has its standard output any more.
    output = run("-c", caller, "sh", *words, command="sh", start_new_session=True)
    assert output.stdout == "child\nstatus=143\n"


def test_the_programs_group_ends_too_where_it_leads_a_session() -> None:
    """Ours, from the start: of sshd, of a service, of bash that executes its last command."""
    job = f"{' '.join(SLEEP)} & echo child; wait"
    output = run(*EXEC, "--timeout", "1", "sh", "-c", job, start_new_session=True)
    assert (output.returncode, output.stdout) == (-signal.SIGTERM, "child\n")


def test_a_program_that_leaves_its_group_ends_too() -> None:
    code = "import os, time; os.setpgid(0, os.getpgid(os.getppid())); print('left', flush=True); time.sleep(1000)"
    output = run(*EXEC, "--timeout", "1", sys.executable, "-c", code)
    assert (output.returncode, output.stdout) == (-signal.SIGTERM, "left\n")


def test_a_program_that_leads_its_group_is_told_once(tmp_path: Path) -> None:
    job = f"trap 'echo told' TERM; {' '.join(SLEEP)} & wait; wait"
    output = run(*EXEC, "--timeout", "1", "sh", "-c", job)
    assert output.stdout == "told\n"


@pytest.mark.parametrize("leader", [False, True])
def test_a_suspended_program_ends_too(leader: bool) -> None:
    """It can't see a SIGTERM; the end of the grace does not ask."""
    code = "kill -STOP $$"
    output = run(*EXEC, "--timeout", ".2", "--grace", ".2", "sh", "-c", code, start_new_session=leader)
    assert output.returncode in (-signal.SIGKILL, -signal.SIGTERM)


def on_terminal(folder: Path, *command: str) -> str:
    """What *command* says on a terminal that it controls, until it ends."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvp(command[0], command)
    seen = b""
    with contextlib.suppress(OSError):  # that is how a terminal ends
        while more := os.read(terminal, 4096):
            seen += more
    os.close(terminal)
    os.waitpid(child, 0)
    return seen.decode().replace("\r\n", "\n")


def test_only_the_program_ends_on_a_terminal(tmp_path: Path) -> None:
    job = f"{' '.join(SLEEP)} & echo $! >child; wait"
    caller = '"$@"; echo status=$?; kill $(cat child) && echo child was there'
    words = (ANAHEADLESS, *EXEC, "--timeout", "1", "sh", "-c", job)
    assert on_terminal(tmp_path, "sh", "-c", caller, "sh", *words).endswith("status=143\nchild was there\n")


def test_the_others_of_a_pipeline_stay_on_a_terminal(tmp_path: Path) -> None:
    """An interactive shell makes a group of it, and the target the leader."""
    pipeline = f"{ANAHEADLESS} {' '.join(EXEC)} --timeout .5 sh -c 'echo said; exec {' '.join(SLEEP)}' | cat"
    shown = on_terminal(tmp_path, "bash", "--norc", "-c", f'set -m; {pipeline}; echo "status=${{PIPESTATUS[*]}}"')
    assert "said\n" in shown
    assert shown.endswith("status=143 0\n")


def test_the_time_starts_with_the_program(tmp_path: Path) -> None:
    environ = wrapped_xvfb(tmp_path, "sleep 1")
    output = run(*EXEC, "--timeout", ".8", "sh", "-c", f"echo started; exec {' '.join(SLEEP)}", env=environ)
    assert (output.returncode, output.stdout) == (-signal.SIGTERM, "started\n")


def test_a_stray_alarm_ends_nothing_early(tmp_path: Path) -> None:
    start = time.monotonic()
    with holding("--gl", "none", "--timeout", "1.5") as session:
        session.keeper.send_signal(signal.SIGALRM)
        assert session.process.wait(PATIENCE) == -signal.SIGTERM
        assert time.monotonic() - start >= 1.5
    log = tmp_path / "log"
    with holding("--gl", "none", "--timeout", "1d", "--log", str(log)) as session:
        session.keeper.send_signal(signal.SIGALRM)
        session.keeper.send_signal(protocol.STOP)  # comes after it
        session.wait_until_nothing_is_left()
        assert log_lines(log)[1:] == ["stopped", "nothing is left"]
        assert is_running(session.target)


def test_the_limit_holds_when_the_server_has_died(tmp_path: Path) -> None:
    """What is left of a program then may hang as well as any other."""
    log = tmp_path / "log"
    with holding("--gl", "none", "--timeout", "1", "--log", str(log)) as session:
        session.server.kill()
        assert session.process.wait(PATIENCE / 3) == -signal.SIGTERM
        session.wait_until_nothing_is_left()
    assert "the X server has ended" in log_lines(log)


@pytest.mark.server("xvfb", "xwayland", "xvnc")
def test_the_screen_is_saved_when_the_time_is_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ("--screen", "321x123", "--timeout", "1.5", "--screenshot-on-timeout", "picture.png", "--log", "log")
    with subprocess.Popen(
        [ANAHEADLESS, "run", "--gl", "none", *words, PROGRAMS / "paint_root.py", str(0xFF8001)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: os.umask(0o027) and None,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "painted\n"
        assert process.wait(PATIENCE) == -signal.SIGTERM
    picture = tmp_path / "picture.png"
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (321, 123)
    assert {image.pixelColor(*place).name() for place in ((0, 0), (320, 0), (160, 60), (320, 122))} == {"#ff8001"}
    assert [path.stat().st_mode & 0o777 for path in (picture, log)] == [0o640] * 2
    wait_until(lambda: "nothing is left" in log_lines(log))
    first, *rest = log_lines(log)
    assert re.fullmatch(rf"display :\d+ for process {process.pid}: X server \d+, keeper \d+", first)
    assert rest == [
        f"the screen is saved as {picture}",
        f"PID {process.pid} was still running after 1.5s: SIGTERM",
        "the target has ended",
        "nothing is left",
    ]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("rmdir there", "the screen could not be saved"),
        ("rmdir there; touch there", "the screen could not be saved"),
        ("mkfifo there/picture.png", "is not a regular file"),
    ],
)
def test_a_screenshot_that_can_not_be_saved_keeps_nothing_alive(made: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    options = ("--timeout", ".3", "--screenshot-on-timeout", "there/picture.png", "--log", "log")
    output = run(*EXEC, *options, "sh", "-c", f"{made}; exec {' '.join(SLEEP)}", cwd=tmp_path)
    assert (output.returncode, output.stdout) == (-signal.SIGTERM, "")
    assert words in (tmp_path / "log").read_text()


def test_a_screenshot_that_can_not_be_started_keeps_nothing_alive(tmp_path: Path) -> None:
    """The virtual environment may have been removed by then."""
    shutil.copy(BIN.parent / "pyvenv.cfg", tmp_path)
    (tmp_path / "lib").symlink_to(BIN.parent / "lib")
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    words = ("--timeout", ".3", "--screenshot-on-timeout", "picture.png", "--log", "log")
    job = f"rm {python}; exec {' '.join(SLEEP)}"
    output = run("-m", "anaheadless", *EXEC, *words, "sh", "-c", job, command=str(python), cwd=tmp_path, timeout=15)
    assert (output.returncode, output.stdout) == (-signal.SIGTERM, "")
    assert "could not be saved" in (tmp_path / "log").read_text()


def test_a_screenshot_of_an_ended_program_is_not_waited_for(tmp_path: Path) -> None:
    with holding("--gl", "none", "--timeout", "1", "--screenshot-on-timeout", str(tmp_path / "picture.png")) as session:
        session.server.suspend()
        wait_until(lambda: len(session.keeper.children()) == 2, "taking the picture")
        children = session.keeper.children()
        session.process.kill()
        wait_until(lambda: not session.left(), "nothing left", timeout=5)
        wait_until(lambda: not any(map(is_running, children)), "no camera left", timeout=5)


@pytest.mark.parametrize("how", ["run", "exec", "anaheadless-python"])
def test_the_options_can_come_from_variables(how: str, tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "ANAHEADLESS_GL": "none",
        "ANAHEADLESS_TIMEOUT": "0.005m",
        "ANAHEADLESS_GRACE": ".1",
        "ANAHEADLESS_SCREENSHOT_ON_TIMEOUT": "picture.png",
        "ANAHEADLESS_LOG": "log",
    }
    program, *words = {
        "run": (ANAHEADLESS, "run"),
        "exec": (ANAHEADLESS, "exec", sys.executable),
        "anaheadless-python": (f"{BIN}/anaheadless-python",),
    }[how]
    code = f"import time; time.sleep({FOREVER})"
    output = run(*words, "-c", code, command=program, env=environ, cwd=tmp_path, preexec_fn=ignoring_term)
    assert output.returncode == -signal.SIGKILL
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(struck("0.3s", "SIGTERM"), output.stderr)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--timeout", "1w"), "'1w' is not a duration"),
        (("--timeout="), "'' is not a duration"),
        (("--timeout", "1", "--grace", "0"), "'0' is not a duration"),
        (("--screenshot-on-timeout", "picture.png"), "--screenshot-on-timeout need a --timeout"),
        (("--grace", "1"), "--screenshot-on-timeout need a --timeout"),
        (("--timeout", "1", "--screenshot-on-timeout", "gone/picture.png"), "can't make a file there"),
        (("--timeout", "1", "--screenshot-on-timeout", "."), "is a directory"),
        (
            ("--timeout", "1", "--screenshot-on-timeout", "/dev/null"),
            "is not a regular file" if os.access("/dev", os.W_OK) else "can't make a file there",
        ),
    ],
)
def test_wrong_options_are_refused_before_anything_is_started(
    words: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    words = (words,) if isinstance(words, str) else words
    output = run(*EXEC, *words, "echo", "started", cwd=tmp_path)
    assert (output.returncode, output.stdout) == (2, "")
    assert complaint in output.stderr


def test_the_shortest_limit_holds() -> None:
    assert run(*EXEC, "--timeout", ".000000001", *SLEEP).returncode == -signal.SIGTERM


@pytest.mark.parametrize("words", [("--timeout", "1", "--screenshot-on-timeout", "p.png"), ("--record", "f.mp4")])
def test_a_working_directory_that_has_gone_is_said(words: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    output = run(
        "-c", f'rmdir {folder} && exec "$@"', "sh", ANAHEADLESS, *EXEC, *words, "true", command="sh", cwd=folder
    )
    assert output.returncode == 125
    assert "the working directory has been removed" in output.stderr
    assert "Traceback" not in output.stderr


@pytest.mark.needs("xdpyinfo")
def test_displays_of_python_code_have_no_limit(tmp_path: Path) -> None:
    code = (
        "import anaheadless, subprocess, sys\n"
        "info = anaheadless.setup_headless(need_opengl=False)\n"
        "with anaheadless.virtual_display(gl='none') as display:\n"
        "    subprocess.run(['sleep', '.4'], check=True)\n"
        "    for environ in None, display.environ:\n"
        "        subprocess.run(['xdpyinfo'], env=environ, check=True, stdout=subprocess.DEVNULL)\n"
        "print('well')\n"
    )
    environ = {**os.environ, "ANAHEADLESS_TIMEOUT": ".1", "ANAHEADLESS_LOG": str(tmp_path / "log")}
    environ.pop("ANAHEADLESS_SESSION", None)
    output = run("-c", code, command=sys.executable, env=environ)
    assert (output.returncode, output.stdout, output.stderr) == (0, "well\n", "")
    assert not (tmp_path / "log").exists()


def test_a_server_that_hangs_keeps_nothing_alive(hung: tuple[Session, Path]) -> None:
    """And a stray alarm, while the picture is waited for, does not take the target its grace."""
    session, log = hung
    assert session.process.wait(PATIENCE) == -signal.SIGTERM
    session.wait_until_nothing_is_left()
    assert log_lines(log)[1:] == [
        "the screen could not be saved",
        f"PID {session.process.pid} was still running after 1s: SIGTERM",
        "the target has ended",
        "nothing is left",
    ]


def test_a_failing_server_is_said_at_once() -> None:
    """The keeper waits for no target where the launcher has given up."""
    start = time.monotonic()
    output = run(*EXEC, "--timeout", "1h", "--server-arg=-nonsense", "true")
    assert (output.returncode, output.stderr.count("ended before it was ready")) == (125, 1)
    assert time.monotonic() - start < helpers.HELPER_SECONDS - 1


def test_a_killed_keeper_costs_the_program_its_display_only() -> None:
    """As at any other moment, the target loses its display, and nothing else."""
    code = """if True:
        import os, signal, time
        from anaheadless import options
        from anaheadless.launch import run as launch, target
        from anaheadless.system import processes

        def start(*args, start=launch.start, **details):
            ready = start(*args, **details)
            os.kill(ready.session.keeper, signal.SIGKILL)
            while processes.is_alive(ready.session.keeper):
                time.sleep(0.01)
            return ready

        launch.start = start
        wanted = options.Options(opengl=None, limits=options.RunLimits(timeout=60))
        launch.run(target.command("sh", ("-c", "exit 3"), ["/bin"]), wanted, os.environ)
    """
    output = run("-c", code, command=sys.executable)
    assert (output.returncode, output.stderr) == (3, "")
