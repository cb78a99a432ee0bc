"""Where the items of a map are run: what an engine is asked for, and what it tells.

There are two: :mod:`anaheadless.batch.local`, and :mod:`anaheadless.batch.cluster.engine`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from selectors import BaseSelector
from typing import Protocol, Union

from anaheadless.batch.items import Item
from anaheadless.batch.journal import Result


@dataclass(frozen=True)
class Plan:
    """How a map is to go.

    :param slots: how many items run at a time, at most.
    :param own_display: whether each item gets a session of its own.
    :param timeout: seconds that an item may run, or 0 for no limit; *grace*: then, between SIGTERM and SIGKILL.
    :param retries: how often an item that has failed is run again.
    :param lost_retries: likewise, at least, of one that was lost with its slot.
    :param max_failures: how many items may fail before the map ends, or None for all of them.
    :param private_tmp: whether each item gets a TMPDIR of its own, which is removed afterwards.
    :param folder: where what the items say is kept.
    :param expected: patterns of the files that an item is to make.
    :param blank_fails: whether an expected picture of one colour is a failure.
    :param lifeline: a descriptor that shows, by its end, that nobody wants the results any more; or None.
    """

    slots: int
    folder: str
    own_display: bool = False
    timeout: float = 0.0
    grace: float = 10.0
    retries: int = 0
    lost_retries: int = 0
    max_failures: int | None = None
    private_tmp: bool = False
    expected: tuple[str, ...] = ()
    blank_fails: bool = False
    lifeline: int | None = None


@dataclass(frozen=True)
class Started:
    """An item runs: in the slot with that number, for the time that *tries* says."""

    item: Item
    slot: int
    tries: int


@dataclass(frozen=True)
class GivenBack:
    """An item was not run, or counts as if it had not been; *tries*: which time that would have been."""

    item: Item
    tries: int


Tell = Callable[[Union[Started, GivenBack, Result]], None]


class Engine(Protocol):
    """What runs items, some at a time.

    It waits for nothing: it has what it waits for called by a selector, and tells what has happened by a function.
    """

    def has_room(self) -> bool:
        """Return whether it takes another item now."""

    def is_busy(self) -> bool:
        """Return whether there are items that it has not yet told the end of."""

    def give(self, item: Item, tries: int) -> None:
        """Have it run an item; :raises LaunchError: nothing can be run."""

    def due(self) -> float:
        """Return until when it has to be called again, by the monotonic clock."""

    def attend(self) -> None:
        """Have it see to what is due; :raises LaunchError: nothing can be run any more."""

    def end_items(self, *, kill: bool) -> None:
        """Have it end what it runs, and give it back."""

    def close(self) -> None:
        """Have it end all that it has started."""


MakeEngine = Callable[[BaseSelector, Tell], Engine]
