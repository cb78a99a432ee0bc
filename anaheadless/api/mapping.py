"""A script or a function for many inputs, from Python: ``anaheadless map``, whose results are yielded."""

from __future__ import annotations

import base64
import csv
import json
import os
import pickle
import site
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Union

from anaheadless.errors import FAILED, LaunchError
from anaheadless.options import DURATION, FLAG, LIST, TABLE
from anaheadless.system.programs import this_python

if TYPE_CHECKING:
    PathLike = os.PathLike[str]
Input = Union[str, "PathLike", Mapping[str, object]]

END_SECONDS = 60.0


@dataclass(frozen=True)
class MapResult:
    """What came of an input.

    :param input: the input, as it was given.
    :param result: ``ok``, ``failed`` (its status was not 0, or the function has raised something), ``killed`` (by a
        signal), ``timeout``, ``missing`` (an expected file is not there) or ``lost`` (with the process that ran it).
    :param value: what the function has returned; None for a script.
    :param status: the exit status, or None where a signal ended it; *signal* likewise.
    :param seconds: how long the last try took; *tries*: how many there were.
    :param memory: the most that it used, in bytes.
    :param stdout: what it has printed; *stderr* likewise.
    :param outputs: the expected files that are there.
    :param screenshot: a picture of its display when its time was up, as a PNG file's bytes, or None.
    """

    input: Input
    result: str
    value: Any
    status: int | None
    signal: int | None
    seconds: float
    tries: int
    memory: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    outputs: tuple[str, ...]
    screenshot: bytes | None = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether all went well."""
        return self.result == "ok"


def map(  # noqa: A001  # as the built-in function
    program: str | PathLike | Sequence[str | PathLike] | Callable[..., Any],
    inputs: Iterable[Input],
    *,
    jobs: int | None = None,
    display: str = "shared",
    preload: Sequence[str] = (),
    timeout: float | None = None,
    grace: float = 10.0,
    retries: int = 0,
    max_failures: int | None = None,
    recycle: int | None = None,
    max_memory: int | None = None,
    expect: Sequence[str] = (),
    private_tmp: bool = False,
    cluster: str | None = None,
    cluster_args: Sequence[str] = (),
    journal: str | PathLike | None = None,
    resume: bool = True,
    **options: Any,
) -> Iterator[MapResult]:
    """Run a script, or call a function, for many inputs, some at a time, and yield the results as they come.

    Each runs on a display, in a process of its own; a function in one that stays, and keeps what it has built. When you
    stop asking for results, what runs is ended.

    :param program: the path of a script; or a list that begins with one, whose other words may hold placeholders, as
        ``["render.py", "{}", "--out", "{/.}.png"]``; or a function. It has to be defined in a module, or at the top
        of your script, which is imported for it: guard what is not to run then by ``if __name__ == "__main__":``. It
        gets the input as a string, and its value has to be picklable.
    :param inputs: strings or paths; or mappings with the same keys each, by which placeholders go, and which a function
        gets in their order.
    :param jobs: how many run at a time; default: the CPUs that this process may use.
    :param display: ``shared``: one after another on the same displays, or ``own``: each on its own.
    :param preload: modules that are imported once, and not again for each run of a script.
    :param timeout: seconds that each may run; after SIGTERM, it has ``grace`` seconds.
    :param retries: how often one that has failed is run again.
    :param max_failures: end when so many have failed.
    :param recycle: call a function so many times in one process; ``max_memory``: or until it uses so many MiB.
    :param expect: files that each is to make, with placeholders.
    :param private_tmp: give each a TMPDIR of its own.
    :param cluster: where to run them, as by ``--cluster``: ``slurm``, ``ssh:HOST``, or the address of a Dask scheduler;
        ``cluster_args``: as by ``--cluster-arg``.
    :param journal: where to write what came of each. With ``resume``, those that are done by it are left out, and not
        yielded. Default: there is none.
    :param options: those of :func:`virtual_display`.
    :raises LaunchError: nothing can be run.
    :raises ValueError: an option or an input makes no sense; likewise TypeError.
    """
    from anaheadless.options import from_keywords

    from_keywords("map", options)  # refused here, where it was said
    words = _words_of_options(options)
    words += _words(
        jobs=jobs,
        display=display,
        preload=preload,
        timeout=None if timeout is None else DURATION.parse(str(timeout)),
        grace=DURATION.parse(str(grace)),
        retries=retries,
        max_failures=max_failures,
        recycle=recycle,
        max_memory=max_memory,
        expect=expect,
        private_tmp=private_tmp,
        cluster=cluster,
        cluster_arg=cluster_args,
        resume=resume,
    )
    given = list(inputs)
    environ, command = _command(program)
    return _results(words, command, given, environ, None if journal is None else os.fspath(journal))


def _words(**settings: Any) -> list[str]:
    """Write settings as options of the command line."""
    words = []
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is False and name == "resume":
            words.append("--no-resume")
        elif isinstance(value, (list, tuple)):
            words += [f"{option}={each}" for each in value]
        elif value not in (None, False):
            words.append(f"{option}={value}")
    return words


def _words_of_options(options: Mapping[str, Any]) -> list[str]:
    """Write the keywords of the table as options of the command line."""
    words = []
    for row in TABLE:
        if row.field in options and options[row.field] is not None:
            value = options[row.field]
            if row.kind is FLAG:
                words += [f"--{row.name}"] if value != row.default else []
            else:
                words += [f"--{row.name}={each}" for each in (value if row.kind is LIST else [value])]
    return words


def _command(program: Any) -> tuple[dict[str, str], list[str]]:
    """Name a program on the command line, and make the environment in which a function is found.

    :raises ValueError: a function can't be named.
    """
    environ = dict(os.environ)
    if not callable(program):
        return environ, [
            os.fspath(each) for each in ([program] if isinstance(program, (str, os.PathLike)) else program)
        ]
    name, place = getattr(program, "__qualname__", "<unnamed>"), getattr(program, "__module__", None)
    if place is None or "<" in name:
        raise ValueError(f"{program!r} is not defined at the top of a module, where other processes would find it.")
    if place == "__main__":
        path = getattr(sys.modules["__main__"], "__file__", None)
        if path is None:
            raise ValueError(f"{name}() is not defined in a file, where other processes would find it.")
        return environ, [f"--call={os.path.abspath(path)}:{name}"]
    folder = _folder_of(place)
    if folder is not None:
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, environ.get("PYTHONPATH"))))
    return environ, [f"--call={place}:{name}"]


def _folder_of(module: str) -> str | None:
    """Find the folder from which a module was imported; None: each interpreter looks there."""
    path = getattr(sys.modules[module.partition(".")[0]], "__file__", None)
    if path is None:
        return None
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.splitext(os.path.basename(path))[0] == "__init__":
        folder = os.path.dirname(folder)
    known = {*site.getsitepackages(), site.getusersitepackages(), os.path.dirname(os.__file__)}
    return None if folder in known else folder


def _results(
    words: Sequence[str], command: Sequence[str], inputs: Sequence[Input], environ: dict[str, str], journal: str | None
) -> Iterator[MapResult]:
    if not inputs:
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="anaheadless-"))
        path, columns = _write_inputs(folder, inputs)
        if command[0].startswith("--call=") and columns:
            command = [*command, *(f"{{{name}}}" for name in columns)]
        errors = stack.enter_context(tempfile.TemporaryFile())
        # Its end shows that this process has ended, whatever has ended it.
        read, write = os.pipe()
        stack.callback(os.close, write)
        options = [
            f"--for-python={read}",
            f"--python={this_python()}",
            "--json",
            *(() if columns else ("-0",)),
            f"--inputs={path}",
            *words,
        ]
        options.append(f"--journal={journal or os.path.join(folder, 'journal.jsonl')}")
        is_call = command[0].startswith("--call=")
        arguments = [*command[:1], "--", *command[1:]] if is_call else ["--", *command]
        try:
            process = subprocess.Popen(
                [this_python(), "-m", "anaheadless", "map", *options, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environ,
                pass_fds=(read,),
            )
        finally:
            os.close(read)
        stack.callback(_end, process)
        assert process.stdout is not None, "it is a pipe"
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "item":
                yield _result(event, inputs)
        status = process.wait()
        said = _read(errors)
        if status not in (0, 1):
            raise _failure(status, said)
        sys.stderr.write(said)  # what was printed while modules were imported


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have a map end; it ends what it runs."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.stdout is not None, "it is a pipe"
    process.stdout.close()


def _write_inputs(folder: str, inputs: Sequence[Input]) -> tuple[str, tuple[str, ...]]:
    """Write the inputs to a file; return its path, and the columns, if they are mappings.

    :raises ValueError: they can't be written.
    """
    rows = [each for each in inputs if isinstance(each, Mapping)]
    if not rows:
        values = [os.fspath(each) for each in inputs if not isinstance(each, Mapping)]
        for value in values:
            if not value or "\0" in value:
                raise ValueError(f"An input can't be {value!r}.")
        path = os.path.join(folder, "inputs")
        with open(path, "wb") as file:
            file.write(b"\0".join([os.fsencode(value) for value in values]))
        return path, ()
    columns = tuple(rows[0])
    if len(rows) != len(inputs) or any(set(row) != set(columns) for row in rows):
        raise ValueError("The inputs have to be all strings, or all mappings with the same keys.")
    path = os.path.join(folder, "inputs.csv")
    with open(path, "w", newline="", errors="surrogateescape") as table:
        csv.writer(table).writerows([columns, *([row[name] for name in columns] for row in rows)])
    return path, columns


def _result(event: Mapping[str, Any], inputs: Sequence[Input]) -> MapResult:
    picture = None
    if event["screenshot"]:
        with suppress(OSError), open(event["screenshot"], "rb") as file:
            picture = file.read()
    return MapResult(
        input=inputs[event["item"] - 1],
        result=event["result"],
        value=pickle.loads(base64.b64decode(event["value"])) if event.get("value") else None,  # noqa: S301  # it is ours
        status=event["status"],
        signal=event["signal"],
        seconds=event["seconds"],
        tries=event["tries"],
        memory=event["memory"],
        stdout=_text(event["stdout"]),
        stderr=_text(event["stderr"]),
        outputs=tuple(event["outputs"]),
        screenshot=picture,
    )


def _text(path: str | None) -> str:
    if path is None:
        return ""
    with open(path, errors="backslashreplace") as file:
        return file.read()


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="backslashreplace")


def _failure(status: int, said: str) -> LaunchError:
    """Make of what a map has said why it has failed."""
    message, *lines = said.strip().splitlines() or [f"the map has ended with status {status}"]
    details = tuple(line.removeprefix("  | ") for line in lines if line.startswith("  | "))
    hint = " ".join(line.strip() for line in lines if not line.startswith("  | "))
    return LaunchError(
        message.removeprefix("anaheadless: "), hint=hint, details=details, exit_code=status if status > 0 else FAILED
    )
