"""Whatever parsers are given, by users or by other processes: a value that makes sense, or the error that they name."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anaheadless import options
from anaheadless.cli import app, shell_export
from anaheadless.diagnostics import inspection
from anaheadless.errors import LaunchError
from anaheadless.launch import environment
from anaheadless.opengl import probe
from anaheadless.opengl.candidates import Candidate
from anaheadless.options import DEPTHS, MAX_MEMORY, MAX_SIDE, Screen, parse_screen
from anaheadless.session import discovery, keeper
from anaheadless.session.discovery import SessionStatus, parse_status
from anaheadless.system import libraries, processes
from anaheadless.x11 import authority, client, screenshot, server_process

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
SIDES = st.integers(1, MAX_SIDE)


@given(SIDES, SIDES, st.sampled_from(DEPTHS))
def test_screens_are_read_as_they_are_written(width: int, height: int, depth: int) -> None:
    screen = Screen(width, height, depth)
    if screen.memory < MAX_MEMORY:
        assert parse_screen(str(screen)) == screen
    else:
        with pytest.raises(ValueError, match=r"would take [234]\.\d GiB of memory"):
            parse_screen(str(screen))


@given(st.one_of(st.text(), st.from_regex(r"[0-9x+-]{0,20}")))
@example("٣x٣")
@example("1x1x1\n")
def test_odd_screens_are_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        screen = parse_screen(text)
        assert [int(number) for number in text.split("x")][:2] == [screen.width, screen.height]


def converted(kind: click.ParamType[Any], text: str) -> Any:
    try:
        return kind.convert(text, None, None)
    except click.BadParameter as error:
        assert repr(text) in error.message  # noqa: PT017
        return None


@given(st.floats(0.001, 365), st.sampled_from(["s", "m", "h", "d", ""]))
def test_durations(number: float, unit: str) -> None:
    seconds = converted(app.Duration(), f"{number:.3f}{unit}")
    scale = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert seconds == pytest.approx(round(number, 3) * scale)


@given(st.one_of(st.text(), st.from_regex(r"[0-9.smhd+e-]{0,12}")))
@example("nan")
@example("1e3")
@example("1s\n")
def test_odd_durations_are_refused(text: str) -> None:
    seconds = converted(app.Duration(), text)
    assert seconds is None or 0 < seconds <= 366 * 86400


@given(st.one_of(st.text(), st.from_regex(r"[0-9x+-]{0,20}")))
def test_parts_of_a_screen(text: str) -> None:
    area = converted(app.Area(), text)
    assert area is None or (area[0] > 0 and area[1] > 0)


@given(
    st.lists(st.tuples(st.integers(0, 65535), WORDS), max_size=5),
    st.integers(0, 9999),
    st.binary(min_size=16, max_size=16),
)
def test_cookie_is_found_among_others(others: list[tuple[int, str]], number: int, cookie: bytes) -> None:
    entries = b"".join(authority.authority(n, b"another's cookie", host[:99]) for n, host in others if n != number)
    assert authority.find_cookie(entries + authority.authority(number, cookie, "here"), number) == cookie


@given(st.binary())
def test_odd_authority(entries: bytes) -> None:
    try:
        assert isinstance(authority.find_cookie(entries, 2000), bytes)
    except ValueError as error:
        assert ":2000" in str(error)  # noqa: PT017


@pytest.mark.parametrize(("pixel_bits", "row_bits", "width"), [(0, 32, 9), (32, 0, 9), (255, 32, 9), (32, 32, 40000)])
def test_screen_that_makes_no_sense(pixel_bits: int, row_bits: int, width: int) -> None:
    formats = struct.pack("<BBB5x", 24, pixel_bits, row_bits)
    screen = struct.pack("<II12xHH8xIxxBB", 1, 2, width, 9, 3, 24, 0)
    with pytest.raises(ValueError, match="a screen of"):
        screenshot.parse_setup(struct.pack("<16xHxxxBBxx8x", 0, 1, 0)[:32] + formats + screen)


@given(st.binary())
def test_odd_setup_of_a_server(setup: bytes) -> None:
    """screenshot.save() knows these errors."""
    with contextlib.suppress(ValueError, KeyError, struct.error):
        screenshot.parse_setup(setup)


@given(st.integers(0, 2), st.sampled_from(options.BACKENDS[1:]), WORDS, WORDS)
def test_notes_are_read_as_they_are_written(glx: int, backend: str, renderer: str, original: str) -> None:
    notes = SessionStatus(glx, backend, renderer, original)
    read = parse_status(notes.as_text())
    assert (read.glx, read.backend) == (glx, backend)
    assert read.renderer == " ".join(renderer.split())


@given(st.text())
def test_odd_notes(text: str) -> None:
    with pytest.raises(ValueError, match="there is no '"):
        parse_status(text)


@pytest.mark.parametrize(
    "odd",
    [{"glx": 3}, {"glx": -1}, {"backend": "auto"}, {"backend": "\x1b[2J"}, {"purpose": ""}, {"purpose": "x"}],
)
def test_notes_that_make_no_sense(odd: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="make no sense"):
        parse_status(SessionStatus(2, "mesa").replace(**odd).as_text())


@given(st.lists(st.one_of(WORDS, st.just(keeper.__file__), st.just(":1"), st.just("1")), max_size=8))
def test_odd_command_lines(words: list[str]) -> None:
    found = discovery.parse_command(words)
    assert found is None or (found[0] in words[1:] and str(found[1]) in words[2:])


@given(st.binary())
def test_odd_environment_blocks(block: bytes) -> None:
    for name, value in environment.parse_block(block).items():
        assert name
        assert "\0" not in name + value


@pytest.mark.parametrize("name", ["", ":", "::1", "1\n", "٣", "x" * 5000, "9" * 5000])
def test_odd_names_of_sessions(name: str) -> None:
    from anaheadless.session import manage

    with pytest.raises(LaunchError, match="there is no session"):
        manage.find(name, {})


@given(WORDS, st.one_of(WORDS, st.from_regex(r":[0-9]{0,10},[0-9]{0,10}\n?")))
def test_odd_words_about_a_session(display: str, session: str) -> None:
    assert discovery.current({"DISPLAY": display, "ANAHEADLESS_SESSION": session}) is None


@given(st.binary(min_size=1, max_size=15))
@example(b") R 1 (")
@example(b"\n\xff")
def test_odd_names_of_processes(name: bytes) -> None:
    start = processes.state(os.getpid())[1]
    before = Path("/proc/self/comm").read_bytes()
    try:
        Path("/proc/self/comm").write_bytes(name)
        assert processes.state(os.getpid()) == ("R", start)
    finally:
        Path("/proc/self/comm").write_bytes(before.rstrip(b"\n"))


@given(st.binary(max_size=30))
@example(b"")
@example(b"        -1\n")
@example(b"9" * 30)
def test_odd_locks(folder: Path, text: bytes) -> None:
    lock = folder / "lock"
    lock.write_bytes(text)
    assert not server_process.names(str(lock), 999999999)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parsers")


@pytest.fixture(scope="module")
def tools(folder: Path) -> Iterator[Path]:
    """What ldconfig and ldd say, where they are said to be."""
    said = folder / "said"
    for name in "ldconfig", "ldd":
        (folder / name).write_text(f"#!/bin/sh\nexec cat {said}\n")
        (folder / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield said


LINES = st.lists(st.one_of(st.binary(), st.sampled_from([b" => ", b"=> not found", b"a => not found", b"\n"])))


@settings(max_examples=30)
@given(LINES)
def test_odd_answers_of_the_linker(tools: Path, lines: list[bytes]) -> None:
    tools.write_bytes(b"".join(lines))
    assert all(isinstance(path, str) for path in libraries.linker_cache())
    assert all(isinstance(name, str) for name in inspection.missing_libraries("plugin.so"))


@given(st.text(), st.text(), st.integers(-64, 255))
@example("result: drawn\n", "", 0)
def test_odd_answers_of_a_proof(output: str, errors: str, status: int) -> None:
    found = probe.read(Candidate("native"), output, errors, status)
    assert (found.outcome == "drawn") == ("result: drawn" in output.splitlines())


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that gives one *answer* to whatever it is asked."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # a name that the kernel chooses
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connection, contextlib.suppress(OSError):
                connection.recv(1 << 12)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 12):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname().decode()
        finally:
            thread.join()


@settings(max_examples=50)
@given(st.one_of(st.binary(), st.binary().map(lambda body: b"\1\0\0\0\0\0\0\0\1" + body)))
def test_odd_answers_of_a_server(answer: bytes) -> None:
    with answering(answer) as address, contextlib.suppress(OSError, client.RefusedError):
        connection = client.connect(address, bytes(16), time.monotonic() + 30)
        with connection:
            client.has_extension(connection, "GLX")


def test_answer_of_a_server_that_takes_too_much_memory() -> None:
    """Sixteen gigabytes."""
    setup, reply = bytes([1, *bytes(7)]), struct.pack("<BBHI24x", 1, 0, 0, 0xFFFFFFFF)
    with answering(setup + reply) as address:
        connection = client.connect(address, bytes(16), time.monotonic() + 30)
        with connection, pytest.raises(client.RefusedError, match="17179869180 bytes, and not 0"):
            client.has_extension(connection, "GLX")


NAMES = st.one_of(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), WORDS, st.just("A<<END"), st.just("A\n"))


@given(st.dictionaries(NAMES, st.one_of(WORDS, st.just("END\nEND_"), st.just("\nEND\nA<<END\n"))))
def test_variables_for_github_are_read_as_they_are_written(changed: dict[str, str]) -> None:
    """What no shell can name is left out."""
    lines = "".join(f"{line}\n" for line in shell_export.for_github(changed)).split("\n")[:-1]
    read = {}
    while lines:
        name, end = lines.pop(0).split("<<")
        place = lines.index(end)
        read[name] = "\n".join(lines[:place])
        del lines[: place + 1]
    assert read == {name: value for name, value in changed.items() if name.isascii() and name.isidentifier()}
