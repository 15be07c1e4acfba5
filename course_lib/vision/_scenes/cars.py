"""Cars, and boxes that are no cars: faces in three dimensions.

A car has its own axes: x forward, y up, z to the left, metres, from the ground below
its middle. Points are plain tuples: there are few of them, and NumPy would cost more
than it saves.
"""

import math

from course_lib.vision._scenes.background import Camera
from course_lib.vision._scenes.drawing import Colour, Glow, Pen, Thing, pick, shade

import numpy as np

Point = tuple[float, float, float]

PAINT = [
    *((232, 232, 230), (190, 194, 198), (126, 130, 136), (38, 40, 44), (36, 66, 120)),
    *((164, 32, 34), (60, 92, 74), (196, 182, 150), (90, 140, 178), (212, 168, 40)),
]
GLASS = [(44, 52, 62), (58, 70, 82), (34, 38, 44)]
DARK = (26, 26, 28)

# Ten points (forward, up) around the side of each body, from the front bumper over the
# roof to the rear bumper. `_STRIPS` names the faces between neighbours.
BODIES = {
    "saloon": [(2.2, 0.27), (2.27, 0.5), (2.15, 0.74), (0.95, 0.96), (0.25, 1.43),
               (-0.85, 1.42), (-1.55, 1.02), (-2.2, 0.98), (-2.27, 0.55), (-2.2, 0.3)],
    "hatchback": [(1.9, 0.27), (1.97, 0.5), (1.87, 0.76), (1.0, 0.98), (0.35, 1.48),
                  (-1.3, 1.46), (-1.8, 1.02), (-1.88, 0.95), (-1.95, 0.55),
                  (-1.88, 0.3)],
    "estate": [(2.25, 0.27), (2.32, 0.5), (2.2, 0.76), (1.05, 0.97), (0.35, 1.46),
               (-1.75, 1.46), (-2.2, 1.02), (-2.27, 0.95), (-2.32, 0.55), (-2.25, 0.3)],
    "offroader": [(2.15, 0.38), (2.22, 0.6), (2.12, 0.95), (1.0, 1.12), (0.45, 1.7),
                  (-1.75, 1.68), (-2.1, 1.18), (-2.17, 1.1), (-2.22, 0.7),
                  (-2.15, 0.42)],
    "van": [(2.4, 0.3), (2.47, 0.55), (2.35, 1.0), (1.75, 1.22), (1.05, 1.95),
            (-2.4, 1.97), (-2.45, 1.25), (-2.47, 1.1), (-2.5, 0.6), (-2.42, 0.34)],
}  # fmt: skip
_STRIPS = ("bumper", "nose", "bonnet", "windscreen", "roof", "rear window", "boot",
           "tail", "bumper")  # fmt: skip
_CIRCLE = [(math.cos(k * math.pi / 6), math.sin(k * math.pi / 6)) for k in range(12)]


def mix(start: Point, end: Point, share: float) -> Point:
    """Return the point at a share of the way from start to end."""
    return tuple(a + (b - a) * share for a, b in zip(start, end, strict=True))


def middle(face: list[Point]) -> Point:
    """Return the mean of the corners of a face."""
    return tuple(sum(axis) / len(face) for axis in zip(*face, strict=True))


def inset(face: list[Point], share: float) -> list[Point]:
    """Return a face drawn together towards its middle."""
    centre = middle(face)
    return [mix(point, centre, share) for point in face]


def part(face: list[Point], x0: float, x1: float, y0: float, y1: float) -> list[Point]:
    """Return a part of a face with four corners; 0 to 1 along both of its edges."""
    a, b, c, d = face
    low = [mix(a, b, x0), mix(a, b, x1)]
    high = [mix(d, c, x0), mix(d, c, x1)]
    return [mix(low[0], high[0], y0), mix(low[1], high[1], y0),
            mix(low[1], high[1], y1), mix(low[0], high[0], y1)]  # fmt: skip


