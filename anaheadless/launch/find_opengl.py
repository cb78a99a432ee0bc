"""Which OpenGL a session gets: the cached result of an earlier run, or the best candidate that draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from anaheadless.errors import print_stderr
from anaheadless.opengl import hardware
from anaheadless.opengl.candidates import Candidate, ProbeResult, Selection, candidates, choose, in_process
from anaheadless.opengl.hardware import HostCapabilities
from anaheadless.options import OpenGLRequest, Options
from anaheadless.system.light_stdlib import Record
from anaheadless.x11 import authority
from anaheadless.x11.display_number import socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anaheadless.opengl.cache import CacheEntry, CacheKey
    from anaheadless.opengl.probe import RunningProbe

    StartedProbe = tuple[Candidate, RunningProbe]
    EnvironmentWith = Callable[..., Mapping[str, str]]  # see environment.build()


class Question(Record):
    """What the search for OpenGL depends on.

    :param environ: what the target inherits.
    :param server: the path of the X server.
    :param python: the interpreter that draws.
    :param in_process: the target is this very process: what is preloaded in others, it loads by itself.
    """

    options: Options
    environ: Mapping[str, str]
    host: HostCapabilities
    server: str
    python: str
    in_process: bool


def cache_key(question: Question) -> CacheKey | None:
    """Return where the cache has the answer, or None where it can't be cached."""
    from anaheadless.opengl import cache  # only here: while the keeper starts, there is time for it

    if _is_script(question.python):  # as pyenv's are: they alone know which interpreter they start
        return None
    options, host = question.options, question.host
    asked = (options.screen, options.dpi, options.opengl, options.server_args, question.in_process, host)
    files = _opengl_files(host, question.environ, options.opengl)
    return cache.key_for(question.environ, (question.server, question.python), files, *asked)


def cached(question: Question, key: CacheKey | None) -> CacheEntry | None:
    """Return the answer that the cache has, if there is one and it may be used."""
    from anaheadless.opengl import cache

    return cache.load(key) if key is not None and not question.options.fresh else None


def is_lasting(selection: Selection | None) -> bool:
    """Return whether a selection will hold for later runs."""
    return selection is None or (selection.chosen is not None and not selection.chosen.warning)


def store(
    question: Question, key: CacheKey, accepts_early_clients: bool, glx: bool, selection: Selection | None
) -> None:
    """Store the answer for later runs."""
    from anaheadless.opengl import cache

    try:
        cache.store(key, cache.CacheEntry(accepts_early_clients, glx, selection))
    except OSError as error:
        if question.options.verbose:
            print_stderr(f"anaheadless: can't keep the result of the OpenGL test: {error}")


@contextmanager
def first_probe(question: Question, environment_with: EnvironmentWith) -> Iterator[StartedProbe | None]:
    """Start the probe of the first candidate, if there is one: its interpreter starts while the X server does.

    At the end of the context, the probe has ended.
    """
    request = question.options.opengl
    first = next(candidates(question.host, request), None) if request is not None else None
    if first is None:
        yield None
        return
    from anaheadless.opengl.probe import start_probe  # only here: subprocess is slow to import

    tried = _as_tried(question, first)
    limit = question.options.start_timeout + question.options.probe_timeout
    with start_probe(tried, question.python, environment_with(opengl=tried), limit) as probe:
        yield first, probe


def select(question: Question, environment_with: EnvironmentWith, started: StartedProbe | None) -> Selection | None:
    """Probe candidates on a server that is ready, and choose; None where no OpenGL was asked for.

    :param started: the candidate whose probe has been started, and the probe.
    """
    options = question.options
    if options.opengl is None:
        return None
    deadline = time.monotonic() + 3 * options.probe_timeout

    def probe(candidate: Candidate) -> ProbeResult:
        from anaheadless.opengl.probe import run_probe

        limit = min(options.probe_timeout, deadline - time.monotonic())
        if started is not None and candidate == started[0]:
            return started[1].result(limit)
        tried = _as_tried(question, candidate)
        return run_probe(tried, question.python, environment_with(opengl=tried), limit)

    def workarounds() -> hardware.Workarounds:
        return hardware.detect_workarounds(question.environ, running=question.in_process)

    return choose(question.host, options.opengl, probe, workarounds)


def _as_tried(question: Question, candidate: Candidate) -> Candidate:
    return in_process(candidate) if question.in_process else candidate


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:  # it can be executed all the same
        return False


def _opengl_files(host: HostCapabilities, environ: Mapping[str, str], request: OpenGLRequest | None) -> Iterator[str]:
    """Yield what else OpenGL depends on: VirtualGL may render on another X server, and needs its cookie for that."""
    if host.virtualgl is not None and request is not None:
        yield from authority.authority_files(environ)
        for display in request.vgl_display, environ.get("VGL_DISPLAY"), host.outer_display:
            number = (display or "").rpartition(":")[2].partition(".")[0]
            if number.isdecimal():
                yield socket_path(int(number))  # a new one for each server
