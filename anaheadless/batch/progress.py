"""How far a map is: a bar on a terminal, a line now and then elsewhere, or events in JSON. All but these on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from anaheadless.batch import output
from anaheadless.batch.engine import Started
from anaheadless.batch.journal import OK, Result
from anaheadless.batch.scheduler import Event, Retried, Stopped
from anaheadless.errors import print_stderr

LINE_SECONDS = 30.0


class Progress:
    """Lines now and then: the first failures at once, the state every LINE_SECONDS, and what came of all at the end."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.before, self.ended, self.failed = total, done, 0, 0
        self.began = self.said = time.monotonic()

    def __enter__(self) -> Progress:
        if self.before:
            print_stderr(f"anaheadless: {self.before} of {self.total} items are done already")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            print_stderr(f"anaheadless: {self.state()}")

    def show(self, event: Event) -> None:
        if isinstance(event, Result):
            self.ended += 1
            self.failed += event.result != OK
            if event.result != OK:
                self.say(output.describe(event))
        elif isinstance(event, Retried):
            self.say(f"{output.describe(event.result)}; again in {event.seconds:g} s")
        elif isinstance(event, Stopped):
            self.say(f"{event.reason}: ending what runs")
        self.tick()

    def tick(self) -> None:
        if time.monotonic() - self.said >= LINE_SECONDS:
            self.said = time.monotonic()
            self.say(self.state())

    def say(self, text: str) -> None:
        with self.paused():
            print_stderr(f"anaheadless: {text}")

    def paused(self) -> AbstractContextManager[None]:
        """Leave the terminal to others for a moment."""
        return nullcontext()

    def state(self) -> str:
        """Say how far it is."""
        return state(self.total, self.before, self.ended, self.failed, time.monotonic() - self.began)


def state(total: int, before: int, ended: int, failed: int, seconds: float) -> str:
    """Say how far a map is: pure."""
    done = before + ended - failed
    text = f"{done} of {total} items are done"
    if failed:
        text += f", {failed} failed"
    if ended and seconds > 0:
        text += f", {ended / seconds:.1f} a second"
        left = total - before - ended
        if left:
            text += f", {_duration(left * seconds / ended)} left"
    return text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Bar(Progress):
    """A bar on a terminal."""

    def __enter__(self) -> Progress:
        import tqdm  # only here: it is for those who watch

        tqdm.tqdm.monitor_interval = 0  # its thread: a process with threads can't fork safely
        self.bar = tqdm.tqdm(total=self.total, initial=self.before, unit="item", dynamic_ncols=True, file=sys.stderr)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.bar.close()
        super().__exit__(kind, *rest)

    def show(self, event: Event) -> None:
        super().show(event)
        if isinstance(event, Result):
            if self.failed:
                self.bar.set_postfix_str(f"{self.failed} failed", refresh=False)
            self.bar.update()

    def tick(self) -> None:
        pass

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.bar.clear()
        yield
        self.bar.refresh()


class Events(Progress):
    """A line of JSON on standard output for each thing that happens."""

    def __enter__(self) -> Progress:
        self._print({"event": "map", "items": self.total, "done": self.before})
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._print({"event": "end", "items": self.total, "done": self.before + self.ended - self.failed})

    def show(self, event: Event) -> None:
        if isinstance(event, Result):
            self.ended += 1
            self.failed += event.result != OK
            value = {} if event.value is None else {"value": event.value}
            self._print({"event": "item", **event.as_dict(), **value})
        elif isinstance(event, Started):
            told = {"item": event.item.number, "id": event.item.id, "slot": event.slot, "tries": event.tries}
            self._print({"event": "start", **told})
        elif isinstance(event, Retried):
            self._print({"event": "retry", "seconds": event.seconds, **event.result.as_dict()})
        elif isinstance(event, Stopped):
            self._print({"event": "stop", "reason": event.reason})

    def _print(self, record: dict[str, Any]) -> None:
        output.write_all(1, json.dumps(record).encode() + b"\n")


def choose(total: int, done: int, as_json: bool) -> Progress:
    """Choose how to show the progress of a map."""
    if as_json:
        return Events(total, done)
    return Bar(total, done) if os.isatty(2) else Progress(total, done)
