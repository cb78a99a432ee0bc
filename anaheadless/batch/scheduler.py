"""The course of a map: which item runs when, and what comes of it."""

from __future__ import annotations

import heapq
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Union

from anaheadless.batch import journal, signals
from anaheadless.batch.engine import Engine, GivenBack, MakeEngine, Plan, Started
from anaheadless.batch.items import Item
from anaheadless.batch.journal import Result

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0


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
    """What is still to be done."""

    pending: deque[tuple[Item, int]]
    delayed: list[tuple[float, int, Item, int]] = field(default_factory=list)
    failures: int = 0
    is_stopping: bool = False


class Scheduler:
    """Runs items; :meth:`events` is all that there is to it."""

    def __init__(self, items: Sequence[Item], plan: Plan, make_engine: MakeEngine, written: journal.Journal) -> None:
        self._plan, self._make_engine, self._journal = plan, make_engine, written
        self._state = _State(deque((item, 1) for item in items))
        self._selector = selectors.DefaultSelector()
        self._events: deque[Event] = deque()
        self._engine: Engine

    def events(self) -> Generator[Event, None, None]:
        """Run the items, and yield what happens; whatever ends this, nothing is left of them.

        :raises LaunchError: nothing can be run, or the journal can't be written.
        """
        with signals.noted(self._note_signal, self._selector):
            self._engine = self._make_engine(self._selector, self._hear)
            try:
                if self._plan.lifeline is not None:
                    os.set_inheritable(self._plan.lifeline, False)
                    self._selector.register(self._plan.lifeline, selectors.EVENT_READ, self._let_go)
                while True:
                    self._start_what_can_be()
                    while self._events:
                        yield self._events.popleft()
                    if not self._has_more():
                        return
                    self._wait()
            finally:
                self._engine.close()

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
        self._engine.end_items(kill=state.is_stopping)
        if not state.is_stopping:
            state.is_stopping = True
            state.pending.clear()
            state.delayed.clear()
            self._events.append(event)

    def _has_more(self) -> bool:
        return bool(self._state.pending or self._state.delayed or self._engine.is_busy())

    def _start_what_can_be(self) -> None:
        """Give the engine items as long as it takes them."""
        state = self._state
        while state.delayed and state.delayed[0][0] <= time.monotonic():
            _, _, item, tries = heapq.heappop(state.delayed)
            state.pending.append((item, tries))
        while state.pending and self._engine.has_room():
            self._engine.give(*state.pending.popleft())

    def _wait(self) -> None:
        """Wait for something to happen, and see to it."""
        first = min([self._engine.due(), *(due for due, *_ in self._state.delayed[:1])])
        seconds = None if first == float("inf") else max(0.0, first - time.monotonic())
        for key, _ in self._selector.select(seconds):
            key.data()
        self._engine.attend()

    def _hear(self, told: Started | GivenBack | Result) -> None:
        """Hear from the engine."""
        if isinstance(told, Started):
            self._events.append(told)
        elif isinstance(told, Result):
            self._finish(told)
        elif not self._state.is_stopping:
            self._state.pending.appendleft((told.item, told.tries))

    def _finish(self, result: Result) -> None:
        """Find out whether an item that has ended has to be run again."""
        state, plan = self._state, self._plan
        retries = max(plan.retries, plan.lost_retries) if result.result == journal.LOST else plan.retries
        if result.result != journal.OK and result.tries <= retries and not state.is_stopping:
            seconds = min(FIRST_BACKOFF * 2 ** (result.tries - 1), LONGEST_BACKOFF)
            item = Item(result.item, result.input, result.id)
            heapq.heappush(state.delayed, (time.monotonic() + seconds, item.number, item, result.tries + 1))
            self._events.append(Retried(result, seconds))
            return
        self._journal.append("item", result.as_dict())
        self._events.append(result)
        if result.result != journal.OK:
            state.failures += 1
            if plan.max_failures is not None and state.failures >= plan.max_failures:
                self._stop(Stopped(f"{state.failures} failed"))
