"""A program to try on a machine without a screen: it draws a brain with OpenGL, saves the picture and ends.

    anaheadless run examples/brain.py brain.png

It needs PyQt5 and nothing else.  Python only builds a plain cube for each lobe; the vertex shader shapes and
folds the cubes, and the fragment shader works out the same folds again for each pixel, so that every pixel
has its own normal.  Nothing is random: the same command draws the same brain.
"""

from __future__ import annotations

import argparse
import math
import sys
from array import array
from pathlib import Path
from typing import Any, NamedTuple

from PyQt5 import QtGui
from PyQt5.QtCore import QSize
from PyQt5.QtGui import QOpenGLBuffer, QOpenGLShader, QOpenGLShaderProgram
from PyQt5.QtWidgets import QApplication, QOpenGLWidget

V3 = QtGui.QVector3D
V4 = QtGui.QVector4D


class Lobe(NamedTuple):
    """A ball whose six radii all differ.  x points to the left of the brain, y up and z to the forehead."""

    cells: int  # along each edge of the cube that becomes the ball
    centre: V3
    plus: V3  # radii towards +x, +y, +z
    minus: V3  # radii towards -x, -y, -z
    folds: V4  # how many, how deep, how level, and how steeply the lobe itself rises to the front

    def mirrored(self) -> Lobe:
        c, p, m = self.centre, self.plus, self.minus
        plus, minus = V3(m.x(), p.y(), p.z()), V3(p.x(), m.y(), m.z())
        return self._replace(centre=V3(-c.x(), c.y(), c.z()), plus=plus, minus=minus)


HEMISPHERE = Lobe(46, V3(0.07, 0, 0), V3(0.62, 0.72, 0.96), V3(0.08, 0.46, 0.98), V4(30, 0.06, 0, 0))
TEMPORAL = Lobe(24, V3(0.4, -0.29, -0.04), V3(0.33, 0.3, 0.6), V3(0.3, 0.28, 0.66), V4(30, 0.055, 0.7, -0.22))
CEREBELLUM = Lobe(24, V3(0, -0.58, -0.54), V3(0.56, 0.3, 0.4), V3(0.56, 0.28, 0.4), V4(58, 0.02, 8, 0.15))
STEM = Lobe(12, V3(0, -0.75, -0.24), V3(0.14, 0.6, 0.15), V3(0.14, 0.75, 0.15), V4(14, 0.03, 8, 0))
# The near side comes first: the depth test then spares the fragment shader much of what lies behind
LOBES = [HEMISPHERE, TEMPORAL, CEREBELLUM, STEM, HEMISPHERE.mirrored(), TEMPORAL.mirrored()]
WAVES = 28

HEADER = f"""
    #version 120
    #define LOBES {len(LOBES)}
    #define WAVES {WAVES}
"""

FOLDS = """
    uniform vec4 waves[WAVES];

    // The height (w), from 0 in a sulcus to 1 on a gyrus, and its gradient (xyz).  Waves of one length that
    // run along the surface in all directions add up to a maze: the sulci are where the sum is zero.
    vec4 fold(vec3 position, vec3 normal, vec4 folds, float softness) {
        vec3 bend = 4.3 * position.yzx + vec3(0.3, 1.7, 4.1);
        vec3 bent = position + 0.07 * sin(bend);
        float sum = 0.0, power = 0.0;
        vec3 slope = vec3(0.0);
        for (int i = 0; i < WAVES; i++) {
            vec3 along = waves[i].xyz;
            // A wave that dives into the surface would show there as a longer one
            float dive = dot(along, normal), weight = 1.0 - dive * dive;
            weight *= weight * pow(along.y * along.y + 0.05, folds.z);
            float phase = folds.x * dot(along, bent) + waves[i].w;
            sum += weight * cos(phase);
            slope -= weight * sin(phase) * along;
            power += weight * weight;
        }
        slope += 0.07 * 4.3 * (slope * cos(bend)).zxy;
        slope -= normal * dot(normal, slope);
        // Divided by how strongly the sum swings here, so that all gyri get about the same height
        float scale = inversesqrt(sum * sum + 1.2 * dot(slope, slope) + 0.12 * power);
        float wave = scale * sum, square = wave * wave + softness, height = pow(square, 0.3);
        return vec4(0.6 * wave * height / square * scale * folds.x * slope, height);
    }
"""

