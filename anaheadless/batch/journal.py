"""The journal of a map: one JSON object a line, appended at once, so that a kill at any byte costs one line at most.

A line with ``"event": "map"`` begins each map, and says what was to be run; one with ``"event": "item"`` says what came
of an item. The last one for an item holds. A line that was cut is skipped.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from anaheadless.batch.items import Item
from anaheadless.errors import USAGE, LaunchError

OK, LOST = "ok", "lost"


@dataclass(frozen=True)
class Result:
    """What came of an item.

    :param item: its number; ``id`` is what it is called, and ``input`` its values.
    :param result: ``ok``; ``failed``: the program's status was not 0; ``killed``: a signal ended it; ``timeout``;
        ``missing``: a file that was expected is not there; ``blank``: such a picture has one colour only; ``lost``: its
        slot ended while it ran.
    :param signal: the number of the signal that ended it, or None; likewise ``status``.
    :param tries: how often it was run.
    :param memory: the most that it used, in bytes.
    :param gpu: the CUDA_VISIBLE_DEVICES or VGL_DISPLAY that it had, or None.
    :param stdout: the file with what it has said there, or None where it said nothing; likewise ``stderr``.
    :param screenshot: a picture of its display when its time was up, or None.
    :param outputs: the expected files that are there.
    :param ended: when, in seconds since 1970.
    :param value: what a function has returned, pickled, in base64; only where that is asked for, and in no journal.
    """

    item: int
    id: str
    input: tuple[str, ...]
    command: tuple[str, ...]
    result: str
    status: int | None
    signal: int | None
    seconds: float
    tries: int
    memory: int
    host: str
    backend: str | None
    renderer: str | None
    gpu: str | None
    stdout: str | None
    stderr: str | None
    screenshot: str | None
    outputs: tuple[str, ...]
    ended: float
    value: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what a journal keeps of it."""
        return {name: value for name, value in self.__dict__.items() if name != "value"}


def without_run(
    item: Item,
    command: tuple[str, ...],
    result: str,
    host: str,
    *,
    seconds: float = 0.0,
    tries: int = 0,
    outputs: tuple[str, ...] = (),
) -> Result:
    """Make the result of an item of whose run nothing else is known: nobody has seen its end."""
    return Result(
        item=item.number,
        id=item.id,
        input=item.values,
        command=command,
        result=result,
        status=None,
        signal=None,
        seconds=seconds,
        tries=tries,
        memory=0,
        host=host,
        backend=None,
        renderer=None,
        gpu=None,
        stdout=None,
        stderr=None,
        screenshot=None,
        outputs=outputs,
        ended=round(time.time(), 3),
    )


_TYPES: dict[str, tuple[type, ...]] = {
    "item": (int,),
    "id": (str,),
    "input": (list,),
    "command": (list,),
    "result": (str,),
    "status": (int, type(None)),
    "signal": (int, type(None)),
    "seconds": (int, float),
    "tries": (int,),
    "memory": (int,),
    "host": (str,),
    "backend": (str, type(None)),
    "renderer": (str, type(None)),
    "gpu": (str, type(None)),
    "stdout": (str, type(None)),
    "stderr": (str, type(None)),
    "screenshot": (str, type(None)),
    "outputs": (list,),
    "ended": (int, float),
}


@dataclass
class Contents:
    """What a journal holds.

    :param maps: the lines that began a map, in their order.
    :param results: the last result of each item, by its ID.
    :param broken: how many lines could not be read.
    """

    maps: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    broken: int = 0

    def done(self) -> frozenset[str]:
        """Return the IDs of the items that are done."""
        return frozenset(result.id for result in self.results.values() if result.result == OK)


def parse(data: bytes) -> Contents:
    """Read the contents of a journal, however it was cut."""
    contents = Contents()
    for line in data.split(b"\n"):
        if not line:
            continue
        record = _parse_line(line)
        if isinstance(record, Result):
            contents.results.pop(record.id, None)  # the order is that of the last ones
            contents.results[record.id] = record
        elif record is not None:
            contents.maps.append(record)
        else:
            contents.broken += 1
    return contents


