"""Upright things that are neither person nor car: trees, signs, bins, bicycles, dogs.

They are drawn in metres on a plane that faces the camera.
"""

from course_lib.vision._scenes.background import Camera
from course_lib.vision._scenes.drawing import CLOTHES, Glow, Pen, Thing, pick, shade

import numpy as np


def flat_thing(
    rng: np.random.Generator, camera: Camera, point: np.ndarray, kind: str
) -> Thing:
    """Draw an upright thing by its name, one of `FLAT_THINGS`."""
    x, y, depth = camera.project(point)
    draw, (wide, tall) = FLAT_THINGS[kind]
    pen = Pen((x, y), camera.focal / depth, -wide / 2, -0.1, wide / 2, tall)
    glows, pools = (), ()
    lamp = draw(rng, pen)
    if lamp is not None:
        at = (x + lamp[0] * pen.scale, y - lamp[1] * pen.scale)
        glows = (Glow(*at, 0.3 * pen.scale, (1.0, 0.86, 0.6)),)
        pools = ((point, 4.0),)
    return Thing("", point, float(depth), pen.sprite(), glows=glows, pools=pools)


def _tree(rng, pen):
    trunk, leaf = pick(rng, [(86, 70, 56), (104, 92, 78)]), pick(
        rng, [(70, 96, 52), (92, 112, 58), (60, 84, 56), (150, 116, 54)]
    )  # fmt: skip
    fork, crown = rng.uniform(1.6, 2.4), rng.uniform(1.0, 1.6)
    pen.limb((0, 0), (rng.uniform(-0.1, 0.1), fork + 0.8), 0.34, 0.2, trunk)
    angles, shares = rng.uniform(0, 2 * np.pi, 32), np.linspace(0.0, 1.0, 32)
    reach = crown * np.sqrt(rng.uniform(0, 1, 32))
    xs, ys = reach * np.cos(angles), fork + 1.0 + 0.8 * reach * np.sin(angles)
    tones = 0.6 + 0.35 * shares + 0.16 * (ys - fork - 1.0) / crown
    sizes = 0.52 - 0.3 * shares  # dark and large behind, light and small in front
    for x, y, size, tone in zip(xs, ys, sizes, tones, strict=True):
        pen.ellipse(x, y, size, size * 0.75, shade(leaf, tone + rng.normal(0, 0.06)))


def _bush(rng, pen):
    leaf = pick(rng, [(70, 96, 52), (84, 100, 60), (58, 80, 54)])
    for share in np.linspace(0, 1, 14):
        y = rng.uniform(0.15, 0.9)
        pen.ellipse(rng.uniform(-0.6, 0.6) * (1.2 - y), y, 0.3, 0.24,
                    shade(leaf, 0.7 + 0.45 * share))  # fmt: skip


def _cypress(rng, pen):
    leaf = pick(rng, [(54, 78, 54), (66, 86, 58)])
    for share in np.linspace(0, 1, 12):
        y = share * 1.7
        wide = 0.34 * (1 - share * 0.8)
        pen.ellipse(rng.normal(0, 0.04), y + 0.15, wide, 0.22,
                    shade(leaf, rng.uniform(0.75, 1.15)))  # fmt: skip


def _lamp(rng, pen):
    pole, reach = pick(rng, [(72, 76, 80), (130, 134, 136)]), rng.choice([-0.8, 0, 0.8])
    pen.limb((0, 0), (0, 4.6), 0.14, 0.09, pole)
    pen.limb((0, 4.6), (reach, 4.7), 0.08, 0.08, pole)
    pen.ellipse(reach, 4.62, 0.26, 0.12, (236, 230, 206))
    return reach, 4.6


def _pole(rng, pen):
    pen.limb((0, 0), (0, 4.5), 0.24, 0.2, pick(rng, [(112, 96, 80), (126, 128, 130)]))


def _sign(rng, pen):
    pen.limb((0, 0), (0, 2.3), 0.07, 0.07, (140, 142, 144))
    rim, face = (190, 40, 40), (236, 236, 232)
    if rng.random() < 0.6:
        if rng.random() < 0.4:
            rim, face = (224, 226, 226), (44, 88, 172)
        pen.ellipse(0, 2.2, 0.34, 0.34, rim)
        pen.ellipse(0, 2.2, 0.23, 0.23, face)
    else:
        pen.polygon([(-0.38, 1.9), (0.38, 1.9), (0, 2.55)], rim)
        pen.polygon([(-0.22, 1.99), (0.22, 1.99), (0, 2.37)], face)


def _bin(rng, pen):
    colour = pick(rng, [(52, 78, 56), (60, 62, 66), (58, 78, 110), (110, 80, 56)])
    pen.polygon([(-0.26, 0.06), (0.26, 0.06), (0.32, 1.0), (-0.32, 1.0)], colour)
    pen.polygon(
        [(-0.35, 0.98), (0.35, 0.98), (0.3, 1.1), (-0.3, 1.1)], shade(colour, 0.7)
    )
    pen.ellipse(-0.2, 0.09, 0.09, 0.09, (24, 24, 24))
    pen.ellipse(0.2, 0.09, 0.09, 0.09, (24, 24, 24))
    pen.line([(0, 0.1), (0, 0.95)], 0.03, shade(colour, 0.82))