VERTEX = """
    uniform vec3 centre[LOBES], plus[LOBES], minus[LOBES];
    uniform vec4 folds[LOBES];
    uniform mat4 view;
    attribute vec4 corner;
    varying vec3 position, normal;
    varying vec4 folding;
    varying float daylight, seam;
    const vec3 POWER = vec3(2.4);  // 2 would make ellipsoids, a little more gives them shoulders

    float size(vec3 p) { return pow(dot(pow(abs(p), POWER), vec3(1.0)), 1.0 / POWER.x); }

    // The way out of a lobe (xyz) and the distance to its surface (w), negative inside
    vec4 outside(int lobe, vec3 p) {
        p -= centre[lobe];
        p.y -= folds[lobe].w * p.z;
        vec3 radii = mix(minus[lobe], plus[lobe], step(0.0, p));
        float k = size(p / radii);
        vec3 n = sign(p) * pow(abs(p / radii) / k + 1e-5, POWER - 1.0) / radii;
        n.z -= folds[lobe].w * n.y;
        return vec4(n, k - 1.0) / length(n);
    }

    vec4 outside_others(int lobe, vec3 p) {
        vec4 nearest = vec4(1e3);
        for (int i = 0; i < LOBES; i++) {
            vec4 other = outside(i, p);
            if (i != lobe && other.w < nearest.w) nearest = other;
        }
        return nearest;
    }

    void main() {
        int lobe = int(corner.w + 0.5);
        folding = folds[lobe];
        vec3 ball = corner.xyz / size(corner.xyz);
        position = ball * mix(minus[lobe], plus[lobe], step(0.0, ball));
        position.y += folding.w * position.z;
        position += centre[lobe];
        normal = outside(lobe, position).xyz;

        // Where two lobes meet, both sink as they do in a sulcus
        vec4 other = outside_others(lobe, position);
        seam = smoothstep(-0.05, 0.05, other.w / max(length(cross(normal, other.xyz)), 0.05));
        daylight = 1.0;
        for (float i = 1.0; i < 5.0; i++) {
            float reach = 0.07 * i;
            daylight -= 0.55 / i * max(0.0, 1.0 - outside_others(lobe, position + reach * normal).w / reach);
        }
        // Softer than in the fragment shader: the triangles are too large for the narrow bottom of a sulcus
        float height = seam * fold(position, normal, folding, 0.1).w;
        gl_Position = view * vec4(position - (1.0 - height) * folding.y * normal, 1.0);
    }
"""

FRAGMENT = """
    uniform vec3 eye;
    varying vec3 position, normal;
    varying vec4 folding;
    varying float daylight, seam;

    vec3 lamp(vec3 direction, vec3 colour, vec3 n, vec3 to_eye, vec3 albedo, float gloss) {
        vec3 to_lamp = normalize(direction);
        float soft = max((dot(n, to_lamp) + 0.25) / 1.25, 0.0);
        float spark = pow(max(dot(n, normalize(to_lamp + to_eye)), 0.0), 70.0);
        return colour * (albedo * soft * soft + gloss * spark);
    }

    void main() {
        vec3 n = normalize(normal), to_eye = normalize(eye - position);
        vec4 relief = seam * fold(position, n, folding, 0.008);
        n = normalize(n - folding.y * relief.xyz);
        float crown = smoothstep(0.2, 0.85, relief.w);
        vec3 albedo = mix(vec3(0.33, 0.06, 0.05), vec3(0.87, 0.53, 0.42), crown);

        vec3 colour = lamp(vec3(0.1, 0.95, 0.75), vec3(2.5, 2.25, 1.95), n, to_eye, albedo, 0.42 * crown);
        colour += lamp(vec3(1.0, 0.15, -0.1), vec3(0.42, 0.36, 0.40), n, to_eye, albedo, 0.17 * crown);
        colour += albedo * mix(vec3(0.09, 0.04, 0.045), vec3(0.13, 0.15, 0.21), 0.5 + 0.5 * n.y);
        // Light that reaches a sulcus has bounced off its walls: it gets redder as it gets less
        float open = max(daylight, 0.08) * mix(0.2, 1.0, crown) * mix(0.3, 1.0, seam);
        colour *= pow(vec3(open), vec3(0.8, 1.15, 1.2)) * mix(0.45, 1.0, smoothstep(-0.9, 0.5, normal.y));
        float behind = smoothstep(-0.1, 0.7, dot(n, normalize(vec3(0.2, 0.3, -1.0))));
        float rim = pow(1.0 - max(dot(n, to_eye), 0.0), 3.0) * behind * crown * max(daylight, 0.0);
        colour += rim * vec3(0.55, 0.75, 1.1);

        colour /= 1.0 + 0.4 * colour;
        float stem_fades = smoothstep(-1.2, -0.85, position.y);
        gl_FragColor = vec4(pow(colour, vec3(1.0 / 2.2)), stem_fades);
    }
"""

