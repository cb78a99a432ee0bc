"""The course of a map: which item runs when, in which slot, and what comes of it.

An attempt goes through these phases, each with a limit: ``run`` (the time limit), ``picture`` (of what hung), ``term``
(after SIGTERM: the grace time) and ``kill`` (after SIGKILL; then the slot itself is killed).
"""

from __future__ import annotations

import heapq
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Union

from anaheadless.batch import children, expectations, journal, slot
from anaheadless.batch.blank import Looker, is_picture
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
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
# Slots in a row that end before they have run an item: then something is wrong that another slot would not mend.
FAILED_STARTS = 3
_FOREVER = float("inf")


@dataclass(frozen=True)
class Plan:
    """How a map is to go.

    :param slots: how many items run at a time, at most.
    :param own_display: whether each item gets a session of its own.
    :param timeout: seconds that an item may run, or 0 for no limit; *grace*: then, between SIGTERM and SIGKILL.
    :param retries: how often an item that has failed is run again.
    :param max_failures: how many items may fail before the map ends, or None for all of them.
    :param private_tmp: whether each item gets a TMPDIR of its own, which is removed afterwards.
    :param folder: where what the items say is kept.
    :param expected: patterns of the files that an item is to make.
    :param blank_fails: whether an expected picture of one colour is a failure.
    :param lifeline: a descriptor that shows, by its end, that nobody wants the results any more; or None.
    """

    slots: int
    folder: str
    own_display: bool = False
    timeout: float = 0.0
    grace: float = 10.0
    retries: int = 0
    max_failures: int | None = None
    private_tmp: bool = False
    expected: tuple[str, ...] = ()
    blank_fails: bool = False
    lifeline: int | None = None


@dataclass(frozen=True)
class Started:
    """An item runs: in the slot with that number, for the time that *tries* says."""

    item: Item
    slot: int
    tries: int


@dataclass(frozen=True)
class Retried:
    """An item has failed, and will run again in so many seconds."""

    result: Result
    seconds: float


@dataclass(frozen=True)
class Stopped:
    """No more items are started; those that run are being ended. *reason* says why."""

    reason: str
    signal: int = 0


Event = Union[Started, Retried, Stopped, Result]


@dataclass
class _State:
    """What is still to be done, and what is being done."""

    pending: deque[tuple[Item, int]]
    delayed: list[tuple[float, int, Item, int]] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    leaving: dict[int, float] = field(default_factory=dict)
    failures: int = 0
    failed_starts: int = 0
    wanted: int = 0
    has_session: bool = False
    is_stopping: bool = False


