"""Pens, sprites and colours: what every drawing of a scene is made with."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]
CLOTHES = [
    *((34, 36, 42), (48, 54, 72), (70, 72, 76), (96, 88, 78), (150, 148, 144)),
    *((222, 220, 214), (178, 44, 44), (36, 72, 140), (44, 96, 70), (206, 152, 44)),
    *((120, 48, 92), (84, 148, 176), (214, 110, 60), (226, 168, 176), (140, 124, 98)),
]


@dataclass(frozen=True)
class Sprite:
    """A drawn thing: an RGBA image whose top left corner lies at a canvas pixel.

    It may reach beyond the canvas; what lies outside is cut off when it is pasted.
    """

    image: Image.Image
    left: int
    top: int


@dataclass(frozen=True)
class Glow:
    """A light that the camera sees: canvas position, radius in pixels, colour."""

    column: float
    row: float
    radius: float
    colour: Colour


@dataclass(frozen=True, eq=False)
class Thing:
    """One object of a scene.

    Attributes:
        label: "person", "car", or "" for what is neither.
        point: Where it touches the ground, world coordinates [3].
        depth: Metres along the viewing direction; the smaller covers the larger.
        sprite: Its picture.
        corners: World points [n, 3] whose hull casts the shadow; None for flat things,
            whose picture casts it.
        glows: The lights it carries.
        pools: Ground points that its lights illuminate, with radius in metres.
    """

    label: str
    point: np.ndarray
    depth: float
    sprite: Sprite
    corners: np.ndarray | None = None
    glows: tuple[Glow, ...] = ()
    pools: tuple[tuple[np.ndarray, float], ...] = ()


class Pen:
    """Draws in metres, x to the right and y up, from a foot point on the canvas."""

    def __init__(self, foot, scale: float, x0: float, y0: float, x1: float, y1: float):
        self.left = int(np.floor(foot[0] + x0 * scale)) - 1
        self.top = int(np.floor(foot[1] - y1 * scale)) - 1
        width = int(np.ceil(foot[0] + x1 * scale)) + 2 - self.left
        height = int(np.ceil(foot[1] - y0 * scale)) + 2 - self.top
        self.image = Image.new("RGBA", (width, height))
        self.draw = ImageDraw.Draw(self.image)
        self.x, self.y, self.scale = foot[0] - self.left, foot[1] - self.top, scale

    def _pixels(self, points) -> list[tuple[float, float]]:
        return [
            (self.x + self.scale * p[0], self.y - self.scale * p[1]) for p in points
        ]

    def polygon(self, points, colour: Colour) -> None:
        self.draw.polygon(self._pixels(points), fill=opaque(colour))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def line(self, points, width: float, colour: Colour) -> None:
        width = max(1, round(width * self.scale))
        self.draw.line(self._pixels(points), opaque(colour), width, joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        (left, bottom), (right, top) = self._pixels(
            [(x - rx, y - ry), (x + rx, y + ry)]
        )
        self.draw.ellipse((left, top, right, bottom), fill=opaque(colour))

    def limb(self, start, end, w0: float, w1: float, colour: Colour) -> None:
        """Draw a tapered stroke with round ends, w0 and w1 metres wide."""
        if max(w0, w1) * self.scale < 3:  # its shape would not be seen
            self.line([start, end], (w0 + w1) / 2, colour)
            return
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = max((dx * dx + dy * dy) ** 0.5, 1e-6)
        nx, ny = -dy / length / 2, dx / length / 2
        self.polygon(
            [
                (start[0] + nx * w0, start[1] + ny * w0),
                (end[0] + nx * w1, end[1] + ny * w1),
                (end[0] - nx * w1, end[1] - ny * w1),
                (start[0] - nx * w0, start[1] - ny * w0),
            ],
            colour,
        )
        self.ellipse(start[0], start[1], w0 / 2, w0 / 2, colour)
        self.ellipse(end[0], end[1], w1 / 2, w1 / 2, colour)

    def sprite(self) -> Sprite:
        return Sprite(self.image, self.left, self.top)


def opaque(colour: Colour) -> tuple[int, int, int, int]:
    """Return a colour for Pillow, cut to 0..255."""
    red, green, blue = (
        0 if value < 0 else 255 if value > 255 else int(value) for value in colour
    )
    return red, green, blue, 255


def shade(colour: Colour, factor: float) -> Colour:
    """Return a colour made brighter or darker."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def pick(rng: np.random.Generator, colours: list[Colour], jitter: float = 8) -> Colour:
    """Choose one of some colours and vary it a little."""
    base, change = colours[rng.integers(len(colours))], rng.normal(0, jitter)
    return base[0] + change, base[1] + change, base[2] + change
