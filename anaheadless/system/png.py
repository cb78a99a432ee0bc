"""PNG files."""

from __future__ import annotations


def write_png(path: str, width: int, rows: list[bytes]) -> None:
    """Write *rows* of RGB bytes, the uppermost first, as a PNG file."""
    data = encode(width, rows)
    with open(path, "wb") as file:
        file.write(data)


def encode(width: int, rows: list[bytes]) -> bytes:
    """Return *rows* of RGB bytes, the uppermost first, as a PNG file has them, in one IDAT chunk and without a filter.

    Source: Portable Network Graphics (PNG) Specification, second edition.
    """
    import struct
    import zlib

    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(b"".join(b"\0" + row for row in rows)),
        b"IEND": b"",
    }
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks.items():
        parts += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data))]
    return b"".join(parts)
