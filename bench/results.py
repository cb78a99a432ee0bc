"""The results as they are written to JSON, and their statistics; pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple, TypedDict


class Timed(TypedDict):
    """The results of a contender in a scenario: one number for each round.

    Seconds are None if not all launches of the round succeeded; *wall* has the time of every round.
    """

    seconds: list[float | None]
    wall: list[float]
    succeeded: list[int]
    failures: dict[str, int]
    left: dict[str, int]


class Ending(TypedDict):
    """Seconds until nothing was left, None if something was left; and how often what was left."""

    seconds: list[float | None]
    left: dict[str, int]


class Memory(TypedDict):
    """Memory in MiB of the X server, of other processes beside the target, and of the target."""

    server: list[float]
    beside: list[float]
    target: list[float]


class Scenario(TypedDict):
    title: str
    launches: int
    compared: bool
    contenders: dict[str, Timed]


class Results(TypedDict):
    machine: dict[str, str]
    scenarios: dict[str, Scenario]
    ends: dict[str, dict[str, Ending]]
    memory: dict[str, Memory]


class Spread(NamedTuple):
    """A median, between the quartiles."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    if len(values) < 2:
        return Spread(values[0], values[0], values[0]) if values else None
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def ratios(timed: Timed, reference: Timed) -> Spread | None:
    """Divide the times by those of the reference, round by round."""
    pairs = zip(timed["seconds"], reference["seconds"])
    return spread([mine / other for mine, other in pairs if mine is not None and other is not None])
