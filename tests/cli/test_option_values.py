"""Values of options: what makes sense is read as it was written, all else is refused with words."""

from __future__ import annotations

import contextlib
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anaheadless.cli import map as mapping
from anaheadless.cli import map_request, sessions
from anaheadless.cli.parameters import TableOption
from anaheadless.map_options import DISPLAY, MAP_TABLE, TEXT
from anaheadless.options import (
    DEPTHS,
    FLAG,
    LIST,
    MAX_MEMORY,
    MAX_SIDE,
    Option,
    Screen,
    parse_duration,
    parse_plain,
    parse_screen,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1280x1024", Screen(1280, 1024, 24)),
        ("1x1x8", Screen(1, 1, 8)),
        ("32767x16383x30", Screen(32767, 16383, 30)),
    ],
)
def test_known_screens_are_read(text: str, expected: Screen) -> None:
    assert parse_screen(text) == expected


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
def test_all_other_screens_are_refused(text: str) -> None:
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
def test_durations_are_read_as_they_are_written(number: float, unit: str) -> None:
    seconds = parse_duration(f"{number:.3f}{unit}")
    scale = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert seconds == pytest.approx(round(number, 3) * scale)


@given(st.one_of(st.text(), st.from_regex(r"[0-9.smhd+e-]{0,12}")))
@example("nan")
@example("1e3")
@example("1s\n")
def test_all_other_durations_are_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 < parse_duration(text) <= 366 * 86400


@given(st.one_of(st.text(), st.from_regex(r"[0-9x+-]{0,20}")))
def test_a_part_of_a_screen_has_a_size_or_is_refused(text: str) -> None:
    area = converted(sessions.Area(), text)
    assert area is None or (area[0] > 0 and area[1] > 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("90", 90), ("90s", 90), ("1.5m", 90), (".5h", 1800), ("2.h", 7200), ("1d", 86400)],
        *[("0.25", 0.25), ("366d", 366 * 86400), (".000001", 1e-6)],
    ],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


REFUSED = (
    "0",
    "0.0d",
    "-1",
    "1w",
    "nan",
    "inf",
    "1e3",
    "",
    ".",
    "s",
    " 1",
    "1 s",
    "1M",
    "1_0",
    "٣",
    "367d",
    "999999999d",
)


@pytest.mark.parametrize("text", REFUSED)
def test_durations_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration such as 90, 90s, 1\.5m, 2h or 1d"):
        parse_duration(text)


@pytest.mark.parametrize("option", MAP_TABLE, ids=lambda option: option.name)
def test_a_map_is_asked_the_same_with_click_and_without(option: Option) -> None:
    values = {DISPLAY: ["own", "none"], TEXT: ["some.file"], LIST: ["some*"]}.get(
        option.kind, ["3", "0", "-1", "x", "1048577"]
    )
    for words in [[f"--{option.name}"]] if option.kind is FLAG else [[f"--{option.name}", value] for value in values]:
        read, rest = parse_plain([*words, "script.py"], MAP_TABLE)
        with contextlib.suppress(click.BadParameter):
            context = mapping.map_.make_context("map", [*words, "script.py"])
            assert read == {option.field: context.params[option.field]}
            assert rest == ["script.py"]
            continue
        assert rest == [*words, "script.py"]  # it is left to click, which says what is wrong


def test_a_map_without_options_is_asked_the_same_with_click_and_without() -> None:
    params = mapping.map_.make_context("map", ["script.py"]).params
    table = {str(option.name) for option in mapping.map_.params if isinstance(option, TableOption)}
    assert {name: value for name, value in params.items() if name not in {*table, "args"}} == map_request.DEFAULTS
