"""Settings that stand near the script: what files may say, what that means for a run, and who has the last word."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anaheadless.cli import config_file
from anaheadless.errors import LaunchError
from anaheadless.launch import target
from tests.support.helpers import BIN, PATIENCE, assert_refused, run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


ODD_NAMES = ("", "A=B", "X;touch F;Y", "A<<E", "1A", "A B", "é", "x.y", "BASH_FUNC_x%%", r"A\n")
KNOWN = ("screen", "gl", "timeout", "server-arg")
PRINTS = "import os; print(os.environ.get('SAID'), os.environ['DISPLAY'] != '')"
# PEP 723's own.
REFERENCE = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


def block(toml: str) -> str:
    return "# /// script\n" + "".join(f"# {line}".rstrip() + "\n" for line in toml.splitlines()) + "# ///\n"


def script_with(toml: str, code: str = PRINTS) -> str:
    return f"{block('[tool.anaheadless]' + chr(10) + toml)}{code}\n"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of a user whose configuration, and whose system's, is in *tmp_path*."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANAHEADLESS_")}
    return {**inherited, "HOME": str(tmp_path), "XDG_CONFIG_HOME": "", "XDG_CONFIG_DIRS": str(tmp_path / "system")}


def write_config(folder: Path, text: str | bytes) -> Path:
    file = folder / "anaheadless" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def shown(*args: str | Path, **settings: Any) -> dict[str, tuple[Any, str]]:
    """What ``run --show-config`` says of each setting: its value, and where that is from."""
    output = run("run", "--show-config", *args, **settings)
    assert (output.returncode, output.stderr) == (0, "")
    found: dict[str, tuple[Any, str]] = {}
    for line in output.stdout.splitlines():
        text, place = re.split(" +# ", line, maxsplit=1)
        for key, value in (tomllib.loads(text) or {text[2:]: None}).items():
            pairs = {f"env.{name}": value for name, value in value.items()} if key == "env" else {key: value}
            found.update({key: (value, place) for key, value in pairs.items()})
    return found


def said(document: config_file.Document | None) -> dict[tuple[str, ...], tuple[Any, str]]:
    assert document
    return {setting.keys: (setting.value, setting.place) for setting in config_file.settings(document, KNOWN)}


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('screen = "1x1"\ngl = "none"', {("screen",): ("1x1", "c:1"), ("gl",): ("none", "c:2")}),
        ('\n# screen = "2x2"\n"screen" = "1x1"', {("screen",): ("1x1", "c:3")}),
        ('gl = """\nscreen = 1\n"""\nscreen = "1x1"', {("gl",): ("screen = 1\n", "c:1"), ("screen",): ("1x1", "c:4")}),
        ('env = {gl = "a", "x_y" = "b"}\ngl="none"', {
            ("env", "gl"): ("a", "c:1"), ("env", "x_y"): ("b", "c:1"), ("gl",): ("none", "c:2"),
        }),
        ('[env]\nA = "1"\n\nB = "2"', {("env", "A"): ("1", "c:2"), ("env", "B"): ("2", "c:4")}),
        ('env.A = "1"\nenv.B = "A"', {("env", "A"): ("1", "c:1"), ("env", "B"): ("A", "c:2")}),
        ('server-arg = [\n"-gl", "gl"]\ngl = "gl"', {
            ("server-arg",): (["-gl", "gl"], "c:1"), ("gl",): ("gl", "c:3"),
        }),
        ('"scr\\u0065en" = "1x1"', {("screen",): ("1x1", "c:1")}),
        ("\ufeff", {}),
    ],
)  # fmt: skip
def test_settings_are_read_with_their_lines(toml: str, expected: dict[tuple[str, ...], tuple[Any, str]]) -> None:
    assert said(config_file.parse_config(toml.encode(), "c")) == expected
    for end in "\n", "\r\n":
        crlf = config_file.parse_config(toml.replace("\n", end).encode(), "c")
        assert {keys: place for keys, (_, place) in said(crlf).items()} == {
            keys: place for keys, (_, place) in expected.items()
        }


@pytest.mark.parametrize(
    "toml",
    [
        '[tool.anaheadless]\nscreen = "é"',
        '\n[tool]\nanaheadless.screen = "é"',
        'tool.anaheadless = { screen = "é" }\n',
        '[tool.other]\nscreen = "a"\n\n[tool.anaheadless]\nscreen = "é"\n[tool.third]\nscreen = "b"',
    ],
)
@pytest.mark.parametrize(
    ("start", "encoding", "end"),
    [
        ("", "utf-8", "\n"),
        ("\ufeff#!python\n", "utf-8", "\r\n"),
        ("#!python\n# coding: latin-1\n\f\n", "latin-1", "\n"),
        ("'''\v\x1c\x85\n'''\n", "utf-8", "\r"),
    ],
)
def test_a_script_may_carry_its_settings(toml: str, start: str, encoding: str, end: str) -> None:
    source = f"{start}{block(toml)}import this\n"
    data = source.replace("\n", end).encode(encoding)
    line = next(n for n, text in enumerate(source.split("\n"), 1) if "é" in text)
    assert said(config_file.parse_script(data, "s.py")) == {("screen",): ("é", f"s.py:{line}")}


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"print('anaheadless')",
        block("dependencies = ['anaheadless'").encode()[:-6],  # not closed
        block("this is [no TOML").encode() + b"import anaheadless",  # nor is it about us
        (block("a = 1") + "\n" + block("a = 1")).encode() + b"import anaheadless",
        script_with("nonsense").encode() + b"\0",
        b"# coding: nonsense\n" + script_with("nonsense").encode(),
        b"# coding: rot13\n" + script_with("nonsense").encode(),
        script_with("nonsense # \xff").encode("latin-1"),
        script_with("nonsense").replace("# /// script", "# /// script ").encode(),
        script_with("nonsense").replace("\n#", "\n #").encode(),
    ],
)
def test_metadata_of_others_sets_nothing(source: bytes) -> None:
    assert config_file.parse_script(source, "s.py") is None


LINES = ("# /// script", "# /// other", "# ///", "#", "# a", "##", "#!x", "", "x = 1", "# /// a b", "\x0c")


@given(st.lists(st.sampled_from(LINES), max_size=12).map("\n".join))
@settings(max_examples=500)
@example("# /// script\n# ///\n# ///")
@example("# /// script\n# a\n# ///\n# /// other\n# b\n# ///\n\n# /// script\n# c\n# ///\n")
def test_blocks_are_those_that_pep_723_finds(source: str) -> None:
    expected = [
        (
            source.count("\n", 0, match.start()) + 1,
            "".join(line[2:] if line.startswith("# ") else line[1:] for line in match["content"].splitlines(True)),
        )
        for match in REFERENCE.finditer(source)
        if match["type"] == "script"
    ]
    assert [(line, f"{text}\n") for line, text in config_file.script_blocks(source)] == expected


def paths(value: Any, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Of all keys in a parsed text; those of an array are in no particular one of its elements."""
    if isinstance(value, list):
        return {path for each in value for path in paths(each, above)}
    if isinstance(value, dict):
        return {path for key, each in value.items() for path in {(*above, key)} | paths(each, (*above, key))}
    return set()


