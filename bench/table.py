"""Tables of the results in reStructuredText, which is also readable as plain text; pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contenders import REFERENCE, SERVER_REFERENCE
from bench.results import Ending, Memory, Results, Scenario, Spread, Timed, known, ratios, spread

BEGIN, END = ".. What follows is written by `make bench`.\n", ".. That was written by `make bench`.\n"


def replaced(page: str, text: str) -> str:
    """Replace what is between the two comments of *page* with *text*."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError("the page has no place for tables")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def tables(results: Results) -> str:
    sections = [("The machine", simple_table(("What", "Which"), list(results["machine"].items())))]
    for scenario in results["scenarios"].values():
        sections.append((scenario["title"], _timed(scenario)))
    if results["ends"]:
        sections.append(("Until nothing is left", _ends(results["ends"])))
    if results["memory"]:
        sections.append(("Memory, in MiB", _memory(results["memory"])))
    return "\n".join(f"{title}\n{'-' * len(title)}\n\n{body}" for title, body in sections)


def simple_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a simple table; the first cell of a row must not be empty."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (header, *rows)]
    return "\n".join((rule, lines[0], rule, *lines[1:], rule)) + "\n"


def _timed(scenario: Scenario) -> str:
    contenders = scenario["contenders"]
    references = [contenders[name] for name in (REFERENCE, SERVER_REFERENCE) if name in contenders]
    reference = references[0] if references and scenario["compared"] else None
    header = ("Run by", "Median", *(("Ratio", "Quartiles") if reference else ()), "Succeeded", "Left running")
    table = simple_table(header, [_timed_row(name, timed, scenario, reference) for name, timed in contenders.items()])
    why = "".join(
        f"- ``{name}``, {count} times: ``{reason.replace('`', chr(39))}``\n"
        for name, timed in contenders.items()
        for reason, count in timed["failures"].items()
    )
    return table + (f"\nWhat went wrong:\n\n{why}" if why else "")


def _timed_row(name: str, timed: Timed, scenario: Scenario, reference: Timed | None) -> tuple[str, ...]:
    ratio = ratios(timed, reference) if reference else None
    seconds = known(timed["seconds"])
    succeeded, launches = sum(timed["succeeded"]), scenario["launches"] * len(timed["succeeded"])
    return (
        f"``{name}``",
        formatted(spread(seconds)) if seconds else f"({formatted(spread(timed['wall']))})",
        *((f"{ratio.median:.2f}", f"{ratio.low:.2f}-{ratio.high:.2f}") if ratio else ("", "") if reference else ()),
        f"{succeeded} of {launches}",
        _counts(timed["left"]),
    )


def formatted(seconds: Spread | None) -> str:
    """Write the median, in a unit that suits it."""
    if seconds is None:
        return ""
    return f"{seconds.median:.1f} s" if seconds.median >= 1 else f"{1000 * seconds.median:.0f} ms"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count} times" for name, count in sorted(counts.items()))


def _ends(ends: dict[str, dict[str, Ending]]) -> str:
    header = ("Run by", *(ending.capitalize() for ending in next(iter(ends.values()))))
    return simple_table(header, [(f"``{name}``", *map(_ending, endings.values())) for name, endings in ends.items()])


def _ending(ending: Ending) -> str:
    if not ending["left"]:
        seconds = known(ending["seconds"])
        return f"{formatted(spread(seconds))}, at most {formatted(spread([max(seconds)]))}"
    often = max(ending["left"].values())
    return f"{', '.join(sorted(ending['left']))} ({often} of {len(ending['seconds'])})"


def _memory(memory: dict[str, Memory]) -> str:
    def row(name: str, found: Memory) -> tuple[str, ...]:
        values = (spread(found["server"]), spread(found["beside"]), spread(found["target"]))
        return (f"``{name}``", *(f"{value.median:.1f}" if value else "" for value in values))

    return simple_table(
        ("Run by", "X server", "Beside it", "The target"), [row(name, found) for name, found in memory.items()]
    )