BACKDROP_VERTEX = "varying vec2 at; void main() { at = gl_Vertex.xy; gl_Position = gl_Vertex; }"
BACKDROP_FRAGMENT = """
    varying vec2 at;
    void main() {
        vec2 off = at - vec2(0.0, 0.1);
        vec3 colour = mix(vec3(0.035, 0.043, 0.06), vec3(0.17, 0.20, 0.26), exp(-1.1 * dot(off, off)));
        // Grain of half a step hides the bands that so faint a gradient has in 8 bits
        float grain = fract(sin(dot(gl_FragCoord.xy, vec2(12.9898, 78.233))) * 43758.5453) - 0.5;
        gl_FragColor = vec4(colour + grain / 255.0, 1.0);
    }
"""


def wave(i: int) -> V4:
    """Return direction and phase of a wave.  All directions cover half a sphere: a wave and its opposite are one."""
    y, angle = (i + 0.5) / WAVES, math.pi * (3 - math.sqrt(5)) * i
    radius = math.sqrt(1 - y * y)
    # 3.7 picks this brain among many; others have more islands and fewer winding gyri
    return V4(radius * math.cos(angle), y, radius * math.sin(angle), 3.7 * i * i)


def cubes() -> tuple[array[float], array[int]]:
    """Make the surface of a cube for each lobe: vertices (x, y, z, number of the lobe) and triangles."""
    vertices, triangles = array("f"), array("I")
    for number, lobe in enumerate(LOBES):
        row = lobe.cells + 1
        # The tangent makes up for the corners of a cube being farther from its centre than its faces
        ticks = [math.tan(math.pi / 4 * (2 * i / lobe.cells - 1)) for i in range(row)]
        for axis in range(3):
            for side in (-1.0, 1.0):
                first = len(vertices) // 4
                for u in ticks:
                    for v in ticks:
                        face = (side, side * u, v)
                        vertices.extend((face[-axis], face[1 - axis], face[2 - axis], number))
                for start in range(first, first + row * lobe.cells, row):
                    for i in range(start, start + lobe.cells):
                        triangles.extend((i, i + row, i + 1, i + 1, i + row, i + row + 1))
    return vertices, triangles


def uploaded(kind: QOpenGLBuffer.Type, data: array[Any]) -> QOpenGLBuffer:
    buffer = QOpenGLBuffer(kind)
    buffer.create()
    buffer.bind()
    buffer.allocate(data.tobytes(), len(data) * data.itemsize)  # type: ignore[call-overload]  # bytes do
    return buffer


