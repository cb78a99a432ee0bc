"""``anaheadless map`` and ``anaheadless journal``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, closing
from typing import Any, NoReturn

import click

from anaheadless.cli import app
from anaheadless.options import RunLimits

EPILOG = """\b
Examples:
  anaheadless map render.py {} --out pics/{/.}.png ::: subjects/*.gii
  anaheadless map --inputs subjects.csv -- render.py {id} {hemi}
  find . -name '*.gii' | anaheadless map --preload anatomist.api render.py {}

Exit status: 0: all items are right, 1: some have failed, 2: wrong usage, 125: the launcher failed."""
SOME_FAILED = 1


class Shards(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "I/N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from anaheadless.batch import items

        try:
            return items.shard_from(os.environ) if value == "auto" else items.parse_shard(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@app.cli.command("map", cls=app.Configured, context_settings=app._SETTINGS, epilog=EPILOG)
@click.option("-m", "module", cls=app.LastOption, metavar="MODULE", help="Run a module, as python -m does.")
@click.option("-c", "code", cls=app.LastOption, metavar="CODE", help="Run these lines, as python -c does.")
@click.option("--command", "is_command", is_flag=True, help="Run any program, not a Python script.")
@click.option("--call", metavar="MODULE:FUNCTION", help="Call a function per item, in processes that stay.")
@click.option("--recycle", type=app.WholeNumber(1), metavar="N", help="With --call: a new process after N items.")
@click.option("--max-memory", type=app.WholeNumber(1), metavar="MIB", help="With --call: a new process above that.")
@click.option("--preload", multiple=True, metavar="MODULE", help="Import it once, and fork per item; repeatable.")
@click.option("--inputs", "inputs_file", metavar="FILE|-", help="An item per line, or per row of a .csv or .tsv file.")
@click.option("-0", "--null", is_flag=True, help="NUL bytes, not line ends, stand between the inputs.")
@click.option("--glob", "patterns", multiple=True, metavar="PATTERN", help="An item per file that matches.")
@click.option("-j", "--jobs", type=app.WholeNumber(1, 4096), metavar="N", help="How many items run at a time.")
@click.option(
    "--display",
    type=click.Choice(("shared", "own")),
    default="shared",
    show_default=True,
    help="Whether the items of a slot share its display, one after another, or each gets its own.",
)
@app._option("--timeout", type=app.Duration(), metavar="DURATION", help="End an item after that time: 90, 1.5m, 2h.")
@app._option("--grace", type=app.Duration(), default=10.0, show_default="10s", metavar="DURATION", help="As of run.")
@click.option("--retries", type=app.WholeNumber(0, 1000), default=0, metavar="N", help="Run what fails N more times.")
@click.option("--fail-fast", is_flag=True, help="End when the first item has failed.")
@click.option("--max-failures", type=app.WholeNumber(1), metavar="N", help="End when N items have failed.")
@click.option("--journal", metavar="FILE", help="Where to note what comes of each item.  [anaheadless-map.jsonl]")
@click.option("--resume/--no-resume", default=True, help="Whether to leave out what is done already.  [resume]")
@click.option("--fsync", is_flag=True, help="Have each line of the journal on the disk before going on.")
@click.option("--expect", multiple=True, metavar="FILE", help="A file that an item makes, with placeholders.")
@click.option("--shard", type=Shards(), metavar=Shards.name, help="Only part I of N; auto: as the batch system says.")
@click.option("--private-tmp", is_flag=True, help="Give each item a TMPDIR of its own.")
@click.option("-q", "--quiet", is_flag=True, help="Leave what the items say in files beside the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each thing that happens.")
@click.option("--dry-run", is_flag=True, help="Print the commands, and run nothing.")
@app._option(
    "--log", type=click.Path(dir_okay=False, writable=True, allow_dash=False), metavar="FILE", help="As of run."
)
@app._python_option
@app._server_options
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]... [::: INPUTS...]")
def map_(words: tuple[str, ...], environ: dict[str, str], **settings: Any) -> NoReturn:
    """Run a program for many inputs, a few at a time, on displays that stay.

    In its arguments, {} stands for the input, {.} for it without suffix, {/} for the name of the file, {//} for its
    folder, {/.} for its name without suffix, {#} for the number of the item, {%} for that of the slot, and {COLUMN} for
    a value of a table. Without inputs, they are the lines of standard input.

    What comes of each item is noted in a journal; the same command again runs what is not done.
    """
    from anaheadless.batch import mapping, output, progress
    from anaheadless.batch.journal import OK, Result
    from anaheadless.batch.scheduler import Stopped

    as_json = settings["as_json"]
    request = _request(words, environ, settings)
    if settings["dry_run"]:
        import shlex

        for command in mapping.commands(request):
            output.write_all(1, os.fsencode(shlex.join(command)) + b"\n")
        sys.exit(0)
    failed, stopped = 0, None
    try:
        with ExitStack() as stack:
            found = stack.enter_context(mapping.prepared(request, environ))
            shown = stack.enter_context(progress.choose(found.total, found.done, as_json))
            for event in stack.enter_context(closing(found.scheduler.events())):
                if isinstance(event, Result):
                    failed += event.result != OK
                    if not (settings["quiet"] or as_json):
                        with shown.paused():
                            output.pass_on(event)
                elif isinstance(event, Stopped):
                    stopped = stopped or event
                shown.show(event)
    except BrokenPipeError:
        _end_by(signal.SIGPIPE)
    if stopped is not None and stopped.signal:
        _end_by(stopped.signal)
    sys.exit(SOME_FAILED if failed or stopped else 0)


def _end_by(number: int) -> NoReturn:
    """End as a program does that does not handle a signal, so that the caller sees it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # of the first process of a container, no signal is the end


def _request(words: tuple[str, ...], environ: dict[str, str], settings: dict[str, Any]) -> Any:
    from anaheadless.batch import cpus, inputs, mapping
    from anaheadless.batch.scheduler import Plan

    try:
        command, values = inputs.split_words(words)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    program = _program(command, environ, settings)
    given = [name for name in ("inputs_file", "patterns") if settings[name]] + ([":::"] if values is not None else [])
    if len(given) > 1:
        raise click.UsageError("Give the inputs in one way: with :::, with --inputs, or with --glob.")
    if values is not None:
        found = inputs.from_values(values)
    elif settings["patterns"]:
        found = inputs.match_files(settings["patterns"])
    else:
        if not settings["inputs_file"] and os.isatty(0):
            raise click.UsageError("There are no inputs: give them after :::, or with --inputs or --glob.")
        found = inputs.read_file(settings["inputs_file"] or "-", null=settings["null"])
    failures = 1 if settings["fail_fast"] else settings["max_failures"]
    plan = Plan(
        slots=settings["jobs"] or cpus.usable_cpus(environ),
        folder="",
        own_display=settings["display"] == "own",
        timeout=settings["timeout"] or 0.0,
        grace=settings["grace"],
        retries=settings["retries"],
        max_failures=failures,
        private_tmp=settings["private_tmp"],
        expected=settings["expect"],
    )
    names: tuple[str, ...] = ("gl", "no_virtualgl", "vgl_display", "vgl_no_dlfaker", "server_arg", "no_shim", "log", "screen", "dpi")
    names += ("start_timeout", "probe_timeout", "fresh", "verbose")
    # The time limits are those of the items: the session has none.
    options = app._launch_options(timeout=1.0, **{name: settings[name] for name in names})
    options = options.replace(limits=RunLimits(log=options.limits.log))
    shard = settings["shard"]
    return mapping.Request(
        program,
        found,
        plan,
        options,
        mapping.journal_of(settings["journal"], shard),
        shard,
        settings["resume"],
        settings["fsync"],
    )


def _program(words: tuple[str, ...], environ: dict[str, str], settings: dict[str, Any]) -> Any:
    from dataclasses import replace

    from anaheadless.batch import program

    python, preload, search = settings["python"], settings["preload"], os.get_exec_path(environ)
    module, code, call, is_command = (settings[name] for name in ("module", "code", "call", "is_command"))
    if (module is not None) + (code is not None) + (call is not None) + is_command > 1:
        raise click.UsageError("Give one of -m, -c, --call and --command.")
    if is_command and preload:
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
        memory = (settings["max_memory"] or 0) << 20
        found = program.call(python, call, words, preload, search)
        return replace(found, recycle=settings["recycle"] or 0, max_memory=memory)
    if not words:
        raise click.UsageError("Nothing to run: give a SCRIPT, -m MODULE, -c CODE, --call or --command.")
    return program.command(words, search) if is_command else program.script(python, words, preload, search)
