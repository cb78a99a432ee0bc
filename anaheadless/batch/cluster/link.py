"""The thread that talks to Dask, and what it tells the engine."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Union

from distributed import Client, Future

from anaheadless import __version__
from anaheadless.batch.cluster import node, start
from anaheadless.batch.cluster.address import BATCH_SYSTEMS, Cluster
from anaheadless.batch.cluster.node import Spec
from anaheadless.batch.items import Item
from anaheadless.errors import LaunchError

POLL_SECONDS = 1.0
ANSWER_SECONDS = 60.0
# How long there may be no worker, but where a batch system may let its jobs wait.
WORKERLESS_SECONDS = 60.0
CLOSE_SECONDS = 40.0
# Asked of each worker as text: pickled code would be that of our own Python.
_QUESTION = (
    "[list(__import__('sys').version_info[:2]), __import__('socket').gethostname(), __import__('anaheadless')."
    "__version__ if __import__('importlib.util').util.find_spec('anaheadless') else None]"
)


@dataclass(frozen=True)
class Worker:
    """A worker that items can run on; *gpus*: those that its slots may have, if there are several."""

    address: str
    host: str
    threads: int
    gpus: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Gone:
    """A worker is not there any more."""

    address: str


@dataclass(frozen=True)
class Answered:
    """A worker has answered, see :func:`anaheadless.batch.cluster.node.run_item`."""

    key: str
    answer: dict[str, Any]


@dataclass(frozen=True)
class Note:
    """Something to say to the user."""

    text: str


@dataclass(frozen=True)
class Failed:
    """The map can't go on."""

    error: LaunchError


Told = Union[Worker, Gone, Answered, Note, Failed]


