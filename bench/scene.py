"""A scene for OpenGL: a lit sphere that turns. ``python scene.py SECONDS`` draws it off the screen for that long.

It prints one line of JSON: what has drawn, and how many frames a second, each of which was finished.
"""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

from PyQt5.QtCore import QSize
from PyQt5.QtGui import (
    QGuiApplication,
    QOffscreenSurface,
    QOpenGLContext,
    QOpenGLFramebufferObject,
    QOpenGLFramebufferObjectFormat,
    QOpenGLVersionProfile,
)

WIDTH, HEIGHT = 1280, 1024
STEPS = 160  # 51,200 triangles


def sphere(gl: Any) -> int:
    """Make a display list of a sphere."""
    number: int = gl.glGenLists(1)
    gl.glNewList(number, gl.GL_COMPILE)
    for ring in range(STEPS):
        gl.glBegin(gl.GL_TRIANGLE_STRIP)
        for step in range(STEPS + 1):
            around = 2 * math.pi * step / STEPS
            for edge in ring, ring + 1:
                across = math.pi * edge / STEPS
                radius = math.sin(across)
                place = (radius * math.cos(around), radius * math.sin(around), math.cos(across))
                gl.glNormal3f(*place)
                gl.glVertex3f(*place)
        gl.glEnd()
    gl.glEndList()
    return number


def main(seconds: float) -> None:
    app = QGuiApplication(sys.argv[:1])
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    if not context.create() or not context.makeCurrent(surface):
        sys.exit("there is no OpenGL context")
    profile = QOpenGLVersionProfile()
    profile.setVersion(2, 0)
    gl = context.versionFunctions(profile)
    gl.initializeOpenGLFunctions()
    kind = QOpenGLFramebufferObjectFormat()
    kind.setAttachment(QOpenGLFramebufferObject.Depth)
    frame = QOpenGLFramebufferObject(QSize(WIDTH, HEIGHT), kind)
    if not frame.bind():
        sys.exit("there is no framebuffer")
    gl.glViewport(0, 0, WIDTH, HEIGHT)
    for name in gl.GL_DEPTH_TEST, gl.GL_LIGHTING, gl.GL_LIGHT0, gl.GL_COLOR_MATERIAL:
        gl.glEnable(name)
    number = sphere(gl)
    frames, begin, end = 0, 0.0, 0.0
    while end - begin < seconds or frames < 2:
        gl.glClear(gl.GL_COLOR_BUFFER_BIT | gl.GL_DEPTH_BUFFER_BIT)
        gl.glRotatef(1.0, 0.3, 1.0, 0.0)
        gl.glCallList(number)
        gl.glFinish()
        end = time.monotonic()
        frames += 1
        if frames == 1:  # which also compiles
            begin = end
    rate = (frames - 1) / (end - begin)
    if frame.toImage().pixelColor(WIDTH // 2, HEIGHT // 2).lightness() == 0:
        sys.exit("nothing was drawn")
    print(json.dumps({"renderer": gl.glGetString(gl.GL_RENDERER), "frames_per_second": round(rate, 1)}))
    frame.release()
    del frame, app


if __name__ == "__main__":
    main(float(sys.argv[1]))
