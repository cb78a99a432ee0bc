"""The engine for a Dask cluster: slots that are threads of its workers.

It places the items itself. Dask would run an item again without telling, and does not know which slot has which GPU.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from anaheadless.batch import journal
from anaheadless.batch.cluster import address, start
from anaheadless.batch.cluster.address import Cluster
from anaheadless.batch.cluster.link import Answered, Gone, Link, Note, Told, Worker, choose_gpu
from anaheadless.batch.cluster.node import STREAMS, Spec
from anaheadless.batch.engine import GivenBack, Plan, Started, Tell
from anaheadless.batch.items import Item
from anaheadless.batch.journal import Result
from anaheadless.batch.program import Program
from anaheadless.errors import LaunchError, print_stderr
from anaheadless.options import Options
from anaheadless.system.programs import this_python

# After the grace time, for the workers to say that all has ended.
END_SECONDS = 30.0
_FOREVER = float("inf")
_SUFFIXES = dict(zip(STREAMS, (".out", ".err", ".png")))


@dataclass(frozen=True)
class _Running:
    """An item that a worker was given under a key, and when."""

    key: str
    item: Item
    tries: int
    since: float


@dataclass(eq=False)
class _Slot:
    """A thread of a worker."""

    number: int
    worker: Worker
    gpu: tuple[str, str] | None
    running: _Running | None = None


class ClusterEngine:
    """Slots on a cluster, see :class:`anaheadless.batch.engine.Engine`."""

    def __init__(
        self,
        cluster: Cluster,
        program: Program,
        columns: Sequence[str],
        plan: Plan,
        options: Options,
        environ: Mapping[str, str],
        selector: selectors.BaseSelector,
        tell: Tell,
    ) -> None:
        self._program, self._columns, self._plan, self._tell = program, columns, plan, tell
        self._workers: dict[str, Worker] = {}
        self._slots: list[_Slot] = []
        self._refused: Counter[str] = Counter()
        self._said: set[str] = set()
        self._failure: LaunchError | None = None
        self._end_due = _FOREVER
        self._selector = selector
        self._heard: deque[Told] = deque()
        self._wake, self._woken = os.pipe()
        for end in self._wake, self._woken:
            os.set_blocking(end, False)
        selector.register(self._wake, selectors.EVENT_READ, self._hear)
        search = environ.get("PYTHONPATH", "")
        spec = Spec(program, tuple(columns), plan, options, os.getcwd(), this_python(), search)
        if cluster.kind in address.BATCH_SYSTEMS:
            start.load_jobqueue()
        self._link = Link(cluster, spec, self._note)

    def _note(self, told: Told) -> None:
        """Have the selector hear of something; in another thread."""
        self._heard.append(told)
        with suppress(BlockingIOError):
            os.write(self._woken, b"!")

    def has_room(self) -> bool:
        return any(each.running is None for each in self._slots) or (
            len(self._slots) < self._plan.slots and bool(self._free_workers())
        )

    def _free_workers(self) -> list[Worker]:
        """Return the workers that have threads without a slot."""
        used = Counter(each.worker.address for each in self._slots)
        free = {
            address: worker.threads - used[address] - self._refused[address]
            for address, worker in self._workers.items()
        }
        return sorted(
            (worker for address, worker in self._workers.items() if free[address] > 0),
            key=lambda worker: used[worker.address] / worker.threads,
        )

    def is_busy(self) -> bool:
        return any(each.running for each in self._slots)

    def give(self, item: Item, tries: int) -> None:
        each = next((each for each in self._slots if each.running is None), None) or self._new_slot()
        key = self._link.submit(each.worker.address, each.number, each.gpu, item, tries)
        each.running = _Running(key, item, tries, time.monotonic())
        self._tell(Started(item, each.number, tries))

    def _new_slot(self) -> _Slot:
        worker = self._free_workers()[0]
        number = min({*range(1, len(self._slots) + 2)} - {each.number for each in self._slots})
        taken = [each.gpu for each in self._slots if each.worker.host == worker.host]
        started = _Slot(number, worker, choose_gpu(worker, taken))
        self._slots.append(started)
        return started

    def due(self) -> float:
        return self._end_due if self.is_busy() else _FOREVER

    def attend(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self.is_busy() and time.monotonic() >= self._end_due:
            print_stderr("anaheadless: some workers do not say that their items have ended")
            for each in self._slots:
                self._give_back(each)

    def end_items(self, *, kill: bool) -> None:
        self._end_due = time.monotonic() + (0.0 if kill else self._plan.grace) + END_SECONDS
        self._link.end_items(kill=kill)

    def close(self) -> None:
        self._selector.unregister(self._wake)
        self._link.close()
        for end in self._wake, self._woken:
            os.close(end)

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while self._heard:
            told = self._heard.popleft()
            if isinstance(told, Worker):
                self._workers[told.address] = told
                self._refused.pop(told.address, None)
            elif isinstance(told, Gone):
                self._lose(told.address)
            elif isinstance(told, Answered):
                for each in self._slots[:]:
                    if each.running is not None and each.running.key == told.key:
                        self._hear_answer(each, each.running, told.answer)
            elif isinstance(told, Note):
                print_stderr(f"anaheadless: {told.text}")
            else:
                self._failure = told.error

    def _hear_answer(self, each: _Slot, running: _Running, answer: dict[str, Any]) -> None:
        if "result" in answer:
            each.running = None
            self._tell(self._receive(running, answer["result"]))
        elif "refused" in answer:
            self._refuse(each, answer)
        elif "lost" in answer:
            each.running = None
            self._tell(self._lost(each, running))
        else:
            self._give_back(each)

    def _give_back(self, each: _Slot) -> None:
        running, each.running = each.running, None
        if running is not None:
            self._tell(GivenBack(running.item, running.tries))

    def _refuse(self, each: _Slot, answer: Mapping[str, Any]) -> None:
        """Go on without a slot that can't be started; without any, fail."""
        self._slots.remove(each)
        self._refused[each.worker.address] += 1
        message = f"{each.worker.host}: {answer['refused']}"
        error = LaunchError(
            message,
            hint=answer["hint"],
            details=tuple(answer.get("details", ())),
            **({"exit_code": answer["status"]} if "status" in answer else {}),
        )
        if not self._slots and not self._free_workers():
            self._failure = error
        elif message not in self._said:
            self._said.add(message)
            print_stderr(f"{error}\nanaheadless: it goes on without this slot")
        self._give_back(each)

    def _lose(self, address: str) -> None:
        """Do without a worker that has ended, or can't be reached."""
        self._workers.pop(address, None)
        for each in self._slots[:]:
            if each.worker.address == address:
                self._slots.remove(each)
                running, each.running = each.running, None
                if running is not None:
                    self._link.forget(running.key)
                    self._tell(self._lost(each, running))

    def _lost(self, each: _Slot, running: _Running) -> Result:
        """Make the result of an item that has ended with its worker, or with its slot."""
        command = self._program.command(running.item, self._columns, each.number)
        seconds = round(time.monotonic() - running.since, 4)
        return journal.without_run(
            running.item, command, journal.LOST, each.worker.host, seconds=seconds, tries=running.tries
        )

    def _receive(self, running: _Running, record: dict[str, Any]) -> Result:
        """Make a result of what has come, and files of the contents in it."""
        stem = os.path.join(self._plan.folder, f"{running.item.number}-{running.item.id}")
        for stream, suffix in _SUFFIXES.items():
            data, path = record[stream], stem + suffix
            record[stream] = None if data is None else path
            with suppress(FileNotFoundError):  # of a try before this one
                os.unlink(path)
            if data is not None:
                with open(path, "wb") as file:
                    file.write(data)
        result = journal.parse_result(record)
        assert result is not None, "it comes from the same version of this package"
        return replace(result, value=record["value"])
