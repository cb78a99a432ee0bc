"""Entry point of ``python -m bench``, which measures and prints tables; a whole run also updates the documentation."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import sysconfig
import time
from pathlib import Path
from tempfile import mkdtemp

from bench import chart, machine, measure, processes, table
from bench.contenders import HELD, MAP_SCENARIOS, MAPPERS, ON_SERVERS, RUN, SCENARIOS
from bench.results import Results

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "explanation" / "speed.rst"
ROUNDS = 21


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure, and print tables; a whole run also updates the documentation."
    )
    names = [*(scenario.name for scenario in (*SCENARIOS, *MAP_SCENARIOS)), "ends", "memory"]
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help="how many rounds (default: %(default)s)"
    )
    parser.add_argument("--only", choices=names, help="take only this measurement")
    options = parser.parse_args()
    whole = options.only is None and options.rounds >= ROUNDS
    absent = [c.needs for s in SCENARIOS for c in s.contenders if not measure.is_there(c)]
    missing = sorted({*absent, *(mapper.needs for mapper in MAPPERS if not measure.is_there(mapper))})
    if missing:
        print(f"not installed here, and not measured: {', '.join(missing)}", file=sys.stderr)
    if whole and (missing or not _is_installed()):
        sys.exit("A whole run needs all contenders, and anaheadless installed as its users have it: use `make bench`.")

    processes.adopt_orphans()
    workspace = measure.Workspace(Path(mkdtemp(prefix="bench-")), processes.existing_display_files())
    begin = time.monotonic()
    try:
        results = measured([options.only] if options.only else names, options.rounds, workspace)
    finally:
        processes.end_all([], workspace.existing_files, patience=0)
        shutil.rmtree(workspace.root)
    text = table.tables(results)
    print(text)
    print(f"in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    if whole:
        (HERE / "results.json").write_text(as_text(results))
        (PAGE.parent / "speed.svg").write_text(chart.chart(results))
        PAGE.write_text(table.replaced(PAGE.read_text(), text))


def as_text(results: Results) -> str:
    """Write *results* as JSON, with the numbers of a list on one line."""
    text = json.dumps(results, indent=1) + "\n"
    return re.sub(r"\[[^\[\]]*\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text)


def measured(names: list[str], rounds: int, workspace: measure.Workspace) -> Results:
    found = {**measure.reported(RUN, "connect", workspace), **measure.reported(RUN, "gl_scene", workspace)}
    results: Results = {"machine": {**machine.description(), **found}, "scenarios": {}, "ends": {}, "memory": {}}
    for scenario in SCENARIOS:
        if scenario.name in names:
            _print_progress(scenario.title)
            results["scenarios"][scenario.name] = {
                "title": scenario.title,
                "launches": scenario.launches,
                "compared": scenario.compared,
                "contenders": measure.timed(scenario, _present(scenario.contenders), rounds, workspace),
            }
    for tasks in MAP_SCENARIOS:
        if tasks.name in names:
            _print_progress(tasks.title)
            results["scenarios"][tasks.name] = {
                "title": tasks.title,
                "launches": tasks.inputs,
                "compared": True,
                "contenders": measure.mapped(tasks, _present(MAPPERS), rounds, workspace),
            }
    if "ends" in names:
        _print_progress("ends")
        results["ends"] = measure.ends(_present(HELD), rounds, workspace)
    if "memory" in names:
        _print_progress("memory")
        results["memory"] = measure.memory(_present((*HELD, *ON_SERVERS)), rounds, workspace)
    return results


def _present(contenders: tuple[measure.Either, ...]) -> list[measure.Either]:
    return [contender for contender in contenders if measure.is_there(contender)]


def _is_installed() -> bool:
    """Tell whether anaheadless is installed, not used from the checkout, and compiled."""
    return any(Path(sysconfig.get_path("purelib"), "anaheadless", "__pycache__").glob("errors.*.pyc"))


def _print_progress(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what} …", file=sys.stderr)


if __name__ == "__main__":
    main()