class _Solid:
    """Draws faces in three dimensions and knows which of them the camera sees."""

    def __init__(self, camera: Camera, point: np.ndarray, heading: float, extent: Point,
                 sun: np.ndarray | None):  # fmt: skip
        sin, cos = math.sin(heading), math.cos(heading)
        turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        eye = np.array([0, camera.height, 0]) - point
        self.eye = tuple((turn @ eye).tolist())
        self.sun = None if sun is None else tuple((turn @ sun).tolist())
        view = camera.axes @ turn.T
        self.view = view.tolist()
        self.shift = (-camera.axes @ eye).tolist()
        self.depth = self.shift[2]
        self.foot = camera.project(point)
        self.focal, self.scale = camera.focal, camera.focal / self.depth
        self.centre = (self.shift[0] / self.depth, self.shift[1] / self.depth)
        x, y, z = extent
        hull = [(a * x, b, c * z) for a in (-1, 1) for b in (0, y) for c in (-1, 1)]
        self.corners = np.array(hull) @ turn + point
        across, up = zip(*self.flat(hull), strict=True)
        self.pen = Pen(self.foot[:2], self.scale, min(across) - 0.15, min(up) - 0.1,
                       max(across) + 0.15, max(up) + 0.1)  # fmt: skip

    def flat(self, face: list[Point]) -> list[tuple[float, float]]:
        """Return where points lie on the upright plane of the pen, in metres."""
        (a, b, c), (d, e, f), (g, h, i) = self.view
        right, down, ahead = self.shift
        plane = []
        for x, y, z in face:
            depth = max(g * x + h * y + i * z + ahead, 0.1)
            column = (a * x + b * y + c * z + right) / depth - self.centre[0]
            row = (d * x + e * y + f * z + down) / depth - self.centre[1]
            plane.append((column * self.depth, -row * self.depth))
        return plane

    def fill(self, face: list[Point], colour: Colour, factor: float = 1.0) -> None:
        self.pen.polygon(self.flat(face), shade(colour, factor))

    def distance(self, face: list[Point]) -> float:
        return math.dist(middle(face), self.eye)

    def light(self, face: list[Point], inside: Point) -> float | None:
        """Return how bright a face is; None where it looks away from the camera.

        The sky shines from above and the sun from its side. `inside` is a point of the
        body, which tells the outer side of the face.
        """
        a, b, c = face[0], face[1], face[-1]
        u, v = [[p - q for p, q in zip(end, a, strict=True)] for end in (b, c)]
        normal = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2],
                  u[0] * v[1] - u[1] * v[0])  # fmt: skip
        length = math.hypot(*normal)

        def facing(target: Point) -> float:
            return sum(n * (t - p) for n, t, p in zip(normal, target, a, strict=True))

        if facing(inside) > 0:
            length = -length
        if facing(self.eye) * length < 0:
            return None
        factor = 0.84 + 0.2 * normal[1] / length
        if self.sun is None:
            return factor
        lit = sum(n * s for n, s in zip(normal, self.sun, strict=True)) / length
        return factor * 0.85 + 0.3 * max(0.0, lit)


def car(
    rng: np.random.Generator,
    camera: Camera,
    point: np.ndarray,
    heading: float,
    *,
    sun: np.ndarray | None,
    lights: bool,
) -> Thing:
    """Draw a saloon, hatchback, estate, off-roader or van from any side."""
    kind = str(rng.choice(list(BODIES), p=[0.3, 0.22, 0.18, 0.16, 0.14]))
    outline = BODIES[kind]
    half, narrow = (0.95, 0.08) if kind == "van" else (0.88, 0.2)
    belt, roof = outline[3][1], outline[4][1]
    paint = pick(rng, PAINT[:3] if kind == "van" and rng.random() < 0.7 else PAINT)
    glass = pick(rng, GLASS)
    low, inside = outline[0][1], (0.0, 0.6, 0.0)
    solid = _Solid(camera, point, heading, (outline[1][0], roof, half), sun)

    def on(index: int, side: int) -> Point:
        x, y = outline[index]
        return x, y, side * (half - narrow * max(0.0, (y - belt) / (roof - belt)))

    front, rear = outline[0][0] - 0.82, outline[-1][0] + 0.85
    radius = 0.36 if kind in ("van", "offroader") else 0.32
    far = -1 if solid.eye[2] > 0 else 1
    for side in (far, -far):  # the dark underside and the wheels beyond it
        z = side * (half - 0.12)
        solid.fill([(front, 0.1, z), (rear, 0.1, z), (rear, low + 0.1, z),
                    (front, low + 0.1, z)], DARK)  # fmt: skip
        for x in (front, rear) if side == far else ():
            solid.fill(_ring(x, radius, radius, z), DARK)

    faces = [
        (name, [on(i, -1), on(i, 1), on(i + 1, 1), on(i + 1, -1)])
        for i, name in enumerate(_STRIPS)
    ]
    for side in (-1, 1):
        faces.append(("side", [on(i, side) for i in (0, 1, 2, 3, 6, 7, 8, 9)]))
        faces.append(("cabin", [on(i, side) for i in (3, 4, 5, 6)]))
    glows: list[Glow] = []
    for name, face in sorted(faces, key=lambda item: -solid.distance(item[1])):
        light = solid.light(face, inside)
        if light is None:
            continue
        trim = name == "bumper" and kind != "saloon"
        solid.fill(face, (60, 60, 62) if trim else paint, light)
        if name == "windscreen" or (name == "rear window" and kind != "van"):
            solid.fill(inset(face, 0.1), glass, light + 0.25)
        elif name == "nose":
            solid.fill(part(face, 0.32, 0.68, 0.15, 0.85), (34, 34, 38))
            solid.fill(part(face, 0.38, 0.62, 0.0, 0.25), (226, 226, 214))
            glows += _lamps(solid, face, (236, 236, 222), (1.0, 0.93, 0.75), 0.2)
        elif name == "tail":
            face = face[2:] + face[:2]  # so that its first edge is the lower one
            solid.fill(part(face, 0.37, 0.63, 0.4, 0.7), (226, 220, 190))
            glows += _lamps(solid, face, (176, 24, 24), (1.0, 0.12, 0.08), 0.16)
        elif name == "cabin":
            _windows(solid, kind, face, paint, glass, light)
        elif name == "side":
            z = face[0][2]
            solid.fill([(outline[0][0], low, z), (outline[0][0], low + 0.12, z),
                        (outline[-1][0], low + 0.12, z), (outline[-1][0], low, z)],
                       paint, light * 0.7)  # fmt: skip
            for x in (0.85, -0.15):  # the edges of the door
                solid.pen.line(solid.flat([(x, low + 0.15, z), (x, belt, z)]), 0.02,
                               shade(paint, light * 0.72))  # fmt: skip
            for x in (front, rear):
                solid.fill(_ring(x, radius, radius + 0.07, z), DARK)
                solid.fill(_ring(x, radius, radius * 0.62, z), (150, 152, 156))
    sin, cos = math.sin(heading), math.cos(heading)
    beam = point + (outline[0][0] + 3.0) * np.array([cos, 0, sin])
    return Thing(
        "car",
        point,
        solid.depth,
        solid.pen.sprite(),
        corners=solid.corners,
        glows=tuple(glows) if lights else (),
        pools=((beam, 2.2),) if lights else (),
    )


