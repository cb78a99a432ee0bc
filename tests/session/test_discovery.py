"""A session is found by its variables and by the status that its keeper holds; nothing else is taken for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless import options, virtual_display
from anaheadless.errors import LaunchError
from anaheadless.session import discovery, keeper, manage
from anaheadless.session.discovery import SessionStatus, parse_status
from tests.support.displays import parts
from tests.support.helpers import PATIENCE, remove_socket, run_python, wait_until
from tests.support.strategies import WORDS

pytestmark = pytest.mark.any_server

STATUS = SessionStatus(2, "native", "llvmpipe (LLVM 15.0.6, 256 bits)", ":0")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        (":0.1", ":0.1"),
        ("a: b", "a: b"),
        ("a\nserver: 1", "a server: 1"),
        ("a\r\nb\x0bc\x0cd\x1ce\x85f\u2028g", "a b c d e f g"),
        (" \t a  b ", "a b"),
        ("\n", ""),
        ("\udce9\u20ac", "\udce9\u20ac"),
        ("renderer: x", "renderer: x"),
        ("\0", "\0"),
    ],
)
def test_texts_of_a_status_stay_one_line_each(text: str, kept: str) -> None:
    noted = STATUS.replace(renderer=text, original_display=text)
    assert parse_status(noted.as_text()) == STATUS.replace(renderer=kept, original_display=kept)
    assert len(noted.as_text().splitlines()) == len(noted.as_dict()) - 1
    assert parse_status(f"server: 7\n{noted.as_text()}").server == 7
    assert parse_status(f"{noted.as_text()}server: 7\n").server == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "\0" * 100,
        STATUS.as_text()[:30],
        STATUS.as_text().replace("glx: 2", "glx: x"),
        STATUS.as_text().replace("glx: 2", "glx: "),
        STATUS.as_text().replace("glx: 2", "glx: " + "9" * 5000),
        STATUS.as_text() + "server: two",
        *(STATUS.as_text().replace(name, "x") for name in ("glx", "backend", "renderer", "original_display")),
    ],
    ids=range(12),
)
def test_text_that_is_no_status_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"in this status|int"):
        parse_status(text)


def test_a_program_finds_its_session_by_its_variables() -> None:
    with virtual_display(gl="none") as display:
        found = discovery.current(display.environ)
        assert found is not None
        assert found.target == os.getpid()
        assert found.status is not None
        assert found.status.replace(cache_file="", server_reason="") == SessionStatus(
            0, "none", "", os.environ.get("DISPLAY", ""), server=parts(display)[1].pid
        )
        assert discovery.current({**display.environ, "DISPLAY": f"{display.display}.0"}) == found
        for name in "DISPLAY", "ANAHEADLESS_SESSION":
            assert discovery.current({**display.environ, name: ""}) is None
            assert discovery.current({key: value for key, value in display.environ.items() if key != name}) is None
        assert discovery.current({**display.environ, "DISPLAY": f"{display.display}0"}) is None
        other = f":1{display.display[1:]}"
        session = f"{other},{found.keeper}"
        assert discovery.current({"DISPLAY": other, "ANAHEADLESS_SESSION": session}) is None
        parts(display)[0].kill()
        wait_until(lambda: discovery.current(display.environ) is None)
    remove_socket(int(display.display[1:]))


SOME = (":2000,{}", ":2000,{} ", " :2000,{}", ":2000,{}\n", ":2000,{},1", "2000,{}", ":2000.0,{}", "host:2000,{}")


@pytest.mark.parametrize(
    "session",
    [
        "",
        ",",
        ":",
        ":2000",
        ":2000,",
        ":2000,-1",
        ":2000,0",
        ":2000,1",
        ":2000,1e3",
        ":2000,\u0661",
        ":2000,99999999999",
    ]
    + [":2000," + "9" * 300, ":2000," + "9" * 5000, ":" + "9" * 5000 + ",1", "\0", ":2000,\0", "\udcff"]
    + [text.format(os.getpid()) for text in SOME],
    ids=range(25),
)
def test_variables_that_name_no_session_find_none(session: str) -> None:
    for display in ":2000", session.partition(",")[0], "":
        assert discovery.current({"ANAHEADLESS_SESSION": session, "DISPLAY": display}) is None


ASK = """
import os
from anaheadless.session import discovery
found = discovery.current(os.environ)
print(found and found.status)
"""


@pytest.mark.parametrize(
    "what", ["missing", "fifo", "folder", "empty", "garbage", "/dev/zero", "/dev/null", "/dev/full"]
)
def test_a_process_that_looks_like_a_keeper_is_no_session(what: str, tmp_path: Path) -> None:
    """It has the keeper's command line, and something else where the status would be: nobody waits for it."""
    path = Path(what) if what.startswith("/") else tmp_path / what
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif not what.startswith("/"):
        path.write_bytes(b"" if what == "empty" else os.urandom(5000))
    redirection = {"missing": "6<&-", "fifo": f'6<>"{path}"'}.get(what, f'6<"{path}"')
    stay = "print(flush=True); import sys; sys.stdin.read()"
    words = [sys.executable, "-c", stay, "keeper.py", ":2000", str(os.getpid()), "1", "/nonexistent", "0", "Xvfb"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["sh", "-c", f'exec "$@" {redirection}', "sh", *words], **streams) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == b"\n"
            environ = {**os.environ, "DISPLAY": ":2000", "ANAHEADLESS_SESSION": f":2000,{process.pid}"}
            output = run_python("-c", ASK, env=environ, timeout=PATIENCE)
            assert (output.stdout, output.stderr) == ("None\n", "")
        finally:
            process.kill()


@given(st.integers(0, 2), st.sampled_from([*options.CANDIDATES, "none"]), WORDS, WORDS)
def test_a_status_is_read_as_it_was_written(glx: int, backend: str, renderer: str, original: str) -> None:
    written = SessionStatus(glx, backend, renderer, original)
    read = parse_status(written.as_text())
    assert parse_status(written.replace(hardware=1).as_text()) == read.replace(hardware=1)
    assert (read.glx, read.backend) == (glx, backend)
    assert read.renderer == " ".join(renderer.split())


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="there is no '"):
        parse_status(text)


@pytest.mark.parametrize(
    "odd",
    [
        *({"glx": 3}, {"glx": -1}, {"hardware": 2}, {"hardware": -1}),
        *({"backend": "auto"}, {"backend": "hardware"}, {"backend": "\x1b[2J"}, {"purpose": ""}, {"purpose": "x"}),
        *({"server_kind": "auto"}, {"server_kind": ""}),
    ],
)
def test_a_status_that_makes_no_sense_is_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        parse_status(SessionStatus(2, "mesa").replace(**odd).as_text())


@given(st.lists(st.one_of(WORDS, st.just(keeper.__file__), st.just(":1"), st.just("1")), max_size=8))
def test_any_command_line_is_a_keepers_or_none(words: list[str]) -> None:
    found = discovery.parse_command(words)
    assert found is None or (found[0] in words[1:] and str(found[1]) in words[2:])


@pytest.mark.parametrize("name", ["", ":", "::1", "1\n", "٣", "x" * 5000, "9" * 5000])
def test_a_name_that_no_session_has_is_said(name: str) -> None:
    with pytest.raises(LaunchError, match="there is no session"):
        manage.find(name, {})


@given(WORDS, st.one_of(WORDS, st.from_regex(r":[0-9]{0,10},[0-9]{0,10}\n?")))
def test_any_variables_are_those_of_a_session_or_of_none(display: str, session: str) -> None:
    assert discovery.current({"DISPLAY": display, "ANAHEADLESS_SESSION": session}) is None
