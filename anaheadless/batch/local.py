"""The engine for this machine: slots, and what runs in them.

An attempt goes through these phases, each with a limit: ``run`` (the time limit), ``picture`` (of what hung), ``term``
(after SIGTERM: the grace time) and ``kill`` (after SIGKILL; then the slot itself is killed).
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from anaheadless.batch import children, expectations, journal, slot
from anaheadless.batch.blank import Looker, is_picture
from anaheadless.batch.engine import GivenBack, Plan, Started, Tell
from anaheadless.batch.items import Item
from anaheadless.batch.journal import Result
from anaheadless.batch.program import Program
from anaheadless.batch.slot import Attempt, Slot
from anaheadless.errors import LaunchError, print_stderr
from anaheadless.options import Options
from anaheadless.x11 import screenshot

PICTURE_SECONDS = 5.0
KILL_SECONDS = 5.0
END_SECONDS = 10.0
# Slots in a row that end before they have run an item: then something is wrong that another slot would not mend.
FAILED_STARTS = 3
_FOREVER = float("inf")


class LocalEngine:
    """Slots on this machine, see :class:`anaheadless.batch.engine.Engine`; this process has no other children.

    :param numbers: what the slots are called: there are as many at most.
    """

    def __init__(
        self,
        program: Program,
        columns: Sequence[str],
        plan: Plan,
        options: Options,
        environ: Mapping[str, str],
        numbers: Sequence[int],
        selector: selectors.BaseSelector,
        tell: Tell,
    ) -> None:
        self._program, self._columns, self._plan = program, columns, plan
        self._options, self._environ, self._numbers = options, environ, numbers
        self._selector, self._tell = selector, tell
        self._slots: list[Slot] = []
        self._leaving: dict[int, float] = {}
        self._wanted = len(numbers)
        self._failed_starts = 0
        self._has_session = False
        self._host = os.uname().nodename
        self._looker = Looker()
        children.adopt_orphans()

    def has_room(self) -> bool:
        if any(each.attempt is None for each in self._slots):
            return True
        # The first one finds out where OpenGL comes from; the others need not look for that, too.
        return len(self._slots) < self._wanted and (self._has_session or not self._slots)

    def is_busy(self) -> bool:
        return any(each.attempt for each in self._slots)

    def give(self, item: Item, tries: int) -> None:
        idle = next((each for each in self._slots if each.attempt is None), None)
        self._run(idle or self._start_slot(), item, tries)

    def _start_slot(self) -> Slot:
        number = min({*self._numbers} - {each.number for each in self._slots})
        started = slot.start(number, self._program, self._options, self._environ)
        self._slots.append(started)
        self._selector.register(started, selectors.EVENT_READ, partial(self._hear, started))
        return started

    def _run(self, each: Slot, item: Item, tries: int) -> None:
        command = self._program.command(item, self._columns, each.number)
        name = os.path.join(self._plan.folder, f"{item.number}-{item.id}")
        attempt = each.attempt = Attempt(item, tries, command, (f"{name}.out", f"{name}.err"))
        out, err = attempt.paths
        with suppress(FileNotFoundError):  # of a try before this one
            os.unlink(self._picture(attempt))
        with suppress(ConnectionError):  # the worker has just died, as is found out in a moment
            each.channel.send(
                {
                    "run": self._program.arguments(command),
                    "out": out,
                    "err": err,
                    "private_tmp": self._plan.private_tmp,
                }
            )
        if each.variables is not None:
            self._limit(attempt)
        self._tell(Started(item, each.number, tries))

    def _limit(self, attempt: Attempt) -> None:
        if self._plan.timeout and attempt.phase == "run":
            attempt.due = time.monotonic() + self._plan.timeout

    def due(self) -> float:
        return min((each.attempt.due for each in self._slots if each.attempt is not None), default=_FOREVER)

    def attend(self) -> None:
        self._reap()
        now = time.monotonic()
        for each in self._slots[:]:
            if each.attempt is not None and each.attempt.due <= now:
                self._continue_ending(each, each.attempt)

    def end_items(self, *, kill: bool) -> None:
        for each in self._slots:
            if each.attempt is not None and each.attempt.phase != "kill":
                self._end(each, each.attempt, "kill" if kill else "term", "stop")

    def _hear(self, each: Slot) -> None:
        if each not in self._slots:  # it was removed since the selector has found it
            return
        try:
            for message in each.channel.receive():
                if "ready" in message:
                    each.has_started(message["ready"])
                    self._failed_starts, self._has_session = 0, True
                    if each.attempt is not None:
                        self._limit(each.attempt)
                elif "refused" in message:
                    self._refuse(each, message)
                    return
                else:
                    self._finish(each, message)
        except EOFError:
            self._lose(each)

    def _refuse(self, each: Slot, message: Mapping[str, Any]) -> None:
        """Go on with the slots that there are, without one that can't be started.

        :raises LaunchError: there are none.
        """
        error = LaunchError(
            message["refused"],
            hint=message["hint"],
            details=tuple(message["details"]),
            exit_code=message["status"],
        )
        others = [other for other in self._slots if other is not each and other.variables is not None]
        if not others:
            raise error
        print_stderr(f"{error}\nanaheadless: {len(others)} slots go on without slot {each.number}")
        self._wanted = len(others)
        self._give_back(each)
        self._remove(each)

    def _give_back(self, each: Slot) -> None:
        attempt, each.attempt = each.attempt, None
        if attempt is not None:
            self._tell(GivenBack(attempt.item, attempt.tries))

    def _lose(self, each: Slot) -> None:
        """Replace a worker that has ended by itself, and end all that it has started."""
        self._remove(each, kill=True)
        kept = frozenset(
            pid
            for pid in children.children()
            if pid in self._leaving or pid in (other.pid for other in self._slots) or children.is_keeper(pid)
        )
        children.end_children(kept)
        if each.variables is None:
            self._give_back(each)
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                raise LaunchError(
                    f"{FAILED_STARTS} slots in a row ended before they could run anything",
                    hint="Something ends them: the kernel for want of memory, or somebody else.",
                )
        elif each.attempt is not None:
            self._finish(each, {"ended": None, "seconds": 0.0, "memory": 0, "clean": True})

    def _finish(self, each: Slot, message: Mapping[str, Any]) -> None:
        """Tell what came of an item that has ended."""
        attempt = each.attempt
        assert attempt is not None, "a worker tells of the end of what it was given"
        each.attempt = None
        if attempt.camera:
            os.kill(attempt.camera, signal.SIGKILL)
        result = self._result(each, attempt, message)
        if each in self._slots and (self._plan.own_display or not message["clean"] or not self._is_reusable(each)):
            self._remove(each)
        self._tell(GivenBack(attempt.item, attempt.tries) if attempt.cause == "stop" else result)

    def _is_reusable(self, each: Slot) -> bool:
        """Whether a slot's display is as it was; what a process that stays has there is its own."""
        return self._program.kind == "call" or each.is_clear()

    def _result(self, each: Slot, attempt: Attempt, message: Mapping[str, Any]) -> Result:
        waited = message["ended"]
        status = os.WEXITSTATUS(waited) if waited is not None and os.WIFEXITED(waited) else None
        ended_by = os.WTERMSIG(waited) if waited is not None and os.WIFSIGNALED(waited) else None
        outputs: tuple[str, ...] = ()
        problem = ""
        if self._plan.expected:
            outputs, problem = expectations.check(self._plan.expected, attempt.item, self._columns)
        if self._plan.blank_fails and not problem and status == 0:
            problem = "blank" if any(self._looker.is_blank(path) for path in filter(is_picture, outputs)) else ""
        picture = self._picture(attempt)
        return Result(
            item=attempt.item.number,
            id=attempt.item.id,
            input=attempt.item.values,
            command=attempt.command,
            result=judge(attempt.cause, status, ended_by, problem),
            status=status,
            signal=ended_by,
            seconds=message["seconds"],
            tries=attempt.tries,
            memory=message["memory"],
            host=self._host,
            backend=each.backend,
            renderer=each.renderer,
            gpu=each.gpu(),
            stdout=_unless_empty(attempt.paths[0]),
            stderr=_unless_empty(attempt.paths[1]),
            screenshot=picture if os.path.exists(picture) else None,
            outputs=outputs,
            ended=round(time.time(), 3),
            value=message.get("value"),
        )

    def _picture(self, attempt: Attempt) -> str:
        return attempt.paths[0].removesuffix(".out") + ".png"

    def _continue_ending(self, each: Slot, attempt: Attempt) -> None:
        """Go on with the next phase of an attempt."""
        if attempt.phase == "run":
            attempt.cause = "timeout"
            attempt.phase, attempt.due = "picture", time.monotonic() + PICTURE_SECONDS
            attempt.camera = _photograph(each.variables or {}, self._picture(attempt))
        elif attempt.phase == "picture":
            self._end(each, attempt, "term", attempt.cause)
        elif attempt.phase == "term":
            self._end(each, attempt, "kill", attempt.cause)
        else:  # it is the worker that hangs, or is stopped
            if each.pid:
                os.kill(each.pid, signal.SIGKILL)
            attempt.due = _FOREVER

    def _end(self, each: Slot, attempt: Attempt, phase: str, cause: str) -> None:
        number, seconds = (signal.SIGTERM, self._plan.grace) if phase == "term" else (signal.SIGKILL, KILL_SECONDS)
        attempt.phase, attempt.due = phase, time.monotonic() + seconds
        attempt.cause = attempt.cause or cause
        with suppress(ConnectionError):
            each.channel.send({"signal": number})

    def _remove(self, each: Slot, *, kill: bool = False) -> None:
        """Have a slot end."""
        self._selector.unregister(each)
        self._slots.remove(each)
        each.close()
        if each.pid:
            if kill:
                os.kill(each.pid, signal.SIGKILL)
            self._leaving[each.pid] = time.monotonic() + END_SECONDS

    def _reap(self) -> None:
        """Reap the slots that have been told to end, keepers, orphans and those that take pictures."""
        with suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                self._leaving.pop(pid, None)
                for each in self._slots[:]:
                    if each.pid == pid:
                        each.pid = 0  # that its socket closes tells the rest
                    if each.attempt is not None and each.attempt.camera == pid:
                        each.attempt.camera = 0
                        if each.attempt.phase == "picture":
                            self._continue_ending(each, each.attempt)

    def close(self) -> None:
        """End all slots, and wait until their sessions have ended, too."""
        self._looker.close()
        for each in self._slots[:]:
            self._remove(each)
        deadline = time.monotonic() + END_SECONDS
        while children.children() and time.monotonic() < deadline:
            self._reap()
            for pid, due in list(self._leaving.items()):
                if due < time.monotonic():
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        children.end_children()


def judge(cause: str, status: int | None, ended_by: int | None, problem: str) -> str:
    """Say what came of an item: pure.

    :param problem: what is wrong with the files that it should have made, or nothing.
    """
    if cause == "timeout":
        return "timeout"
    if status is None and ended_by is None:
        return journal.LOST
    if ended_by is not None:
        return "killed"
    return "failed" if status else problem or journal.OK


def _unless_empty(path: str) -> str | None:
    """Remove a file in which there is nothing, and return the path of any other."""
    with suppress(OSError):
        if os.stat(path).st_size:
            return path
        os.unlink(path)
    return None


def _photograph(variables: Mapping[str, str], path: str) -> int:
    """Save what a display shows, in a process of its own: the X server may hang. Return its PID, or 0."""
    try:
        pid = os.fork()
    except OSError:
        return 0
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(PICTURE_SECONDS) + 1)
        screenshot.save(variables["DISPLAY"], variables["XAUTHORITY"], path)
    finally:
        os._exit(0)
