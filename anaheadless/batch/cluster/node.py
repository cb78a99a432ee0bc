"""What runs in a Dask worker: it has a process for each slot, and passes an item on to it.

Dask keeps a worker's thread busy for as long as the item runs, so that other users of the cluster are not in its way.
"""

from __future__ import annotations

import os
import pickle
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import distributed

from anaheadless.batch.engine import Plan
from anaheadless.batch.items import Item
from anaheadless.batch.local import END_SECONDS, KILL_SECONDS, PICTURE_SECONDS
from anaheadless.batch.messages import Channel
from anaheadless.batch.program import Program
from anaheadless.opengl import allocation, devices
from anaheadless.options import Options
from anaheadless.system.programs import this_python

POLL_SECONDS = 0.5
# Of what an item has said, and of its picture, this much comes home: as much from the beginning as from the end.
HOME_BYTES = 8 << 20
_ENDING = ("closing", "closed", "failed")
STREAMS = ("stdout", "stderr", "screenshot")


@dataclass(frozen=True)
class Spec:
    """A map, as a worker has to know it.

    :param folder: the working folder of its items.
    :param python: the interpreter that the mapper runs in: on another machine, it may be elsewhere.
    :param search: the mapper's PYTHONPATH.
    """

    program: Program
    columns: tuple[str, ...]
    plan: Plan
    options: Options
    folder: str
    python: str
    search: str

    def environ(self) -> dict[str, str]:
        """Make the environment of the items: that of the worker, with the mapper's PYTHONPATH in front."""
        paths = [path for path in (self.search, os.environ.get("PYTHONPATH")) if path]
        return {**os.environ, **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})}


class Host:
    """The process of a slot, see :mod:`anaheadless.batch.cluster.host`."""

    def __init__(self, spec: Spec, number: int, gpu: tuple[str, str] | None) -> None:
        self.folder = tempfile.mkdtemp(prefix="anaheadless-", dir=distributed.get_worker().local_directory)
        environ, options = spec.environ(), spec.options
        if gpu is not None:
            name, uuid = gpu
            options = options.replace(gpu=name)
            environ.update({"CUDA_VISIBLE_DEVICES": uuid} if uuid else {})
        settings = {
            "program": spec.program,
            "columns": spec.columns,
            "plan": replace(spec.plan, folder=self.folder, lifeline=None),
            "options": options,
            "environ": environ,
            "numbers": (number,),
        }
        self._grace = spec.plan.grace
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        try:
            self._process = subprocess.Popen(
                [this_python(), "-m", "anaheadless.batch.cluster.host", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                cwd=spec.folder,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # what a terminal sends to the worker is for the worker
            )
        finally:
            theirs.close()
        assert self._process.stdin is not None, "it is a pipe"
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pickle.dump(settings, pipe)

    def end_item(self, *, kill: bool) -> None:
        with suppress(OSError):
            self._channel.send({"end": kill})

    def run(self, item: Item, tries: int, is_wanted: Callable[[], bool]) -> dict[str, Any] | None:
        """Run an item, and return what the process says of it; None: it has died."""
        deadline = float("inf")
        poll = select.poll()
        poll.register(self._channel.connection, select.POLLIN)
        with suppress(OSError, EOFError):
            self._channel.send({"item": [item.number, item.values, item.id], "tries": tries})
            while time.monotonic() < deadline:
                if poll.poll(POLL_SECONDS * 1000):
                    for answer in self._channel.receive():
                        return answer
                elif deadline == float("inf") and not is_wanted():
                    self.end_item(kill=False)
                    deadline = time.monotonic() + self._grace + PICTURE_SECONDS + 2 * KILL_SECONDS
        return None

    def close(self) -> None:
        """Have it end, and wait for that."""
        self._channel.connection.close()
        try:
            self._process.wait(2 * END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class _Map:
    """A map, and its slots here."""

    spec: Spec
    hosts: dict[int, Host] = field(default_factory=dict)
    is_stopping: bool = False


_maps: dict[str, _Map] = {}
_lock = threading.Lock()


def prepare(name: str, spec: Spec) -> dict[str, Any]:
    """Note a map; tell what is missing here, or which GPUs its slots may have, by their numbers and UUIDs."""
    program = spec.program
    if program.python == spec.python:  # nobody has asked for another one
        ours = this_python()
        prefix = tuple(ours if word == spec.python else word for word in program.prefix)
        program = replace(program, executable=ours, python=ours, prefix=prefix)
    if not os.path.isdir(spec.folder):
        return {"problem": f"has no folder {spec.folder}"}
    if not os.access(program.executable, os.X_OK):
        return {"problem": f"can't execute {program.executable}"}
    _maps[name] = _Map(replace(spec, program=program))
    gpus = devices.find_gpus() if spec.options.gpu == "auto" else []
    ours_ = allocation.allocate(os.environ, gpus).gpus
    return {"gpus": [(str(gpus.index(gpu)), gpu.uuid) for gpu in ours_] if len(ours_) > 1 else []}


def run_item(name: str, number: int, gpu: tuple[str, str] | None, task: bytes) -> dict[str, Any]:
    """Run an item in a slot; *task*: the item, and which try this is, pickled.

    The answer is that of the slot's process, or ``{"unknown": true}``, if the worker was started anew, or ``{"lost":
    true}``. Of the files that a result names, it has the contents instead.
    """
    known = _maps.get(name)
    if known is None:
        return {"unknown": True}
    item, tries = pickle.loads(task)  # noqa: S301  # it is the mapper's, which may run anything here
    is_wanted = _wanted(distributed.get_worker())
    answer: dict[str, Any] | None = {"idle": True}
    while answer is not None and "idle" in answer:
        with _lock:
            if known.is_stopping:
                return {"back": True}
            host = known.hosts.get(number)
            if host is None:
                host = known.hosts[number] = Host(known.spec, number, gpu)
        answer = host.run(item, tries, is_wanted)
        if answer is None or "refused" in answer or "idle" in answer or not is_wanted():
            with _lock:
                known.hosts.pop(number, None)
            host.close()
    if answer is None:
        return {"lost": True}
    if "result" in answer:
        for stream in STREAMS:
            answer["result"][stream] = _bring_home(answer["result"][stream])
    return answer


def _wanted(worker: distributed.Worker) -> Callable[[], bool]:
    """Return what tells whether anybody still wants the result of the task that this thread runs."""
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        # A worker that has lost its scheduler waits for its threads before it ends.
        return task is not None and task.state != "cancelled" and worker.status.name not in _ENDING

    return is_wanted


def _bring_home(path: str | None) -> bytes | None:
    """Read a file, or its beginning and its end, and remove it."""
    if path is None:
        return None
    with suppress(OSError), open(path, "rb") as file:
        os.unlink(path)
        size = os.fstat(file.fileno()).st_size
        if size <= HOME_BYTES:
            return file.read()
        begin = file.read(HOME_BYTES // 2)
        file.seek(-(HOME_BYTES // 2), os.SEEK_END)
        return begin + b"\n[anaheadless: %d bytes are left out]\n" % (size - HOME_BYTES) + file.read()
    return None


def end_items(name: str, kill: bool) -> None:
    """Have all items of a map end, and no more begin."""
    known = _maps.get(name)
    if known is not None:
        known.is_stopping = True
        for host in list(known.hosts.values()):
            host.end_item(kill=kill)


async def forget(name: str) -> None:
    """End what there is of a map."""
    known = _maps.pop(name, None)
    if known is not None:
        await distributed.utils.offload(_close_all, list(known.hosts.values()))


def _close_all(hosts: list[Host]) -> None:
    threads = [threading.Thread(target=host.close) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
