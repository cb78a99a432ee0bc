"""Whatever a Wayland client sends: it is answered as the protocol says, or refused, and takes limited memory."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anaheadless.x11.null_compositor import (
    MAX_MESSAGE,
    MAX_OBJECTS,
    BrokenPeerError,
    Link,
    NullCompositor,
)

pytestmark = pytest.mark.any_server

LONGEST_ANSWER = 30  # bytes for each byte that was sent: the list of globals answers a message of 12 bytes
REGISTRY, COMPOSITOR, SHM, SHELL, OUTPUT, SURFACE, POOL, BUFFER, CALLBACK, ROLE, TOPLEVEL = range(2, 13)


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)


def string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return words(len(data)) + data + bytes(-len(data) % 4)


def message(target: int, opcode: int, body: bytes = b"") -> bytes:
    """A request, or an event: they look alike."""
    return words(target, 8 + len(body) << 16 | opcode) + body


def parsed(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    while data:
        size = int.from_bytes(data[4:8], sys.byteorder) >> 16
        assert 8 <= size <= len(data)
        opcode = int.from_bytes(data[4:8], sys.byteorder) & 0xFFFF
        found.append((int.from_bytes(data[:4], sys.byteorder), opcode, data[8:size]))
        data = data[size:]
    return found


def bind(name: int, interface: str, version: int, new: int) -> bytes:
    return message(REGISTRY, 0, words(name) + string(interface) + words(version, new))


BIND_ALL = (
    message(1, 1, words(REGISTRY))
    + bind(1, "wl_compositor", 4, COMPOSITOR)
    + bind(2, "wl_shm", 1, SHM)
    + bind(3, "xdg_wm_base", 1, SHELL)
    + bind(4, "wl_output", 2, OUTPUT)
)
MAKE_WINDOW = (
    message(COMPOSITOR, 0, words(SURFACE))
    + message(SHELL, 2, words(ROLE, SURFACE))
    + message(ROLE, 1, words(TOPLEVEL))
    + message(TOPLEVEL, 2, string("Xwayland on :2000"))
    + message(SURFACE, 6)
)
SHOW_BUFFER = (
    message(SHM, 0, words(POOL, 64))
    + message(POOL, 0, words(BUFFER, 0, 4, 4, 16, 1))
    + message(SURFACE, 1, words(BUFFER, 0, 0))
    + message(SURFACE, 3, words(CALLBACK))
    + message(SURFACE, 6)
)


def test_globals_are_announced_and_can_be_bound() -> None:
    events = parsed(NullCompositor(640, 480).feed(BIND_ALL))
    announced = [(name, version) for target, _, body in events[:4] for name, version in [(body[8:12], body[-4:])]]
    assert announced == [
        *((b"wl_c", words(5)), (b"wl_s", words(1)), (b"xdg_", words(1)), (b"wl_o", words(2))),
    ]
    assert events[4:6] == [(SHM, 0, words(0)), (SHM, 0, words(1))]
    assert [(target, opcode) for target, opcode, _ in events[6:]] == [(OUTPUT, opcode) for opcode in (0, 1, 3, 2)]
    assert events[7][2] == words(3, 640, 480, 60_000)


def test_a_window_is_configured_with_any_size() -> None:
    compositor = NullCompositor(640, 480)
    compositor.feed(BIND_ALL)
    assert parsed(compositor.feed(MAKE_WINDOW)) == [(TOPLEVEL, 0, words(0, 0, 0)), (ROLE, 0, words(1))]


def test_a_buffer_is_given_back_at_once_and_no_frame_is_ever_done() -> None:
    compositor = NullCompositor(640, 480)
    compositor.feed(BIND_ALL + MAKE_WINDOW)
    assert parsed(compositor.feed(SHOW_BUFFER)) == [(BUFFER, 0, b"")]
    assert compositor.feed(message(SURFACE, 6)) == b"", "only once"


def test_a_buffer_that_was_destroyed_is_not_given_back() -> None:
    compositor = NullCompositor(640, 480)
    compositor.feed(BIND_ALL + MAKE_WINDOW)
    attach, commit = message(SURFACE, 1, words(BUFFER, 0, 0)), message(SURFACE, 6)
    made = message(SHM, 0, words(POOL, 64)) + message(POOL, 0, words(BUFFER, 0, 4, 4, 16, 1))
    assert parsed(compositor.feed(made + attach + message(BUFFER, 0) + commit)) == [(1, 1, words(BUFFER))]


def test_a_sync_is_answered_and_its_id_can_be_used_again() -> None:
    compositor = NullCompositor(640, 480)
    for serial in 1, 2, 3:
        expected = [(CALLBACK, 0, words(serial)), (1, 1, words(CALLBACK))]
        assert parsed(compositor.feed(message(1, 0, words(CALLBACK)))) == expected


@pytest.mark.parametrize(
    "data",
    [
        message(99, 0),
        message(1, 2),
        message(1, 0),
        message(1, 0, words(0)),
        message(1, 0, words(1)),
        message(1, 1, words(0xFF000000)),
        message(1, 0, words(2, 3)),
        words(1, 7 << 16),
        words(1, 10 << 16),
        words(1, (MAX_MESSAGE + 4) << 16),
        BIND_ALL + message(TOPLEVEL, 0),
        message(1, 1, words(REGISTRY)) + message(REGISTRY, 0),
        message(1, 1, words(REGISTRY)) + bind(0, "wl_compositor", 4, 3),
        message(1, 1, words(REGISTRY)) + bind(5, "wl_seat", 1, 3),
        message(1, 1, words(REGISTRY)) + bind(1, "wl_compositor", 6, 3),
        message(1, 1, words(REGISTRY)) + bind(1, "wl_compositor", 0, 3),
        message(1, 1, words(REGISTRY)) + bind(1, "wl_shm", 1, 3),
        message(1, 1, words(REGISTRY)) + bind(2, "wl_shm", 1, REGISTRY),
    ],
    ids=lambda data: data.hex()[-24:],
)
def test_what_the_protocol_forbids_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenPeerError):
        NullCompositor(640, 480).feed(data)


def test_too_many_objects_are_refused() -> None:
    compositor = NullCompositor(640, 480)
    registries = b"".join(message(1, 1, words(number)) for number in range(2, MAX_OBJECTS + 1))
    compositor.feed(registries)
    with pytest.raises(BrokenPeerError, match="more than"):
        compositor.feed(message(1, 1, words(MAX_OBJECTS + 1)))


# Requests that are nearly right: of objects that may exist, with a number of arguments that may be the right one.
REQUESTS = st.builds(
    lambda target, opcode, body: message(target, opcode, b"".join(body)),
    st.integers(0, 14),
    st.integers(0, 14),
    st.lists(
        st.one_of(
            st.integers(0, 16).map(words),
            st.integers(0, 0xFFFFFFFF).map(words),
            st.sampled_from(["wl_compositor", "wl_shm", "wl_seat", ""]).map(string),
        ),
        max_size=7,
    ),
)
STREAMS = st.one_of(
    st.binary(max_size=300),
    st.lists(REQUESTS, max_size=60).map(b"".join),
    st.tuples(st.just(BIND_ALL + MAKE_WINDOW + SHOW_BUFFER), st.lists(REQUESTS, max_size=60).map(b"".join)).map(
        b"".join
    ),
)


@settings(max_examples=600)
@given(STREAMS, st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_whatever_comes_is_answered_or_refused_however_it_is_split(stream: bytes, lengths: list[int]) -> None:
    def outcome(pieces: Iterator[bytes]) -> tuple[bytes, str]:
        compositor, answers = NullCompositor(640, 480), b""
        for piece in pieces:
            try:
                answers += compositor.feed(piece)
            except BrokenPeerError as error:
                return answers, str(error)
        return answers, ""

    def split() -> Iterator[bytes]:
        start = 0
        while start < len(stream):
            for length in lengths:
                yield stream[start : start + length]
                start += length

    whole, single = outcome(iter([stream])), outcome(bytes([byte]) for byte in stream)
    in_pieces = outcome(split())
    assert whole[1] == single[1] == in_pieces[1]
    assert single[0].startswith(in_pieces[0]), "an answer that precedes an error may be lost, and is never another one"
    assert in_pieces[0].startswith(whole[0])
    assert len(single[0]) <= LONGEST_ANSWER * len(stream)
    assert parsed(single[0]) is not None


@contextmanager
def link() -> Iterator[tuple[Link, socket.socket]]:
    """A compositor, and the server's end of its socket pair."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Link(ours.fileno(), NullCompositor(640, 480)), theirs


