"""Have what a keeper has where STATUS and COOKIE say so, and stay until standard input ends.

Arguments: STATUS, COOKIE, and then what looks like the command line of a keeper.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

GOOD = (
    b"server: 1\nglx: 2\nbackend: mesa\nrenderer: none\noriginal_display: \npurpose: run\n"
    b"cache_file: \nserver_kind: xvfb\n"
)


def memfd(text: bytes) -> int:
    descriptor = os.memfd_create("anaheadless-notes")
    os.write(descriptor, text)
    return descriptor


def fifo() -> int:
    os.mkfifo("fifo")
    descriptor = os.open("fifo", os.O_RDWR)
    os.unlink("fifo")
    return descriptor


def huge() -> int:
    descriptor = os.open("huge", os.O_RDWR | os.O_CREAT)
    os.truncate(descriptor, 1 << 40)
    return descriptor


KINDS: dict[str, Callable[[], int]] = {
    "good": lambda: memfd(GOOD),
    "escapes": lambda: memfd(GOOD.replace(b"renderer: none", "renderer: \x1b[2Jx\u202ey".encode())),
    "odd": lambda: memfd(b"\xff\0: \n" * 100),
    "fifo": fifo,
    "pipe": lambda: os.pipe()[0],
    "socket": lambda: socket.socketpair()[0].detach(),
    "huge": huge,
    "zeros": lambda: os.open("/dev/zero", os.O_RDONLY),
    "folder": lambda: os.open("/", os.O_RDONLY),
}
places = {6: KINDS[sys.argv[1]](), 5: KINDS[sys.argv[2]]()}
for place, descriptor in places.items():
    os.dup2(os.dup2(descriptor, place + 50), place)
print(flush=True)
sys.stdin.read()
