"""A map as the command line asks for it, and its course; without click, which takes longer to import than all of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, NoReturn

from anaheadless.batch import cpus, inputs, mapping, output, program, progress
from anaheadless.batch.cluster import address
from anaheadless.batch.cluster.address import Cluster
from anaheadless.batch.engine import Plan
from anaheadless.batch.inputs import Inputs
from anaheadless.batch.journal import OK, Result
from anaheadless.batch.mapping import Request
from anaheadless.batch.program import Program
from anaheadless.batch.scheduler import Stopped
from anaheadless.map_options import MAP_TABLE, MOST
from anaheadless.options import Options, RunLimits

SOME_FAILED = 1
# An item that was lost with a worker of a cluster is no worse for that: batch systems take back what they have lent.
LOST_RETRIES = 2
# What there is without any options.
DEFAULTS: Mapping[str, Any] = {
    **{row.field: row.default for row in MAP_TABLE},
    **dict.fromkeys(("module", "code", "shard", "cluster", "lifeline")),
    "cluster_args": (),
    "resume": True,
}


def request(
    args: Sequence[str], python: str, environ: Mapping[str, str], options: Options, settings: Mapping[str, Any]
) -> Request:
    """Make of the command line what is asked for.

    :param args: its words after the options.
    :param settings: as :data:`DEFAULTS`.
    :raises ValueError: it makes no sense.
    :raises LaunchError: the program or the inputs can't be found.
    """
    words, values = inputs.split_words(args)
    if settings["blank_is_failure"] and not settings["expect"]:
        raise ValueError("--blank-is-failure needs --expect, which says where the pictures are.")
    program = _program(words, python, os.get_exec_path(environ), settings)
    shard = settings["shard"]
    cluster = _cluster(settings)
    plan = Plan(
        slots=settings["jobs"] or (cpus.usable_cpus(environ) if cluster is None else MOST),
        folder="",
        own_display=settings["display"] == "own",
        timeout=options.limits.timeout,
        grace=options.limits.grace,
        retries=settings["retries"],
        lost_retries=0 if cluster is None else LOST_RETRIES,
        max_failures=1 if settings["fail_fast"] else settings["max_failures"],
        private_tmp=settings["private_tmp"],
        expected=settings["expect"],
        blank_fails=settings["blank_is_failure"],
        lifeline=settings["lifeline"],
    )
    return mapping.Request(
        program=program,
        inputs=_inputs(values, settings),
        plan=plan,
        options=options.replace(limits=RunLimits(log=options.limits.log)),  # the time is that of an item
        journal=mapping.journal_of(settings["journal"], shard),
        shard=shard,
        cluster=cluster,
        resume=settings["resume"],
        sync=settings["fsync"],
    )


def _cluster(settings: Mapping[str, Any]) -> Cluster | None:
    cluster: Cluster | None = settings["cluster"]
    if settings["cluster_args"] and (cluster is None or cluster.kind in ("address", "file")):
        raise ValueError("--cluster-arg needs a --cluster that is started: ssh:HOSTS, or a batch system.")
    if cluster is None:
        return None
    if cluster.kind in address.BATCH_SYSTEMS and not settings["jobs"]:
        raise ValueError(f"--cluster {cluster.kind} needs -j N: how many items are to run at a time.")
    return replace(cluster, args=settings["cluster_args"], slots=settings["jobs"])


def _inputs(values: tuple[str, ...] | None, settings: Mapping[str, Any]) -> Inputs:
    if (values is not None) + bool(settings["file"]) + bool(settings["patterns"]) > 1:
        raise ValueError("Give the inputs in one way: with :::, with --inputs or with --glob.")
    if values is not None:
        return inputs.from_values(values)
    if settings["patterns"]:
        return inputs.match_files(settings["patterns"])
    if not settings["file"] and os.isatty(0):
        raise ValueError("There are no inputs: give them after :::, or with --inputs or --glob.")
    return inputs.read_file(settings["file"] or "-", null=settings["null"])


def _program(words: tuple[str, ...], python: str, search: list[str], settings: Mapping[str, Any]) -> Program:
    module, code, call, preload = (settings[name] for name in ("module", "code", "call", "preload"))
    if sum((module is not None, code is not None, call is not None, settings["any_program"])) > 1:
        raise ValueError("Give one of -m, -c, --call and --command.")
    if settings["any_program"] and preload:
        raise ValueError("--preload is for Python programs, not for --command.")
    if call is not None and settings["display"] == "own":
        raise ValueError("--call and --display own contradict each other: the process stays on its display.")
    if call is None and (settings["recycle"] or settings["max_memory"]):
        raise ValueError("--recycle and --max-memory need --call.")
    if module is not None:
        return program.module(python, module, words, preload, search)
    if code is not None:
        return program.code(python, code, words, preload, search)
    if call is not None:
        found = program.call(python, call, words, preload, search)
        return replace(
            found,
            recycle=settings["recycle"] or 0,
            max_memory=(settings["max_memory"] or 0) << 20,
            values=settings["lifeline"] is not None,
        )
    if not words:
        raise ValueError("Nothing to run: give a SCRIPT, -m MODULE, -c CODE, --call or --command.")
    return program.command(words, search) if settings["any_program"] else program.script(python, words, preload, search)


def carry_out(request: Request, environ: Mapping[str, str], settings: Mapping[str, Any]) -> NoReturn:
    """Run a map to its end, and exit with the status that it has.

    :raises LaunchError: nothing can be run.
    """
    if settings["dry_run"]:
        import shlex

        for command in mapping.commands(request):
            output.write_all(1, os.fsencode(shlex.join(command)) + b"\n")
        sys.exit(0)
    failed, ended_by = _run(request, environ, quiet=settings["quiet"], as_json=settings["as_json"])
    if settings["report"] and ended_by != signal.SIGPIPE:
        from anaheadless.batch import journal as journals  # only here: most maps want no report
        from anaheadless.batch import report

        report.write(settings["report"], journals.read(request.journal), request.plan.expected)
    if ended_by:
        _end_by(ended_by)
    sys.exit(SOME_FAILED if failed else 0)


def _run(request: Request, environ: Mapping[str, str], *, quiet: bool, as_json: bool) -> tuple[int, int]:
    """Run a map to its end; return how many items have failed, and the signal that has stopped it, or 0."""
    failed = ended_by = 0
    try:
        with ExitStack() as stack:
            found = stack.enter_context(mapping.prepared(request, environ))
            shown = stack.enter_context(progress.choose(found.total, found.done, as_json))
            for event in stack.enter_context(closing(found.scheduler.events())):
                if isinstance(event, Result):
                    failed += event.result != OK
                    if not (quiet or as_json):
                        with shown.paused():
                            output.pass_on(event)
                elif isinstance(event, Stopped):
                    ended_by = ended_by or event.signal
                shown.show(event)
    except BrokenPipeError:  # whoever has read our output has gone
        ended_by = signal.SIGPIPE
    return failed, ended_by


def _end_by(number: int) -> NoReturn:
    """End as a program does that does not handle a signal, so that the caller sees it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # the first process of a container does not die of it
