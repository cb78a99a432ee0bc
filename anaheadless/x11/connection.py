"""Connections to X servers, and requests to them: as much of the X protocol as anaheadless needs.

Source: X Window System Protocol, X Version 11, Encoding (connection setup; errors; QueryExtension).
"""

from __future__ import annotations

import socket
import struct
import time

from anaheadless.system.light_stdlib import Record

SETUP_SUCCESS, REPLY = 1, 1
QUERY_EXTENSION = 98
COOKIE_NAME = b"MIT-MAGIC-COOKIE-1"


class RefusedError(Exception):
    """A connection or a request that the server has refused; the text is the server's reason."""


class Connection(Record):
    """A connection to an X server; a ``with`` block closes it.

    :param setup: the server's description of itself, from the release number on.
    :param deadline: the time limit for all requests, in seconds of :func:`time.monotonic`.
    """

    socket: socket.socket
    setup: bytes
    deadline: float

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, opcode: int, data: int, body: bytes, limit: int = 0) -> bytes:
        """Send a request and return the whole reply.

        :param data: the request's second byte.
        :param limit: how many bytes may follow the first 32 bytes of the reply.
        :raises OSError: the same as for :func:`connect`.
        :raises RefusedError: the server answered with an error, or with more bytes than *limit* allows.
        """
        _limit(self.socket, self.deadline)
        self.socket.sendall(struct.pack("<BBH", opcode, data, 1 + len(body) // 4) + body)
        reply = _receive(self.socket, 32, self.deadline)
        if reply[0] != REPLY:
            raise RefusedError(f"X error {reply[1]} for request {opcode}")
        length = 4 * int.from_bytes(reply[4:8], "little")
        if length > limit:
            raise RefusedError(f"the reply to request {opcode} has {length} bytes, and not {limit} at most")
        return reply + _receive(self.socket, length, self.deadline)


def connect(address: str, cookie: bytes, deadline: float) -> Connection:
    """Connect to the X server that listens on the socket *address*, and wait until it has accepted the connection.

    A listening socket takes connections before its server runs. The server's own answer comes when it is ready.

    :param deadline: the time limit, in seconds of :func:`time.monotonic`.
    :raises OSError: nothing listens there, or the server has gone (``ConnectionError``), or the time is up
        (``socket.timeout``).
    :raises RefusedError: the server does not know the cookie, or has no room for another client.
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
    return Connection(connection, body, deadline)


def has_extension(connection: Connection, name: str) -> bool:
    """Ask whether the server advertises the extension *name*; raise the same errors as :meth:`Connection.ask`."""
    return bool(connection.ask(QUERY_EXTENSION, 0, struct.pack("<Hxx", len(name)) + _pad(name.encode()))[8])


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        _limit(connection, deadline)
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the server closed the connection")
        data += chunk
    return bytes(data)


def _limit(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout("timed out")
    connection.settimeout(left)
