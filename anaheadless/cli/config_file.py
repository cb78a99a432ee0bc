"""Settings from files: the ``[tool.anaheadless]`` of a script, and config.toml in the XDG folders."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from anaheadless.errors import USAGE, LaunchError, printable
from anaheadless.launch.environment import NAME
from anaheadless.options import suggestion
from anaheadless.system.light_stdlib import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMIT = 2**20  # bytes of a script
# Limits of a TOML text: for more, the standard library's parser may take minutes, and all the memory.
TEXT_LIMIT = 2**16  # characters
DEPTH_LIMIT = 32  # nested keys and brackets
ENV = "env"
_BLOCK = b"# /// script"

# Variables that the session itself sets or removes.
_RESERVED = re.compile("DISPLAY|XAUTHORITY|WAYLAND_DISPLAY|XDG_SESSION_TYPE|ANAHEADLESS_.*", re.DOTALL)


class Document(Record):
    """A TOML text.

    :param file: the file that contains it, for messages.
    :param before: the number of lines before it in that file.
    :param root: the keys that lead to our table; without any, our table is the whole text.
    """

    file: str
    before: int
    text: str
    root: tuple[str, ...]

    def parse(self) -> dict[str, Any]:
        """Parse the text; :raises LaunchError: it is not valid TOML, or too long or too deep."""
        if len(self.text) > TEXT_LIMIT:
            raise wrong(f"{self.file}:{self.before + 1}", f"these settings are longer than {TEXT_LIMIT} characters")
        for keys, end in _keys(self.text):
            if len(keys) > DEPTH_LIMIT:
                raise wrong(self._line(end), f"this is nested more than {DEPTH_LIMIT} levels deep")
        if sys.version_info >= (3, 11):  # only here: most runs have no such text
            import tomllib
        else:
            import tomli as tomllib
        try:
            return tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            where = r"(.*?)(?: \(at (?:line (\d+), column \d+|end of document)\))?"
            match = re.fullmatch(where, str(error), re.DOTALL)
            assert match
            last = self.text.rstrip().count("\n") + 1
            raise wrong(f"{self.file}:{self.before + int(match[2] or last)}", f"not valid TOML: {match[1]}") from error

    def place(self, keys: Sequence[str]) -> str:
        """Return the file and line of the value that *keys* lead to, in a text that could be parsed."""
        return self._line(_places(self.text).get(tuple(keys), 0))

    def _line(self, end: int) -> str:
        return f"{self.file}:{self.before + self.text.count(chr(10), 0, end) + 1}"


_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)|"(?:\\.|[^"\\\n])*"?'''
    r"""|'''.*?(?:'{3,5}|\Z)|'[^'\n]*'?"""
    r"""|\#[^\n]*|[\w-]+|[][{}=,.\n]""",
    re.DOTALL,
)


def _keys(text: str) -> Iterator[tuple[Sequence[str], int]]:
    """Yield each key as it is written, after the keys of its tables, and where it ends; the last may be too deep.

    The text is read as TOML up to its first mistake, where a parser stops, too.
    """
    table: tuple[str, ...] = ()
    around: list[tuple[str, tuple[str, ...]]] = []  # the open brackets, and the keys that lead to each
    before: tuple[str, ...] = ()
    key: list[str] = []
    in_value = False
    for match in _TOKEN.finditer(text):
        word = match[0]
        if word == "\n" and not around:
            before, key, in_value = table, [], False
        elif word in "[{" and in_value:
            around.append((word, before))
            key, in_value = [], word == "["
        elif word in "]}" and around:
            _, before = around.pop()
            key, in_value = [], True
        elif word == "," and around:
            before = around[-1][1]
            key, in_value = [], around[-1][0] == "["
        elif in_value or word[0] in "#.,\n":
            pass
        elif word == "[":
            before, key = (), []
        elif word == "]" and key:
            table = (*before, *key)
            yield table, match.start()
            before, key = table, []
        elif word == "=":
            before = (*before, *key)
            yield before, match.start()
            key, in_value = [], True
        elif word not in "{}":
            key.append(word)
        if len(before) + len(key) + len(around) > DEPTH_LIMIT:
            yield (*before, *key, *(bracket for bracket, _ in around)), match.start()
            return


@lru_cache(maxsize=8)
def _places(text: str) -> dict[tuple[str, ...], int]:
    """Map each key, after the keys of its tables, to where it ends; *text* could be parsed."""
    places: dict[tuple[str, ...], int] = {}
    for written, end in _keys(text):
        keys = tuple(map(_plain, written))
        for length in range(1, len(keys) + 1):
            places.setdefault(keys[:length], end)
    return places


def _plain(key: str) -> str:
    """Return the name of a key, which may be written in quotes."""
    if key[0] == '"':
        return key[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
    return key.strip("'")


class Setting(Record):
    """A value from a file.

    :param keys: an option's name, or ``env`` and that of a variable.
    """

    keys: tuple[str, ...]
    value: Any
    document: Document

    @property
    def place(self) -> str:
        """The file and line of the value; they are looked for only now."""
        return self.document.place((*self.document.root, *self.keys))


def wrong(place: str, message: str, hint: str = "") -> LaunchError:
    return LaunchError(f"{place}: {message}", hint=hint, exit_code=USAGE)


def read(script: str | None, environ: Mapping[str, str], known: Collection[str]) -> dict[tuple[str, ...], Setting]:
    """Read the settings of all files, by their keys; those of the script come first.

    :param script: the file of a Python program, or None where there is no such file.
    :param environ: tells where config.toml may be.
    :param known: the names of the options.
    :raises LaunchError: a file has a wrong setting, or is unsafe.
    """
    documents = [parse_script(read_beginning(script), script)] if script is not None else []
    for file in config_files(environ):
        data = _read_config(file)
        if data is not None:
            documents.append(parse_config(data, file))
    return merge(setting for document in documents if document is not None for setting in settings(document, known))


def is_silent(script: str | None, environ: Mapping[str, str]) -> bool:
    """Return whether there is no file that :func:`read` would have to parse."""
    return _BLOCK not in (read_beginning(script) if script is not None else b"") and not any(
        map(_is_there, config_files(environ))
    )


def merge(found: Iterable[Setting]) -> dict[tuple[str, ...], Setting]:
    """Keep the first setting of each option and each variable."""
    merged: dict[tuple[str, ...], Setting] = {}
    for setting in found:
        merged.setdefault(setting.keys, setting)
    return merged


def variables(found: Iterable[Setting]) -> dict[str, str]:
    """Return the variables that ``env`` sets."""
    return {setting.keys[1]: setting.value for setting in found if setting.keys[0] == ENV}


def line(keys: Sequence[str], value: Any, place: str) -> str:
    """Write a line of TOML that sets a value, or a comment if it is None, and where the value comes from."""
    *table, name = keys
    text = f"# {name}"
    if value is not None:
        value = value if isinstance(value, (int, float, tuple)) else str(value)
        text = f"{'.'.join([*table, name])} = {_as_toml(value)}"
    return f"{text:<40}  # {printable(place)}"


def _as_toml(value: Any) -> str:
    """Write a value as TOML, with escapes for what is not printable, even for half of a surrogate pair (no TOML)."""
    import json

    return "".join(
        letter if letter.isprintable() else f"\\u{ord(letter):04x}" if ord(letter) < 2**16 else f"\\U{ord(letter):08x}"
        for letter in json.dumps(value, ensure_ascii=False)
    )


def config_files(environ: Mapping[str, str]) -> list[str]:
    """List where config.toml may be, the first one first (XDG Base Directory Specification: no relative folders)."""
    own = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", ""), ".config")
    folders = [own, *(environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")]
    return [os.path.join(folder, "anaheadless", "config.toml") for folder in folders if os.path.isabs(folder)]


def parse_config(data: bytes, file: str) -> Document:
    """Parse the contents of config.toml; :raises LaunchError: they are not UTF-8."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise wrong(f"{file}:{line}", f"not valid UTF-8: {error.reason}") from error
    return Document(file, 0, text, ())


def parse_script(data: bytes, file: str) -> Document | None:
    """Find a script's metadata (PEP 723) that mention us; a script that Python can't read is left to Python.

    :raises LaunchError: there are two blocks of metadata.
    """
    if b"anaheadless" not in data:
        return None
    blocks = _documents(data, file)
    if not any("anaheadless" in block.text for block in blocks):
        return None
    if blocks[1:]:
        raise wrong(
            f"{file}:{blocks[1].before}",
            f"there is a second block of script metadata; the first is in line {blocks[0].before}",
        )
    return blocks[0]


def wants_more(data: bytes, file: str, *, in_this_python: bool) -> bool:
    """Tell whether a script's metadata name packages, or another Python than this one; wrong metadata do not."""
    blocks = _documents(data, file)
    try:
        found = blocks[0].parse() if len(blocks) == 1 else {}
    except LaunchError:
        return False
    if found.get("dependencies"):
        return True
    return in_this_python and _excludes_this_python(str(found.get("requires-python", "")))


def _excludes_this_python(specifier: str) -> bool:
    """Tell whether a bound of *specifier* (PEP 440) excludes this Python, as far as its first two numbers tell."""
    for sign, major, minor in re.findall(r"(>=|<=|<|>|~=)\s*(\d+)\.(\d+)", specifier):
        ours, bound = sys.version_info[:2], (int(major), int(minor))
        if (
            (sign in (">=", ">", "~=") and ours < bound)
            or (sign == "<" and ours >= bound)
            or (sign == "<=" and ours > bound)
        ):
            return True
    return False


def _documents(data: bytes, file: str) -> list[Document]:
    """List the blocks of a script's metadata; there are none in a script that Python can't read."""
    # With a NUL in it, it is a zip file, or bytecode.
    if _BLOCK not in data or b"\0" in data:
        return []
    from tokenize import detect_encoding  # only here: most scripts have no such block

    lines = iter(data.splitlines(keepends=True))
    try:
        text = data.decode(detect_encoding(lambda: next(lines))[0])
    except (SyntaxError, UnicodeError, LookupError):
        return []
    return [Document(file, before, text, ("tool", "anaheadless")) for before, text in script_blocks(text)]


def script_blocks(source: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks of type ``script``, and the number of lines before each.

    They are those that PEP 723's regular expression finds, which takes minutes for some sources of a megabyte.
    """
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    number = 0
    while number < len(lines):
        start = re.fullmatch("# /// ([a-zA-Z0-9-]+)", lines[number])
        number += 1
        if start:
            first = number
            while number < len(lines) and (lines[number] == "#" or lines[number].startswith("# ")):
                number += 1
            ends = [end for end in range(first + 1, number) if lines[end] == "# ///"]
            if ends and start[1] == "script":
                yield first, "\n".join(line[2:] for line in lines[first : ends[-1]])


def settings(document: Document, known: Collection[str]) -> list[Setting]:
    """List the settings of *document*; :raises LaunchError: one is unknown, or has a wrong value."""
    table = _find(document.parse(), document.root)
    if table is None:
        return []
    if not isinstance(table, dict):
        raise wrong(document.place(document.root), f"{'.'.join(document.root)} has to be a table")
    found = []
    for key, value in table.items():
        if key == ENV:
            if not isinstance(value, dict):
                raise wrong(
                    document.place((*document.root, key)),
                    f'{ENV} has to be a table, as in {ENV} = {{ NAME = "value" }}',
                )
            found += [Setting((ENV, name), text, document) for name, text in value.items()]
        elif key in known:
            found.append(Setting((key,), value, document))
        else:
            place = document.place((*document.root, key))
            hint = f"{suggestion(key, known)}There are: {', '.join([*known, ENV])}."
            raise wrong(place, f"there is no setting {key!r}", hint)
    for setting in found:
        _check(setting)
    return found


def _check(setting: Setting) -> None:
    names = setting.keys[1:]
    texts = [*names, *(setting.value if isinstance(setting.value, list) else [setting.value])]
    if names and not isinstance(setting.value, str):
        raise wrong(setting.place, f"the value of {names[0]} has to be a string")
    if any(isinstance(number, int) and abs(number) >= 2**63 for number in texts):  # Python may refuse to print it
        raise wrong(setting.place, f"{setting.keys[0]}: the number is too large")
    if not all(_can_be_passed(text) for text in texts if isinstance(text, str)):
        raise wrong(setting.place, f"this can't be passed to a program: {'.'.join(setting.keys)} = {setting.value!r}")
    if not all(map(NAME.fullmatch, names)):
        raise wrong(
            setting.place,
            f"{names[0]!r} can't be the name of a variable",
            "Use letters (A-Z, a-z), digits and underscores, and no digit at the beginning.",
        )
    if any(map(_RESERVED.fullmatch, names)):
        raise wrong(setting.place, f"env can't set {names[0]}", "anaheadless sets it itself.")


def _can_be_passed(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # a locale that has no such character
        return False


def _find(table: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def read_beginning(path: str) -> bytes:
    """Read the beginning of a script, or nothing: its interpreter will say what is wrong with it."""
    # A pipe is not even opened: its writer would think that the reader has come, and gone.
    with suppress(OSError):
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as file:
                return file.read(LIMIT)
    return b""


def _is_there(path: str) -> bool:
    """Return whether anything has that name, even a link that leads nowhere."""
    try:
        os.lstat(path)
    except OSError as error:  # HOME may be closed to us: still that of the user before su
        return error.errno in (errno.ELOOP, errno.EIO, errno.ESTALE)
    return True


def _read_config(path: str) -> bytes | None:
    """Read a config.toml, if there is one; :raises LaunchError: it can't be read, or is unsafe."""
    if not _is_there(path):
        return None
    hint = "anaheadless obeys it, so it has to belong to you or root, and others must not write to it (chmod o-w)."
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise LaunchError(f"{path} is not a regular file", hint=hint, exit_code=USAGE)
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(TEXT_LIMIT + 1)
    except OSError as error:
        raise LaunchError(
            f"{path} can't be read: {error.strerror}", hint="Make it readable, or remove it.", exit_code=USAGE
        ) from error
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        message = f"{path} is not trusted: it belongs to another user, or others can write to it"
        raise LaunchError(message, hint=hint, exit_code=USAGE)
    if len(data) > TEXT_LIMIT:
        raise LaunchError(f"{path} is too large: it has more than {TEXT_LIMIT} bytes", exit_code=USAGE)
    return data