class BrainView(QOpenGLWidget):
    def __init__(self, size: QSize, azimuth: float) -> None:
        super().__init__()
        surface = QtGui.QSurfaceFormat()
        surface.setDepthBufferSize(24)
        surface.setSamples(4)
        self.setFormat(surface)
        self.resize(size)
        self.azimuth = math.radians(azimuth)
        self.problem = "there is no valid OpenGL context"  # until initializeGL() has found one
        self.renderer = ""
        self.index_count = 0

    def initializeGL(self) -> None:
        profile = QtGui.QOpenGLVersionProfile()
        profile.setVersion(2, 0)
        self.gl: Any = self.context().versionFunctions(profile)
        gl = self.gl
        if gl is None or not gl.initializeOpenGLFunctions():
            self.problem = "this OpenGL lacks the functions of version 2.0"
            return
        name, vendor, version = (gl.glGetString(i) for i in (gl.GL_RENDERER, gl.GL_VENDOR, gl.GL_VERSION))
        self.renderer = f"{name} [{vendor}, OpenGL {version}]"
        self.problem = ""
        self.backdrop = self.linked(BACKDROP_VERTEX, BACKDROP_FRAGMENT)
        self.brain = self.linked(FOLDS + VERTEX, FOLDS + FRAGMENT)
        vertices, triangles = cubes()
        self.index_count = len(triangles)
        self.vertices = uploaded(QOpenGLBuffer.VertexBuffer, vertices)
        self.triangles = uploaded(QOpenGLBuffer.IndexBuffer, triangles)

    def linked(self, vertex: str, fragment: str) -> QOpenGLShaderProgram:
        program = QOpenGLShaderProgram(self)
        sources = ((QOpenGLShader.Vertex, vertex), (QOpenGLShader.Fragment, fragment))
        compiled = all(program.addShaderFromSourceCode(kind, HEADER + source) for kind, source in sources)
        if not (compiled and program.link()):
            self.problem = f"a shader does not build: {program.log()}"
        return program

    def paintGL(self) -> None:
        if self.problem:
            return
        gl = self.gl
        gl.glClear(gl.GL_COLOR_BUFFER_BIT | gl.GL_DEPTH_BUFFER_BIT)
        for switch in (gl.GL_DEPTH_TEST, gl.GL_CULL_FACE, gl.GL_BLEND):
            gl.glDisable(switch)
        self.backdrop.bind()
        gl.glRectf(-1, -1, 1, 1)
        for switch in (gl.GL_DEPTH_TEST, gl.GL_CULL_FACE, gl.GL_BLEND):
            gl.glEnable(switch)
        # The alpha of the picture itself stays 1, or the fading brain stem would be a hole in the window
        gl.glBlendFuncSeparate(gl.GL_SRC_ALPHA, gl.GL_ONE_MINUS_SRC_ALPHA, gl.GL_ZERO, gl.GL_ONE)
        self.brain.bind()
        self.set_uniforms()
        self.vertices.bind()
        self.triangles.bind()
        self.brain.enableAttributeArray("corner")
        self.brain.setAttributeBuffer("corner", gl.GL_FLOAT, 0, 4)
        gl.glDrawElements(gl.GL_TRIANGLES, self.index_count, gl.GL_UNSIGNED_INT, None)

    def set_uniforms(self) -> None:
        eye = V3(4.6 * math.sin(self.azimuth), 2.1, 4.6 * math.cos(self.azimuth))
        view = QtGui.QMatrix4x4()
        view.perspective(22.5, self.width() / self.height(), 1, 10)
        view.lookAt(eye, V3(0, -0.1, 0), V3(0, 1, 0))
        self.brain.setUniformValue("view", view)
        self.brain.setUniformValue("eye", eye)
        self.brain.setUniformValueArray("waves", [wave(i) for i in range(WAVES)])
        for name in ("centre", "plus", "minus", "folds"):
            self.brain.setUniformValueArray(name, [getattr(lobe, name) for lobe in LOBES])


def is_blank(picture: QtGui.QImage) -> bool:
    plain = picture.copy()
    plain.fill(picture.pixel(0, 0))
    return plain == picture


def size(text: str) -> QSize:
    width, height = (int(number) for number in text.split("x"))
    if not (0 < width <= 8192 and 0 < height <= 8192):
        raise ValueError(text)
    return QSize(width, height)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw a brain with OpenGL and save the picture.")
    parser.add_argument("output", nargs="?", type=Path, default=Path("brain.png"), metavar="OUTPUT.png")
    parser.add_argument("--size", type=size, default="960x720", help="WIDTHxHEIGHT, default %(default)s")
    help_azimuth = "degrees: 0 shows its front, 90 its left side, default %(default)s"
    parser.add_argument("--azimuth", type=float, default=62, help=help_azimuth)
    options = parser.parse_args()

    _app = QApplication(sys.argv[:1])  # must outlive the widget
    view = BrainView(options.size, options.azimuth)
    view.show()
    # This draws the frame and reads it back: nothing has to be waited for
    picture = view.grabFramebuffer()
    output = options.output.resolve()
    problem = view.problem
    if not problem and is_blank(picture):
        problem = "the picture is blank"
    if not problem and not picture.save(str(output)):
        problem = f"cannot write {output}"
    if problem:
        print(f"brain.py: {problem}", file=sys.stderr)
        return 1
    print(f"picture: {output} ({picture.width()}x{picture.height()}, {view.index_count // 3} triangles)")
    print(f"renderer: {view.renderer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
