"""Names of pictures and films: a file is what its name says, or it is not written."""

from __future__ import annotations

import os

from anaheadless.errors import USAGE, LaunchError

PICTURE, FILM = ".png", ".mp4"
_TYPES = {
    *(PICTURE, ".avif", ".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".pdf", ".ppm", ".svg", ".tif", ".tiff", ".webp"),
    *(FILM, ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"),
}


def check(path: str, written: str) -> None:
    """Check that a file of type *written* may have the name *path*; any ending but those of other types will do.

    :raises LaunchError: it may not.
    """
    name, ending = os.path.splitext(path)
    if ending.lower() in _TYPES - {written}:
        convert = f"ffmpeg -i {name}{written} {path}"
        raise LaunchError(
            f"can't write {path}: only {written} files can be written",
            hint=f"Name it {name}{written}. To convert it afterwards: {convert}",
            exit_code=USAGE,
        )
