"""The benchmark: that it measures, what it makes of its measurements, and that the page shows what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from bench import chart, table
from bench.contenders import HELD, MAP_SCENARIOS, ON_SERVERS, REFERENCE, SCENARIOS
from bench.results import Results, Timed, ratios
from tests.support.helpers import CHECKOUT

RESULTS = CHECKOUT / "bench" / "results.json"
PAGE = CHECKOUT / "docs" / "explanation" / "speed.rst"


def timed(*seconds: float | None) -> Timed:
    return {
        "seconds": list(seconds),
        "wall": [30.0 if value is None else value for value in seconds],
        "succeeded": [int(value is not None) for value in seconds],
        "failures": {"no `display`": seconds.count(None)} if None in seconds else {},
        "left": {},
    }


@pytest.fixture
def results() -> Results:
    """Where the ratio of the medians is not the median of the ratios, and some did not succeed."""
    contenders = {
        REFERENCE: timed(0.1, 0.2, 0.4),
        "anaheadless run <&>": timed(0.2, 0.2, 0.2),
        "fails once": timed(0.3, None, 1.2),
        "fails": timed(None, None, None),
        "very slow": timed(9.0, 9.0, 9.0),
    }
    return {
        "machine": {"Processor": "some, 2 cores"},
        "scenarios": {"one": {"title": "One", "launches": 1, "compared": True, "contenders": contenders}},
        "ends": {
            "clean": {"by itself": {"seconds": [0.01, 0.03, 0.02], "left": {}}},
            "dirty": {"by itself": {"seconds": [0.1, None, None], "left": {"Xvfb": 2, "lock": 1}}},
        },
        "memory": {"one": {"server": [10.0, 30.0, 20.0], "beside": [], "target": [1.0]}},
    }


def test_ratios_are_of_the_same_round(results: Results) -> None:
    contenders = results["scenarios"]["one"]["contenders"]
    reference = contenders[REFERENCE]
    assert ratios(contenders["anaheadless run <&>"], reference) == (0.75, 1.0, 1.5)
    assert ratios(contenders["fails once"], reference) == pytest.approx((3.0, 3.0, 3.0))
    assert ratios(contenders["fails"], reference) is None


def test_tables_show_medians_ratios_and_failures(results: Results) -> None:
    page = publish_doctree(table.tables(results), settings_overrides={"report_level": 2, "halt_level": 2})
    rows = [[cell.astext() for cell in row.findall(nodes.entry)] for row in page.findall(nodes.row)]
    assert ["anaheadless run <&>", "200 ms", "1.00", "0.75-1.50", "3 of 3", ""] in rows
    assert ["fails once", "750 ms", "3.00", "3.00-3.00", "2 of 3", ""] in rows
    assert ["fails", "(30.0 s)", "", "", "0 of 3", ""] in rows
    assert "fails once, 1 times: no 'display'" in page.astext()
    assert ["clean", "20 ms, at most 30 ms"] in rows
    assert ["dirty", "Xvfb, lock (2 of 3)"] in rows
    assert ["one", "20.0", "", "1.0"] in rows


def test_the_chart_shows_every_contender(results: Results) -> None:
    drawn = ElementTree.fromstring(chart.chart(results))
    texts = [element.text for element in drawn.iterfind("{*}text")]
    assert {"One", "anaheadless run <&>", "1.00 x", "200 ms", "did not succeed"} <= set(texts)
    bars = [element for element in drawn.iterfind("{*}rect") if element.get("x")]
    assert len(bars) == 4
    assert all(float(bar.get("x", "")) + float(bar.get("width", "")) <= chart.RIGHT for bar in bars)
    assert len(list(drawn.iterfind("{*}path"))) == 1  # the one that is cut off


def test_the_page_shows_what_was_measured() -> None:
    results: Results = json.loads(RESULTS.read_text())
    assert PAGE.read_text() == table.replaced(PAGE.read_text(), table.tables(results))
    assert (PAGE.parent / "speed.svg").read_text() == chart.chart(results)
    assert results["scenarios"].keys() <= {scenario.name for scenario in (*SCENARIOS, *MAP_SCENARIOS)}


def test_every_program_that_is_measured_is_python() -> None:
    for scenario in SCENARIOS:
        for contender in scenario.contenders:
            compile(contender.program(scenario.work), contender.name, "exec")
    for contender in (*HELD, *ON_SERVERS):
        compile(contender.program("hold"), contender.name, "exec")


def test_a_part_can_be_measured_and_is_not_kept() -> None:
    before = [path.read_bytes() for path in (RESULTS, PAGE)]
    command = [sys.executable, "-m", "bench", "--rounds", "1", "--only", "memory"]
    output = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert output.returncode == 0, output.stderr
    row = next(line.split() for line in output.stdout.splitlines() if line.startswith("``anaheadless run``"))
    assert all(float(size) > 1 for size in row[2:]), row
    assert [path.read_bytes() for path in (RESULTS, PAGE)] == before


def test_nothing_is_left_of_what_leaves_something() -> None:
    """In a process of its own: it becomes the parent of all that loses its own."""
    program = """
import pathlib, sys, tempfile
from bench import processes
processes.adopt_orphans()
with tempfile.TemporaryDirectory() as folder:
    job = processes.Job(("/bin/sh", "-c", "sleep 1000 & sleep 1000 & exit 3"), {}, pathlib.Path(folder))
    print(processes.run_all([job], 1, 30)[1], len(processes.descendants()))
    print(len(processes.end_all([job], set(), patience=0)), processes.descendants())
    job = processes.Job(("/bin/sleep", "1000"), {}, pathlib.Path(folder))
    print(processes.run_all([job], 1, 0.01)[1], processes.descendants())
"""
    output = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert output.stdout == ("['exit status 3: '] 2\n2 []\n['not within 0.01 s'] []\n"), output
