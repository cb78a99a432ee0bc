"""The command ``start``: a display for a shell, or for a CI job."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import click

from anaheadless.cli.parameters import CONTEXT, SHELL_OPTION, Configured, Value, table_options
from anaheadless.errors import LaunchError
from anaheadless.launch import run as launch
from anaheadless.launch import target
from anaheadless.options import Kind, Options

MAX_PID = 2**22  # the kernel's own limit, proc(5)
_PID_HINT = "Use --pid PID to say which process to keep the display for."


class Evaluated(Configured):
    """A command whose output a shell evaluates; for the shell, no output at all would be a success."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **settings: Any) -> click.Context:
        with _failure_for_the_shell(not {"--json", "--github"} & set(args)):
            return super().make_context(info_name, args, *rest, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        with _failure_for_the_shell(not (ctx.params["as_json"] or ctx.params["github"])):
            return super().invoke(ctx)


@contextmanager
def _failure_for_the_shell(wanted: bool) -> Iterator[None]:
    """Where it is *wanted*, print a command that fails in the shell as the block does here."""
    try:
        yield
    except (click.UsageError, LaunchError) as error:
        if wanted:
            click.echo(f"sh -c 'exit {error.exit_code}'")  # these words are those of every shell
        raise


def _parse_pid(text: str) -> int:
    if not re.fullmatch(r"\d{1,7}", text, re.ASCII) or not 1 <= int(text) <= MAX_PID:
        raise ValueError(f"{text!r} is not the PID of a process.")
    return int(text)


@click.command(cls=Evaluated, context_settings=CONTEXT)
@click.option(
    "--pid",
    type=Value(Kind("PID", _parse_pid)),
    metavar="PID",
    help="Keep the display as long as this process lives.  [default: the calling shell]",
)
@SHELL_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; null stands for a variable to remove.")
@click.option(
    "--github",
    is_flag=True,
    help="Append to the file that GITHUB_ENV names, and keep the display as long as the job runs.",
)
@table_options("start")
def start(
    pid: int | None,
    shell: str,
    as_json: bool,
    github: bool,
    python: str,
    environ: dict[str, str],
    options: Options,
) -> None:
    """Start a display for a shell or a CI job.

    \b
      eval "$(anaheadless start)"
      anaheadless start --shell fish | source

    The display ends with anaheadless stop, or with the calling shell. In a pipeline, or next to && or ||, the caller is
    a subshell that ends at once: use --pid $$ there.
    """  # noqa: D301
    from anaheadless.cli import shell_export

    if github and as_json:
        raise click.UsageError("--github and --json contradict each other.")
    if github and not environ.get("GITHUB_ENV"):
        raise click.UsageError("GITHUB_ENV is not set: --github only works in a step of a GitHub Actions job.")
    if not github and sys.stdout is None:
        raise LaunchError(
            "nowhere to print the variables: standard output is closed", hint="Without them, nobody finds the display."
        )
    interpreter = target.python(python, (), os.get_exec_path(environ)).executable
    with shell_export.open_github_file(environ["GITHUB_ENV"]) if github else nullcontext() as file:
        ready = launch.start(
            options, environ, interpreter, launch.Role("start", pid or _calling_process(github), fork=True)
        )
        try:
            changed = shell_export.changes(launch.inherited_environment(), ready.environ)
            if file is not None:
                shell_export.append(shell_export.for_github(changed), file, environ["GITHUB_ENV"])
            elif as_json:
                import json

                click.echo(json.dumps(changed))
            else:
                for line in shell_export.for_shell(changed, shell):
                    click.echo(os.fsencode(line))
            ready.session.release()
        except BaseException:
            ready.session.close()
            raise


def _calling_process(github: bool) -> int:
    """Return the PID of the calling shell, or in a step of GitHub Actions, of the runner that has called the shell."""
    parent = os.getppid()
    if github and parent:
        import psutil

        # In a job's container, the runner is in another PID namespace and not seen: then it is PID 1.
        with suppress(psutil.Error):  # it has ended just now
            parent = psutil.Process(parent).ppid() or 1
    elif parent == 1 and os.getsid(parent) != os.getsid(0):
        raise LaunchError("the calling shell has ended already", hint=_PID_HINT)
    if not parent:
        raise LaunchError("the calling shell is outside this container", hint=_PID_HINT)
    return parent
