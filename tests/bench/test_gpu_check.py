"""``make gpu-check`` writes one report on the GPUs of a machine; without any, on software."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import gpu_check
from tests.support.helpers import CHECKOUT, run_python


def test_a_machine_without_a_gpu_has_a_report_on_software(tmp_path: Path) -> None:
    words = ("-m", "bench.gpu_check", tmp_path / "new" / "report.txt", "--seconds", "0.1", "--only", "software")
    output = run_python(*words, "--only", "nvidia", cwd=CHECKOUT, timeout=120)
    assert output.returncode == 0, output
    report = (tmp_path / "new" / "report.txt").read_text()
    assert report == output.stdout
    if not Path("/dev/dri").exists() and not Path("/dev/nvidia0").exists():
        assert "No GPU was found" in report
    assert re.search(r"^--gl software +\d+\.\d    1\.00 +\d+\.\d\d  .*llvmpipe", report, re.MULTILINE), report
    assert re.search(r"^--gl nvidia +- +- ", report, re.MULTILINE) or "GeForce" in report
    for heading in "GPUs", "EGL and Vulkan", "Tests of OpenGL", "Other tools":
        assert f"\n{heading}\n-" in report


def test_rates_are_compared_with_software() -> None:
    software = gpu_check.Scene("llvmpipe", 5.0, 2.0)
    line = gpu_check.row("--gpu 0", gpu_check.Scene("Radeon", 500.0, 1.25), software)
    assert line.split() == ["--gpu", "0", "500.0", "100.00", "1.25", "Radeon"]
    failed = gpu_check.row("--gpu 1", gpu_check.Scene("no OpenGL", 0.0, 1.0), software)
    assert failed.split() == ["--gpu", "1", "-", "-", "1.00", "no", "OpenGL"]


def test_two_gpus_draw_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have begun before the first one has ended."""
    gpu = {"usable": True, "label": "GPU", "obstacles": []}
    found = {"devices": [gpu, gpu], "causes": [], "offscreen": [], "candidates": [], "field_tools": []}
    calls: list[str] = []

    def start(*words: str, **_: float) -> str:
        calls.append(f"start {words[-1]}")
        return words[-1]

    def collect(name: str) -> gpu_check.Scene:
        calls.append(f"end {name}")
        return gpu_check.Scene(name, 1.0, 1.0)

    for name, double in ("doctor", lambda: found), ("started", start), ("collected", collect):
        monkeypatch.setattr(gpu_check, name, double)
    lines = list(gpu_check.report(0.1, ["software"]))
    assert calls[-4:] == ["start 0", "start 1", "end 0", "end 1"]
    assert [line.split(",")[0] for line in lines[-2:]] == ["--gpu 0", "--gpu 1"]
