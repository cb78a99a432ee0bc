"""The process that a slot's session lives as long as: it runs one item after another, and ends what they leave.

It is a fork of the mapper; or where it has to import something, ``in_slot.py`` in the target's own interpreter and
environment, on the standard library of Python 3.8 or newer. It talks to the mapper over a socket; each message is a
line of JSON. The first one that comes says what is to be run, see :class:`anaheadless.batch.program.Program`. Those
that follow:

``{"run": [WORD, ...], "out": FILE, "err": FILE, "private_tmp": BOOL}``
    Run an item, with these arguments.
``{"signal": NUMBER}``
    Send that to the item's process group.

and those that the worker sends:

``{"ready": {NAME: VALUE, ...}}``
    It has imported what it had to; the session's variables.
``{"ended": STATUS, "seconds": S, "memory": BYTES, "clean": BOOL}``
    The item has ended, with a status as of wait(2); not clean: some process of its own could not be ended.
``{"refused": TEXT, "details": [LINE, ...], "hint": TEXT, "status": STATUS}``
    Nothing can be run, and why, as of :class:`anaheadless.errors.LaunchError`.

When the mapper closes the socket, or dies, everything that the worker has started is killed.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from contextlib import suppress

from anaheadless.batch import children
from anaheadless.batch.messages import REFUSED, Channel, redirect
from anaheadless.system import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

REPORTED = ("DISPLAY", "XAUTHORITY", "ANAHEADLESS_SESSION", "CUDA_VISIBLE_DEVICES", "VGL_DISPLAY")
NOT_EXECUTABLE, NOT_FOUND = 126, 127
QUIT_SECONDS = 5.0


class Running:
    """An item that runs: a process that leads a group of its own."""

    def __init__(self, pid: int, folder: str | None) -> None:
        self.pid, self.folder, self.started = pid, folder, time.monotonic()

    def send(self, number: int) -> None:
        for each in number, signal.SIGCONT:  # it may be stopped
            with suppress(OSError):  # nobody is there any more, or another user
                os.killpg(self.pid, each)


class Worker:
    """What serves the mapper.

    *item* is what runs now. *stayer* is the channel to the process that calls a function for one item after another,
    where that is wanted, and *calls* is how often it has.
    """

    def __init__(self, channel: Channel, program: dict[str, Any]) -> None:
        self.channel, self.program = channel, program
        self.item: Running | None = None
        self.stayer: Channel | None = None
        self.stayer_pid = self.calls = 0
        self.poll = select.poll()
        self.wake, self.woken = os.pipe()
        for end in self.wake, self.woken:
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the pipe is only written to where there is a handler
        signal.set_wakeup_fd(self.woken, warn_on_full_buffer=False)
        self.poll.register(self.wake, select.POLLIN)
        self.poll.register(channel.connection, select.POLLIN)

    def serve(self, waiting: list[dict[str, Any]]) -> dict[str, Any]:
        """Serve the mapper for as long as it is there; in a forked child, return what that is to do.

        :param waiting: messages that have come already.
        """
        while True:
            for message in waiting:
                if "run" in message:
                    task = self._start(message)
                    if task is not None:
                        return task
                elif self.item is not None:
                    self.item.send(message["signal"])
            waiting = []
            for descriptor, _ in self.poll.poll():
                if descriptor == self.wake:
                    with suppress(BlockingIOError):
                        os.read(self.wake, 4096)
                elif descriptor == self.channel.connection.fileno():
                    try:
                        waiting += self.channel.receive()
                    except EOFError:
                        self._leave()
                elif self.stayer is not None:
                    self._listen(self.stayer)
            self._reap()

    def _leave(self) -> None:
        """End all at once: nobody is left who could want it."""
        if self.item is not None:
            self.item.send(signal.SIGKILL)
        children.end_children()
        self._remove_folder()
        os._exit(0)

    def _start(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Have a process run an item; in that process, return what it is to do."""
        if message.pop("private_tmp"):
            import tempfile  # only here: few want that

            message["folder"] = tempfile.mkdtemp(prefix="anaheadless-")
        folder = message.get("folder")
        if self.program["call"] is None:
            pid = self._fork()
            self.item = Running(pid, folder)
            return message if not pid else None
        if self.stayer is None:
            ours, theirs = socket.socketpair()
            self.stayer_pid, self.calls = self._fork(), 0
            if not self.stayer_pid:
                ours.close()
                return {"stay": Channel(theirs)}
            theirs.close()
            self.stayer = Channel(ours)
            self.poll.register(ours, select.POLLIN)
        self.item = Running(self.stayer_pid, folder)
        with suppress(ConnectionError):  # it has just died: that is found out in a moment
            self.stayer.send(message)
        return None

    def _fork(self) -> int:
        worker = os.getpid()
        pid = os.fork()
        if pid:
            with suppress(OSError):  # it has done so itself, and is another program already
                os.setpgid(pid, pid)
            return pid
        os.setpgid(0, 0)
        processes.die_with(worker)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.channel.connection.close()
        for end in self.wake, self.woken:
            os.close(end)
        return 0

    def _reap(self) -> None:
        """Reap what has ended: orphans that have come to this process, and the item."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if self.item is not None and ended.si_pid == self.item.pid:
                self.item.send(signal.SIGKILL)  # before it is reaped: until then, nobody else can have its number
            _, status, usage = os.wait4(ended.si_pid, 0)
            if ended.si_pid == self.stayer_pid:
                self._dismiss_stayer()
            if self.item is not None and ended.si_pid == self.item.pid:
                self._finish(status, usage.ru_maxrss * 1024)

    def _listen(self, stayer: Channel) -> None:
        """Hear from the process that stays that it has called the function."""
        try:
            for message in stayer.receive():
                if "refused" in message:
                    self.channel.send(message)
                    continue
                self.calls += 1
                is_full = message["resident"] > (self.program["max_memory"] or float("inf"))
                if is_full or self.calls == self.program["recycle"]:
                    self._end_stayer()
                self._finish(message["status"] << 8, message["memory"], message.get("value"))
        except EOFError:  # it has died, or is about to
            self._dismiss_stayer()

    def _dismiss_stayer(self) -> None:
        if self.stayer is not None:
            self.poll.unregister(self.stayer.connection)
            self.stayer.connection.close()
            self.stayer = None

    def _end_stayer(self) -> None:
        """Have the process that stays end as a program ends; it has QUIT_SECONDS for that."""
        self._dismiss_stayer()
        pid, self.stayer_pid = self.stayer_pid, 0
        deadline = time.monotonic() + QUIT_SECONDS
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _finish(self, status: int, memory: int, value: str | None = None) -> None:
        """End what the item has left, and tell the mapper."""
        assert self.item is not None, "only then is there something to finish"
        seconds = time.monotonic() - self.item.started
        clean = children.end_children(frozenset((self.stayer_pid,) if self.stayer is not None else ()))
        self._remove_folder()
        self.item = None
        told = {"ended": status, "seconds": round(seconds, 4), "memory": memory, "clean": clean}
        self.channel.send(told if value is None else {**told, "value": value})

    def _remove_folder(self) -> None:
        if self.item is not None and self.item.folder is not None:
            import shutil

            shutil.rmtree(self.item.folder, ignore_errors=True)


def main(channel: Channel, environ: Mapping[str, str]) -> None:
    """Serve the mapper; in a process that is forked for it, be an item.

    :param environ: the environment of the items.
    """
    children.adopt_orphans()
    waiting: list[dict[str, Any]] = []
    try:
        while not waiting:
            waiting += channel.receive()
        program = waiting.pop(0)
        forks = program["call"] is not None or bool(program["preload"])
        if forks:
            from anaheadless.batch import preload

            problem = preload.prepare(program)
            if problem is not None:
                channel.send(problem)
                os._exit(REFUSED)
        worker = Worker(channel, program)
        channel.send({"ready": {name: environ[name] for name in REPORTED if name in environ}})
        task = worker.serve(waiting)
    except (EOFError, ConnectionError):  # the mapper has gone
        os._exit(0)
    # Only in a forked child.
    if "stay" in task:
        from anaheadless.batch import calls

        calls.serve(task["stay"], program["call"], values=program["values"])
        return
    try:
        redirect(task)
    except OSError as error:
        os.write(2, f"anaheadless: {error.filename}: {error.strerror}\n".encode(errors="surrogateescape"))
        os._exit(REFUSED)
    if forks:
        preload.become(program, task)
    else:
        _execute(program["executable"], task, environ)


def _execute(executable: str, task: dict[str, Any], environ: Mapping[str, str]) -> NoReturn:
    """Become another program."""
    if "folder" in task:
        environ = {**environ, "TMPDIR": task["folder"]}
    for number in signal.SIGPIPE, signal.SIGXFSZ:  # what Python ignores stays ignored
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(executable, task["run"], environ)
    except OSError as error:
        text = f"anaheadless: {executable} can't be executed: {error.strerror}\n"
        os.write(2, text.encode(errors="surrogateescape"))
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)