def _bench(rng, pen):
    wood, steel = pick(rng, [(142, 104, 70), (112, 88, 68)]), (60, 62, 64)
    for x in (-0.75, 0.75):
        pen.line([(x, 0), (x, 0.85)], 0.07, steel)
    for y in (0.42, 0.62, 0.8):
        pen.box(-0.95, y, 0.95, y + 0.11, shade(wood, 0.75 + y * 0.4))


def _bicycle(rng, pen):
    frame = pick(rng, CLOTHES[5:])
    angles = np.linspace(0, 2 * np.pi, 17)
    for x in (-0.52, 0.52):
        ring = [(x + 0.33 * np.cos(a), 0.34 + 0.33 * np.sin(a)) for a in angles]
        pen.line(ring, 0.055, (34, 34, 36))
    pen.line([(-0.52, 0.34), (-0.18, 0.82), (0.36, 0.8), (-0.02, 0.32), (-0.18, 0.82)],
             0.055, frame)  # fmt: skip
    pen.line([(-0.52, 0.34), (-0.02, 0.32)], 0.05, frame)
    pen.line([(0.52, 0.34), (0.36, 0.98), (0.5, 1.02)], 0.055, frame)
    pen.box(-0.32, 0.86, -0.06, 0.93, (30, 30, 30))


def _dog(rng, pen):
    coat, way = (
        pick(rng, [(92, 66, 44), (44, 40, 38), (196, 170, 130)]),
        rng.choice([-1, 1]),
    )
    for x in (-0.26, -0.2, 0.2, 0.28):
        pen.limb(
            (x * way, 0.36), (x * way + rng.normal(0, 0.05), 0.03), 0.1, 0.06, coat
        )
    pen.limb((-0.24 * way, 0.42), (0.26 * way, 0.44), 0.24, 0.26, coat)
    pen.limb((0.26 * way, 0.5), (0.4 * way, 0.66), 0.16, 0.18, coat)
    pen.limb((0.4 * way, 0.66), (0.52 * way, 0.62), 0.13, 0.08, shade(coat, 0.85))
    pen.limb((-0.3 * way, 0.48), (-0.5 * way, 0.66), 0.06, 0.04, coat)


def _bollard(rng, pen):
    colour = pick(rng, [(60, 62, 66), (150, 150, 148), (190, 150, 40)])
    pen.limb((0, 0.05), (0, 0.95), 0.18, 0.16, colour)
    pen.box(-0.09, 0.72, 0.09, 0.84, (222, 222, 216))


def _board(rng, pen):
    frame = pick(rng, [(70, 52, 40), (40, 42, 46), (200, 198, 192)])
    pen.polygon([(-0.36, 0), (0.36, 0), (0.3, 1.15), (-0.3, 1.15)], frame)
    pen.polygon([(-0.27, 0.2), (0.27, 0.2), (0.24, 1.07), (-0.24, 1.07)],
                pick(rng, CLOTHES[4:]))  # fmt: skip


def _postbox(rng, pen):
    colour = pick(rng, [(178, 36, 34), (214, 176, 40), (40, 76, 140)])
    pen.box(-0.28, 0, 0.28, 1.25, colour)
    pen.ellipse(0, 1.25, 0.28, 0.14, shade(colour, 1.1))
    pen.box(-0.18, 1.02, 0.18, 1.1, (30, 30, 30))
    pen.box(-0.28, 0, 0.28, 0.16, (40, 40, 42))


def _cone(rng, pen):
    pen.polygon([(-0.24, 0), (0.24, 0), (0.05, 0.75), (-0.05, 0.75)], (226, 96, 36))
    pen.polygon(
        [(-0.16, 0.28), (0.16, 0.28), (0.11, 0.46), (-0.11, 0.46)], (232, 232, 226)
    )


def _railing(rng, pen):
    colour = pick(rng, [(54, 58, 60), (120, 122, 122), (206, 206, 200), (124, 96, 70)])
    gap, thick = rng.choice([0.3, 0.45, 0.7]), rng.uniform(0.03, 0.07)
    tall = rng.uniform(0.9, 1.3)
    for x in np.arange(-4, 4, gap):
        pen.line([(x, 0), (x, tall)], thick, colour)
    for y in (tall * 0.15, tall):
        pen.line([(-4, y), (4, y)], 0.05, shade(colour, 0.9))


# How each flat thing is drawn, and the width and height in metres that it may fill.
# A drawing returns the place of its lamp, if it has one.
FLAT_THINGS = {
    "tree": (_tree, (4.4, 5.4)),
    "bush": (_bush, (2.0, 1.3)),
    "cypress": (_cypress, (1.0, 2.2)),
    "lamp": (_lamp, (2.4, 4.9)),
    "pole": (_pole, (0.6, 4.7)),
    "sign": (_sign, (1.0, 2.7)),
    "bin": (_bin, (0.9, 1.2)),
    "bench": (_bench, (2.1, 1.0)),
    "bicycle": (_bicycle, (2.0, 1.2)),
    "dog": (_dog, (1.4, 0.9)),
    "bollard": (_bollard, (0.3, 1.1)),
    "board": (_board, (0.9, 1.3)),
    "postbox": (_postbox, (0.7, 1.5)),
    "cone": (_cone, (0.6, 0.9)),
    "railing": (_railing, (8.2, 1.5)),
}
