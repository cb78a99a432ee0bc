"""The commands for many inputs: ``map``, and ``journal``, which tells what came of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

import click

from anaheadless.batch.cluster import address
from anaheadless.cli.parameters import CONTEXT, Command, Configured, Group, Value, plain_options, table_options
from anaheadless.cli.run import LastOption
from anaheadless.errors import FAILED, LaunchError, printable
from anaheadless.map_options import MAP_TABLE
from anaheadless.options import Kind, Options

if TYPE_CHECKING:
    from anaheadless.batch.items import Shard

EPILOG = """\b
Examples:
  anaheadless map render.py {} --out pics/{/.}.png ::: subjects/*.gii
  anaheadless map --inputs subjects.csv -- render.py {id} {hemi}
  find . -name '*.gii' | anaheadless map --preload anatomist.api render.py {}

Exit status: 0 all items are done, 1 some have failed, 2 wrong usage, 125 the launcher failed, 126 your program can't be
executed, 127 it was not found."""


def _parse_shard(text: str) -> Shard:
    from anaheadless.batch import items  # only here: most commands have no need of it

    return items.shard_from(os.environ) if text == "auto" else items.parse_shard(text)


SHARD, CLUSTER = Kind("I/N|auto", _parse_shard), Kind(address.METAVAR, address.parse)


@click.command("map", cls=Configured, context_settings=CONTEXT, epilog=EPILOG)
@click.option("-m", "module", cls=LastOption, metavar="MODULE", help="Run a module, as python -m does.")
@click.option("-c", "code", cls=LastOption, metavar="CODE", help="Run these lines, as python -c does.")
@plain_options(MAP_TABLE)
@click.option(
    "--resume/--no-resume", default=True, help="Leave out what is done, or run everything.  [default: resume]"
)
@click.option("--shard", type=Value(SHARD), metavar=SHARD.metavar, help="Run part I of N; auto: ask the batch system.")
@click.option("--cluster", type=Value(CLUSTER), metavar=CLUSTER.metavar, help="Run the items on a Dask cluster.")
@click.option(
    "--cluster-arg",
    "cluster_args",
    multiple=True,
    metavar="ARG",
    help="An argument for the batch system, or for ssh; repeatable.",
)
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
    from anaheadless.cli import map_request  # only here: no other command has a need of it

    try:
        request = map_request.request(args, python, environ, options, settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    map_request.carry_out(request, environ, settings)


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
