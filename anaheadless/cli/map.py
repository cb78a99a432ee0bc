"""The commands for many inputs: ``map``, and ``journal``, which tells what came of them."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import click

from anaheadless.batch.cluster import address
from anaheadless.batch.cluster.address import Cluster
from anaheadless.cli.parameters import CONTEXT, Command, Configured, Group, table_options
from anaheadless.cli.run import LastOption
from anaheadless.errors import FAILED, LaunchError, printable
from anaheadless.options import Options, RunLimits

if TYPE_CHECKING:
    from anaheadless.batch.inputs import Inputs
    from anaheadless.batch.items import Shard
    from anaheadless.batch.mapping import Request
    from anaheadless.batch.program import Program

SOME_FAILED = 1
MAX_COUNT = 1 << 20
# An item that was lost with a worker of a cluster is no worse for that: batch systems take back what they have lent.
LOST_RETRIES = 2
EPILOG = """\b
Examples:
  anaheadless map render.py {} --out pics/{/.}.png ::: subjects/*.gii
  anaheadless map --inputs subjects.csv -- render.py {id} {hemi}
  find . -name '*.gii' | anaheadless map --preload anatomist.api render.py {}

Exit status: 0 all items are done, 1 some have failed, 2 wrong usage, 125 the launcher failed, 126 your program can't be
executed, 127 it was not found."""


class ShardType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """A part of all items."""

    name = "I/N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        from anaheadless.batch import items

        try:
            return items.shard_from(os.environ) if value == "auto" else items.parse_shard(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ClusterType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """Where to run a map, but on this machine."""

    name = address.METAVAR

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Cluster:
        try:
            return address.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _count(least: int = 1) -> click.IntRange:
    return click.IntRange(least, MAX_COUNT)


@click.command("map", cls=Configured, context_settings=CONTEXT, epilog=EPILOG)
@click.option("-m", "module", cls=LastOption, metavar="MODULE", help="Run a module, as python -m does.")
@click.option("-c", "code", cls=LastOption, metavar="CODE", help="Run these lines, as python -c does.")
@click.option("--command", "any_program", is_flag=True, help="Run any program, not a Python script.")
@click.option("--call", metavar="MODULE:FUNCTION", help="Call a function for each item, in processes that stay.")
@click.option("--preload", multiple=True, metavar="MODULE", help="Import it once, and fork for each item; repeatable.")
@click.option("--inputs", "file", metavar="FILE|-", help="An item for each line, or each row of a .csv or .tsv file.")
@click.option("-0", "--null", is_flag=True, help="The inputs are separated by NUL bytes.")
@click.option("--glob", "patterns", multiple=True, metavar="PATTERN", help="An item for each file that matches.")
@click.option("-j", "--jobs", type=_count(), metavar="N", help="Run N items at a time.  [default: the CPUs there are]")
@click.option(
    "--display",
    type=click.Choice(("shared", "own")),
    default="shared",
    help="Run items one after another on the same displays, or each on its own.  [default: shared]",
)
@click.option("--private-tmp", is_flag=True, help="Give each item a TMPDIR, and remove it afterwards.")
@click.option("--recycle", type=_count(), metavar="N", help="With --call: start a new process after N items.")
@click.option("--max-memory", type=_count(), metavar="MIB", help="With --call: start a new process above this.")
@click.option(
    "--journal", metavar="FILE", help="Where to write what came of each item.  [default: anaheadless-map.jsonl]"
)
@click.option(
    "--resume/--no-resume", default=True, help="Leave out what is done, or run everything.  [default: resume]"
)
@click.option("--expect", multiple=True, metavar="FILE", help="A file that an item makes, which shows that it is done.")
@click.option("--blank-is-failure", is_flag=True, help="Let an expected picture of one colour be a failure.")
@click.option("--shard", type=ShardType(), metavar=ShardType.name, help="Run part I of N; auto: ask the batch system.")
@click.option("--cluster", type=ClusterType(), metavar=ClusterType.name, help="Run the items on a Dask cluster.")
@click.option(
    "--cluster-arg",
    "cluster_args",
    multiple=True,
    metavar="ARG",
    help="An argument for the batch system, or for ssh; repeatable.",
)
@click.option("--fsync", is_flag=True, help="Wait for the disk after each line of the journal.")
@click.option("--retries", type=_count(0), default=0, metavar="N", help="Run a failed item up to N times more.")
@click.option("--max-failures", type=_count(), metavar="N", help="Stop when N items have failed.")
@click.option("--fail-fast", is_flag=True, help="Stop when an item has failed.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print what the items print; it is beside the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each event.")
@click.option("--report", metavar="FILE.html", help="Write a page with the pictures, what came of each item, and why.")
@click.option("--dry-run", is_flag=True, help="Print the commands and run nothing.")
@click.option("--for-python", "lifeline", type=int, hidden=True)  # a descriptor, see anaheadless.api.mapping
@table_options("map")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]... [::: INPUTS...]")
def map_(args: tuple[str, ...], python: str, environ: dict[str, str], options: Options, **settings: Any) -> NoReturn:
    """Run a program for many inputs, some at a time.

    In ARGS, {} stands for the input, {.} for it without its suffix, {/} for the name of the file, {//} for its folder,
    {/.} for its name without suffix, {#} for the number of the item, {%} for that of the slot, and {COLUMN} for a value
    of a table. The inputs are lines of standard input, if you give none.

    The journal says what came of each item. The same command again runs what is not done.
    """
    from anaheadless.batch import mapping, output

    request = _request(args, python, environ, options, settings)
    if settings["dry_run"]:
        for command in mapping.commands(request):
            output.write_all(1, os.fsencode(shlex.join(command)) + b"\n")
        sys.exit(0)
    failed, ended_by = _run(request, environ, quiet=settings["quiet"], as_json=settings["as_json"])
    if settings["report"] and ended_by != signal.SIGPIPE:
        from anaheadless.batch import journal as journals
        from anaheadless.batch import report

        report.write(settings["report"], journals.read(request.journal), request.plan.expected)
    if ended_by:
        _end_by(ended_by)
    sys.exit(SOME_FAILED if failed else 0)


def _run(request: Request, environ: dict[str, str], *, quiet: bool, as_json: bool) -> tuple[int, int]:
    """Run a map to its end; return how many items have failed, and the signal that has stopped it, or 0."""
    from anaheadless.batch import mapping, output, progress
    from anaheadless.batch.journal import OK, Result
    from anaheadless.batch.scheduler import Stopped

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


def _request(
    args: tuple[str, ...], python: str, environ: dict[str, str], options: Options, settings: dict[str, Any]
) -> Request:
    """Make of the command line what is asked for; :raises click.UsageError: it makes no sense."""
    from anaheadless.batch import cpus, inputs, mapping
    from anaheadless.batch.engine import Plan

    try:
        words, values = inputs.split_words(args)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if settings["blank_is_failure"] and not settings["expect"]:
        raise click.UsageError("--blank-is-failure needs --expect, which says where the pictures are.")
    program = _program(words, python, os.get_exec_path(environ), settings)
    shard = settings["shard"]
    cluster = _cluster(settings)
    plan = Plan(
        slots=settings["jobs"] or (cpus.usable_cpus(environ) if cluster is None else MAX_COUNT),
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


def _cluster(settings: dict[str, Any]) -> Cluster | None:
    cluster: Cluster | None = settings["cluster"]
    if settings["cluster_args"] and (cluster is None or cluster.kind in ("address", "file")):
        raise click.UsageError("--cluster-arg needs a --cluster that is started: ssh:HOSTS, or a batch system.")
    if cluster is None:
        return None
    if cluster.kind in address.BATCH_SYSTEMS and not settings["jobs"]:
        raise click.UsageError(f"--cluster {cluster.kind} needs -j N: how many items are to run at a time.")
    return replace(cluster, args=settings["cluster_args"], slots=settings["jobs"])


def _inputs(values: tuple[str, ...] | None, settings: dict[str, Any]) -> Inputs:
    from anaheadless.batch import inputs

    if (values is not None) + bool(settings["file"]) + bool(settings["patterns"]) > 1:
        raise click.UsageError("Give the inputs in one way: with :::, with --inputs or with --glob.")
    if values is not None:
        return inputs.from_values(values)
    if settings["patterns"]:
        return inputs.match_files(settings["patterns"])
    if not settings["file"] and os.isatty(0):
        raise click.UsageError("There are no inputs: give them after :::, or with --inputs or --glob.")
    return inputs.read_file(settings["file"] or "-", null=settings["null"])


def _program(words: tuple[str, ...], python: str, search: list[str], settings: dict[str, Any]) -> Program:
    from anaheadless.batch import program

    module, code, call, preload = (settings[name] for name in ("module", "code", "call", "preload"))
    if sum((module is not None, code is not None, call is not None, settings["any_program"])) > 1:
        raise click.UsageError("Give one of -m, -c, --call and --command.")
    if settings["any_program"] and preload:
        raise click.UsageError("--preload is for Python programs, not for --command.")
    if call is not None and settings["display"] == "own":
        raise click.UsageError("--call and --display own contradict each other: the process stays on its display.")
    if call is None and (settings["recycle"] or settings["max_memory"]):
        raise click.UsageError("--recycle and --max-memory need --call.")
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
        raise click.UsageError("Nothing to run: give a SCRIPT, -m MODULE, -c CODE, --call or --command.")
    return program.command(words, search) if settings["any_program"] else program.script(python, words, preload, search)


@click.group(cls=Group, context_settings=CONTEXT)
def journal() -> None:
    """Read the journals of maps."""


@journal.command("show", cls=Command, context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array with an object for each item.")
@click.argument("file")
def show(file: str, as_json: bool) -> None:
    """Show what came of each item in the journal FILE."""
    from anaheadless.batch import journal as journals
    from anaheadless.batch import output

    contents = journals.read(file)
    if as_json:
        import json

        click.echo(json.dumps([result.as_dict() for result in contents.results.values()], indent=2))
        return
    for result in contents.results.values():
        click.echo(output.describe(result))
    click.echo(output.summary(contents))


@journal.command("failed", cls=Command, context_settings=CONTEXT)
@click.option("-0", "--null", is_flag=True, help="Separate the inputs by NUL bytes.")
@click.argument("file")
def failed(file: str, null: bool) -> None:
    """Print the inputs of the items that have failed, as map --inputs takes them.

    The values of a table are separated by tabs, below a line with the names of the columns.
    """
    from anaheadless.batch import journal as journals
    from anaheadless.batch import output

    output.write_all(1, output.failed_inputs(journals.read(file), null=null))


@journal.command("merge", cls=Command, context_settings=CONTEXT)
@click.argument("output", metavar="OUTPUT")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def merge(output: str, files: tuple[str, ...]) -> None:
    """Write what all the FILEs tell, as those of shards, into one journal: OUTPUT, which must not be there."""
    from anaheadless.batch import journal as journals

    text = "".join(f"{line}\n" for line in journals.lines(journals.merge(files)))
    try:
        with open(output, "x") as file:
            file.write(text)
    except OSError as error:
        raise LaunchError(
            f"can't write the journal: {printable(output)}: {error.strerror}",
            hint="Give the path of a new file.",
            exit_code=FAILED,
        ) from error
