"""anaheadless.map: a script or a function for many inputs, from Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anaheadless.api.mapping import MapResult
from anaheadless.api.mapping import map as anaheadless_map
from anaheadless.errors import LaunchError
from tests.support.helpers import wait_until
from tests.support.maps import Maps


@pytest.fixture
def here(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> Maps:
    monkeypatch.chdir(maps.folder)
    monkeypatch.setenv("PATH", maps.environ["PATH"])
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    return maps


def found(program: Any, inputs: Any, **options: Any) -> dict[Any, MapResult]:
    return {str(each.input): each for each in anaheadless_map(program, inputs, gl="none", **options)}


def describe(value: str, *rest: str) -> tuple[str, ...]:
    print("drawing", value)
    if value == "bad":
        raise ValueError("no such brain")
    return (value, *rest, os.environ["DISPLAY"])


def give_a_generator(value: str) -> Any:
    return (each for each in value)


def test_a_function_gives_its_values(here: Maps) -> None:
    results = found(describe, ["a b", Path("c/d"), "bad", os.fsdecode(b"\xff\n")], jobs=2)
    assert {name: each.result for name, each in results.items()} == {
        "a b": "ok",
        "c/d": "ok",
        "bad": "failed",
        "\udcff\n": "ok",
    }
    assert results["c/d"].input == Path("c/d")
    assert results["a b"].value[0] == "a b"
    assert results["a b"].value[1].startswith(":")
    assert results["a b"].stdout == "drawing a b\n"
    assert (results["bad"].ok, results["bad"].value, results["bad"].status) == (False, None, 1)
    assert "ValueError: no such brain" in results["bad"].stderr
    assert list(here.folder.iterdir()) == []


def test_a_script_has_words_of_its_own(here: Maps) -> None:
    script = here.script("import sys; print(sys.argv[1:]); sys.exit(int(sys.argv[1]))")
    results = found([script, "{}", "{#}"], ["0", "3"], preload=["json"], screen="640x480")
    assert results["0"].stdout == "['0', '1']\n"
    assert (results["3"].result, results["3"].status) == ("failed", 3)
    assert found(script, ["0"])["0"].ok


def test_mappings_go_by_their_keys(here: Maps) -> None:
    rows = [{"id": 1, "note": "x,\n'"}, {"note": "y", "id": 2}]
    results = list(anaheadless_map(describe, rows, gl="none", jobs=1))
    assert [each.value[:2] for each in results] == [("1", "x,\n'"), ("2", "y")]
    assert [each.input for each in results] == rows


def test_a_journal_makes_it_resume(here: Maps) -> None:
    script = here.script("import sys; sys.exit(sys.argv[1] == 'bad')")
    assert set(found(script, ["a", "bad"], journal="j.jsonl")) == {"a", "bad"}
    assert set(found(script, ["a", "bad"], journal="j.jsonl")) == {"bad"}
    assert set(found(script, ["a", "bad"], journal="j.jsonl", resume=False)) == {"a", "bad"}


def test_what_hangs_is_ended_and_shown(here: Maps) -> None:
    result = found(here.script("import time; time.sleep(1000)"), ["a"], timeout=1)["a"]
    assert result.result == "timeout"
    assert result.screenshot is not None
    assert result.screenshot.startswith(b"\x89PNG")


def test_who_stops_asking_ends_what_runs(here: Maps) -> None:
    script = here.script("import sys, time; time.sleep(0 if sys.argv[1] == 'a' else 1000)")
    results = anaheadless_map(script, ["a", "b"], gl="none", jobs=2)
    assert next(results).ok
    results.close()  # type: ignore[attr-defined]
    assert here.left() == []


def test_a_program_that_dies_leaves_nothing(here: Maps) -> None:
    script = here.script("import os, time; open('running', 'w').write('1'); time.sleep(1000)", "item.py")
    code = f"from anaheadless.api.mapping import map\nlist(map({script!r}, ['a'], gl='none'))"
    with subprocess.Popen([sys.executable, "-c", code], env=here.environ) as process:
        here.wait_for("running")
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not here.left(), "nothing is left")


def test_a_function_of_the_main_script_is_found(here: Maps) -> None:
    script = here.script("""
from anaheadless.api.mapping import map

def double(value):
    return value * 2

if __name__ == "__main__":
    print([each.value for each in map(double, ["a"], gl="none")])
""")
    output = subprocess.run([sys.executable, script], env=here.environ, capture_output=True, text=True, check=True)
    assert output.stdout == "['aa']\n"


def test_a_value_that_can_not_be_sent_is_a_failure(here: Maps) -> None:
    result = found(give_a_generator, ["a"])["a"]
    assert result.result == "failed"
    assert "cannot pickle 'generator' object" in result.stderr


@pytest.mark.parametrize(
    ("program", "inputs", "options", "error"),
    [
        (lambda value: None, ["a"], {}, ValueError),
        (describe, [{"x": 1}, "a"], {}, ValueError),
        (describe, [{"x": 1}, {"y": 1}], {}, ValueError),
        (describe, ["a\0"], {}, ValueError),
        (describe, [""], {}, ValueError),
        (describe, ["a"], {"timeout": -1}, ValueError),
        (describe, ["a"], {"screen": "huge"}, ValueError),
        (describe, ["a"], {"nonsense": 1}, TypeError),
        (3, ["a"], {}, TypeError),
    ],
)
def test_what_makes_no_sense_is_refused(program: Any, inputs: Any, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(anaheadless_map(program, inputs, **options))


def test_what_can_not_be_run_is_said(here: Maps) -> None:
    with pytest.raises(LaunchError, match=r"script not found: nowhere\.py") as caught:
        found("nowhere.py", ["a"])
    assert caught.value.exit_code == 127
    with pytest.raises(LaunchError, match="the X server") as caught:
        found(describe, ["a"], server_args=["-nonsense"])
    assert "Unrecognized option: -nonsense" in str(caught.value)
    assert found(describe, []) == {}
