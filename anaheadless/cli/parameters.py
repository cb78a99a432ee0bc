"""The command line's side of the options: how click reads them, checks them and shows them in the help."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, NoReturn, TypeVar

import click

from anaheadless.cli import config_file
from anaheadless.cli.config_file import Setting
from anaheadless.errors import LaunchError, print_stderr, printable
from anaheadless.launch import run as launch
from anaheadless.launch import target
from anaheadless.options import FILE, FLAG, LIST, PROGRAM, TABLE, Kind, Option, Options, build, options_of
from anaheadless.system import file_types, programs

Function = TypeVar("Function", bound=Callable[..., Any])
ParameterSource = click.core.ParameterSource

CONTEXT: dict[str, Any] = {
    "allow_interspersed_args": False,
    "help_option_names": ["--help", "-h"],  # click before 8.2 names the first one
    "max_content_width": 1000,  # as wide as the terminal; click's own limit is 80
}

SHELL_OPTION = click.option(
    "--shell",
    type=click.Choice(("sh", "fish", "csh")),
    default="sh",
    help="The shell to print for; sh is for bash, dash and zsh, too.  [default: sh]",
)


class Value(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """A value that is read as its kind says."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):  # a default
            return value
        try:
            return self.kind.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:  # noqa: ARG002
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in self.kind.choices if word.startswith(incomplete)]


