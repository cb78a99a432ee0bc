"""Write the man pages, from what the commands say of themselves: ``python docs/man_pages.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from anaheadless import __version__
from anaheadless.cli.app import cli
from anaheadless.cli.run import python
from anaheadless.cli.xvfb_run import xvfb_run

FOLDER = Path(__file__).parent / "man"


def pages() -> dict[str, str]:
    """Return the text of each page, by the name of its file."""
    root = _context("anaheadless", cli)
    found = {"anaheadless": _page("anaheadless", cli, root)}
    for name, command in cli.commands.items():
        found[f"anaheadless-{name}"] = _page(f"anaheadless-{name}", command, _context(name, command, root))
    for name, command in ("anaheadless-python", python), ("anaheadless-xvfb-run", xvfb_run):
        found[name] = _page(name, command, _context(name, command))
    return {f"{name}.1": text for name, text in found.items()}


def _context(name: str, command: click.Command, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def _page(name: str, command: click.Command, context: click.Context) -> str:
    first, *description = cleandoc(command.help or "").split("\n\n")
    lines = [
        f'.TH "{name.upper()}" "1" "" "anaheadless {__version__}" "anaheadless manual"',
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(' '.join(first.split()).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(context.command_path)}",
        _escaped(" ".join(command.collect_usage_pieces(context))),
    ]
    if description:
        lines += [".SH DESCRIPTION", *_paragraphs(description)]
    lines += _options(command, context)
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for each, inner in command.commands.items():
            summary = (inner.help or "").split("\n\n")[0]
            lines += [".TP", f".BR anaheadless\\-{each} (1)", *_text(summary)]
    if command.epilog:
        lines += [".SH NOTES", *_paragraphs(command.epilog.split("\n\n"))]
    others = [f"anaheadless-{each}" for each in cli.commands] if command is cli else ["anaheadless"]
    references = [f".BR {_escaped(each)} (1){',' if each != others[-1] else ''}" for each in others]
    return "\n".join([*lines, ".SH SEE ALSO", *references, ""])


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the options, in their groups."""
    groups: dict[str, list[click.Option]] = {}
    for option in command.get_params(context):
        if isinstance(option, click.Option) and not option.hidden:
            groups.setdefault(getattr(option, "group", "Options"), []).append(option)
    yield ".SH OPTIONS"
    for heading, options in groups.items():
        yield f".SS {heading}"
        for option in options:
            record = option.get_help_record(context)
            assert record is not None
            call, meaning = record
            yield from (".TP", f".B {_escaped(call)}", *_text(meaning))
            if isinstance(option.envvar, str):
                yield f"Variable: {option.envvar}."


def _paragraphs(texts: list[str]) -> Iterator[str]:
    """Yield paragraphs; click leaves those alone that begin with a backspace."""
    for text in texts:
        yield ".PP"
        if text.startswith("\b"):
            yield from (".nf", *map(_escaped, text.strip("\b\n").splitlines()), ".fi")
        else:
            yield from _text(text)


def _text(text: str) -> list[str]:
    return [_escaped(" ".join(text.split()))]


def _escaped(text: str) -> str:
    """Escape what roff would obey: backslashes, hyphens, and a point or an apostrophe that begins a line."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"))


def main() -> None:
    """Write all pages, and remove those of commands that are no more."""
    FOLDER.mkdir(exist_ok=True)
    texts = pages()
    for path in FOLDER.glob("*.1"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
