"""Proves a candidate: has the target's interpreter draw with it, and listens to all that comes of it."""

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

_WORDS = 4  # lines of a library's own


class RunningProbe(Record):
    """A candidate that is drawing.

    :param running: the drawing itself, or what came of the candidate before there was one.
    """

    candidate: Candidate
    running: Running | ProbeResult
    start: float

    def result(self, timeout: float) -> ProbeResult:
        """What comes of it, if that comes within *timeout* seconds; else it counts as hung."""
        if isinstance(self.running, ProbeResult):
            return self.running
        ended = self.running.end(timeout)
        if ended.status is None:
            return ProbeResult(
                "hung", _join(f"no picture within {round(timeout, 3):g} s", ended.errors), seconds=timeout
            )
        return read(self.candidate, ended.output, ended.errors, ended.status, time.monotonic() - self.start)


@contextmanager
def trial(
    candidate: Candidate, python: str, environ: Mapping[str, str], limit: float, picture: str | None = None
) -> Iterator[RunningProbe]:
    """Have *candidate* draw a picture, meanwhile; at the end, it has ended.

    :param python: the interpreter that is to draw.
    :param environ: the environment that the target would get with this candidate.
    :param limit: seconds, after which it ends by itself, should we be killed.
    :param picture: where to save the pixels, see :func:`anaheadless.opengl.candidates.rendercheck.draw`.
    :raises LaunchError: the interpreter can't be executed.
    """
    missing = next((path for path in candidate.files if not os.path.isfile(path)), None)
    if missing is not None:
        yield RunningProbe(candidate, ProbeResult("missing file", missing), 0.0)
        return
    # Its own alarm; or where a library that hangs as it is preloaded would keep it from that, one that survives the
    # exec. (Not with threads, where Python warns of code after a fork.)
    seconds = int(limit) + 1
    alone = candidate.preload and threading.active_count() == 1
    command = [python, "-s", "-S", rendercheck.__file__, str(seconds), picture or "", *candidate.load]
    start = time.monotonic()
    with ExitStack() as stack:
        try:
            process = stack.enter_context(running(command, environ, alarm=seconds if alone else 0))
        except OSError as error:
            raise cannot_execute(python, error) from error
        yield RunningProbe(candidate, process, start)


def run_probe(
    candidate: Candidate, python: str, environ: Mapping[str, str], timeout: float, picture: str | None = None
) -> ProbeResult:
    """What comes of a picture drawn by *candidate*; as of :func:`trial`.

    :param timeout: seconds, after which it counts as hung.
    """
    if timeout <= 0:
        return ProbeResult("not tried", "the time for all proofs was used up")
    with trial(candidate, python, environ, timeout, picture) as drawing:
        return drawing.result(timeout)


class Ended(Record):
    """What came of a program: the first 64 KiB of what it said; a status of None: it was killed, its time was up."""

    status: int | None
    output: str
    errors: str


class Running(Record):
    """A program, and the files that hold what it says."""

    process: subprocess.Popen[bytes]
    output: BinaryIO
    errors: BinaryIO

    def end(self, timeout: float) -> Ended:
        """Let it end, in *timeout* seconds at most."""
        ended = _wait(self.process, timeout)
        _end(self.process)
        said = [os.pread(file.fileno(), 1 << 16, 0).decode(errors="replace") for file in (self.output, self.errors)]
        return Ended(self.process.returncode if ended else None, *said)


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], alarm: int = 0) -> Iterator[Running]:
    """Run *command*; at the end, it has ended, and all that it has started.

    :param alarm: seconds until a signal ends it, even when this process was killed meanwhile; 0: none does.
    :raises OSError: it can't be executed.
    """
    # Not pipes: a helper that a library starts might hold them open long after the drawing has ended.
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
            yield Running(process, output, errors)
        finally:
            _end(process)


def run(command: Sequence[str], environ: Mapping[str, str], timeout: float) -> Ended:
    """Run *command* for *timeout* seconds at most, and all that it starts.

    :raises OSError: it can't be executed.
    """
    with running(command, environ) as program:
        return program.end(timeout)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End and reap *process*, and what it has started in its group; it may have ended by itself."""
    if process.returncode is None:
        with suppress(ProcessLookupError):  # where SIGCHLD is ignored, the kernel has reaped it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Whether *process* ends in time; it is not reaped, but where there is no pidfd."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except (OSError, AttributeError):  # before Linux 5.3, or built before it: Python then looks every 50 ms
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        return process.returncode is not None
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout) * 1000))
    finally:
        os.close(pidfd)


def read(candidate: Candidate, output: str, errors: str, status: int, seconds: float = 0.0) -> ProbeResult:
    """What a rendercheck that has said *output* and *errors*, and left with *status*, has proved; a pure function."""
    said = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
    if "result" not in said:
        if status < 0:
            return ProbeResult("crashed", _join(signal.strsignal(-status) or str(-status), errors), seconds=seconds)
        return ProbeResult("ended", _join(f"status {status}", errors), seconds=seconds)
    result, message = said["result"], said.get("message", "")
    libraries = tuple(filter(None, said.get("libraries", "").split(":")))
    if result == "drawn" and candidate.loads is not None and not any(candidate.loads in path for path in libraries):
        result, message = "not loaded", f"{candidate.loads} was ignored"
    return ProbeResult(
        result,
        "" if result == "drawn" else _join(message, errors),
        vendor=said.get("vendor", ""),
        renderer=said.get("renderer", ""),
        version=said.get("version", ""),
        direct={"yes": True, "no": False}.get(said.get("direct", "")),
        seconds=seconds,
        libraries=libraries,
    )


def _join(message: str, errors: str) -> str:
    words = [line.strip() for line in errors.splitlines() if line.strip()]
    return "; ".join([message, *words[-_WORDS:]])
