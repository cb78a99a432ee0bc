"""Whatever parsers are given, by users or by other processes: a value that makes sense, or the error that they name."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anaheadless import cli, display, environment, keeper, live, screenshot
from anaheadless.display import DEPTHS, MAX_SIDE, Screen, parse_screen
from anaheadless.errors import LaunchError
from anaheadless.live import Notes, parse_notes

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
SIDES = st.integers(1, MAX_SIDE)


@given(SIDES, SIDES, st.sampled_from(DEPTHS))
def test_screens_are_read_as_they_are_written(width: int, height: int, depth: int) -> None:
    screen = Screen(width, height, depth)
    assert parse_screen(str(screen)) == screen


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
    seconds = converted(cli.Duration(), f"{number:.3f}{unit}")
    scale = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert seconds == pytest.approx(round(number, 3) * scale)


@given(st.one_of(st.text(), st.from_regex(r"[0-9.smhd+e-]{0,12}")))
@example("nan")
@example("1e3")
@example("1s\n")
def test_odd_durations_are_refused(text: str) -> None:
    seconds = converted(cli.Duration(), text)
    assert seconds is None or 0 < seconds <= 366 * 86400


@given(st.one_of(st.text(), st.from_regex(r"[0-9x+-]{0,20}")))
def test_parts_of_a_screen(text: str) -> None:
    area = converted(cli.Area(), text)
    assert area is None or (area[0] > 0 and area[1] > 0)


@given(
    st.lists(st.tuples(st.integers(0, 65535), WORDS), max_size=5),
    st.integers(0, 9999),
    st.binary(min_size=16, max_size=16),
)
def test_cookie_is_found_among_others(others: list[tuple[int, str]], number: int, cookie: bytes) -> None:
    entries = b"".join(display.authority(n, b"another's cookie", host[:99]) for n, host in others if n != number)
    assert display.find_cookie(entries + display.authority(number, cookie, "here"), number) == cookie


@given(st.binary())
def test_odd_authority(entries: bytes) -> None:
    try:
        assert isinstance(display.find_cookie(entries, 2000), bytes)
    except ValueError as error:
        assert ":2000" in str(error)  # noqa: PT017


@given(st.binary())
def test_odd_setup_of_a_server(setup: bytes) -> None:
    """screenshot.save() knows these errors."""
    with contextlib.suppress(ValueError, KeyError, struct.error):
        screenshot.parse_setup(setup)


@given(st.integers(), st.integers(), WORDS, WORDS, WORDS)
def test_notes_are_read_as_they_are_written(server: int, glx: int, backend: str, renderer: str, original: str) -> None:
    notes = Notes(server, glx, backend, renderer, original)
    read = parse_notes(notes.as_text())
    assert (read.server, read.glx) == (server, glx)
    assert read.renderer == " ".join(renderer.split())


@given(st.text())
def test_odd_notes(text: str) -> None:
    with pytest.raises(ValueError, match="there is no 'server'"):
        parse_notes(text)


@given(st.lists(st.one_of(WORDS, st.just(keeper.__file__), st.just(":1"), st.just("1")), max_size=8))
def test_odd_command_lines(words: list[str]) -> None:
    found = live.parse_command(words)
    assert found is None or (found[0] in words[1:] and str(found[1]) in words[2:])


@given(st.binary())
def test_odd_environment_blocks(block: bytes) -> None:
    for name, value in environment.parse_block(block).items():
        assert name
        assert "\0" not in name + value


@pytest.mark.parametrize("name", ["", ":", "::1", "1\n", "٣", "x" * 5000, "9" * 5000])
def test_odd_names_of_sessions(name: str) -> None:
    from anaheadless import roster

    with pytest.raises(LaunchError, match="there is no session"):
        roster.find(name, {})
