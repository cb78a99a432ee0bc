"""Many brains, each from a seed: drawn by ``anaheadless map``, which is killed half-way and then resumes.

    python examples/gallery.py 200 build/gallery

The pictures and ``report.html`` are in that folder afterwards.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from brain import LOBES, WAVES, BrainView, wave
from PyQt5.QtCore import QSize
from PyQt5.QtGui import QVector3D, QVector4D
from PyQt5.QtWidgets import QApplication

SIZE = QSize(320, 240)


class SeededBrainView(BrainView):
    """Brains of their own proportions and folds, each seen from another side."""

    seed = 0

    def set_uniforms(self) -> None:
        chance = random.Random(self.seed)  # noqa: S311  # the same seed draws the same brain
        self.azimuth = math.radians(chance.uniform(20, 160) * chance.choice((-1, 1)))
        super().set_uniforms()
        width, height, length = (chance.gauss(1, 0.05) for _ in range(3))
        density, depth, phase = chance.uniform(0.7, 1.15), chance.uniform(0.8, 1.25), chance.uniform(0, 100)

        def scaled(v: QVector3D) -> QVector3D:
            return QVector3D(width * v.x(), height * v.y(), length * v.z())

        for name in ("centre", "plus", "minus"):
            self.brain.setUniformValueArray(name, [scaled(getattr(lobe, name)) for lobe in LOBES])
        folds = [QVector4D(density * f.x(), depth * f.y(), f.z(), f.w()) for f in (lobe.folds for lobe in LOBES)]
        self.brain.setUniformValueArray("folds", folds)
        waves = [QVector4D(w.x(), w.y(), w.z(), w.w() + phase * i) for i, w in enumerate(map(wave, range(WAVES)))]
        self.brain.setUniformValueArray("waves", waves)


@cache
def application() -> tuple[QApplication, SeededBrainView]:
    """Build what stays from one picture to the next."""
    built = QApplication([])
    view = SeededBrainView(SIZE, 0)
    view.show()
    return built, view


def draw(seed: str, path: str) -> None:
    """Draw one brain: the function that ``anaheadless map --call`` calls."""
    _, view = application()
    view.seed = int(seed)
    picture = view.grabFramebuffer()
    # Under its own name, a picture that a kill cut short would look as if it were done
    if view.problem or not picture.save(f"{path}.new", "PNG"):
        raise SystemExit(f"gallery.py: {view.problem or f'cannot write {path}.new'}")
    os.replace(f"{path}.new", path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw many brains, be killed half-way, and resume.")
    parser.add_argument("count", type=int, metavar="COUNT")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "anaheadless", "map", "--quiet", "--journal", f"{folder}/gallery.jsonl"),
        *("--expect", f"{folder}/{{}}.png", "--blank-is-failure", "--report", f"{folder}/report.html"),
        *("--call", "gallery:draw", "--", "{}", f"{folder}/{{}}.png"),
        *(":::", *map(str, range(1, options.count + 1))),
    ]
    path = os.pathsep.join(filter(None, (os.path.dirname(__file__), os.environ.get("PYTHONPATH"))))
    environ = {**os.environ, "PYTHONPATH": path}

    def count_pictures() -> int:
        return len(list(folder.glob("*.png")))

    with subprocess.Popen(command, env=environ) as first:
        while first.poll() is None and count_pictures() < options.count // 2:
            time.sleep(0.01)
        first.kill()
    print(f"killed when {count_pictures()} of {options.count} pictures were there", flush=True)
    status = subprocess.run(command, env=environ, check=False).returncode
    print(f"resumed: {count_pictures()} are there, and {folder}/report.html")
    return status


if __name__ == "__main__":
    sys.exit(main())
