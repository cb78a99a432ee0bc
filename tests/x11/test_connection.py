"""Whatever an X server answers: a value that makes sense, or an error."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anaheadless.x11.connection import RefusedError, connect, has_extension

pytestmark = pytest.mark.any_server


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
def test_any_answer_of_a_server_is_understood_or_refused(answer: bytes) -> None:
    with answering(answer) as address, contextlib.suppress(OSError, RefusedError):
        connection = connect(address, bytes(16), time.monotonic() + 30)
        with connection:
            has_extension(connection, "GLX")


def test_an_answer_that_takes_too_much_memory_is_refused() -> None:
    """Sixteen gigabytes."""
    setup, reply = bytes([1, *bytes(7)]), struct.pack("<BBHI24x", 1, 0, 0, 0xFFFFFFFF)
    with answering(setup + reply) as address:
        connection = connect(address, bytes(16), time.monotonic() + 30)
        with connection, pytest.raises(RefusedError, match="17179869180 bytes, and not 0"):
            has_extension(connection, "GLX")
