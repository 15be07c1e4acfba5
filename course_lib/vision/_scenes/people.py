"""People: a skeleton in three dimensions, dressed and drawn on a plane."""

from course_lib.vision._scenes.background import Camera
from course_lib.vision._scenes.drawing import CLOTHES, Pen, Thing, pick, shade

import numpy as np

SKIN = [(236, 194, 164), (214, 164, 128), (172, 118, 84), (124, 82, 58), (88, 58, 44)]
HAIR = [(36, 28, 24), (70, 46, 30), (122, 84, 48), (186, 152, 96), (150, 148, 146)]
TROUSERS = [(36, 40, 52), (50, 66, 100), (92, 108, 138), (52, 50, 50), (130, 116, 92)]


def person(
    rng: np.random.Generator, camera: Camera, point: np.ndarray, *, umbrella: bool
) -> Thing:
    """Draw a person who walks or stands, seen from any side.

    The joints are placed in three dimensions (forward, right, up, in shares of the body
    height), turned about the vertical, and drawn from the far side to the near side.
    """
    tall = float(
        rng.uniform(1.1, 1.35) if rng.random() < 0.1 else rng.normal(1.73, 0.08)
    )
    x, y, depth = camera.project(point)
    pen = Pen((x, y), camera.focal / depth, -0.9, -0.12, 0.9, tall * 1.32)
    turn = float(rng.uniform(0, 2 * np.pi))
    sin, cos = np.sin(turn), np.cos(turn)

    def joint(forward: float, right: float, up: float) -> tuple[float, float, float]:
        """Return x, y in metres and nearness to the camera."""
        return (
            (forward * sin + right * cos) * tall,
            up * tall,
            forward * cos - right * sin,
        )

    def wide(side: float, front: float) -> float:
        return (abs(cos) * side + abs(sin) * front) * tall

    skin, hair = pick(rng, SKIN), pick(rng, HAIR)
    top, legs = pick(rng, CLOTHES), pick(rng, TROUSERS)
    shoes = pick(rng, [(34, 32, 32), (90, 70, 54), (214, 212, 208)])
    outfit = rng.choice(["jacket", "shorts", "coat", "skirt", "vest"],
                        p=[0.52, 0.12, 0.16, 0.1, 0.1])  # fmt: skip
    if outfit == "vest":
        top = (214, 226, 60) if rng.random() < 0.6 else (240, 122, 40)
    bare_arms = outfit == "shorts" or rng.random() < 0.15
    walking = rng.random() < 0.7
    stride = float(rng.uniform(0.22, 0.46)) if walking else float(rng.uniform(0, 0.06))
    stride *= float(rng.choice([-1, 1]))
    lowest = min(np.cos(stride), 1.0) * 0.46 - 0.46  # the hips sink in a long stride
    parts: list[tuple[float, list]] = []  # nearness, strokes

    for side in (-1, 1):
        swing = stride * side
        bend = 0.15 + 0.5 * abs(swing) if swing < 0 and walking else 0.03
        hip = joint(0, 0.05 * side, 0.5 + lowest)
        knee_forward, knee_up = 0.235 * np.sin(swing), 0.235 * np.cos(swing)
        knee = joint(knee_forward, 0.053 * side, 0.5 + lowest - knee_up)
        low = swing - bend
        ankle_at = (
            knee_forward + 0.225 * np.sin(low),
            0.5 + lowest - knee_up - 0.225 * np.cos(low),
        )
        ankle = joint(ankle_at[0], 0.055 * side, ankle_at[1])
        toe = joint(ankle_at[0] + 0.07, 0.06 * side, ankle_at[1] - 0.022)
        shin = skin if outfit in ("shorts", "skirt") else legs
        far = 0.85 if hip[2] < 0 else 1.0
        strokes = [
            (ankle, toe, 0.055, 0.045, shade(shoes, far)),
            (knee, ankle, 0.068, 0.048, shade(shin, far)),
            (hip, knee, 0.1, 0.07, shade(legs, far)),
        ]
        parts.append((hip[2] * 0.1 - 0.02, strokes))  # below the hem of the top

    phone = rng.random() < 0.2
    carries = rng.choice(["", "bag", "backpack"], p=[0.55, 0.2, 0.25])
    hands = []
    for side in (-1, 1):
        swing = -stride * side * 0.9
        bend = 0.25
        if (phone or umbrella) and side == 1:
            swing, bend = 0.35, 1.9
        shoulder = joint(0, 0.112 * side, 0.79 + lowest)
        elbow_at = 0.165 * np.sin(swing), 0.79 + lowest - 0.165 * np.cos(swing)
        elbow = joint(elbow_at[0], 0.135 * side, elbow_at[1])
        low = swing + bend
        hand = joint(
            elbow_at[0] + 0.15 * np.sin(low),
            0.13 * side,
            elbow_at[1] - 0.15 * np.cos(low),
        )
        sleeve = shade(top, 0.8 if shoulder[2] < 0 else 0.88)
        fore = skin if bare_arms else sleeve
        hands.append(hand)
        strokes = [
            (shoulder, elbow, 0.068, 0.055, sleeve),
            (elbow, hand, 0.052, 0.042, fore),
            (hand, hand, 0.046, 0.046, skin),
        ]
        parts.append((shoulder[2] * 1.3, strokes))

    def torso() -> None:
        up = lowest * tall
        chest, waist, hips = wide(0.122, 0.078), wide(0.095, 0.072), wide(0.1, 0.078)
        hem = {"coat": 0.34, "skirt": 0.47}.get(str(outfit), 0.47) * tall + up
        flare = hips * (1.2 if outfit == "coat" else 1.0)
        if outfit == "skirt":
            low = 0.33 * tall + up
            pen.polygon(
                [(-hips, 0.52 * tall + up), (hips, 0.52 * tall + up), (hips * 1.4, low),
                 (-hips * 1.4, low)], legs)  # fmt: skip
        right = [
            (chest * 0.45, 0.84 * tall + up),
            (chest * 0.85, 0.825 * tall + up),
            (chest, 0.79 * tall + up),
            (waist, 0.63 * tall + up),
            (flare, hem),
        ]
        pen.polygon(right + [(-x, y) for x, y in reversed(right)], top)
        if outfit == "vest":
            for level in (0.6, 0.68):
                y = level * tall + up
                pen.line([(-waist, y), (waist, y)], 0.06, (226, 228, 226))
        elif cos > 0.5 and outfit == "coat":
            pen.line([(0, 0.8 * tall + up), (0, hem)], 0.025, shade(top, 0.7))

    def head() -> None:
        up, rx, ry = lowest * tall, 0.052 * tall, 0.068 * tall
        y = 0.925 * tall + up
        lean = 0.012 * tall * sin
        pen.limb((0, 0.83 * tall + up), (lean, y), 0.06 * tall, 0.06 * tall, skin)
        wears = rng.choice(["hair", "long", "hood", "hat"], p=[0.5, 0.24, 0.12, 0.14])
        cover = {"hood": shade(top, 0.95), "hat": pick(rng, CLOTHES)}.get(
            str(wears), hair
        )
        pen.ellipse(lean, y, rx * 1.06, ry, cover)
        if wears == "long":
            pen.ellipse(lean - 0.02 * tall * sin, y - 0.04 * tall, rx * 1.05, ry, hair)
        if cos > -0.35:
            pen.ellipse(
                lean + 0.022 * tall * sin, y - 0.016 * tall, rx * 0.82, ry * 0.78, skin
            )
        if wears == "hat":
            pen.ellipse(lean, y + ry * 0.55, rx * 1.1, ry * 0.5, cover)

    def backpack() -> None:
        x, y, _ = joint(-0.1, 0, 0.7 + lowest)
        pen.ellipse(x, y, wide(0.085, 0.055), 0.11 * tall, pack)

    pack = pick(rng, CLOTHES)
    parts += [(0.0, torso), (0.005 if cos > 0 else 0.02, head)]
    if carries == "backpack":
        parts.append((-0.1 * cos, backpack))
    for _, part in sorted(parts, key=lambda item: item[0]):
        if callable(part):
            part()
            continue
        for start, end, w0, w1, colour in part:
            pen.limb(start, end, w0 * tall, w1 * tall, colour)
    if carries == "bag":
        x, y, _ = hands[0]
        pen.box(x - 0.14, y - 0.36, x + 0.14, y - 0.04, pack)
    if umbrella:
        _umbrella(rng, pen, hands[1], tall)
    return Thing("person", point, float(depth), pen.sprite())


def _umbrella(rng: np.random.Generator, pen: Pen, hand, tall: float) -> None:
    x, y, radius = hand[0] * 0.5, tall * 1.0, float(rng.uniform(0.48, 0.6))
    colour = pick(rng, [*CLOTHES[:1], *CLOTHES[5:]])
    pen.line([(hand[0], hand[1]), (x, y + 0.3)], 0.03, (60, 60, 60))
    angles = np.linspace(0, np.pi, 13)
    arc = [(x + radius * np.cos(a), y + 0.55 * radius * np.sin(a)) for a in angles]
    scallops = [(x + radius * k, y + 0.05 * (i % 2)) for i, k in
                enumerate(np.linspace(-1, 1, 9))]  # fmt: skip
    pen.polygon(arc + scallops[1:-1], colour)
    pen.polygon([(x, y + 0.56 * radius), *arc[8:11], (x - 0.35 * radius, y)],
                shade(colour, 0.82))  # fmt: skip
