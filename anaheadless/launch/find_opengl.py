"""The search for a session's OpenGL, most of which goes on while its server starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice

from anaheadless.errors import print_stderr
from anaheadless.opengl import hardware
from anaheadless.opengl.candidates import Candidate, ProbeResult, Selection, candidates, choose, in_process
from anaheadless.opengl.hardware import HostCapabilities
from anaheadless.options import OpenGLRequest, Options
from anaheadless.session.session import Session
from anaheadless.x11 import authority
from anaheadless.x11.display_number import socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self

    from anaheadless.opengl.cache import CacheEntry, CacheKey
    from anaheadless.opengl.probe import RunningProbe


class Search:
    """Looks for what an earlier run has proved; or proves it, and remembers that.

    As a context, it leaves no proof running.

    :param environ: what the target is to inherit.
    :param known: what this machine has.
    :param server: the path of the X server.
    :param python: the interpreter that is to draw.
    :param environment_with: the environment that the target would get with a candidate.
    :param running: the target is this very process: what is preloaded in others, it will load by itself.
    """

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        known: HostCapabilities,
        server: str,
        python: str,
        environment_with: Callable[[Candidate, Session], dict[str, str]],
        running: bool,
    ) -> None:
        self._options, self._environ, self._known, self._running = options, environ, known, running
        self._server, self._python, self._environment_with = server, python, environment_with
        self._place: CacheKey | None = None
        self._remembered: CacheEntry | None = None
        self._begun: list[tuple[Candidate, RunningProbe]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def source(self) -> str:
        """The file that the verdict was found in, or nothing: it has been proved."""
        return self._place.path if self._place is not None and self._remembered is not None else ""

    def known_glx(self, eager: bool) -> bool | None:
        """See what is remembered.

        :param eager: whether not to wait for a server that is known to start.
        :return: whether it has GLX; None: it has to be waited for.
        """
        from anaheadless.opengl import cache  # only here: while the keeper starts, there is time for it

        if _is_script(self._python):  # as pyenv's are: which interpreter it starts, it alone knows
            return None
        options, known = self._options, self._known
        asked = (options.screen, options.dpi, options.opengl, options.server_args, self._running, known)
        files = _opengl_files(known, self._environ, options.opengl)
        self._place = cache.key_for(self._environ, (self._server, self._python), files, *asked)
        if self._place is not None and not options.fresh:
            self._remembered = cache.load(self._place)
        found = self._remembered
        if found is None and options.opengl is not None:
            import anaheadless.opengl.probe  # noqa: F401  # no small import; it is needed when the keeper has started
        return found.glx if eager and found is not None and found.accepts_early_clients else None

    def begin(self, started: Session) -> None:
        """Have the first candidate's interpreter start while the server does; it waits for that to draw."""
        self._stack.close()  # that of a server that could not be had
        if self._options.opengl is not None and self._remembered is None:
            from anaheadless.opengl.probe import start_probe  # only here: subprocess is no small import

            limit = self._options.start_timeout + self._options.probe_timeout
            for candidate in islice(candidates(self._known, self._options.opengl), 1):
                tried = self._as_tried(candidate)
                drawing = start_probe(tried, self._python, self._environment_with(tried, started), limit)
                self._begun = [(candidate, self._stack.enter_context(drawing))]

    def selection(self, started: Session) -> Selection | None:
        """The verdict, or None where no OpenGL was asked for; proved on a server that is ready."""
        if self._remembered is not None:
            return self._remembered.selection
        selection = None
        if self._options.opengl is not None:
            deadline = time.monotonic() + 3 * self._options.probe_timeout
            selection = choose(
                self._known,
                self._options.opengl,
                lambda candidate: self._probe(candidate, started, deadline),
                lambda: hardware.detect_workarounds(self._environ, running=self._running),
            )
        # Of a film, the keeper has said more than that the server is ready, which a later run would be told.
        film = self._options.limits.recording
        lasts = selection is None or (selection.chosen is not None and not selection.chosen.warning)
        if self._place is not None and not film and lasts:
            self._remember(self._place, started, selection)
        return selection

    def _probe(self, candidate: Candidate, started: Session, deadline: float) -> ProbeResult:
        from anaheadless.opengl.probe import run_probe

        limit = min(self._options.probe_timeout, deadline - time.monotonic())
        for first, trial in self._begun:
            if first == candidate:
                return trial.result(limit)
        tried = self._as_tried(candidate)
        return run_probe(tried, self._python, self._environment_with(tried, started), limit)

    def _as_tried(self, candidate: Candidate) -> Candidate:
        return in_process(candidate) if self._running else candidate

    def _remember(self, place: CacheKey, started: Session, selection: Selection | None) -> None:
        from anaheadless.opengl import cache

        try:
            cache.store(place, cache.CacheEntry(started.accepts_early_clients(), started.glx, selection))
        except OSError as error:
            if self._options.verbose:
                print_stderr(f"anaheadless: can't keep the result of the OpenGL test: {error}")


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:  # it can be executed all the same
        return False


def _opengl_files(known: HostCapabilities, environ: Mapping[str, str], request: OpenGLRequest | None) -> Iterator[str]:
    """What else OpenGL depends on: VirtualGL may render on another X server, and needs its cookie for that."""
    if known.virtualgl is not None and request is not None:
        yield from authority.authority_files(environ)
        for display in request.vgl_display, environ.get("VGL_DISPLAY"), known.outer_display:
            number = (display or "").rpartition(":")[2].partition(".")[0]
            if number.isdecimal():
                yield socket_path(int(number))  # a new one for each server
