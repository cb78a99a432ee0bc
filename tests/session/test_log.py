"""The log of a run has what its X server says, and is never in your program's way."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.helpers import PATIENCE, holding, is_running, log_lines, run, wait_until, wrapped_xvfb

EXEC = ("exec", "--gl", "none")


@pytest.mark.needs("xdpyinfo")
@pytest.mark.server("xvfb")
def test_the_log_has_what_the_server_says(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    environ = wrapped_xvfb(tmp_path, "echo what it says; echo and more >&2")
    for _ in range(2):
        assert run(*EXEC, "--log", str(log), "xdpyinfo", env=environ).returncode == 0
    wait_until(lambda: log.read_text().count("nothing is left") == 2)
    before, *lines = log.read_text().splitlines()
    assert before == "before"
    for part in lines[: len(lines) // 2], lines[len(lines) // 2 :]:
        assert re.search(r" anaheadless: display :\d+ for process \d+: X server \d+, keeper \d+$", part[0])
        assert [line.split("anaheadless: ")[1] for line in part[1:] if "Warning" not in line] == [
            "the target has ended",
            "X server: what it says",
            "X server: and more",
            "nothing is left",
        ]


WARNINGS = [
    "The XKEYBOARD keymap compiler (xkbcomp) reports:",
    "> Warning:          Could not resolve keysym XF86CameraAccessEnable",
    "Errors from xkbcomp are not fatal to the X server",
]


@pytest.mark.parametrize("fails", [False, True], ids=["works", "fails"])
@pytest.mark.needs("xdpyinfo")
@pytest.mark.server("xvfb")
def test_warnings_of_xkbcomp_are_logged_only_when_the_server_fails(fails: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    says = "; ".join(f"echo '{line}' >&2" for line in ("before", *WARNINGS, "after"))
    environ = wrapped_xvfb(tmp_path, f"{says}; {'exit 1' if fails else ''}")
    assert run(*EXEC, "--log", str(log), "xdpyinfo", env=environ).returncode == (125 if fails else 0)
    wait_until(lambda: log_lines(log)[-1] == "nothing is left")
    # The real server may have warnings of its own.
    passed_on = [line for line in log_lines(log) if line.startswith("X server: ")]
    assert passed_on == [f"X server: {line}" for line in ("before", *(WARNINGS if fails else []), "after")]


@pytest.mark.server("xvfb")
def test_a_log_whose_name_ends_in_jsonl_is_json(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"before": true}\n')
    environ = wrapped_xvfb(tmp_path, r"""printf 'a "quoted" \\ \033 \303\244\n' >&2""")
    words = ("--timeout", ".2", "--screenshot-on-timeout", "there/x.png", "--log", log)
    (tmp_path / "there").mkdir()
    job = "rmdir there; exec sleep 60"
    assert run(*EXEC, *words, "sh", "-c", job, cwd=tmp_path, env=environ).returncode == -signal.SIGTERM
    wait_until(lambda: "nothing is left" in log.read_text())
    before, *lines = map(json.loads, log.read_text().splitlines())
    assert before == {"before": True}
    for line in lines:
        assert line.keys() == {"time", "keeper", "source", "event"}
        assert abs(datetime.fromisoformat(line["time"]).timestamp() - log.stat().st_mtime) < 60
    assert len({line["keeper"] for line in lines}) == 1
    assert re.fullmatch(r"display :\d+ for process \d+: X server \d+, keeper \d+", lines[0]["event"])
    said = [line["event"] for line in lines if line["source"] == "screenshot"]
    assert said[0] == "Traceback (most recent call last):"  # what another process says is no line of its own
    assert [(line["source"], line["event"]) for line in lines if line["source"] != "screenshot"][1:] == [
        ("keeper", "the screen could not be saved"),
        ("keeper", f"PID {lines[0]['event'].split()[4][:-1]} was still running after 0.2s: SIGTERM"),
        ("keeper", "the target has ended"),
        ("X server", 'a "quoted" \\ \x1b ä'),
        ("keeper", "nothing is left"),
    ]


def test_a_killed_server_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with holding("--gl", "none", "--log", str(log)) as session:
        session.server.kill()
        session.wait_until_nothing_is_left()
        # A server that has failed is quoted: xkbcomp may have warned.
        own = [line for line in log_lines(log) if not line.startswith("X server: ")]
        assert own[1:] == ["the X server has ended", "nothing is left"]
        assert is_running(session.target)


def test_a_server_that_does_not_start_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    output = run(*EXEC, "--log", str(log), "--server-arg=-nonsense", "true")
    assert output.returncode == 125
    assert any(line.startswith("X server: ") and "-nonsense" in line for line in log_lines(log))
    assert log_lines(log)[-1] == "nothing is left"


def test_a_full_log_is_in_nobodys_way() -> None:
    output = run(*EXEC, "--log", "/dev/full", "sh", "-c", "exit 3")
    assert (output.returncode, output.stdout, output.stderr) == (3, "", "")
    with holding("--gl", "none", "--timeout", ".3", "--log", "/dev/full") as session:
        assert session.process.wait(PATIENCE) == -signal.SIGTERM


def test_a_log_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    output = run(*EXEC, "--log", str(fifo), "echo", "started")
    assert (output.returncode, output.stdout) == (125, "")
    assert str(fifo) in output.stderr


def test_a_log_may_lose_its_reader(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with holding("--gl", "none", "--timeout", "1", "--log", str(fifo)) as session:
        assert f"display {session.display} for".encode() in os.read(reader, 4096)
        os.close(reader)
        assert session.process.wait(PATIENCE) == -signal.SIGTERM


@pytest.mark.parametrize("name", ["gone/log", "."])
def test_a_log_that_can_not_be_written_is_refused(name: str, tmp_path: Path) -> None:
    environ = wrapped_xvfb(tmp_path, f"touch {tmp_path}/started")
    output = run(*EXEC, "--log", name, "echo", "started", cwd=tmp_path, env=environ)
    assert output.returncode == (2 if name == "." else 125)
    assert output.stdout == ""
    assert "log" in output.stderr
    assert name in output.stderr
    assert not (tmp_path / "started").exists()
