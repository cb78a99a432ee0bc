"""The screen can be filmed; the film can be played whatever happens, and is in nobody's way."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from PyQt5.QtGui import QImage

from anaheadless.session import protocol, recorder
from tests.support.helpers import BIN, Session, hanging, holding, is_running, run, shared_memory_of, wait_until

EXEC = ("exec", "--gl", "none")
SMALL = ("--gl", "none", "--screen", "64x48")
needs_ffmpeg = pytest.mark.needs("ffmpeg", "ffprobe")


def pictures(path: Path) -> int:
    """How many there are in a film."""
    words = ("-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", str(path))
    said = run(*words, command="ffprobe").stdout.strip()
    return int(said) if said.isdecimal() else 0


def has_pictures(path: Path) -> None:
    wait_until(lambda: pictures(path), "there are pictures in the film")


def last_picture(path: Path) -> QImage:
    picture = path.with_suffix(".png")
    run("-v", "error", "-sseof", "-0.05", "-i", str(path), "-frames:v", "1", str(picture), command="ffmpeg")
    return QImage(str(picture))


def log_has(log: Path, line: str) -> None:
    wait_until(lambda: f": {line}\n" in log.read_text(), line)


def recorder_of(session: Session) -> psutil.Process:
    (found,) = [each for each in session.keeper.children() if each.pid != session.server.pid]
    return found


@needs_ffmpeg
@pytest.mark.parametrize(
    ("depth", "pixel", "colour"), [(24, 0xFF8001, (255, 128, 1)), (16, 0b11111_100000_00001, (255, 130, 8))]
)
@pytest.mark.server("xvfb", "xvnc")
def test_a_recording_shows_the_screen(depth: int, pixel: int, colour: tuple[int, int, int], tmp_path: Path) -> None:
    path, log = tmp_path / "film.mp4", tmp_path / "log"
    path.write_bytes(bytes(1 << 20))
    words = ("--screen", f"321x123x{depth}", "--record", str(path), "--force", "--log", str(log))
    with hanging(*words, pixel=pixel) as process:
        has_pictures(path)
        process.kill()
        log_has(log, "nothing is left")
    log_has(log, f"the recording is saved as {path}")
    image = last_picture(path)
    assert (image.width(), image.height()) == (322, 124)  # even numbers
    for place in (0, 0), (160, 60), (310, 100):
        found = image.pixelColor(*place).getRgb()[:3]
        assert all(abs(one - other) < 12 for one, other in zip(found, colour)), (place, found)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("options", "job", "status"),
    [
        ((), "echo well; exit 3", 3),
        ((), "kill -KILL $$", -signal.SIGKILL),
        (("--timeout", ".2"), "exec sleep 1000", -signal.SIGTERM),
    ],
)
def test_a_recording_is_complete_however_the_program_ends(
    options: tuple[str, ...], job: str, status: int, tmp_path: Path
) -> None:
    environ = {**os.environ, "ANAHEADLESS_RECORD": "film.mp4"}
    output = run(*EXEC, *options, "--log", "log", "sh", "-c", job, cwd=tmp_path, env=environ)
    assert (output.returncode, output.stdout) == (status, "well\n" if status == 3 else "")
    assert (output.stderr == "") is (options == ())
    log_has(tmp_path / "log", "nothing is left")
    log_has(tmp_path / "log", f"the recording is saved as {tmp_path / 'film.mp4'}")
    assert pictures(tmp_path / "film.mp4")


@needs_ffmpeg
@pytest.mark.server("xvfb", "xwayland", "xvnc")
def test_the_recorder_ends_with_the_session_and_for_nobody_else(tmp_path: Path) -> None:
    path, log = tmp_path / "film.mp4", tmp_path / "log"
    with holding(*SMALL, "--record", str(path), "--log", str(log)) as session:
        recorder = recorder_of(session)
        for number in set(protocol.IGNORED_SIGNALS) - {protocol.FINISH}:
            recorder.send_signal(number)
        before = pictures(path)
        wait_until(lambda: pictures(path) > before, "goes on")
        assert recorder.nice() > 0
        assert shared_memory_of(recorder) == []
        streams = [os.readlink(each) for each in Path(f"/proc/{recorder.pid}/fd").iterdir()]
        kinds = [each.partition(":")[0] for each in streams]
        assert (kinds.count("pipe"), kinds.count("socket")) == (0, 1)  # to the X server
        assert recorder.cmdline()[0].endswith("ffmpeg")
    wait_until(lambda: not is_running(recorder), "the recorder has ended")
    log_has(log, f"the recording is saved as {path}")


@needs_ffmpeg
@pytest.mark.server("xvfb", "xwayland", "xvnc")
def test_a_recorded_run_does_not_make_the_next_one_wait(cache: Path, tmp_path: Path) -> None:
    """What is remembered of the server is not what it says while a film begins."""
    shutil.rmtree(cache, ignore_errors=True)
    assert run("exec", *SMALL, "--record", tmp_path / "film.mp4", "true").returncode == 0
    assert run("exec", *SMALL, "true").returncode == 0
    (file,) = cache.iterdir()
    assert '"accepts_early_clients": true' in file.read_text()


@needs_ffmpeg
@pytest.mark.parametrize("who", ["recorder", "keeper", "server"])
@pytest.mark.server("xvfb", "xwayland", "xvnc")
def test_a_recording_can_be_played_whoever_is_killed(who: str, tmp_path: Path) -> None:
    path, log = tmp_path / "film.mp4", tmp_path / "log"
    with holding(*SMALL, "--record", str(path), "--log", str(log)) as session:
        recorder = recorder_of(session)
        has_pictures(path)
        if who == "keeper":
            recorder.suspend()  # it can't know by itself
        (recorder if who == "recorder" else getattr(session, who)).kill()
        wait_until(lambda: not is_running(recorder), "the recorder has ended")
        assert is_running(session.target)
        if who == "recorder":
            assert is_running(session.server)
        if who == "keeper":
            session.socket.unlink()
    if who == "recorder":
        log_has(log, f"the recording may lack its end: {path}")
    assert pictures(path)


def stand_in(folder: Path, lines: str) -> dict[str, str]:
    """An environment with an ffmpeg that is a shell script."""
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_recorder_that_fails_at_once_is_refused(tmp_path: Path) -> None:
    environ = stand_in(tmp_path, "echo 'Unknown input format: x11grab' >&2; exit 1")
    output = run(*EXEC, "--record", "film.mp4", "echo", "started", cwd=tmp_path, env=environ)
    assert (output.returncode, output.stdout) == (125, "")
    assert "| Unknown input format: x11grab\n" in output.stderr


def test_a_recorder_that_does_nothing_is_refused(tmp_path: Path) -> None:
    environ = stand_in(tmp_path, "echo $$ >pid; exec sleep 1000")
    output = run(*EXEC, "--start-timeout", "1", "--record", "film.mp4", "echo", "started", cwd=tmp_path, env=environ)
    assert (output.returncode, output.stdout) == (125, "")
    assert "--start-timeout" in output.stderr


@pytest.mark.soak
def test_a_recorder_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    # Its last word is the film.
    environ = stand_in(
        tmp_path, "trap '' XCPU; shift $(($# - 1)); echo film >$1; echo a word >&2; while :; do sleep .1; done"
    )
    output = run(*EXEC, "--record", "film.mp4", "--log", str(log), "echo", "started", cwd=tmp_path, env=environ)
    assert (output.returncode, output.stdout, output.stderr) == (0, "started\n", "")
    log_has(log, "nothing is left")
    log_has(log, f"the recording may lack its end: {tmp_path / 'film.mp4'}")
    log_has(log, "recorder: a word")


def test_a_missing_ffmpeg_is_said_with_its_package(tmp_path: Path) -> None:
    program = tmp_path / "Xvfb"
    program.write_text(f"#!/bin/sh\necho >{tmp_path}/started\n")
    program.chmod(0o755)
    words = (*EXEC, "--record", str(tmp_path / "film.mp4"), "/bin/echo", "started")
    output = run(*words, env={**os.environ, "PATH": str(tmp_path)})
    assert (output.returncode, output.stdout) == (125, "")
    assert "ffmpeg is not installed" in output.stderr
    assert "install ffmpeg" in output.stderr
    assert os.listdir(tmp_path) == ["Xvfb"]


@pytest.mark.parametrize("place", ["gone/film.mp4", "/dev/full", "fifo", "."])
def test_a_recording_that_can_not_be_written_is_refused(place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    environ = stand_in(tmp_path, "exit 1")
    xvfb = tmp_path / "Xvfb"
    xvfb.write_text(f"#!/bin/sh\necho >{tmp_path}/started\n")
    xvfb.chmod(0o755)
    output = run(*EXEC, "--record", place, "echo", "started", cwd=tmp_path, env=environ)
    assert output.returncode == (2 if place == "." else 125)
    assert output.stdout == ""
    assert place in output.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("depth", [8, 30])
def test_depths_that_ffmpeg_does_not_read_are_refused(depth: int) -> None:
    output = run(*EXEC, "--screen", f"64x48x{depth}", "--record", "film.mp4", "echo", "started")
    assert (output.returncode, output.stdout) == (2, "")
    assert "15, 16 or 24 bits" in output.stderr


def test_the_command_line_of_ffmpeg_is_as_expected() -> None:
    words = recorder.command("/opt/ffmpeg", 4711, "/a film.mp4")
    assert (words[0], words[-1]) == ("/opt/ffmpeg", "/a film.mp4")
    assert words[words.index("-i") + 1] == ":4711"


@needs_ffmpeg
def test_anaheadless_python_takes_it_from_a_variable(tmp_path: Path) -> None:
    environ = {**os.environ, "ANAHEADLESS_RECORD": str(tmp_path / "film.mp4"), "ANAHEADLESS_GL": "none"}
    output = run("-c", "print('well')", command=str(BIN / "anaheadless-python"), env=environ)
    assert (output.returncode, output.stdout, output.stderr) == (0, "well\n", "")
    assert (tmp_path / "film.mp4").stat().st_size
