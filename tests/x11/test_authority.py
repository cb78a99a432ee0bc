"""X authority files: the cookie of a display is found there, and written so that others find it."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.x11.authority import authority, find_cookie
from tests.support.strategies import WORDS

pytestmark = pytest.mark.any_server

LOCAL, WILD, INTERNET = 256, 65535, 0  # families of addresses


def entry(number: bytes, name: bytes, cookie: bytes, family: int = LOCAL, address: bytes = b"host") -> bytes:
    fields = (address, number, name, cookie)
    return struct.pack(">H", family) + b"".join(struct.pack(">H", len(field)) + field for field in fields)


MAGIC = b"MIT-MAGIC-COOKIE-1"
ENTRIES = (
    entry(b"5", MAGIC, b"of another")
    + entry(b"15", b"XDM-AUTHORIZATION-1", b"of another kind")
    + entry(b"15", b"", b"")
    + entry(b"", MAGIC, b"of any")
    + entry(b"15", MAGIC, b"the one", family=WILD, address=b"")
    + entry(b"15", MAGIC, b"a later one")
    + entry(b"150", MAGIC, bytes(range(16)), family=INTERNET, address=b"\x7f\0\0\1")
)


@pytest.mark.parametrize(("number", "cookie"), [(5, b"of another"), (15, b"the one"), (150, bytes(range(16)))])
def test_the_first_cookie_for_the_display_is_taken(number: int, cookie: bytes) -> None:
    assert find_cookie(ENTRIES, number) == cookie
    assert find_cookie(authority(number, b"first", "host") + ENTRIES, number) == b"first"


@pytest.mark.parametrize("entries", [b"", ENTRIES, b"\0", b"\xff" * 99, bytes(99), b"1" * 99], ids=range(6))
def test_a_display_without_a_cookie_is_said(entries: bytes) -> None:
    with pytest.raises(ValueError, match=":2000"):
        find_cookie(entries, 2000)


def test_cookies_in_damaged_files_are_found_or_refused() -> None:
    source = random.Random(0)
    garbage = [ENTRIES[:end] for end in range(len(ENTRIES))] + [ENTRIES[start:] for start in range(len(ENTRIES))]
    garbage += [source.randbytes(source.randrange(200)) for _ in range(500)]
    for _ in range(500):
        changed = bytearray(ENTRIES)
        for _ in range(3):
            changed[source.randrange(len(changed))] = source.choice([0, 1, 255, source.randrange(256)])
        garbage.append(bytes(changed))
    for entries in garbage:
        for number in 15, 150:
            try:
                assert isinstance(find_cookie(entries, number), bytes)
            except ValueError:
                continue


def test_entries_are_those_that_xlib_reads() -> None:
    """Xau(3): family, then address, number, name and data, each with its length; big-endian."""
    data = authority(2345, b"0123456789abcdef", "host")
    entries = []
    while data:
        (family,), data = struct.unpack(">H", data[:2]), data[2:]
        fields = []
        for _ in range(4):
            (length,) = struct.unpack(">H", data[:2])
            fields.append(data[2 : 2 + length])
            data = data[2 + length :]
        entries.append((family, fields))
    rest = [b"2345", b"MIT-MAGIC-COOKIE-1", b"0123456789abcdef"]
    assert entries == [(LOCAL, [b"host", *rest]), (WILD, [b"", *rest])]


@given(
    st.lists(st.tuples(st.integers(0, 65535), WORDS), max_size=5),
    st.integers(0, 9999),
    st.binary(min_size=16, max_size=16),
)
def test_a_cookie_is_found_among_those_of_other_displays(
    others: list[tuple[int, str]], number: int, cookie: bytes
) -> None:
    entries = b"".join(authority(n, b"another's cookie", host[:99]) for n, host in others if n != number)
    assert find_cookie(entries + authority(number, cookie, "here"), number) == cookie


@given(st.binary())
def test_a_file_of_any_bytes_has_a_cookie_or_is_refused(entries: bytes) -> None:
    try:
        assert isinstance(find_cookie(entries, 2000), bytes)
    except ValueError as error:
        assert ":2000" in str(error)  # noqa: PT017
