"""Draws a brain with OpenGL and saves the picture: a graphical program for a machine without a screen.

    anaheadless run examples/brain.py brain.png

It needs PyQt5 and nothing else.  The processor makes only a coarse ball per lobe; two shaders fold it, so the
same formula moves the vertices and gives each pixel its own normal.  The same call draws the same picture.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from array import array
from pathlib import Path
from typing import NamedTuple

from PyQt5.QtCore import QSize
from PyQt5.QtGui import (
    QImage,
    QMatrix4x4,
    QOpenGLBuffer,
    QOpenGLContext,
    QOpenGLShader,
    QOpenGLShaderProgram,
    QOpenGLVersionProfile,
    QSurfaceFormat,
    QVector3D,
    QVector4D,
)
from PyQt5.QtWidgets import QApplication, QOpenGLWidget


class Lobe(NamedTuple):
    """An ellipsoid whose six semi-axes all differ; x points to the brain's left, y up, z to its forehead."""

    cells: int
    centre: QVector3D
    plus: QVector3D
    minus: QVector3D
    folds: QVector4D  # waves per unit, depth, how much the folds lie flat, slope of the lobe towards the front


LOBES = [
    Lobe(56, QVector3D(0.10, 0, 0), QVector3D(0.60, 0.66, 0.98), QVector3D(0.09, 0.46, 1.0), QVector4D(27, 0.065, 0, 0.0)),
    Lobe(32, QVector3D(0.42, -0.26, -0.06), QVector3D(0.30, 0.34, 0.60), QVector3D(0.3, 0.32, 0.66), QVector4D(27, 0.06, 0.7, -0.22)),
    Lobe(32, QVector3D(0, -0.54, -0.60), QVector3D(0.52, 0.30, 0.36), QVector3D(0.52, 0.28, 0.36), QVector4D(48, 0.022, 4.0, 0.15)),
    Lobe(24, QVector3D(0, -0.75, -0.26), QVector3D(0.15, 0.6, 0.17), QVector3D(0.15, 0.42, 0.16), QVector4D(0, 0.05, 0.0, 0.0)),
    Lobe(56, QVector3D(-0.10, 0, 0), QVector3D(0.09, 0.66, 0.98), QVector3D(0.60, 0.46, 1.0), QVector4D(27, 0.065, 0, 0.0)),
    Lobe(32, QVector3D(-0.42, -0.26, -0.06), QVector3D(0.3, 0.34, 0.60), QVector3D(0.30, 0.32, 0.66), QVector4D(27, 0.06, 0.7, -0.22)),
]
WAVES = 28

FOLDING = """
    #version 120
    uniform vec4 waves[WAVES];

    // Height between sulcus 0 and gyrus 1 (w), and its gradient (xyz).  Waves of one length that run along the
    // surface in all directions add up to a maze; its zero lines are the sulci.
    vec4 fold(vec3 p, vec3 n, vec4 folds, float blur) {
        vec3 bend = 4.3 * p.yzx + vec3(0.3, 1.7, 4.1);
        vec3 q = p + 0.07 * sin(bend);
        float f = 0.0, power = 0.0;
        vec3 slope = vec3(0.0);
        for (int i = 0; i < WAVES; i++) {
            vec3 k = waves[i].xyz;
            float across = dot(k, n);
            float w = 1.0 - across * across;
            w = w * w * pow(k.y * k.y + 0.05, folds.z);
            float phase = folds.x * dot(k, q) + waves[i].w;
            f += w * cos(phase);
            slope -= w * sin(phase) * k;
            power += w * w;
        }
        slope += 0.07 * 4.3 * (slope * cos(bend)).zxy;
        slope -= n * dot(n, slope);
        // Divided by what is its amplitude here, so that all gyri are equally high
        float scale = inversesqrt(f * f + 1.2 * dot(slope, slope) + 0.12 * power);
        f *= scale;
        slope *= scale * folds.x;
        float h = f * f + blur;
        float height = pow(h, 0.30);
        return vec4(2.0 * 0.30 * f * height / h * slope, height);
    }
"""

