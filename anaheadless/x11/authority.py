"""X authority files, which hold the cookies of displays, see Xau(3)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping

from anaheadless.x11.connection import COOKIE_NAME


def authority(number: int, cookie: bytes, host: str) -> bytes:
    """Make the contents of an X authority file for display *number* on this *host*."""

    def entry(family: int, address: bytes) -> bytes:
        fields = (address, b"%d" % number, COOKIE_NAME, cookie)
        return struct.pack(">H", family) + b"".join(struct.pack(">H", len(field)) + field for field in fields)

    # FamilyLocal, and FamilyWild for programs that know this host by another name; python-xlib knows only the first.
    return entry(256, host.encode(errors="surrogateescape")) + entry(65535, b"")


def find_cookie(entries: bytes, number: int) -> bytes:
    """Find the cookie of display *number* in the contents of an X authority file.

    :raises ValueError: there is none.
    """
    for _, fields in _split(entries):
        if fields[1:3] == [b"%d" % number, COOKIE_NAME]:
            return fields[3]
    raise ValueError(f"no cookie for display :{number}")


def entries_of(entries: bytes, number: int, *, others: bool = False) -> bytes:
    """Return the *entries* of display *number*, or only those of all *others*."""
    return b"".join(entry for entry, fields in _split(entries) if (fields[1] == b"%d" % number) is not others)


def _split(entries: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield each of the *entries*, and its fields: address, number, name and data."""
    place = 0
    while place < len(entries):
        start, fields = place, []
        place += 2
        for _ in range(4):
            end = place + 2 + int.from_bytes(entries[place : place + 2], "big")
            fields.append(entries[place + 2 : end])
            place = end
        yield entries[start:place], fields


def authority_files(environ: Mapping[str, str]) -> tuple[str, ...]:
    """List the X authority files of the caller and of VirtualGL's own set-up (vglserver_config); they may not exist."""
    own = environ.get("XAUTHORITY") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".Xauthority")
    return own, "/etc/opt/VirtualGL/vgl_xauth_key"


def read_authority(environ: Mapping[str, str]) -> bytes:
    """Read the entries in :func:`authority_files`, as they are."""
    entries = b""
    for path in authority_files(environ):
        try:
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    entries += file.read(1 << 20)
        except OSError:
            continue
    return entries