class TableOption(click.Option):
    """An option of a command, made of a row of the table."""

    def __init__(self, *names: Any, row: Option, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.row = row
        self.group = row.group


def table_options(command: str, *, hidden: bool = False) -> Callable[[Function], Function]:
    """Give a click command the options that the table has for *command*; the help may leave them out."""

    def decorate(function: Function) -> Function:
        for row in reversed(options_of(command)):
            table_option(row, hidden=hidden)(function)
        return function

    return decorate


def plain_options(rows: Sequence[Option]) -> Callable[[Function], Function]:
    """Give a click command options that only its command line has: no variable, and no file."""

    def decorate(function: Function) -> Function:
        for row in reversed(rows):
            settings: dict[str, Any] = {"is_flag": True} if row.kind is FLAG else {"type": Value(row.kind)}
            settings.update({"multiple": True} if row.kind is LIST else {"default": row.default})
            metavar = row.metavar or row.kind.metavar or None
            click.option(*_names(row), row.field, metavar=metavar, help=_help(row), **settings)(function)
        return function

    return decorate


def table_option(row: Option, *, hidden: bool = False) -> Callable[[Function], Function]:
    """Give a click command one option of the table."""
    settings: dict[str, Any] = {"hidden": hidden}
    if row.kind is FLAG:
        settings["is_flag"] = True
    elif row.kind is LIST:
        settings["multiple"] = True
    elif row.kind is FILE:
        settings |= {"default": row.default, "type": click.Path(dir_okay=False, writable=True, allow_dash=False)}
    elif row.kind is PROGRAM:
        settings["default"] = lambda: programs.default_python(os.environ)[0]
    else:
        settings |= {"default": row.default, "type": Value(row.kind)}
    metavar = row.metavar or row.kind.metavar or None
    return click.option(
        *_names(row), cls=TableOption, row=row, envvar=row.variable, metavar=metavar, help=_help(row), **settings
    )


def _names(row: Option) -> list[str]:
    return [*([f"-{row.short}"] if row.short else []), f"--{row.name}"]


def _help(row: Option) -> str:
    return f"{row.help}  [default: {row.default_in_words}]" if row.default_in_words else row.help


class Command(click.Command):
    """A command with its options in groups, whose messages about wrong usage look like all others."""

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        try:
            status = super().main(*args, **{**settings, "standalone_mode": False})
        except click.ClickException as error:
            _name_the_source(error)
            if not isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # which is all of the help
                error.message = printable(error.message)  # type: ignore[misc,unused-ignore]  # final since click 8.5
            with StringIO() as text:
                error.show(text)
                print_stderr(text.getvalue().rstrip("\n").expandtabs(2))
            sys.exit(error.exit_code)
        sys.exit(status)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class Group(Command, click.Group):
    """A command that consists of others."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _name_the_source(error: click.ClickException) -> None:
    """Name the option or the variable that gave a wrong value; click would name both."""
    if isinstance(error, click.BadParameter) and error.ctx and error.param and error.param.envvar:
        source = error.ctx.get_parameter_source(str(error.param.name))
        name = error.param.envvar if source is ParameterSource.ENVIRONMENT else f"'{max(error.param.opts, key=len)}'"
        error.param_hint = str(name)


class Configured(Command):
    """A command whose options may also come from files.

    It gets two parameters more: ``options``, made of all that the table has for it, and ``environ``, the inherited
    environment with the variables that files set.
    """

    def invoke(self, ctx: click.Context) -> Any:
        inherited = launch.inherited_environment()
        settings = config_file.read(_script(ctx.params), inherited, [row.name for row in TABLE])
        values = {}
        for parameter in self.params:
            if isinstance(parameter, TableOption):
                row, value = parameter.row, ctx.params.pop(str(parameter.name))
                setting = settings.get((row.name,))
                if setting and ctx.get_parameter_source(str(parameter.name)) is ParameterSource.DEFAULT:
                    value = _converted(parameter, setting, ctx)
                values[row.field] = value != row.default if row.kind is FLAG else value
        ctx.obj = (values, settings)
        if "python" in values:
            ctx.params["python"] = values["python"]
        ctx.params.update(
            environ={**inherited, **config_file.variables(settings.values())}, options=_checked_options(values, ctx)
        )
        return super().invoke(ctx)


def _script(params: Mapping[str, Any]) -> str | None:
    """Return the script that a command is to run, if that is what it runs."""
    if any(params.get(name) is not None for name in ("module", "code", "command", "call")) or params.get("any_program"):
        return None
    words = params.get("args", ())
    return target.script_among(("--", *words) if "module" in params else words)


def _converted(option: TableOption, setting: Setting, ctx: click.Context) -> Any:
    """Return the value of *setting*, as if *option* had been given with it."""
    row, value = option.row, setting.value
    if row.kind is FLAG:
        if isinstance(value, bool):
            return value
    elif row.kind is LIST:
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            return tuple(value)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            return option.type(str(value), option, ctx)
        except click.BadParameter as error:
            raise config_file.wrong(setting.place, f"{row.name}: {error.message.rstrip('.')}") from error
    noun = row.kind.noun if row.kind in (FLAG, LIST) else "a string or a number"
    raise config_file.wrong(setting.place, f"{row.name} has to be {noun}")


def _checked_options(values: Mapping[str, Any], ctx: click.Context) -> Options:
    """Make the options of a run; refuse what can't be done together, or on this machine."""
    values = dict(values)
    source = ctx.get_parameter_source
    if not values.get("timeout"):
        limited = ("grace", "screenshot_on_timeout") if ctx.command.name != "map" else ()  # whose ^C has a grace, too
        if any(source(name) is ParameterSource.COMMANDLINE for name in limited):
            raise click.UsageError("--grace and --screenshot-on-timeout need a --timeout.", ctx)
        values["screenshot_on_timeout"] = None
    if values.get("screenshot_on_timeout"):
        file_types.check(values["screenshot_on_timeout"], file_types.PICTURE)
        picture = values["screenshot_on_timeout"] = _absolute(values["screenshot_on_timeout"])
        if not os.access(os.path.dirname(picture), os.W_OK | os.X_OK):
            raise click.UsageError(f"Invalid value for '--screenshot-on-timeout': can't make a file there: {picture}")
        if os.path.exists(picture) and not os.path.isfile(picture):
            raise click.UsageError(f"Invalid value for '--screenshot-on-timeout': it is not a regular file: {picture}")
    if values.get("record"):
        from anaheadless.session import recorder  # only here: most runs record nothing

        file_types.check(values["record"], file_types.FILM)
        if values["screen"].depth not in recorder.DEPTHS:
            raise click.UsageError("--record needs a --screen of 15, 16 or 24 bits: ffmpeg reads no other.", ctx)
        values["record"] = _absolute(values["record"])
    try:
        return build(values)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from error


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise LaunchError(
            f"can't write {path}: the working directory has been removed", hint="Use an absolute path."
        ) from error


def effective_settings(ctx: click.Context) -> Iterator[str]:
    """Yield what a :class:`Configured` command works with, as the lines of a config.toml, and where it comes from."""
    values, settings = ctx.obj
    for parameter in ctx.command.params:
        if isinstance(parameter, TableOption):
            row = parameter.row
            setting = settings.get((row.name,))
            place = setting.place if setting else "default"
            source = ctx.get_parameter_source(str(parameter.name))
            if source is not ParameterSource.DEFAULT:
                place = "command line" if source is ParameterSource.COMMANDLINE else row.variable
            elif row.kind is PROGRAM and setting is None and values[row.field] != programs.this_python():
                place = "VIRTUAL_ENV"
            value = values[row.field]
            yield config_file.line((row.name,), value != row.default if row.kind is FLAG else value, place)
    for keys, setting in settings.items():
        if keys[0] == config_file.ENV:
            yield config_file.line(keys, setting.value, setting.place)