VERTEX = """
    uniform vec3 centre[LOBES], plus[LOBES], minus[LOBES];
    uniform vec4 folds[LOBES];
    uniform mat4 view;
    attribute vec4 vertex;
    varying vec3 position, normal;
    varying vec4 folding;
    varying vec2 open;
    const float POWER = 2.4;

    // Every lobe is a superellipsoid: rounder in the shoulders than an ellipsoid, as a brain is
    float norm(vec3 q) { return pow(dot(pow(abs(q) + 1e-5, vec3(POWER)), vec3(1.0)), 1.0 / POWER); }

    float distance_to(int i, vec3 p) {
        vec3 q = p - centre[i];
        q.y -= folds[i].w * q.z;
        vec3 r = mix(minus[i], plus[i], step(0.0, q));
        float k = norm(q / r);
        return k * (k - 1.0) / max(length(q / (r * r)), 1e-4);
    }

    float distance_to_others(int lobe, vec3 p) {
        float nearest = 1e3;
        for (int i = 0; i < LOBES; i++)
            if (i != lobe) nearest = min(nearest, distance_to(i, p));
        return nearest;
    }

    void main() {
        int lobe = int(vertex.w + 0.5);
        folding = folds[lobe];
        vec3 d = vertex.xyz / norm(vertex.xyz);
        vec3 r = mix(minus[lobe], plus[lobe], step(0.0, d));
        vec3 p = d * r;
        p.y += folding.w * p.z;
        position = centre[lobe] + p;
        vec3 n = sign(d) * pow(abs(d) + 1e-5, vec3(POWER - 1.0)) / r;
        n.z -= folding.w * n.y;
        normal = normalize(n);
        open = vec2(1.0, 1.0 - 0.95 * exp(-pow(distance_to_others(lobe, position) / 0.05, 2.0)));
        for (int k = 1; k <= 4; k++) {
            float reach = 0.07 * float(k);
            open.x -= 0.40 * max(0.0, 1.0 - (0.0 + distance_to_others(lobe, position + normal * reach)) / reach) / float(k);
        }
        float height = fold(position, normal, folding, 0.02).w * open.y;
        gl_Position = view * vec4(position - normal * folding.y * (1.0 - height), 1.0);
    }
"""

FRAGMENT = """
    uniform vec3 eye;
    varying vec3 position, normal;
    varying vec4 folding;
    varying vec2 open;

    vec3 light(vec3 n, vec3 to_eye, vec3 to_light, vec3 colour, vec3 albedo, float gloss) {
        float lambert = max((dot(n, to_light) + 0.25) / 1.25, 0.0);
        float spark = pow(max(dot(n, normalize(to_light + to_eye)), 0.0), 48.0);
        return colour * (albedo * lambert * lambert + gloss * spark);
    }

    void main() {
        vec3 n = normalize(normal);
        vec4 at = fold(position, n, folding, 0.008);
        at *= open.y;
        n = normalize(n - folding.y * at.xyz);
        vec3 to_eye = normalize(eye - position);
        float cavity = smoothstep(0.2, 0.85, at.w);
        float occlusion = max(open.x, 0.08) * mix(0.2, 1.0, cavity);
        float tint = sin(7.0 * position.y + 3.0 * sin(5.0 * position.z)) * sin(6.0 * position.x + 8.0 * position.z);
        vec3 albedo = mix(vec3(0.86, 0.47, 0.37), vec3(0.88, 0.58, 0.46), 0.5 + 0.5 * tint);
        albedo = mix(vec3(0.33, 0.06, 0.05), albedo, cavity);
        float gloss = 0.30 * cavity;
        vec3 c = light(n, to_eye, normalize(vec3(0.45, 1.0, 0.65)), vec3(2.1, 1.9, 1.65), albedo, gloss);
        c += light(n, to_eye, normalize(vec3(0.9, -0.1, 0.5)), vec3(0.30, 0.30, 0.36), albedo, 0.3 * gloss);
        c += albedo * mix(vec3(0.12, 0.06, 0.06), vec3(0.18, 0.20, 0.27), 0.5 + 0.5 * n.y);
        c *= occlusion;
        float rim = pow(1.0 - max(dot(n, to_eye), 0.0), 3.5) * cavity * open.x;
        c += rim * vec3(0.45, 0.6, 0.9) * smoothstep(-0.1, 0.7, dot(n, normalize(vec3(-0.4, 0.5, -0.9))));
        c = c / (1.0 + 0.40 * c);
        gl_FragColor = vec4(pow(c, vec3(1.0 / 2.2)), 1.0);
    }
"""

BACKDROP_VERTEX = "#version 120\nvarying vec2 at; void main() { at = gl_Vertex.xy; gl_Position = gl_Vertex; }"
BACKDROP_FRAGMENT = """
    #version 120
    varying vec2 at;
    void main() {
        float glow = exp(-1.1 * dot(at - vec2(0.0, 0.1), at - vec2(0.0, 0.1)));
        vec3 c = mix(vec3(0.035, 0.043, 0.06), vec3(0.17, 0.20, 0.26), glow);
        float grain = fract(sin(dot(gl_FragCoord.xy, vec2(12.9898, 78.233))) * 43758.5453);
        gl_FragColor = vec4(c + (grain - 0.5) / 255.0, 1.0);
    }
"""


def wave_vectors() -> list[QVector4D]:
    """Directions spread evenly over half a ball (a wave and its opposite are one), each with a phase."""
    golden = math.pi * (3 - math.sqrt(5))
    waves = []
    for i in range(WAVES):
        y = (i + 0.5) / WAVES
        r = math.sqrt(1 - y * y)
        waves.append(QVector4D(r * math.cos(golden * i), y, r * math.sin(golden * i), 2.4 * i * i))
    return waves


