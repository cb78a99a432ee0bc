"""Probes of candidates: the target's interpreter draws a test picture, and its output becomes the result."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from anaheadless.opengl import rendercheck
from anaheadless.opengl.candidates import Candidate, ProbeResult
from anaheadless.system.light_stdlib import Record
from anaheadless.system.memfile import memory_file
from anaheadless.system.programs import cannot_execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_ERROR_LINES = 4  # how many of a library's own lines a message includes


class RunningProbe(Record):
    """A probe that is running.

    :param command: the drawing process; or the result, if the probe has failed before.
    """

    candidate: Candidate
    command: RunningCommand | ProbeResult
    start: float

    def result(self, timeout: float) -> ProbeResult:
        """Wait for the result; after *timeout* seconds, kill the probe and return that it hung."""
        if isinstance(self.command, ProbeResult):
            return self.command
        ended = self.command.result(timeout)
        if ended.status is None:
            message = _join(f"no picture within {round(timeout, 3):g} s", ended.errors)
            return ProbeResult("hung", message, seconds=timeout)
        return parse_result(self.candidate, ended.output, ended.errors, ended.status, time.monotonic() - self.start)


@contextmanager
def start_probe(
    candidate: Candidate, python: str, environ: Mapping[str, str], limit: float, pixel_file: str | None = None
) -> Iterator[RunningProbe]:
    """Start to draw a test picture with *candidate*, in another process; the end of the ``with`` block ends it.

    :param python: the interpreter that draws.
    :param environ: the environment that the target would get with this candidate.
    :param limit: seconds after which the process ends by itself, in case this process is killed.
    :param pixel_file: where to save the pixels, see :func:`anaheadless.opengl.rendercheck.draw`.
    :raises LaunchError: the interpreter can't be executed.
    """
    missing = next((path for path in candidate.files if not os.path.isfile(path)), None)
    if missing is not None:
        yield RunningProbe(candidate, ProbeResult("missing file", missing), 0.0)
        return
    # The process sets an alarm of its own. A library that hangs while it is preloaded would prevent that: then this
    # process sets one before the exec, which the alarm survives. (Not with threads: Python warns of code between fork
    # and exec.)
    seconds = int(limit) + 1
    needs_alarm = candidate.preload and threading.active_count() == 1
    command = [python, "-s", "-S", rendercheck.__file__, str(seconds), pixel_file or "", *candidate.load]
    start = time.monotonic()
    with ExitStack() as stack:
        try:
            process = stack.enter_context(start_command(command, environ, alarm=seconds if needs_alarm else 0))
        except OSError as error:
            raise cannot_execute(python, error) from error
        yield RunningProbe(candidate, process, start)


def run_probe(
    candidate: Candidate, python: str, environ: Mapping[str, str], timeout: float, pixel_file: str | None = None
) -> ProbeResult:
    """Draw a test picture with *candidate*, and return the result; see :func:`start_probe`.

    :param timeout: seconds after which the probe counts as hung.
    """
    if timeout <= 0:
        return ProbeResult("not tried", "the time for all probes was used up")
    with start_probe(candidate, python, environ, timeout, pixel_file) as probe:
        return probe.result(timeout)


class CommandResult(Record):
    """The result of a command.

    :param status: the exit status, or None if the command was killed because its time was up.
    :param output: the first 64 KiB of its standard output; likewise *errors*, of its standard error.
    """

    status: int | None
    output: str
    errors: str


class RunningCommand(Record):
    """A command that is running, and the files that hold its output."""

    process: subprocess.Popen[bytes]
    output: BinaryIO
    errors: BinaryIO

    def result(self, timeout: float) -> CommandResult:
        """Wait for the command to end; kill it after *timeout* seconds."""
        ended = _await_exit(self.process, timeout)
        _kill(self.process)
        texts = [os.pread(file.fileno(), 1 << 16, 0).decode(errors="replace") for file in (self.output, self.errors)]
        return CommandResult(self.process.returncode if ended else None, *texts)


@contextmanager
def start_command(command: Sequence[str], environ: Mapping[str, str], alarm: int = 0) -> Iterator[RunningCommand]:
    """Start *command*; the end of the ``with`` block kills it, and all that it has started.

    :param alarm: seconds until a signal ends it, even if this process has been killed; 0 for no limit.
    :raises OSError: the command can't be executed.
    """
    # Not pipes: a helper that a library starts might keep them open long after the command has ended.
    with memory_file("output") as output, memory_file("errors") as errors:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            preexec_fn=(lambda: signal.alarm(alarm)) if alarm else None,
        )
        try:
            yield RunningCommand(process, output, errors)
        finally:
            _kill(process)


def run_command(command: Sequence[str], environ: Mapping[str, str], timeout: float) -> CommandResult:
    """Run *command*; kill it, and all that it has started, after *timeout* seconds.

    :raises OSError: the command can't be executed.
    """
    with start_command(command, environ) as running:
        return running.result(timeout)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill and reap *process*, and kill what it has started in its group; it may have ended before."""
    if process.returncode is None:
        with suppress(ProcessLookupError):  # the kernel has reaped it, because SIGCHLD is ignored
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_exit(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Tell whether *process* ends within *timeout* seconds; do not reap it, unless the kernel has no pidfds."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except (OSError, AttributeError):  # kernel or Python are older than Linux 5.3; Python then polls every 50 ms
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        return process.returncode is not None
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout) * 1000))
    finally:
        os.close(pidfd)


def parse_result(candidate: Candidate, output: str, errors: str, status: int, seconds: float = 0.0) -> ProbeResult:
    """Make the result from the output and the exit status of rendercheck; a pure function."""
    found = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
    if "result" not in found:
        if status < 0:
            return ProbeResult("crashed", _join(signal.strsignal(-status) or str(-status), errors), seconds=seconds)
        return ProbeResult("ended", _join(f"status {status}", errors), seconds=seconds)
    outcome, message = found["result"], found.get("message", "")
    libraries = tuple(filter(None, found.get("libraries", "").split(":")))
    if outcome == "drawn" and candidate.loads is not None and not any(candidate.loads in path for path in libraries):
        outcome, message = "not loaded", "; ".join(filter(None, (f"{candidate.loads} was ignored", message)))
    return ProbeResult(
        outcome,
        "" if outcome == "drawn" else _join(message, errors),
        vendor=found.get("vendor", ""),
        renderer=found.get("renderer", ""),
        version=found.get("version", ""),
        direct={"yes": True, "no": False}.get(found.get("direct", "")),
        seconds=seconds,
        libraries=libraries,
    )


def _join(message: str, errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return "; ".join([message, *lines[-_ERROR_LINES:]])