class Link:
    """A connection to a cluster; *tell* is called in its thread."""

    def __init__(self, cluster: Cluster, spec: Spec, tell: Callable[[Told], None]) -> None:
        self._cluster, self._spec, self._tell = cluster, spec, tell
        self._name = f"anaheadless-{uuid.uuid4().hex}"
        self._loop = asyncio.new_event_loop()
        self._closing = self._loop.create_future()
        self._client: Client | None = None
        self._known: set[str] = set()
        self._used: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._has_begun = self._is_lost = False
        self._thread = threading.Thread(target=self._run, name="anaheadless-dask", daemon=True)
        self._thread.start()

    # In the engine's thread.

    def submit(self, address: str, number: int, gpu: tuple[str, str] | None, item: Item, tries: int) -> str:
        """Have a worker run an item; return the key by which it answers."""
        key = f"{self._name}-{uuid.uuid4().hex}"
        self._call(self._submit, key, address, number, gpu, pickle.dumps((item, tries)))
        return key

    def forget(self, key: str) -> None:
        """Await no answer any more."""
        self._call(self._forget, key)

    def end_items(self, *, kill: bool) -> None:
        self._call(self._broadcast, kill)

    def close(self) -> None:
        """End all that the map has on the cluster, and the cluster if it was started for that."""
        self._call(self._let_close)
        self._thread.join(CLOSE_SECONDS)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # it has ended already, and has told why
            self._loop.call_soon_threadsafe(function, *args)

    # In its own.

    def _let_close(self) -> None:
        if not self._closing.done():
            self._closing.set_result(None)

    def _run(self) -> None:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of that, we say ourselves
        self._loop.set_exception_handler(lambda *_: None)  # likewise: Dask leaves futures behind that nobody awaits
        asyncio.set_event_loop(self._loop)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._loop.run_until_complete(self._serve())
            except LaunchError as error:
                self._tell(Failed(error))
            except Exception as error:  # of many kinds, of Dask: without this thread, the map would wait for ever
                message = f"the Dask cluster {self._cluster} fails: {type(error).__name__}: {error}"
                self._tell(Failed(LaunchError(message, hint="Its scheduler's log may tell more.")))
            finally:
                self._loop.close()

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            starting = asyncio.ensure_future(start.connect(self._cluster, self._spec.plan.folder, stack))
            await asyncio.wait({starting, self._closing}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting})
                return
            self._client = await starting
            stack.push_async_callback(self._leave)
            watching = asyncio.ensure_future(self._watch(self._client))
            await asyncio.wait({watching, self._closing}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching
            watching.cancel()

    async def _leave(self) -> None:
        """End what the map has on the workers."""
        for task in list(self._tasks.values()):
            task.cancel()
        if self._client is not None and self._used and not self._is_lost:
            with suppress(Exception):  # they end by themselves, only later
                await asyncio.wait_for(
                    self._client.run(node.forget, self._name, workers=list(self._used), on_error="ignore"),
                    CLOSE_SECONDS / 2,
                )

    async def _watch(self, client: Client) -> None:
        """See which workers there are, from now on; :raises LaunchError: the map can't go on."""
        since = time.monotonic()
        while True:
            threads = await self._threads(client)
            for address in self._known - set(threads):
                self._known.discard(address)
                self._used.discard(address)
                self._tell(Gone(address))
            new = {address: count for address, count in threads.items() if address not in self._known}
            if new:
                await self._accept(client, new)
            if self._used:
                since = time.monotonic()
            elif time.monotonic() - since > WORKERLESS_SECONDS:
                if self._cluster.kind not in BATCH_SYSTEMS:
                    raise LaunchError(
                        f"the Dask cluster {self._cluster} has no worker",
                        hint="Start some; what is done is in the journal, and the same command goes on from there.",
                    )
                self._tell(Note(f"{self._cluster.kind} has started no worker yet"))
                since = time.monotonic()
            await asyncio.sleep(POLL_SECONDS)

    async def _threads(self, client: Client) -> dict[str, int]:
        """Ask the scheduler for the workers, and how many threads each has."""
        try:
            answer: dict[str, int] = await asyncio.wait_for(client.nthreads(), ANSWER_SECONDS)
        except Exception as error:  # of many kinds: all say that nobody answers
            self._is_lost = True
            raise LaunchError(
                f"the Dask scheduler at {self._cluster} does not answer any more",
                hint="Start it again. What is done is in the journal, and the same command goes on from there.",
            ) from error
        return dict(answer)

    async def _accept(self, client: Client, new: dict[str, int]) -> None:
        """Find out which workers can run the map; :raises LaunchError: it has only begun, and some can't."""
        self._known |= set(new)
        problems = []
        answers = await client.run(eval, _QUESTION, workers=list(new), on_error="return")
        hosts = {}
        for address, answer in answers.items():
            problem = judge(answer)
            if problem:
                problems.append(problem)
            else:
                hosts[address] = answer[1]
        prepared = {}
        if hosts:
            prepared = await client.run(node.prepare, self._name, self._spec, workers=list(hosts), on_error="return")
        good = []
        for address, answer in prepared.items():
            if isinstance(answer, Exception):
                problems.append(f"{hosts[address]}: {type(answer).__name__}: {answer}")
            elif "problem" in answer:
                problems.append(f"{hosts[address]} {answer['problem']}")
            else:
                good.append(Worker(address, hosts[address], new[address], tuple(map(tuple, answer["gpus"]))))
        if problems:
            error = LaunchError(
                "some workers of the cluster can't run this map",
                hint=f"Each needs anaheadless {__version__}, Python {_version(sys.version_info[:2])}, and the folders "
                "of this machine.",
                details=tuple(dict.fromkeys(problems)),
            )
            if not self._has_begun:
                raise error
            self._tell(Note(f"{error.message}, and it goes on without these: {'; '.join(error.details)}"))
        self._has_begun = True
        for worker in good:
            self._used.add(worker.address)
            self._tell(worker)

    def _submit(self, key: str, address: str, number: int, gpu: tuple[str, str] | None, task: bytes) -> None:
        self._tasks[key] = asyncio.ensure_future(self._await(key, address, number, gpu, task))

    async def _await(self, key: str, address: str, number: int, gpu: tuple[str, str] | None, task: bytes) -> None:
        assert self._client is not None, "there are workers"
        future: Future | None = None
        try:
            future = self._client.submit(
                node.run_item, self._name, number, gpu, task,
                key=key, workers=[address], allow_other_workers=False, pure=False, retries=0,
            )  # fmt: skip
            answer = await future
        except asyncio.CancelledError:
            if future is None or future.status != "cancelled":
                raise
            answer = None
        except Exception as error:  # of many kinds, of Dask
            answer = {"refused": f"a worker can't run an item: {type(error).__name__}: {error}", "hint": "See its log."}
            if future is None or future.status == "cancelled":
                answer = None
        finally:
            self._tasks.pop(key, None)
            if future is not None:
                future.release()
        if answer is None:
            # The scheduler has forgotten it; or there is none any more, as the watch is about to find out.
            with suppress(LaunchError):
                await self._threads(self._client)
                self._tell(Answered(key, {"lost": True}))
            return
        if "unknown" in answer:
            self._known.discard(address)
            self._used.discard(address)
            self._tell(Gone(address))
        self._tell(Answered(key, answer))

    def _forget(self, key: str) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    def _broadcast(self, kill: bool) -> None:
        if self._client is not None and self._used:
            self._ending = asyncio.ensure_future(
                self._client.run(node.end_items, self._name, kill, workers=list(self._used), on_error="ignore")
            )


def choose_gpu(worker: Worker, taken: Sequence[tuple[str, str] | None]) -> tuple[str, str] | None:
    """Choose the GPU of a new slot: that which the fewest slots of its machine have *taken*; pure."""
    return min(worker.gpus, key=taken.count, default=None)


def judge(answer: Any) -> str:
    """Say what is wrong with a worker that has answered the question, or nothing: pure."""
    if isinstance(answer, Exception):
        return f"a worker does not answer: {type(answer).__name__}: {answer}"
    python, host, version = answer
    if version is None:
        return f"{host} has no anaheadless"
    if version != __version__:
        return f"{host} has anaheadless {version}"
    return f"{host} has Python {_version(python)}" if tuple(python) != sys.version_info[:2] else ""


def _version(numbers: Any) -> str:
    return ".".join(map(str, numbers))