def _ring(x: float, y: float, radius: float, z: float) -> list[Point]:
    return [(x + radius * c, max(y + radius * s, 0.0), z * 1.01) for c, s in _CIRCLE]


def _lamps(
    solid: _Solid, face: list[Point], colour: Colour, beam: Colour, width: float
) -> list[Glow]:
    """Draw both lamps of a front or a rear; return how they shine at night."""
    glows = []
    for left in (0.03, 0.97 - width):
        lamp = part(face, left, left + width, 0.35, 0.95)
        solid.fill(lamp, colour)
        ((x, y),) = solid.flat([middle(lamp)])
        column = solid.foot[0] + x * solid.scale
        glows.append(Glow(column, solid.foot[1] - y * solid.scale, width * solid.scale,
                          beam))  # fmt: skip
    return glows


def _windows(solid: _Solid, kind: str, face: list[Point], paint: Colour, glass: Colour,
             light: float) -> None:  # fmt: skip
    """Draw the side windows: one beside the driver of a van, else with door posts."""
    pane = inset(face, 0.13)
    if kind == "van":
        (_, top, side), (_, low, base) = pane[1], pane[0]
        pane[2:] = [(0.2, top, side), (0.2, low, base)]
    solid.fill(pane, glass, light + 0.1)
    posts = {"van": (), "estate": (0.38, 0.74)}.get(kind, (0.47,))
    for share in posts:
        foot, head = mix(pane[0], pane[3], share), mix(pane[1], pane[2], share)
        solid.pen.line(solid.flat([foot, head]), 0.1, shade(paint, light))


def container(
    rng: np.random.Generator,
    camera: Camera,
    point: np.ndarray,
    heading: float,
    *,
    sun: np.ndarray | None,
) -> Thing:
    """Draw a box that is no car: a skip, a crate, a cabinet, a shed."""
    kind = str(rng.choice(["skip", "crate", "cabinet", "shed"]))
    x, y, z, splay = {
        "skip": (1.6, 1.3, 0.85, 0.3),
        "crate": (0.6, 0.9, 0.5, 0.0),
        "cabinet": (0.7, 1.4, 0.3, 0.0),
        "shed": (1.3, 2.0, 1.0, 0.0),
    }[kind]
    colour = pick(rng, [(196, 160, 44), (64, 104, 72), (70, 92, 126), (134, 132, 128),
                        (150, 112, 78)])  # fmt: skip
    solid = _Solid(camera, point, heading, (x + splay, y, z), sun)
    low = [(-x, 0.0, -z), (x, 0.0, -z), (x, 0.0, z), (-x, 0.0, z)]
    top = [(a * (1 + splay / x), y, c) for a, _, c in low]
    faces = [[low[i], low[(i + 1) % 4], top[(i + 1) % 4], top[i]] for i in range(4)]
    for face in sorted([*faces, top], key=lambda face: -solid.distance(face)):
        light = solid.light(face, (0.0, y / 2, 0.0))
        if light is None:
            continue
        if face is top:
            solid.fill(face, colour, light * (0.45 if kind == "skip" else 1.0))
            continue
        solid.fill(face, colour, light)
        for share in (0.25, 0.5, 0.75):
            foot, head = mix(face[0], face[1], share), mix(face[3], face[2], share)
            solid.pen.line(solid.flat([foot, head]), 0.05, shade(colour, light * 0.8))
    return Thing("", point, solid.depth, solid.pen.sprite(), solid.corners)
