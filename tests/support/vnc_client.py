"""As much of a VNC viewer as says what is on the screen. Source: RFC 6143."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
import struct

VNC_AUTHENTICATION = 2


class WrongPasswordError(Exception):
    pass


def connect(port: int, password: str) -> socket.socket:
    """A connection to the server on this machine that has let us in."""
    viewer = socket.create_connection(("127.0.0.1", port), timeout=30)
    try:
        version = receive(viewer, 12)
        viewer.sendall(version)
        assert VNC_AUTHENTICATION in receive(viewer, receive(viewer, 1)[0])
        viewer.sendall(bytes([VNC_AUTHENTICATION]))
        viewer.sendall(encrypt(receive(viewer, 16), password))
        if receive(viewer, 4) != bytes(4):
            raise WrongPasswordError
    except BaseException:
        viewer.close()
        raise
    return viewer


def look(viewer: socket.socket) -> tuple[int, int, set[str]]:
    """Width, height, and the colours that there are on the screen."""
    viewer.sendall(b"\1")  # ClientInit
    width, height = struct.unpack(">HH", receive(viewer, 4))
    receive(viewer, 16)
    receive(viewer, int.from_bytes(receive(viewer, 4), "big"))
    viewer.sendall(struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 1, 1, 255, 255, 255, 16, 8, 0))  # SetPixelFormat
    viewer.sendall(struct.pack(">BxHi", 2, 1, 0))  # SetEncodings: raw
    viewer.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))  # FramebufferUpdateRequest
    kind, rectangles = struct.unpack(">BxH", receive(viewer, 4))
    assert kind == 0
    found = set()
    for _ in range(rectangles):
        across, down, encoding = struct.unpack(">4xHHi", receive(viewer, 12))
        assert encoding == 0
        pixels = receive(viewer, 4 * across * down)
        found |= {f"#{pixels[place + 1 : place + 4].hex()}" for place in range(0, len(pixels), 4)}
    return width, height, found


def receive(viewer: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = viewer.recv(size - len(found))
        assert more, "the server has closed the connection"
        found += more
    return found


def encrypt(challenge: bytes, password: str) -> bytes:
    """By DES, whose key is the password with the bits of each byte in reverse; x11vnc brings the library."""
    crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
    schedule, block = ctypes.create_string_buffer(128), ctypes.create_string_buffer(8)
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode().ljust(8, b"\0"))
    crypto.DES_set_key_unchecked(key, schedule)
    found = b""
    for start in range(0, len(challenge), 8):
        crypto.DES_ecb_encrypt(challenge[start : start + 8], block, schedule, 1)
        found += block.raw
    return found
