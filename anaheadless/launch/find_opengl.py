"""The search for a session's OpenGL, most of which goes on while its server starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice

from anaheadless.errors import say
from anaheadless.opengl import hardware
from anaheadless.opengl.candidates import Candidate, Proof, Verdict, candidates, choose, in_process
from anaheadless.opengl.hardware import Facts
from anaheadless.options import Options, Wishes
from anaheadless.session.session import Session
from anaheadless.x11 import authority
from anaheadless.x11.display_number import socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self

    from anaheadless.opengl.cache import Place, Remembered
    from anaheadless.opengl.probe import Trial


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
        known: Facts,
        server: str,
        python: str,
        environment_with: Callable[[Candidate, Session], dict[str, str]],
        running: bool,
    ) -> None:
        self._options, self._environ, self._known, self._running = options, environ, known, running
        self._server, self._python, self._environment_with = server, python, environment_with
        self._place: Place | None = None
        self._remembered: Remembered | None = None
        self._begun: list[tuple[Candidate, Trial]] = []
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
        asked = (options.screen, options.dpi, options.wishes, options.server_args, self._running, known)
        files = _opengl_files(known, self._environ, options.wishes)
        self._place = cache.place(self._environ, (self._server, self._python), files, *asked)
        if self._place is not None and not options.fresh:
            self._remembered = cache.recall(self._place)
        found = self._remembered
        if found is None and options.wishes is not None:
            import anaheadless.opengl.probe  # noqa: F401  # no small import; it is needed when the keeper has started
        return found.glx if eager and found is not None and found.is_prompt else None

    def begin(self, started: Session) -> None:
        """Have the first candidate's interpreter start while the server does; it waits for that to draw."""
        self._stack.close()  # that of a server that could not be had
        if self._options.wishes is not None and self._remembered is None:
            from anaheadless.opengl.probe import trial  # only here: subprocess is no small import

            limit = self._options.start_timeout + self._options.probe_timeout
            for candidate in islice(candidates(self._known, self._options.wishes), 1):
                tried = self._as_tried(candidate)
                drawing = trial(tried, self._python, self._environment_with(tried, started), limit)
                self._begun = [(candidate, self._stack.enter_context(drawing))]

    def verdict(self, started: Session) -> Verdict | None:
        """The verdict, or None where no OpenGL was asked for; proved on a server that is ready."""
        if self._remembered is not None:
            return self._remembered.verdict
        verdict = None
        if self._options.wishes is not None:
            deadline = time.monotonic() + 3 * self._options.probe_timeout
            verdict = choose(
                self._known,
                self._options.wishes,
                lambda candidate: self._prove(candidate, started, deadline),
                lambda: hardware.gather_repairs(self._environ, running=self._running),
            )
        # Of a film, the keeper has said more than that the server is ready, which a later run would be told.
        film = self._options.watch.film
        lasts = verdict is None or (verdict.chosen is not None and not verdict.chosen.warning)
        if self._place is not None and not film and lasts:
            self._remember(self._place, started, verdict)
        return verdict

    def _prove(self, candidate: Candidate, started: Session, deadline: float) -> Proof:
        from anaheadless.opengl.probe import prove

        limit = min(self._options.probe_timeout, deadline - time.monotonic())
        for first, trial in self._begun:
            if first == candidate:
                return trial.result(limit)
        tried = self._as_tried(candidate)
        return prove(tried, self._python, self._environment_with(tried, started), limit)

    def _as_tried(self, candidate: Candidate) -> Candidate:
        return in_process(candidate) if self._running else candidate

    def _remember(self, place: Place, started: Session, verdict: Verdict | None) -> None:
        from anaheadless.opengl import cache

        try:
            cache.remember(place, cache.Remembered(started.is_prompt(), started.glx, verdict))
        except OSError as error:
            if self._options.verbose:
                say(f"anaheadless: can't keep the result of the OpenGL test: {error}")


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:  # it can be executed all the same
        return False


def _opengl_files(known: Facts, environ: Mapping[str, str], wishes: Wishes | None) -> Iterator[str]:
    """What else OpenGL depends on: VirtualGL may render on another X server, and needs its cookie for that."""
    if known.virtualgl is not None and wishes is not None:
        yield from authority.authority_files(environ)
        for display in wishes.vgl_display, environ.get("VGL_DISPLAY"), known.outer_display:
            number = (display or "").rpartition(":")[2].partition(".")[0]
            if number.isdecimal():
                yield socket_path(int(number))  # a new one for each server
