"""What only ``anaheadless map`` can be asked for and needs no other check than that of its value; see :data:`TABLE`."""

from __future__ import annotations

from anaheadless.options import FLAG, LIST, Kind, Option

MOST = 1 << 20
DISPLAYS = ("shared", "own")


def _parse_count(text: str, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= MOST):
        raise ValueError(f"{text!r} is not a whole number from {least} to {MOST}.")
    return int(text)


def _parse_count_or_zero(text: str) -> int:
    return _parse_count(text, 0)


def _parse_display(text: str) -> str:
    if text not in DISPLAYS:
        raise ValueError(f"{text!r} is not 'shared' or 'own'.")
    return text


COUNT, COUNT_OR_ZERO = Kind("N", _parse_count), Kind("N", _parse_count_or_zero)
DISPLAY = Kind("|".join(DISPLAYS), _parse_display, choices=DISPLAYS)
TEXT = Kind("FILE", str)


def _row(name: str, kind: Kind, default: object, meaning: str, *more: str, short: str = "", field: str = "") -> Option:
    metavar, shown_default = (*more, "", "")[:2]
    return Option(
        name, kind, default, "Options", meaning, ("map",),
        python_name=field, metavar=metavar, shown_default=shown_default, short=short,
    )  # fmt: skip


# fmt: off
# They come from the command line alone: each is about one map, and not about all runs of a script or on a machine.
MAP_TABLE = (
    _row("command", FLAG, False, "Run any program, not a Python script.", field="any_program"),
    _row("call", TEXT, None, "Call a function for each item, in processes that stay.", "MODULE:FUNCTION"),
    _row("preload", LIST, (), "Import it once, and fork for each item; repeatable.", "MODULE"),
    _row("inputs", TEXT, None, "An item for each line, or each row of a .csv or .tsv file.", "FILE|-", field="file"),
    _row("null", FLAG, False, "The inputs are separated by NUL bytes.", short="0"),
    _row("glob", LIST, (), "An item for each file that matches.", "PATTERN", field="patterns"),
    _row("jobs", COUNT, None, "Run N items at a time.", "", "the CPUs there are", short="j"),
    _row("display", DISPLAY, "shared", "Run items one after another on the same displays, or each on its own."),
    _row("private-tmp", FLAG, False, "Give each item a TMPDIR, and remove it afterwards."),
    _row("recycle", COUNT, None, "With --call: start a new process after N items."),
    _row("max-memory", COUNT, None, "With --call: start a new process above this.", "MIB"),
    _row("journal", TEXT, None, "Where to write what came of each item.", "", "anaheadless-map.jsonl"),
    _row("expect", LIST, (), "A file that an item makes, which shows that it is done.", "FILE"),
    _row("blank-is-failure", FLAG, False, "Let an expected picture of one colour be a failure."),
    _row("fsync", FLAG, False, "Wait for the disk after each line of the journal."),
    _row("retries", COUNT_OR_ZERO, 0, "Run a failed item up to N times more."),
    _row("max-failures", COUNT, None, "Stop when N items have failed."),
    _row("fail-fast", FLAG, False, "Stop when an item has failed."),
    _row("quiet", FLAG, False, "Do not print what the items print; it is beside the journal.", short="q"),
    _row("json", FLAG, False, "Print a line of JSON for each event.", field="as_json"),
    _row("report", TEXT, None, "Write a page with the pictures, what came of each item, and why.", "FILE.html"),
    _row("dry-run", FLAG, False, "Print the commands and run nothing."),
)
# fmt: on