def _parse_line(line: bytes) -> Result | dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    if record.get("event") == "map":
        return record
    return parse_result(record) if record.get("event") == "item" else None


def parse_result(record: dict[str, Any]) -> Result | None:
    """Make a result of what :meth:`Result.as_dict` has made of it; None: it is none."""
    values: dict[str, Any] = {name: record.get(name) for name in _TYPES}
    if not all(isinstance(values[name], kinds) for name, kinds in _TYPES.items()):
        return None
    for name in "input", "command", "outputs":
        if not all(isinstance(each, str) for each in record[name]):
            return None
        values[name] = tuple(record[name])
    return Result(**values)


def read(path: str) -> Contents:
    """Read the journal at *path*; :raises LaunchError: there is none, or it can't be read."""
    try:
        with open(path, "rb") as file:
            return parse(file.read())
    except OSError as error:
        raise LaunchError(
            f"can't read the journal: {path}: {error.strerror}",
            hint="Give the path of a journal that anaheadless map has written.",
            exit_code=USAGE,
        ) from error


class Journal:
    """A journal that this process, and no other, appends to.

    :param sync: whether each line has to be on the disk before the next item starts.
    """

    def __init__(self, path: str, descriptor: int, sync: bool) -> None:
        self.path, self._descriptor, self._sync = path, descriptor, sync

    def append(self, event: str, record: dict[str, Any]) -> None:
        """Append a line; :raises LaunchError: it can't be written."""
        data = json.dumps({"event": event, **record}, separators=(",", ":")).encode() + b"\n"
        try:
            if os.write(self._descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._sync:
                os.fsync(self._descriptor)
        except OSError as error:
            raise _unwritable(self.path, error) from error


@contextmanager
def opened(path: str, *, sync: bool = False) -> Iterator[tuple[Journal, Contents]]:
    """Open a journal, or make one, and read what it holds; nobody else can append to it meanwhile.

    :raises LaunchError: it can't be opened, or another map appends to it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unwritable(path, OSError(errno.EINVAL, "it is not a regular file"))
        with open(descriptor, "rb", closefd=False) as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LaunchError(
                    f"another map is writing this journal: {path}",
                    hint="Wait until it has ended, or give this one a journal of its own: --journal FILE.",
                ) from error
            except OSError as error:
                raise _unwritable(path, error) from error
            try:
                data = file.read()
                if data and not data.endswith(b"\n"):  # a map was killed while it wrote this line
                    os.write(descriptor, b"\n")
            except OSError as error:
                raise _unwritable(path, error) from error
        yield Journal(path, descriptor, sync), parse(data)
    finally:
        os.close(descriptor)


def _unwritable(path: str, error: OSError) -> LaunchError:
    return LaunchError(
        f"can't write the journal: {path}: {error.strerror}",
        hint="Give a file on a disk with space that you can write to: --journal FILE.",
    )


def merge(paths: Sequence[str]) -> Contents:
    """Put journals together: of an item's results, the last one holds, but a good one holds before all others.

    :raises LaunchError: one of them can't be read.
    """
    merged = Contents()
    for path in paths:
        contents = read(path)
        merged.maps += contents.maps
        merged.broken += contents.broken
        for result in contents.results.values():
            other = merged.results.get(result.id)
            if other is None or (other.result == OK, other.ended) < (result.result == OK, result.ended):
                merged.results[result.id] = result
    return merged


def lines(contents: Contents) -> Iterable[str]:
    """Write *contents* as the lines of a journal."""
    for record in contents.maps:
        yield json.dumps(record, separators=(",", ":"))
    for result in contents.results.values():
        yield json.dumps({"event": "item", **result.as_dict()}, separators=(",", ":"))
