"""As much of the X protocol as it takes to know that a server is ready, lets us in, and has an extension.

Source: X Window System Protocol, X Version 11, Encoding (connection setup; QueryExtension).
"""

from __future__ import annotations

import socket
import struct
import time

SETUP_SUCCESS = 1
QUERY_EXTENSION = 98
COOKIE_NAME = b"MIT-MAGIC-COOKIE-1"


class RefusedError(Exception):
    """The server answered, and refused the connection; the text is its reason."""


def connect(address: str, cookie: bytes, deadline: float) -> socket.socket:
    """A connection that the server behind a socket's *address* has accepted.

    A listening socket takes connections before its server runs: this waits for the server's own answer, which is
    its first when it is ready.

    :param deadline: in seconds of :func:`time.monotonic`.
    :raises OSError: nobody listens, or the server went away (``ConnectionError``), or time is up
        (``socket.timeout``).
    :raises RefusedError: the server does not know the cookie, or is full.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _limit(connection, deadline)
        connection.connect(address)
        connection.sendall(
            struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(COOKIE_NAME), len(cookie)) + _pad(COOKIE_NAME) + _pad(cookie)
        )
        status, reason_length, length = struct.unpack("<BBxxxxH", _receive(connection, 8, deadline))
        body = _receive(connection, 4 * length, deadline)
        if status != SETUP_SUCCESS:
            raise RefusedError(body[:reason_length].decode("latin-1").strip())
    except BaseException:
        connection.close()
        raise
    return connection


def has_extension(connection: socket.socket, name: str, deadline: float) -> bool:
    """Whether the server advertises the extension *name*; raises as :func:`connect` does."""
    encoded = _pad(name.encode())
    _limit(connection, deadline)
    connection.sendall(struct.pack("<BxHHxx", QUERY_EXTENSION, 2 + len(encoded) // 4, len(name)) + encoded)
    return bool(_receive(connection, 32, deadline)[8])


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        _limit(connection, deadline)
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the server closed the connection")
        data += chunk
    return data


def _limit(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout("timed out")
    connection.settimeout(left)