def is_due(link: Link) -> bool:
    poll = select.poll()
    poll.register(link.descriptor, link.awaited)
    return bool(poll.poll(0))


def test_a_link_answers_what_has_come_and_never_waits() -> None:
    with link() as (ours, theirs):
        assert not is_due(ours)
        assert ours.advance(), "it returns when there is nothing to read"
        theirs.sendall(message(1, 0, words(CALLBACK)))
        assert is_due(ours)
        assert ours.advance()
        assert parsed(theirs.recv(1 << 12)) == [(CALLBACK, 0, words(1)), (1, 1, words(CALLBACK))]
        assert not is_due(ours)


def test_a_link_reads_nothing_more_from_a_server_that_does_not_read() -> None:
    with link() as (ours, theirs):
        theirs.setblocking(False)
        sync = message(1, 0, words(CALLBACK))
        sent = 0
        for _ in range(100_000):
            try:
                sent += theirs.send(sync)
            except BlockingIOError:
                if not is_due(ours):
                    break
            assert ours.advance()
        else:
            pytest.fail("it reads on and on")
        assert ours.awaited == select.POLLOUT
        theirs.setblocking(True)
        sent += theirs.send(sync[sent % len(sync) :]) if sent % len(sync) else 0
        answers = b""
        while len(answers) < sent // len(sync) * 24:
            answers += theirs.recv(1 << 16)
            while is_due(ours):
                assert ours.advance()
        assert parsed(answers)[-2:] == [(CALLBACK, 0, words(sent // len(sync))), (1, 1, words(CALLBACK))]


@pytest.mark.parametrize("unread", [False, True])
def test_a_link_notices_that_the_server_has_gone(unread: bool) -> None:
    with link() as (ours, theirs):
        if unread:
            theirs.sendall(message(1, 0, words(CALLBACK)))
            assert ours.advance()
        theirs.close()
        assert is_due(ours)
        assert not ours.advance()


def test_descriptors_that_come_along_do_not_stay_open() -> None:
    with link() as (ours, theirs), open(os.devnull) as null:
        theirs.sendall(BIND_ALL)
        assert ours.advance()
        before = os.listdir("/proc/self/fd")
        for number in range(20):
            request = message(SHM, 0, words(SURFACE + number, 4096))
            socket.send_fds(theirs, [request], [null.fileno()] * 8)
            assert ours.advance()
        assert os.listdir("/proc/self/fd") == before
