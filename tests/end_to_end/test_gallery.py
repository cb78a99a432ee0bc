"""The gallery of brains: a map that is killed half-way, and resumes."""

from __future__ import annotations

import json

from tests.support.helpers import CHECKOUT, run_python
from tests.support.maps import Maps


def test_a_gallery_that_is_killed_half_way_is_complete_in_the_end(maps: Maps) -> None:
    count = 6
    output = run_python(
        CHECKOUT / "examples" / "gallery.py", str(count), "gallery", cwd=maps.folder, env=maps.environ, timeout=150
    )
    assert output.returncode == 0, output
    assert "killed when" in output.stdout
    pictures = {path.stem: path.read_bytes() for path in (maps.folder / "gallery").glob("*.png")}
    assert set(pictures) == set(map(str, range(1, count + 1)))
    assert len(set(pictures.values())) == count
    # The second one has less to do.
    lines = map(json.loads, (maps.folder / "gallery" / "gallery.jsonl").read_text().splitlines())
    first, second = [line["left"] for line in lines if line["event"] == "map"]
    assert (first, second <= count - count // 2) == (count, True)
    # A picture may have been made just before the kill, which then has cost it its line in the journal.
    done = maps.journal("gallery/gallery.jsonl")
    assert {line["result"] for line in done.values()} == {"ok"}
    assert (maps.folder / "gallery" / "report.html").read_text().count("<img") == len(done)