class Scheduler:
    """Runs items; :meth:`events` is all that there is to it."""

    def __init__(
        self,
        program: Program,
        columns: Sequence[str],
        items: Sequence[Item],
        plan: Plan,
        options: Options,
        environ: Mapping[str, str],
        written: journal.Journal,
    ) -> None:
        self._program, self._columns, self._plan = program, columns, plan
        self._options, self._environ, self._journal = options, environ, written
        self._state = _State(deque((item, 1) for item in items), wanted=plan.slots)
        self._selector = selectors.DefaultSelector()
        self._events: deque[Event] = deque()
        self._host = os.uname().nodename
        self._looker = Looker()

    def events(self) -> Generator[Event, None, None]:
        """Run the items, and yield what happens; whatever ends this, nothing is left of them.

        :raises LaunchError: nothing can be run, or the journal can't be written.
        """
        children.adopt_orphans()
        with _signals_noted(self._note_signal, self._selector):
            if self._plan.lifeline is not None:
                os.set_inheritable(self._plan.lifeline, False)
                self._selector.register(self._plan.lifeline, selectors.EVENT_READ, self._let_go)
            try:
                while True:
                    self._start_what_can_be()
                    while self._events:
                        yield self._events.popleft()
                    if not self._has_more():
                        return
                    self._wait()
            finally:
                self._end_all()

    def _note_signal(self, number: int) -> None:
        if number != signal.SIGCHLD:
            self._stop(Stopped(signal.Signals(number).name, number))

    def _let_go(self) -> None:
        assert self._plan.lifeline is not None, "it is heard from"
        self._selector.unregister(self._plan.lifeline)
        self._stop(Stopped("the program that wanted the results has ended", signal.SIGHUP))

    def _stop(self, event: Stopped) -> None:
        """Start no more items, and end those that run; the second time, kill them."""
        state = self._state
        for each in state.slots:
            if each.attempt is not None and each.attempt.phase != "kill":
                self._end(each, each.attempt, "kill" if state.is_stopping else "term", "stop")
        if not state.is_stopping:
            state.is_stopping = True
            state.pending.clear()
            state.delayed.clear()
            self._events.append(event)

    def _has_more(self) -> bool:
        state = self._state
        return bool(state.pending or state.delayed or any(each.attempt for each in state.slots))

    def _start_what_can_be(self) -> None:
        """Give an item to each slot that has none, and start slots as long as there is something for them to do."""
        state = self._state
        while state.delayed and state.delayed[0][0] <= time.monotonic():
            _, _, item, tries = heapq.heappop(state.delayed)
            state.pending.append((item, tries))
        for each in state.slots:
            if state.pending and each.attempt is None:
                self._give(each, *state.pending.popleft())
        while state.pending and len(state.slots) < state.wanted:
            # The first one finds out where OpenGL comes from; the others need not look for that, too.
            if state.slots and not state.has_session:
                return
            number = min(set(range(1, state.wanted + 1)) - {each.number for each in state.slots})
            started = slot.start(number, self._program, self._options, self._environ)
            state.slots.append(started)
            self._selector.register(started, selectors.EVENT_READ)
            self._give(started, *state.pending.popleft())

    def _give(self, each: Slot, item: Item, tries: int) -> None:
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
        self._events.append(Started(item, each.number, tries))

    def _limit(self, attempt: Attempt) -> None:
        if self._plan.timeout and attempt.phase == "run":
            attempt.due = time.monotonic() + self._plan.timeout

    def _wait(self) -> None:
        """Wait for something to happen, and see to it."""
        dues = [each.attempt.due for each in self._state.slots if each.attempt is not None]
        dues += [due for due, *_ in self._state.delayed[:1]]
        first = min(dues, default=_FOREVER)
        seconds = None if first == _FOREVER else max(0.0, first - time.monotonic())
        for key, _ in self._selector.select(seconds):
            if not isinstance(key.fileobj, Slot):
                key.data()
            elif key.fileobj in self._state.slots:
                self._hear(key.fileobj)
        self._reap()
        now = time.monotonic()
        for each in self._state.slots[:]:
            if each.attempt is not None and each.attempt.due <= now:
                self._continue_ending(each, each.attempt)

    def _hear(self, each: Slot) -> None:
        try:
            for message in each.channel.receive():
                if "ready" in message:
                    each.has_started(message["ready"])
                    self._state.failed_starts, self._state.has_session = 0, True
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
        state = self._state
        error = LaunchError(
            message["refused"],
            hint=message["hint"],
            details=tuple(message["details"]),
            exit_code=message["status"],
        )
        others = [other for other in state.slots if other is not each and other.variables is not None]
        if not others:
            raise error
        print_stderr(f"{error}\nanaheadless: {len(others)} slots go on without slot {each.number}")
        state.wanted = len(others)
        self._give_back(each)
        self._remove(each)

    def _give_back(self, each: Slot) -> None:
        attempt, each.attempt = each.attempt, None
        if attempt is not None and not self._state.is_stopping:
            self._state.pending.appendleft((attempt.item, attempt.tries))

    def _lose(self, each: Slot) -> None:
        """Replace a worker that has ended by itself, and end all that it has started."""
        state = self._state
        self._remove(each, kill=True)
        kept = frozenset(
            pid
            for pid in children.children()
            if pid in state.leaving or pid in (other.pid for other in state.slots) or children.is_keeper(pid)
        )
        children.end_children(kept)
        if each.variables is None:
            self._give_back(each)
            state.failed_starts += 1
            if state.failed_starts >= FAILED_STARTS:
                raise LaunchError(
                    f"{FAILED_STARTS} slots in a row ended before they could run anything",
                    hint="Something ends them: the kernel for want of memory, or somebody else.",
                )
        elif each.attempt is not None:
            self._finish(each, {"ended": None, "seconds": 0.0, "memory": 0, "clean": True})

    def _finish(self, each: Slot, message: Mapping[str, Any]) -> None:
        """Find out what came of an item that has ended, and whether it has to be run again."""
        state, attempt = self._state, each.attempt
        assert attempt is not None, "a worker tells of the end of what it was given"
        each.attempt = None
        if attempt.camera:
            os.kill(attempt.camera, signal.SIGKILL)
        result = self._result(each, attempt, message)
        if each in state.slots and (self._plan.own_display or not message["clean"] or not self._is_reusable(each)):
            self._remove(each)
        if state.is_stopping and attempt.cause == "stop":
            return  # it counts as if it had not been run
        if result.result != journal.OK and attempt.tries <= self._plan.retries and not state.is_stopping:
            seconds = min(FIRST_BACKOFF * 2 ** (attempt.tries - 1), LONGEST_BACKOFF)
            due = time.monotonic() + seconds
            heapq.heappush(state.delayed, (due, attempt.item.number, attempt.item, attempt.tries + 1))
            self._events.append(Retried(result, seconds))
            return
        self._journal.append("item", result.as_dict())
        self._events.append(result)
        if result.result != journal.OK:
            state.failures += 1
            if self._plan.max_failures is not None and state.failures >= self._plan.max_failures:
                self._stop(Stopped(f"{state.failures} failed"))

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
        self._state.slots.remove(each)
        each.close()
        if each.pid:
            if kill:
                os.kill(each.pid, signal.SIGKILL)
            self._state.leaving[each.pid] = time.monotonic() + END_SECONDS

    def _reap(self) -> None:
        """Reap the slots that have been told to end, keepers, orphans and those that take pictures."""
        with suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                self._state.leaving.pop(pid, None)
                for each in self._state.slots[:]:
                    if each.pid == pid:
                        each.pid = 0  # that its socket closes tells the rest
                    if each.attempt is not None and each.attempt.camera == pid:
                        each.attempt.camera = 0
                        if each.attempt.phase == "picture":
                            self._continue_ending(each, each.attempt)

    def _end_all(self) -> None:
        """End all slots, and wait until their sessions have ended, too."""
        state = self._state
        self._looker.close()
        for each in state.slots[:]:
            self._remove(each)
        deadline = time.monotonic() + END_SECONDS
        while children.children() and time.monotonic() < deadline:
            self._reap()
            for pid, due in list(state.leaving.items()):
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
        return "lost"
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


@contextmanager
def _signals_noted(note: Callable[[int], None], selector: selectors.BaseSelector) -> Iterator[None]:
    """Have the *selector* find out about signals, and *note* them."""
    heard, said = os.pipe()
    for end in heard, said:
        os.set_blocking(end, False)

    def listen() -> None:
        with suppress(BlockingIOError):
            for number in dict.fromkeys(os.read(heard, 4096)):
                note(number)

    selector.register(heard, selectors.EVENT_READ, listen)
    before = {}
    wakeup = signal.set_wakeup_fd(said, warn_on_full_buffer=False)
    try:
        for number in slot.HANDLED:
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGCHLD:  # nohup's stays ignored
                before[number] = signal.signal(number, lambda *_: None)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        selector.close()
        os.close(heard)
        os.close(said)
