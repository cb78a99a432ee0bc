"""What anaheadless makes of the GPUs of this machine, as one report: ``python -m bench.gpu_check [FILE]``.

The report has doctor's findings, each candidate with its scene (scene.py) against software, EGL and Vulkan, and two
GPUs at once, where there are two. It says so if there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import machine

SCENE = Path(__file__).with_name("scene.py")
REPORT = "build/gpu-check.txt"
TIMEOUT = 300.0
# Software first: all others are compared with it.
CANDIDATES = ("software", "mesa", "native", "nvidia", "virtualgl")


class Scene(NamedTuple):
    """What came of the scene.

    :param rate: frames per second; 0 if nothing was drawn.
    :param seconds: how long all of it took, from the start of the launcher.
    """

    renderer: str
    rate: float
    seconds: float


def anaheadless(*words: str) -> list[str]:
    return [sys.executable, "-m", "anaheadless", *words]


def doctor() -> Any:
    words = anaheadless("doctor", "--json")
    return json.loads(subprocess.run(words, stdout=subprocess.PIPE, timeout=TIMEOUT).stdout)


def scene(*options: str, seconds: float) -> Scene:
    return collected(started(*options, seconds=seconds))


def started(*options: str, seconds: float) -> tuple[subprocess.Popen[str], float]:
    words = anaheadless("run", "--fresh", *options, str(SCENE), f"{seconds:g}")
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True), time.monotonic()


def collected(running: tuple[subprocess.Popen[str], float]) -> Scene:
    process, start = running
    try:
        output, errors = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        errors += f"\nno end within {TIMEOUT:g} s"
    seconds = time.monotonic() - start
    try:
        found = json.loads(output)
        return Scene(found["renderer"], found["frames_per_second"], seconds)
    except ValueError:
        return Scene("; ".join(line.strip() for line in errors.splitlines()[-4:]) or "nothing was said", 0.0, seconds)


def row(name: str, found: Scene, software: Scene) -> str:
    rate = f"{found.rate:8.1f}" if found.rate else "       -"
    times = f"{found.rate / software.rate:7.2f}" if found.rate and software.rate else "      -"
    return f"{name:<22} {rate} {times} {found.seconds:7.2f}  {found.renderer}"


def report(seconds: float, candidates: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the report, as soon as each is known."""
    for name, value in machine.description().items():
        yield f"{name + ':':<14}{value}"
    found = doctor()
    yield from ("", "GPUs", "----")
    usable = [place for place, device in enumerate(found["devices"]) if device["usable"]]
    yield from (f"{place}: {device['label']}" for place, device in enumerate(found["devices"]))
    yield from (f"  {sentence}" for device in found["devices"] for sentence in device["obstacles"])
    if not usable:
        yield "No GPU was found that can be used here: all of what follows is software."
    yield from ("", "Why not", "-------", *(cause["text"] for cause in found["causes"])) if found["causes"] else ()
    yield from ("", "EGL and Vulkan", "--------------")
    yield from (described(f"{test['interface']} {test['way']}", test) for test in found["offscreen"])
    yield from ("", "Tests of OpenGL", "---------------")
    yield from (described(test["label"], test) for test in found["candidates"])
    yield from ("", "Other tools", "-----------")
    for answer in found["field_tools"]:
        said = ", ".join(answer["renderers"]) or answer["message"] or ("GLX" if answer["glx"] else "no GLX")
        yield f"{answer['command']}: {said} ({answer['seconds']:.2f} s)"
        yield from (f"  {note}" for note in answer["notes"])
    yield from ("", "The scene: frames per second, times software, seconds of the whole run", "-" * 70)
    software = Scene("", 0.0, 0.0)
    for name in candidates:
        drawn = scene("--gl", name, seconds=seconds)
        software = software if software.rate else drawn
        yield row(f"--gl {name}", drawn, software)
    for place in usable:
        yield row(f"--gpu {place}", scene("--gl", "hardware", "--gpu", str(place), seconds=seconds), software)
    if len(usable) > 1:
        running = [started("--gl", "hardware", "--gpu", str(place), seconds=seconds) for place in usable[:2]]
        for place, drawn in zip(usable, map(collected, running)):
            yield row(f"--gpu {place}, two at once", drawn, software)


def described(name: str, test: dict[str, Any]) -> str:
    drawn = test["result"] == "drawn"
    text = f"{test['renderer']}, {'hardware' if test['hardware'] else 'software'}" if drawn else test["message"]
    return f"{name}: {test['result']}: {text} ({test['seconds']:.2f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.gpu_check", description="Write one report on this machine's GPUs.")
    parser.add_argument("file", nargs="?", default=REPORT, help="the report (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to draw each scene (default: %(default)g)")
    parser.add_argument("--only", choices=CANDIDATES, action="append", help="take only this candidate; repeatable")
    options = parser.parse_args()
    path = Path(options.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for line in report(options.seconds, options.only or CANDIDATES):
            print(line, flush=True)
            file.write(f"{line}\n")
    print(f"written to {os.path.relpath(path)}", file=sys.stderr)


if __name__ == "__main__":
    main()
