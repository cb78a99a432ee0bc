"""A page about a map, in one file: its pictures, what came of each item, and why."""

from __future__ import annotations

import html
import os
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

from anaheadless.batch import blank, expectations, output, thumbnails
from anaheadless.batch.items import Item
from anaheadless.batch.journal import OK, Contents, Result
from anaheadless.errors import FAILED, LaunchError, printable

TAIL_BYTES, TAIL_LINES = 1 << 14, 20
BARS = 24


def write(path: str, contents: Contents, expected: Sequence[str]) -> None:
    """Write the report about what a journal holds.

    :param expected: patterns of the files that an item makes: a map that ran without them has not noted these.
    :raises LaunchError: it can't be written.
    """
    columns = contents.maps[-1].get("columns", ()) if contents.maps else ()
    results = [
        replace(result, outputs=expectations.check(expected, Item(result.item, result.input, result.id), columns)[0])
        for result in sorted(contents.results.values(), key=lambda result: result.item)
    ]
    pictures = thumbnails.make([name for name in map(picture_of, results) if name is not None])
    tails = {result.id: _tail(result) for result in results if result.result != OK}
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(new, "w", encoding="utf-8") as file:
            file.write(page(contents, results, pictures, tails, os.path.dirname(path)))
        os.replace(new, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(new)
        raise LaunchError(
            f"can't write the report: {path}: {error.strerror}",
            hint="Give another --report FILE.html.",
            exit_code=FAILED,
        ) from error


def picture_of(result: Result) -> str | None:
    """Choose the picture that shows an item: the first one that it has made, or its display when its time was up."""
    made = [path for path in result.outputs if blank.is_picture(path)]
    return result.screenshot if result.result != OK and result.screenshot else next(iter(made), None)


def _tail(result: Result) -> str:
    """Read the last lines that an item has printed, of standard error if there are any."""
    path = result.stderr or result.stdout
    if path is None:
        return ""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().decode(errors="backslashreplace").splitlines()
    except OSError as error:
        return f"({path}: {error.strerror})"
    return "\n".join(lines[-TAIL_LINES:])


def page(
    contents: Contents, results: Sequence[Result], pictures: Mapping[str, str], tails: Mapping[str, str], folder: str
) -> str:
    """Make the page.

    :param pictures: thumbnails, by the paths of their pictures.
    :param tails: the last lines of what failed items have printed, by their IDs.
    :param folder: where the page is to be: from there, its links lead to the pictures.
    """
    counts = Counter(result.result for result in results)
    command = contents.maps[-1].get("command") if contents.maps else None
    title = " ".join(map(str, command)) if isinstance(command, list) else "anaheadless map"
    slowest = max((result.seconds for result in results), default=0.0)
    buttons = "".join(
        f'<button data-show="{_text(name)}">{_text(name)} ({count})</button>'
        for name, count in [("all", len(results)), *sorted(counts.items())]
    )
    ended = max((result.ended for result in results), default=0.0)
    return _PAGE.format(
        title=_text(title),
        summary=_text(output.summary(contents)),
        ended=_text(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ended))),
        buttons=buttons,
        durations=durations([result.seconds for result in results]),
        items="".join(_item(result, pictures, tails.get(result.id, ""), slowest, folder) for result in results),
    )


def _item(result: Result, pictures: Mapping[str, str], tail: str, slowest: float, folder: str) -> str:
    path = picture_of(result)
    url = pictures.get(path or "")
    shown = "" if url is None else f'<img loading="lazy" src="{url}" alt="{_text(path or "")}">'
    if url is not None:
        link = quote(os.fsencode(os.path.relpath(path or "", folder or ".")))
        shown = f'<a href="{_text(link)}">{shown}</a>'
    share = 100 * result.seconds / slowest if slowest else 0
    said = f"<pre>{html.escape(tail)}</pre>" if tail else ""
    why = ""
    if result.result != OK:
        why = f"<details open><summary>{_text(output.describe(result))}</summary>{said}</details>"
    return (
        f'<figure data-result="{_text(result.result)}">{shown}<figcaption>{_text(" ".join(result.input))}'
        f'<span class="time"><i style="width:{share:.0f}%"></i>{result.seconds:.2f} s</span>{why}'
        "</figcaption></figure>\n"
    )


def durations(seconds: Sequence[float]) -> str:
    """Draw how many items took how long, as SVG."""
    if not seconds:
        return ""
    longest = max(seconds) or 1.0
    counts = Counter(min(BARS - 1, int(BARS * each / longest)) for each in seconds)
    most = max(counts.values())
    bars = "".join(
        f'<rect x="{10 * place}" y="{60 - 60 * count / most:.1f}" width="9" height="{60 * count / most:.1f}">'
        f"<title>{count}: {longest * place / BARS:.2f} to {longest * (place + 1) / BARS:.2f} s</title></rect>"
        for place, count in sorted(counts.items())
    )
    words = f"median {statistics.median(seconds):.2f} s, longest {longest:.2f} s"
    return f'<svg viewBox="0 0 {10 * BARS} 60" role="img" aria-label="{words}">{bars}</svg><p>{words}</p>'


def _text(text: str) -> str:
    """Write *text* as HTML; what can't be printed, as escapes."""
    return html.escape(printable(text))


_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif; }}
body {{ margin: 1.5em; }}
h1 {{ font: 600 1.2em ui-monospace, monospace; overflow-wrap: anywhere; }}
button {{ font: inherit; padding: .2em .8em; margin: 0 .4em .4em 0; cursor: pointer; }}
button[aria-pressed=true] {{ outline: 2px solid #3b82f6; }}
svg {{ width: 240px; height: 60px; fill: #3b82f6; display: block; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 1em; margin-top: 1em; }}
figure {{ margin: 0; padding: .5em; border: 1px solid #8886; border-radius: 4px; min-width: 0; }}
figure:not([data-result=ok]) {{ border-color: #dc2626; }}
figure[hidden] {{ display: none; }}
img {{ display: block; max-width: 100%; margin: 0 auto .4em; }}
figcaption {{ overflow-wrap: anywhere; }}
.time {{ display: block; position: relative; color: #888; font-size: .85em; }}
.time i {{ position: absolute; left: 0; bottom: 0; height: 2px; background: #3b82f6; }}
pre {{ overflow: auto; max-height: 20em; font-size: .8em; white-space: pre-wrap; }}
</style>
<h1>{title}</h1>
<p>{summary}; the last one ended at {ended}</p>
{durations}
<nav>{buttons}</nav>
<main>
{items}</main>
<script>
const buttons = [...document.querySelectorAll("[data-show]")];
function show() {{
  const asked = decodeURIComponent(location.hash.slice(1));
  const wanted = buttons.some(each => each.dataset.show === asked) ? asked : "all";
  for (const each of buttons) each.setAttribute("aria-pressed", each.dataset.show === wanted);
  for (const each of document.querySelectorAll("figure"))
    each.hidden = wanted !== "all" && each.dataset.result !== wanted;
}}
for (const each of buttons) each.onclick = () => location.hash = each.dataset.show;
window.onhashchange = show;
show();
</script>
</html>
"""
