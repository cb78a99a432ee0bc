"""A chart of the results, as SVG: a bar for each ratio, with its quartiles; pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bench.contenders import REFERENCE
from bench.results import Results, Spread, known, ratios, spread
from bench.table import formatted

WIDTH, LEFT, RIGHT = 860, 260, 700  # the whole width; the left and right end of the bars
ROW, BAR, HEADING, TOP, BOTTOM = 24, 14, 40, 62, 44
MOST = 4  # a longer bar ends in an arrow: it would make all others too short to tell apart
SCALE = (RIGHT - LEFT) / MOST
FONTS = "DejaVu Sans, Verdana, sans-serif"
INK, PALE, OURS, THEIRS = "#24292f", "#d8dee4", "#2f6fb5", "#a9b4bf"


def chart(results: Results) -> str:
    """Draw a panel for each scenario whose times are compared."""
    panels = [
        (
            scenario["title"],
            [
                (name, ratios(timed, scenario["contenders"][REFERENCE]), spread(known(timed["seconds"])))
                for name, timed in scenario["contenders"].items()
            ],
        )
        for scenario in results["scenarios"].values()
        if scenario["compared"] and REFERENCE in scenario["contenders"]
    ]
    height = TOP + sum(HEADING + ROW * len(rows) for _, rows in panels) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="{FONTS}">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(20, 28, f"Time, as a multiple of what {REFERENCE} takes", size=17, bold=True),
        _text(20, 48, "Shorter is faster. Bars are medians, the thin lines quartiles; on the right, ratio and time."),
    ]
    y = TOP
    for title, rows in panels:
        lines.append(_text(20, y + 27, title, bold=True))
        y += HEADING
        lines += [
            _line(_x(value), y - 4, _x(value), y + ROW * len(rows) + 4, INK if value == 1 else PALE)
            for value in range(MOST + 1)
        ]
        for name, ratio, seconds in rows:
            lines += _row(name, ratio, seconds, y + ROW / 2)
            y += ROW
    lines += [_text(_x(value), y + 22, f"{value} x", anchor="middle") for value in range(MOST + 1)]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _x(ratio: float) -> float:
    return LEFT + min(ratio, MOST) * SCALE


def _row(name: str, ratio: Spread | None, seconds: Spread | None, middle: float) -> Iterator[str]:
    yield _text(LEFT - 10, middle + 4.5, name, anchor="end")
    if ratio is None:
        yield _text(LEFT + 8, middle + 4.5, "did not succeed")
        return
    colour = OURS if name.startswith("anaheadless") else THEIRS
    top, width = middle - BAR / 2, _x(ratio.median) - LEFT
    yield f'<rect x="{LEFT}" y="{top:.1f}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
    if ratio.median > MOST:
        yield f'<path d="M {RIGHT} {top - 3:.1f} v {BAR + 6} l 12 {-BAR / 2 - 3:.1f} z" fill="{colour}"/>'
    elif ratio.high > ratio.low:
        yield _line(_x(ratio.low), middle, _x(ratio.high), middle, INK)
        for end in ratio.low, ratio.high:
            if end <= MOST:
                yield _line(_x(end), middle - 4, _x(end), middle + 4, INK)
    yield _text(RIGHT + 74, middle + 4.5, f"{ratio.median:.2f} x", anchor="end")
    yield _text(WIDTH - 14, middle + 4.5, formatted(seconds), anchor="end")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, size: int = 13, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{INK}"{weight}>'
        f"{escape(text)}</text>"
    )