def balls() -> tuple[array[float], array[int]]:
    """A cube for each lobe, its faces cut into cells (x, y, z, lobe); the vertex shader blows it up to a ball."""
    vertices, triangles = array("f"), array("I")
    for number, lobe in enumerate(LOBES):
        row = lobe.cells + 1
        # The tangent makes the cells of the ball alike in size
        ticks = [math.tan(math.pi / 4 * (2 * i / lobe.cells - 1)) for i in range(row)]
        for axis in range(3):
            for side in (-1.0, 1.0):
                first = len(vertices) // 4
                for u in ticks:
                    for v in ticks:
                        corner = (side, side * u, v)
                        vertices.extend((corner[-axis], corner[1 - axis], corner[2 - axis], number))
                for i in range(first, first + row * lobe.cells, row):
                    for j in range(i, i + lobe.cells):
                        triangles.extend((j, j + row, j + 1, j + 1, j + row, j + row + 1))
    return vertices, triangles


class BrainView(QOpenGLWidget):
    def __init__(self, size: QSize, azimuth: float) -> None:
        super().__init__()
        self.azimuth = math.radians(azimuth)
        self.triangles = 0
        self.renderer = ""
        self.resize(size)

    def initializeGL(self) -> None:
        profile = QOpenGLVersionProfile()
        profile.setVersion(2, 0)
        self.gl = self.context().versionFunctions(profile)
        gl = self.gl
        self.renderer = f"{gl.glGetString(gl.GL_RENDERER)} [{gl.glGetString(gl.GL_VENDOR)}, OpenGL {gl.glGetString(gl.GL_VERSION)}]"
        head = FOLDING.replace("LOBES", str(len(LOBES))).replace("WAVES", str(WAVES)).strip()
        self.program = self.build(head + VERTEX.replace("LOBES", str(len(LOBES))), head + FRAGMENT)
        self.backdrop = self.build(BACKDROP_VERTEX, BACKDROP_FRAGMENT.strip())
        vertices, triangles = balls()
        self.triangles = len(triangles) // 3
        self.vbo = QOpenGLBuffer(QOpenGLBuffer.VertexBuffer)
        self.ibo = QOpenGLBuffer(QOpenGLBuffer.IndexBuffer)
        for buf, data in ((self.vbo, vertices), (self.ibo, triangles)):
            buf.create()
            buf.bind()
            buf.allocate(data.tobytes(), len(data) * data.itemsize)

    def build(self, v: str, f: str) -> QOpenGLShaderProgram:
        program = QOpenGLShaderProgram(self)
        program.addShaderFromSourceCode(QOpenGLShader.Vertex, v)
        program.addShaderFromSourceCode(QOpenGLShader.Fragment, f)
        if not program.link():
            print(program.log(), file=sys.stderr)
        return program

    def paintGL(self) -> None:
        gl = self.gl
        gl.glDisable(gl.GL_DEPTH_TEST)
        gl.glDisable(gl.GL_CULL_FACE)
        self.backdrop.bind()
        gl.glRectf(-1, -1, 1, 1)
        gl.glEnable(gl.GL_DEPTH_TEST)
        gl.glEnable(gl.GL_CULL_FACE)
        gl.glClear(gl.GL_DEPTH_BUFFER_BIT)
        p = self.program
        p.bind()
        eye = QVector3D(math.sin(self.azimuth) * 4.6, 1.9, math.cos(self.azimuth) * 4.6)
        view = QMatrix4x4()
        view.perspective(24, self.width() / self.height(), 1, 10)
        view.lookAt(eye, QVector3D(0, -0.12, 0), QVector3D(0, 1, 0))
        p.setUniformValue("view", view)
        p.setUniformValue("eye", eye)
        p.setUniformValueArray("waves", wave_vectors())
        for name in ("centre", "plus", "minus", "folds"):
            p.setUniformValueArray(name, [getattr(l, name) for l in LOBES])
        self.vbo.bind()
        self.ibo.bind()
        p.enableAttributeArray("vertex")
        p.setAttributeBuffer("vertex", gl.GL_FLOAT, 0, 4)
        gl.glDrawElements(gl.GL_TRIANGLES, 3 * self.triangles, gl.GL_UNSIGNED_INT, None)
        p.release()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("output", nargs="?", type=Path, default=Path("brain.png"))
    parser.add_argument("--size", default="960x720")
    parser.add_argument("--azimuth", type=float, default=70)
    a = parser.parse_args()
    w, h = map(int, a.size.split("x"))
    fmt = QSurfaceFormat()
    fmt.setSamples(4)
    fmt.setDepthBufferSize(24)
    QSurfaceFormat.setDefaultFormat(fmt)
    app = QApplication(sys.argv[:1])
    v = BrainView(QSize(w, h), a.azimuth)
    v.show()
    app.processEvents()
    img = v.grabFramebuffer()
    print(v.isValid(), v.context().format().samples(), v.format().samples())
    img.save(str(a.output))
    print(f"picture: {a.output.resolve()} ({img.width()}x{img.height()}, {v.triangles} triangles)")
    print("renderer:", v.renderer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