NAMES = ("a", '"a.b"', "'c\\'", '"\\u00e9\\""', '""', "a . b", '"[" .a', "-", "1.2")
VALUES = (
    *(
        "1",
        "1.5",
        "true",
        "1979-05-27 07:32:00.9",
        '"a = 1 # \\""',
        "'\"'",
        '"""\n[a]\nb = "x" \\\n\\""""""',
        "'''a''''",
    ),
    *("[]", "[\n[1, 2], # ]\n[{ a = 1, b.c = [] }, {}],\n]", '{ "a" = { b = "}" }, c.d = [{ e = 1 }], f = {} }'),
)
STATEMENTS = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)).map(" = ".join),
    st.sampled_from(NAMES).map(lambda name: f"[{name}]  # [b]"),
    st.sampled_from(NAMES).map(lambda name: f"[[ {name} ]]"),
    st.sampled_from(["", '# "a', "\t"]),
)


@given(st.lists(STATEMENTS, max_size=6).map("\n".join))
@settings(max_examples=500)
def test_every_setting_has_the_line_where_it_stands(text: str) -> None:
    with contextlib.suppress(tomllib.TOMLDecodeError):
        parsed = tomllib.loads(text)
        assert set(config_file._places(text)) == paths(parsed)


LONG = config_file.TEXT_LIMIT - 100
TOO_MUCH = {
    "key": ("a." * (LONG // 2) + "a = 1", "levels deep"),
    "quoted key": ('"a" .' * (LONG // 5) + "a = 1", "levels deep"),
    "key in a table": ("a = { " + "b." * (LONG // 2) + "b = 1 }", "levels deep"),
    "head": ("[" + "a." * (LONG // 2) + "a]", "levels deep"),
    "array": ("a = " + "[" * LONG, "levels deep"),
    "table": ("a = " + "{ a = " * (LONG // 6), "levels deep"),
    "array after an odd string": ('a = ["""a"""", "", ' + "[" * LONG, "levels deep"),
    "strings": ("a = " + '"""\\"' * (LONG // 5), "TOML"),
    "text": ("#" * (LONG + 101), "longer than 65536 characters"),
    "number": ("dpi = 0x" + "f" * LONG, "the number is too large"),
    "list": ('server-arg = ["\\u0000", 0x' + "f" * LONG + "]", "the number is too large"),
}


@pytest.mark.parametrize(("toml", "words"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_files_that_would_take_minutes_are_refused_at_once(toml: str, words: str) -> None:
    """The standard library's parser would take minutes for some of them, or Python would refuse to print them."""
    for root, head, text in ((), "", toml), (("tool", "anaheadless"), "[tool.anaheadless]\n", toml):
        if root and toml.startswith("["):
            continue
        document = config_file.Document("c", 0, head + text, root)
        with pytest.raises(LaunchError, match=words) as caught:
            config_file.settings(document, ("dpi", "server-arg"))
        assert caught.value.exit_code == 2
        assert len(caught.value.message) < 200


@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_strings_that_do_not_end_are_refused_at_once(quotes: str) -> None:
    """Otherwise each of their lines would be read to the end of the text, which takes minutes."""
    text = quotes + f"\n\\{quotes[:1] * 2} \\" * 3
    assert [match[0] for match in config_file._TOKEN.finditer(text)] == [text]


def test_nesting_is_read_to_a_sensible_depth() -> None:
    deep = "[" * 29 + "]" * 29
    text = f'[tool.uv]\nsources = {deep}\n{".".join("a" * 30)} = 1\n[tool.anaheadless]\nscreen = "1x1"'
    document = config_file.Document("c", 0, text, ("tool", "anaheadless"))
    assert said(document) == {("screen",): ("1x1", "c:5")}


WORDS = ("screen", "env", "tool", "anaheadless", *"=.[]{}\"',\n \\1", '"""')


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map("".join)))
@example("[" * 100_000)
@example("env = " + "{a=" * 10_000)
@example("screen" * 100_000)
@example("screen = " + "1" * 10_000)
@example("gl = 1\n" + "# screen\n" * 1_000 + "screen = 1")
@example("env." + "A." * 30_000 + "A = 1")
@example("[env]\n" + "".join(f"A{n} = ''\n" for n in range(5_000)))
@example('env.A = "\\u0000"')
@example('screen = "\\u0000"')
def test_any_text_is_settings_or_an_error_and_soon(text: str) -> None:
    """Settings, each with its line; or an error, which is wrong usage. Never anything else, and never slow."""
    data = text.encode("utf-8", "replace")
    for parse, source in (
        (config_file.parse_config, data),
        (config_file.parse_script, b"# /// script\n# [tool.anaheadless]\n# " + data + b"\n# ///\n"),
        (config_file.parse_script, b"# /// script\n# anaheadless\n" + data),
    ):
        try:
            document = parse(source, "s.py")
            places = [setting.place for setting in config_file.settings(document, KNOWN)] if document else []
        except LaunchError as error:
            assert error.exit_code == 2  # noqa: PT017
            places = [error.message.partition(": ")[0]]
        lines = len(re.split(b"\r\n?|\n", source))
        assert all(1 <= int(place[5:]) <= lines for place in places)


@given(st.binary())
def test_any_bytes_are_settings_or_an_error(data: bytes) -> None:
    try:
        config_file.parse_config(data, "c").parse()
    except LaunchError as error:
        assert error.exit_code == 2  # noqa: PT017


@pytest.mark.parametrize("line", ["# /// script", "# ///", "#", "# /// anaheadless", "# /// script\n# ///"])
def test_a_megabyte_of_beginnings_is_read_at_once(line: str) -> None:
    """PEP 723's regular expression would take minutes for the first of them."""
    source = f"{line}\n" * (config_file.LIMIT // len(line))
    assert len(list(config_file.script_blocks(source))) <= 1


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/me"}, ["/me/.config", "/etc/xdg"]),
        ({"HOME": "/me", "XDG_CONFIG_HOME": "", "XDG_CONFIG_DIRS": ""}, ["/me/.config", "/etc/xdg"]),
        ({"HOME": "/me", "XDG_CONFIG_HOME": "/c"}, ["/c", "/etc/xdg"]),
        ({"XDG_CONFIG_HOME": "c", "XDG_CONFIG_DIRS": "d:/e::/f"}, ["/e", "/f"]),
        ({}, ["/etc/xdg"]),
    ],
)
def test_config_files_are_looked_for_where_xdg_says(environ: dict[str, str], expected: list[str]) -> None:
    assert config_file.config_files(environ) == [f"{folder}/anaheadless/config.toml" for folder in expected]


@pytest.mark.parametrize(
    "args",
    [
        *(["s.py"], ["s.py", "-c", "x"], ["-u", "s.py"], ["--", "s.py"], ["-X", "dev", "s.py"], ["-Xdev", "s.py"]),
        *(["-uX", "dev", "s.py"], ["-W", "ignore", "-uB", "s.py"], ["-uWignore", "s.py"], ["-XX", "s.py"]),
        *(["--check-hash-based-pycs", "never", "s.py"], ["-IX", "importtime=0", "s.py", "s.py"]),
        *(["-c", "0", "s.py"], ["-c0", "s.py"], ["-uc", "0", "s.py"], ["-um", "this", "s.py"], ["-mthis", "s.py"]),
        *(["-", "s.py"], ["-u", "-", "s.py"], ["-u"], []),
    ],
    ids=" ".join,
)
def test_the_script_is_found_among_pythons_arguments(args: list[str], tmp_path: Path) -> None:
    """It is the file that python does run."""
    (tmp_path / "s.py").write_text("print('it is run')")
    is_run = "it is run" in run(*args, command=sys.executable, cwd=tmp_path).stdout
    assert target.script_among(args) == ("s.py" if is_run else None)


def test_a_nearer_setting_overrides_a_farther_one(environ: dict[str, str], tmp_path: Path, script: Path) -> None:
    """Command line, variable, script, own config.toml, the system's, default."""
    script.write_text(
        script_with('screen = "1x1"\ndpi = 1\ngl = "mesa"\ntimeout = "2h"\n[tool.anaheadless.env]\nA = "a"')
    )
    own = write_config(tmp_path / ".config", 'screen = "2x2"\ntimeout = 2\nno-shim = true\n[env]\nA = "b"\nB = "b"\n')
    of_system = write_config(tmp_path / "system", 'no-shim = false\nserver-arg = ["-a", "b c"]\nenv.C = "é"\n')
    environ |= {"ANAHEADLESS_DPI": "3", "ANAHEADLESS_SCREEN": "3x3", "ANAHEADLESS_VERBOSE": "0"}
    found = shown("--screen", "4x4", script, env=environ)
    assert found == {
        **{key: (value, place) for key, (value, place) in found.items() if place == "default"},
        "screen": ("4x4x24", "command line"),
        "dpi": (3, "ANAHEADLESS_DPI"),
        "verbose": (False, "ANAHEADLESS_VERBOSE"),
        "gl": ("mesa", f"{script}:5"),
        "timeout": (7200.0, f"{script}:6"),
        "env.A": ("a", f"{script}:8"),
        "no-shim": (True, f"{own}:3"),
        "env.B": ("b", f"{own}:6"),
        "server-arg": (["-a", "b c"], f"{of_system}:2"),
        "env.C": ("é", f"{of_system}:3"),
    }
    assert found["start-timeout"] == (30.0, "default")
    assert shown(env=environ)["screen"] == ("3x3x24", "ANAHEADLESS_SCREEN")
    assert shown("-c", "", str(script), env=environ)["gl"] == ("auto", "default")


def test_shown_settings_can_be_used_as_config_toml(environ: dict[str, str], tmp_path: Path, script: Path) -> None:
    script.write_text(script_with('server-arg = ["\\"", "\\\\"]\ngrace = 5\nenv = {"x_y" = "\\n", Z = "\'#"}'))
    first = run("run", "--show-config", "--screen", "4x4", script, env=environ)
    write_config(tmp_path / ".config", first.stdout)
    script.write_text(PRINTS)
    again = run("run", "--show-config", script, env=environ)
    assert (again.returncode, again.stderr) == (0, "")
    assert tomllib.loads(again.stdout) == tomllib.loads(first.stdout)
    assert "default" not in re.sub("(?m)^# .*", "", again.stdout)


@pytest.mark.parametrize("how", ["run", "shebang", "link"])
@pytest.mark.needs("xdpyinfo")
def test_the_screen_that_a_script_carries_is_used(
    how: str, environ: dict[str, str], tmp_path: Path, script: Path
) -> None:
    code = "import subprocess, os; subprocess.run('xdpyinfo'); print(os.environ['HOME'], os.environ['SAID'])"
    toml = 'screen = "321x123"\ngl = "none"\n[tool.anaheadless.env]\nHOME = "/away"\nSAID = "by the script"'
    script.write_text(f"#!{BIN}/anaheadless-python -u\n{script_with(toml, code)}")
    script.chmod(0o755)
    (tmp_path / "link").symlink_to(script)
    output = {
        "run": lambda: run("run", script, env=environ),
        "shebang": lambda: run(command=str(script), env=environ),
        "link": lambda: run("run", "link", env=environ, cwd=tmp_path),
    }[how]()
    assert (output.returncode, output.stderr) == (0, "")
    assert re.search("dimensions: +321x123 pixels", output.stdout)
    assert "/away by the script\n" in output.stdout


def test_the_time_limit_that_a_script_carries_is_used(environ: dict[str, str], script: Path) -> None:
    script.write_text(script_with('timeout = 0.1\ngl = "none"', "import time; time.sleep(1000)"))
    assert run("run", script, env=environ).returncode == -signal.SIGTERM


@pytest.mark.needs("xdpyinfo")
def test_commands_without_a_script_take_their_settings_from_config_toml(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """What a command has no option for is for others; a module's or a program's argument is no script."""
    write_config(tmp_path / ".config", 'screen = "321x123"\ngl = "none"\ntimeout = "1h"\nenv.SAID = "yes"')
    (tmp_path / "s.py").write_text(script_with("nonsense = 1"))
    options: dict[str, Any] = {"env": environ, "cwd": tmp_path}
    for args in (["run", "-c", PRINTS, "s.py"], ["exec", sys.executable, "s.py"]):
        assert run(*args, **options).stdout == "yes True\n"
    assert run("-c", PRINTS, "s.py", command=f"{BIN}/anaheadless-python", **options).stdout == "yes True\n"
    assert "321x123x24" in run("doctor", **options).stdout
    words = f'eval "$({BIN}/anaheadless start)"; echo $SAID; xdpyinfo | grep 321x123'
    output = run("-c", words, command="/bin/sh", **options)
    assert output.stdout.startswith("yes\n  dimensions: "), output


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('screne = "1x1"', [":3: ", "'screne'", "There are: ", "screen, ", ", env."]),
        ('\nscreen = "0x0"', [":4: ", "screen: '0x0'", "width and height have to be 1 to 32767 pixels"]),
        ("screen = [1, 1]", [":3: ", "screen has to be a string or a number"]),
        ('gl = "magic"', [":3: ", "gl: 'magic' is not one of 'auto', "]),
        ("dpi = 0", [":3: ", "dpi: '0' is not a whole number from 1 to 1000"]),
        ("dpi = true", [":3: ", "dpi has to be"]),
        ("timeout = -1", [":3: ", "timeout: '-1' is not a duration"]),
        ("timeout = 1979-05-27", [":3: ", "timeout has to be"]),
        ("start-timeout = nan", [":3: ", "start-timeout: "]),
        ('no-shim = "yes"', [":3: ", "no-shim has to be true or false"]),
        ('server-arg = "-a"', [":3: ", "server-arg has to be a list"]),
        ('server-arg = ["\\u0000"]', [":3: ", "server-arg"]),
        ("server_arg = []", [":3: ", "'server_arg'", "server-arg"]),
        ("env = 1", [":3: ", "env has to be a table"]),
        ("env.A = 1", [":3: ", "A has to be a string"]),
        ('[tool.anaheadless.env]\nA = ""\nB = "\\u0000"', [":5: ", "env.B = "]),
        *((f'env."{name}" = ""', [":3: ", "can't be the name of a variable", "digits"]) for name in ODD_NAMES),
        *((f'env.{name} = ""', [":3: ", f"env can't set {name}"]) for name in ("DISPLAY", "ANAHEADLESS_SCREEN")),
        ('gl = "virtualgl"\nno-virtualgl = true', ["--no-virtualgl", "contradict"]),
        ("screen =\ngl = 1", [":3: ", "TOML"]),
        ("screen = [", [":3: ", "TOML"]),
        ("[tool.anaheadless]", [":3: ", "TOML"]),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_started(
    toml: str, words: list[str], script: Path, tmp_path: Path, environ: dict[str, str], no_server: dict[str, str]
) -> None:
    script.write_text(script_with(toml))
    output = run("run", script, env={**environ, "PATH": no_server["PATH"]})
    place = [f"{script}{words[0]}", *words[1:]] if words[0].startswith(":") else words
    assert_refused(output, 2, *place)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("command", [["exec", "true"], ["start"], ["doctor"], ["run", "x.py"]], ids=" ".join)
def test_wrong_settings_are_refused_by_every_command(
    command: list[str], tmp_path: Path, environ: dict[str, str]
) -> None:
    file = write_config(tmp_path / ".config", "[tool.anaheadless]")
    options = ["--json"] if command == ["start"] else []
    assert_refused(run(*command, *options, env=environ), 2, f"{file}:1: there is no setting 'tool'")
    assert run(command[0], "--help", env=environ).returncode == 0


def test_an_overridden_setting_may_be_wrong(environ: dict[str, str], script: Path) -> None:
    script.write_text(script_with('gl = "magic"'))
    assert run("run", "--gl", "none", script, env=environ).stdout == "None True\n"


def test_an_unsafe_config_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    file = write_config(tmp_path / ".config", 'gl = "none"')
    file.chmod(0o666)
    assert_refused(run("run", "-c", "", env=environ), 2, str(file), "is not trusted")
    file.write_bytes(b"\n\xff")
    file.chmod(0o644)
    assert_refused(run("run", "-c", "", env=environ), 2, f"{file}:2: ", "UTF-8")
    file.write_text("#" * (config_file.TEXT_LIMIT + 1))
    assert_refused(run("run", "-c", "", env=environ), 2, str(file), "too large")
    file.unlink()
    file.mkdir()
    assert_refused(run("run", "-c", "", env=environ), 2, str(file), "not a regular file")
    file.rmdir()
    for goal, words in (file, "Too many levels of symbolic links"), ("gone", "No such file or directory"):
        file.symlink_to(goal)
        for command in ["run", "-c", ""], ["exec", "--gl", "none", "true"], ["doctor"]:
            assert_refused(run(*command, env=environ), 2, f"{file} can't be read: {words}\n")
        file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(file.parent)
    assert_refused(run("run", "-c", "", env=environ), 2, f"{file} can't be read: Too many levels")


@pytest.mark.parametrize("home", ["/nonexistent", "/dev/null", "/" + "x" * 5000], ids=len)
def test_without_a_home_there_is_no_config(home: str, environ: dict[str, str]) -> None:
    assert run("run", "--gl", "none", "-c", "print('run')", env={**environ, "HOME": home}).stdout == "run\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_a_config_of_another_user_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    file = write_config(tmp_path / ".config", 'gl = "none"')
    os.chown(file, 65534, 65534)
    assert_refused(run("run", "-c", "", env=environ), 2, str(file), "is not trusted")


def test_no_settings_are_looked_for_where_python_runs_no_script(environ: dict[str, str], tmp_path: Path) -> None:
    """No settings are looked for, no pipe is read; what is wrong, python says."""
    wrong = script_with("nonsense = 1", "print('it runs')")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(wrong)
    with zipfile.ZipFile(tmp_path / "zip", "w") as file:
        file.writestr("__main__.py", wrong)
    os.mkfifo(tmp_path / "pipe")
    options: dict[str, Any] = {"env": environ, "cwd": tmp_path}
    for name in "folder", "zip":
        assert run("run", "--gl", "none", name, **options).stdout == "it runs\n"
    with subprocess.Popen(["cp", "folder/__main__.py", "pipe"], cwd=tmp_path) as writer:
        try:
            assert run("run", "--gl", "none", "pipe", **options).stdout == "it runs\n"
            assert writer.wait(PATIENCE) == 0
        finally:
            writer.kill()
    assert run("run", "--gl", "none", "-", **{**options, "stdin": None, "input": wrong}).stdout == "it runs\n"
    (tmp_path / "bytes").write_bytes(wrong.encode() + b"\0")
    assert "nonsense" not in run("run", "--gl", "none", "bytes", **options).stderr


@pytest.mark.uncounted  # the counter imports more
def test_a_script_without_settings_costs_no_import(environ: dict[str, str], script: Path) -> None:
    imports = {}
    for text in PRINTS, script_with('gl = "none"'):
        script.write_text(text)
        launcher = ("-X", "importtime", "-m", "anaheadless", "run", "--show-config", script)
        imports[text] = tomllib.__name__ in run(*launcher, command=sys.executable, env=environ).stderr
    assert list(imports.values()) == [False, True]
