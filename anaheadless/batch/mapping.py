"""A map from its inputs to its journal: what is left to do, and its course."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from anaheadless import __version__
from anaheadless.batch import expectations, items, journal
from anaheadless.batch.cluster import address
from anaheadless.batch.cluster.address import Cluster
from anaheadless.batch.engine import MakeEngine, Plan
from anaheadless.batch.inputs import Inputs
from anaheadless.batch.items import Item, Shard
from anaheadless.batch.journal import Contents, Result
from anaheadless.batch.local import LocalEngine
from anaheadless.batch.program import Program
from anaheadless.batch.scheduler import Scheduler
from anaheadless.errors import USAGE, LaunchError, printable
from anaheadless.options import Options

DEFAULT_JOURNAL = "anaheadless-map.jsonl"


@dataclass(frozen=True)
class Request:
    """What a map is asked for.

    :param inputs: what to run the *program* for.
    :param shard: which part of that, or None for all of it.
    :param cluster: where to run it, or None for this machine.
    :param resume: whether to leave out what a journal, or the expected files, show to be done.
    :param sync: whether the journal has to be on the disk, line by line.
    """

    program: Program
    inputs: Inputs
    plan: Plan
    options: Options
    journal: str
    shard: Shard | None = None
    cluster: Cluster | None = None
    resume: bool = True
    sync: bool = False


@dataclass(frozen=True)
class Map:
    """A map that can begin.

    :param total: how many items it has; *done*: how many of these are done already.
    """

    total: int
    done: int
    scheduler: Scheduler


def journal_of(path: str | None, shard: Shard | None) -> str:
    """Name the journal: each shard has its own, or the second one would find it in use."""
    stem, suffix = os.path.splitext(path or DEFAULT_JOURNAL)
    return stem + (f"-{shard.index}of{shard.count}" if shard else "") + suffix


def select(request: Request, done: Contents | None = None) -> tuple[list[Item], list[Item]]:
    """Choose the items of this shard, and which of them are not done; pure, but for the expected files."""
    numbered = items.number(request.inputs)
    ours = request.shard.select(numbered) if request.shard else numbered
    if not request.resume:
        return ours, ours
    columns = request.inputs.columns
    if request.plan.expected:
        return ours, [item for item in ours if expectations.check(request.plan.expected, item, columns)[1]]
    return ours, items.remaining(ours, done.done() if done else ())


def commands(request: Request) -> Iterator[tuple[str, ...]]:
    """Tell the commands that a map would run."""
    done = journal.read(request.journal) if request.resume and os.path.exists(request.journal) else None
    program = request.program.with_words(request.inputs.columns)
    for item in select(request, done)[1]:
        yield program.command(item, request.inputs.columns)


@contextmanager
def prepared(request: Request, environ: Mapping[str, str]) -> Iterator[Map]:
    """Open the journal, and find out what is left to do.

    :raises LaunchError: the journal can't be written, is another map's, or tells of another program.
    """
    columns = request.inputs.columns
    program = request.program.with_words(columns)
    with journal.opened(request.journal, sync=request.sync) as (written, contents):
        template = program.template()
        if request.resume:
            _check_same(request.journal, contents.maps, template)
        ours, left = select(request, contents)
        folder = os.path.abspath(os.path.splitext(request.journal)[0] + ".logs")
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise LaunchError(
                f"can't make the folder for what the items say: {folder}: {error.strerror}",
                hint="It stands beside the journal: give another --journal FILE.",
            ) from error
        record: dict[str, Any] = {
            "command": template,
            "columns": columns,
            "items": len(ours),
            "left": len(left),
            "shard": str(request.shard) if request.shard else None,
            "host": os.uname().nodename,
            "version": __version__,
            "started": round(time.time(), 3),
        }
        written.append("map", record)
        for result in _found(request, program, ours, left, contents):
            written.append("item", result.as_dict())
        plan = replace(request.plan, folder=folder, slots=max(1, min(request.plan.slots, len(left))))
        scheduler = Scheduler(left, plan, _engine(request, program, plan, environ), written)
        yield Map(len(ours), len(ours) - len(left), scheduler)


def _found(
    request: Request, program: Program, ours: Sequence[Item], left: Sequence[Item], contents: Contents
) -> Iterator[Result]:
    """Tell of the items that only their files show to be done: a map was killed before it could write of them."""
    known = {*contents.done(), *(item.id for item in left)}
    for item in items.remaining(ours, known):
        outputs, _ = expectations.check(request.plan.expected, item, request.inputs.columns)
        command = program.command(item, request.inputs.columns)
        yield journal.without_run(item, command, journal.OK, os.uname().nodename, outputs=outputs)


def _engine(request: Request, program: Program, plan: Plan, environ: Mapping[str, str]) -> MakeEngine:
    """Choose what runs the items."""
    what = (program, request.inputs.columns, plan, request.options, environ)
    if request.cluster is not None:
        try:
            from anaheadless.batch.cluster.engine import ClusterEngine  # only here: it imports dask
        except ImportError as error:
            raise address.missing(error) from error
        return partial(ClusterEngine, request.cluster, *what)
    return partial(LocalEngine, *what, range(1, plan.slots + 1))


def _check_same(path: str, maps: Sequence[Mapping[str, Any]], template: Sequence[str]) -> None:
    if maps and maps[-1].get("command") != list(template):
        before = maps[-1].get("command")
        words = " ".join(map(str, before)) if isinstance(before, list) else "?"
        raise LaunchError(
            f"the journal {path} tells of another command: {printable(words)}",
            hint="Give this map a journal of its own (--journal FILE), or run everything again (--no-resume).",
            exit_code=USAGE,
        )
