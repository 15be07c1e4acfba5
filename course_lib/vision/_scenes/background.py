"""What a camera sees when nothing moves: ground, walls, sky, seen in perspective.

World coordinates are metres: x along the street, y up, z across it. The camera stands
at x = z = 0, some metres up. Ground and walls are maps of materials, drawn flat and
then looked up by the ray of every pixel.
"""

from dataclasses import dataclass
from functools import cached_property

from course_lib.vision._scenes.materials import (
    BITS,
    INDEX,
    TILE,
    choose_shades,
    textures,
)

import numpy as np
from PIL import Image, ImageDraw

_TEXELS = 16  # per metre, on every map
_FAR = 1 << 15  # texels; a multiple of the tile and of the width of a wall
_GROUND = (40, 40)  # metres that the ground map covers along x and z
_WALL = (16, 10)  # metres along x, after which a wall repeats, and y


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: `focal` in pixels of a canvas `size` pixels wide and high."""

    size: int
    focal: float
    height: float
    pitch: float
    yaw: float
    roll: float

    @cached_property
    def axes(self) -> np.ndarray:
        """Right, down and forward as the rows of a rotation, float64 [3, 3]."""
        sin, cos = np.sin(self.yaw), np.cos(self.yaw)
        right, ahead = np.array([cos, 0, sin]), np.array([-sin, 0, cos])
        up = np.array([0.0, 1.0, 0.0])
        forward = ahead * np.cos(self.pitch) - up * np.sin(self.pitch)
        down = -(ahead * np.sin(self.pitch) + up * np.cos(self.pitch))
        sin, cos = np.sin(self.roll), np.cos(self.roll)
        return np.stack([right * cos + down * sin, down * cos - right * sin, forward])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return x, y (canvas pixels) and depth (metres) of world points [..., 3]."""
        seen = (points - np.array([0, self.height, 0])) @ self.axes.T
        depth = np.maximum(seen[..., 2:], 0.1)
        return np.concatenate(
            [seen[..., :2] / depth * self.focal + self.size / 2, seen[..., 2:]], axis=-1
        )

    def rays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the direction of every pixel: x, y and z, float32 [size, size]."""
        steps = (np.arange(self.size) + 0.5 - self.size / 2) / self.focal
        steps = steps.astype(np.float32)
        right, down, forward = self.axes.astype(np.float32)
        return tuple(
            (steps * right[axis] + forward[axis]) + (steps * down[axis])[:, None]
            for axis in range(3)
        )

    def ground(self, columns: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """Return the ground points [n, 3] at canvas columns and depths in metres."""
        across = (columns - self.size / 2) / self.focal * depths
        ahead = (depths - self.height * np.sin(self.pitch)) / np.cos(self.pitch)
        sin, cos = np.sin(self.yaw), np.cos(self.yaw)
        x, z = across * cos - ahead * sin, across * sin + ahead * cos
        return np.stack([x, np.zeros_like(x), z], axis=-1)


@dataclass(frozen=True)
class Site:
    """One place: the maps of its ground and walls, and where things may stand.

    Attributes:
        kind: "street", "yard" or "park".
        ground: Material indices, uint8 [z, x].
        walls: (z, height, material indices uint8 [y, x]) of every wall.
        road: z of both edges of the carriageway; None where cars stand anywhere.
        shades: Every material in every brightness, four bytes RGBX in one uint32.
        skyline: Elevation of far trees above the horizon, by azimuth, float32 [256].
    """

    kind: str
    ground: np.ndarray
    walls: tuple[tuple[float, float, np.ndarray], ...]
    road: tuple[float, float] | None
    shades: np.ndarray
    skyline: np.ndarray

    def free(self, points: np.ndarray, *, margin: float) -> np.ndarray:
        """Say which ground points [n, 3] keep their distance from every wall."""
        free = np.hypot(points[:, 0], points[:, 2]) > 1.5 + margin
        for z, _, _ in self.walls:
            free &= (z - points[:, 2]) * np.sign(z) > margin
        return free


@dataclass(frozen=True)
class Background:
    """A rendered site: the canvas, and arrays [..., size, size] of the picture.

    Attributes:
        canvas: RGB under white light, some canvas pixels for each picture pixel.
        colours: The canvas at the picture's size, float32 RGB planes [3, ...].
        spots: x and z of the world point and its depth in metres, float32 [3, ...];
            the depth of the sky is 200.
        is_ground: bool.
        sky: Share of each pixel that is sky, float32.
        clouds: Brightness of the sky, float32.
        is_window: bool, windows that shine at night.
    """

    canvas: Image.Image
    colours: np.ndarray
    spots: np.ndarray
    is_ground: np.ndarray
    sky: np.ndarray
    clouds: np.ndarray
    is_window: np.ndarray


class _Map:
    """A flat map of materials that is drawn in metres."""

    def __init__(self, extent: tuple[int, int], material: str, *, centred: bool):
        self.image = Image.new(
            "L", (extent[0] * _TEXELS, extent[1] * _TEXELS), INDEX[material]
        )
        self.pen = ImageDraw.Draw(self.image)
        self.left = extent[0] / 2
        self.bottom = extent[1] / 4 if centred else 0.0

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, material: str):
        left, right = (int((x + self.left) * _TEXELS) for x in (x0, x1 - 0.03))
        low, high = (int((y + self.bottom) * _TEXELS) for y in (y0, y1 - 0.03))
        if right >= left and high >= low:
            self.pen.rectangle((left, low, right, high), fill=INDEX[material])

    def blob(self, rng: np.random.Generator, x: float, y: float, r: float, material):
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        radius = r * rng.uniform(0.6, 1.2, 12)
        points = np.stack(
            [
                x + self.left + radius * np.cos(angles),
                y + self.bottom + 0.7 * radius * np.sin(angles),
            ],
            axis=1,
        )
        self.pen.polygon((points * _TEXELS).ravel().tolist(), fill=INDEX[material])

    def array(self) -> np.ndarray:
        return np.asarray(self.image)


def _facade(rng: np.random.Generator, height: float) -> np.ndarray:
    """Draw the front of a building: storeys of windows, doors, a plinth."""
    surface = rng.choice(
        ["brick", "plaster", "plaster", "metal"], p=[0.4, 0.3, 0.2, 0.1]
    )
    wall = _Map(_WALL, surface, centred=False)
    wall.rectangle(-8, 0, 8, rng.uniform(0.2, 0.6), "trim")
    wall.rectangle(-8, height - 0.3, 8, height, "trim")
    spacing, width = rng.uniform(2.4, 4.2), rng.uniform(1.0, 1.7)
    storey, sill, tall = 2.9, rng.uniform(0.9, 1.2), rng.uniform(1.1, 1.5)
    shift = rng.uniform(0.2, spacing)
    split = rng.random() < 0.6
    for index, x in enumerate(np.arange(-8 + shift, 8 - width - 0.2, spacing)):
        for floor in range(int(height // storey)):
            y = floor * storey
            if floor == 0 and rng.random() < 0.25:
                wall.rectangle(x - 0.1, 0, x + 1.2, 2.2, "frame")
                wall.rectangle(x, 0, x + 1.1, 2.1, "door")
                continue
            if surface == "metal" and index % 3 == 0 and floor == 0:
                wall.rectangle(x, 0, x + spacing * 0.8, 2.7, "door")
                continue
            wall.rectangle(x - 0.12, y + sill - 0.12, x + width + 0.12,
                           y + sill + tall + 0.12, "frame")  # fmt: skip
            glass = "lit glass" if rng.random() < 0.3 else "glass"
            wall.rectangle(x, y + sill, x + width, y + sill + tall, glass)
            if split:
                middle = x + width / 2
                wall.rectangle(middle - 0.05, y + sill, middle + 0.05,
                               y + sill + tall, "frame")  # fmt: skip
    return wall.array()


def _wall(rng: np.random.Generator, z: float) -> tuple[float, float, np.ndarray]:
    """Draw one wall of the site: a building, a hedge, a fence or a garden wall."""
    kind = rng.choice(["facade", "hedge", "planks", "brick"], p=[0.62, 0.16, 0.12, 0.1])
    if kind == "facade":
        height = float(rng.uniform(3.2, 8.5))
        return z, height, _facade(rng, height)
    height = float(rng.uniform(1.4, 2.6))
    wall = _Map(_WALL, kind, centred=False)
    if kind != "hedge":
        for x in np.arange(-8, 8, 2.5):
            wall.rectangle(x, 0, x + 0.18, height, "trim")
        wall.rectangle(-8, height - 0.15, 8, height, "trim")
    return z, height, wall.array()


def make_site(rng: np.random.Generator, camera: Camera) -> Site:
    """Lay out a street, a yard or a park for a camera."""
    kind = rng.choice(["street", "yard", "park"], p=[0.5, 0.35, 0.15])
    along = abs(camera.yaw) > 0.6
    far = float(rng.uniform(7, 11) if along else rng.uniform(10, 16))
    road = None
    if kind == "street":
        start = float(rng.uniform(-2.5, 0.5) if along else rng.uniform(2.5, 5.0))
        road = (start, start + float(rng.uniform(5.5, 7.0)))
        far = max(far, road[1] + float(rng.uniform(1.8, 4.0)))
        pavement = rng.choice(["paving", "concrete", "asphalt", "grass"])
        ground = _Map(_GROUND, pavement, centred=True)
        ground.rectangle(-20, road[0] - 0.3, 20, road[1] + 0.3, "kerb")
        ground.rectangle(-20, road[0], 20, road[1], "asphalt")
        middle = sum(road) / 2
        if rng.random() < 0.75:
            for x in np.arange(-20 + rng.uniform(0, 3), 20, 3.0):
                ground.rectangle(x, middle - 0.08, x + 1.5, middle + 0.08, "marking")
        if rng.random() < 0.35:
            x = rng.uniform(-3, 3)
            for z in np.arange(road[0] + 0.3, road[1] - 0.5, 1.0):
                ground.rectangle(x, z, x + 2.6, z + 0.5, "marking")
    elif kind == "yard":
        base = rng.choice(["asphalt", "gravel", "concrete", "paving"])
        ground = _Map(_GROUND, base, centred=True)
        for _ in range(rng.integers(0, 4)):
            x, z, radius = rng.uniform([-8, 2, 0.5], [8, far, 2])
            patch = rng.choice(["concrete", "asphalt", "gravel"])
            ground.blob(rng, x, z, radius, patch)
        if rng.random() < 0.5 and base != "gravel":
            for x in np.arange(-20 + rng.uniform(0, 2.6), 20, 2.6):
                ground.rectangle(x, far - 5.2, x + 0.12, far - 0.4, "marking")
    else:
        ground = _Map(_GROUND, "grass", centred=True)
        path = float(rng.uniform(3.5, 8))
        ground.rectangle(-20, path, 20, path + rng.uniform(2.4, 4.5),
                         rng.choice(["gravel", "asphalt", "paving"]))  # fmt: skip
        for _ in range(rng.integers(0, 4)):
            ground.blob(rng, rng.uniform(-8, 8), rng.uniform(2, far), 1.2, "gravel")
    ground.rectangle(-20, far, 20, 30, "grass")
    if rng.random() < 0.5:
        ground.rectangle(-20, far - rng.uniform(0.4, 1.2), 20, far, "grass")
    walls = []
    if kind != "park" or rng.random() < 0.4:
        walls.append(_wall(rng, far))
    if along and rng.random() < 0.6:
        near = road[0] if road else -1.0
        walls.append(_wall(rng, min(near, -1.5) - float(rng.uniform(1.5, 3.0))))
    noise = np.convolve(rng.standard_normal(266), np.ones(11) / 3.3, "valid")
    skyline = np.maximum(0.03 + 0.025 * noise, 0).astype("f4")
    return Site(
        str(kind), ground.array(), tuple(walls), road, choose_shades(rng), skyline
    )


def render(site: Site, camera: Camera, *, factor: int) -> Background:
    """Look up the material behind every pixel of the camera.

    A picture pixel is the mean of factor × factor canvas pixels.
    """
    dx, dy, dz = camera.rays()
    size = camera.size
    distance = np.full((size, size), 200, np.float32)
    texel = np.zeros((size, size), np.int32)  # an index into `textures`, made flat

    is_ground = dy < -0.02
    above = is_ground.all(axis=1).argmax() or size  # the first row of ground alone
    azimuth = np.arctan2(dx[:above], dz[:above])
    elevation = dy[:above] / np.hypot(dx[:above], dz[:above])
    is_trees = elevation < site.skyline[(azimuth * 90).astype(np.int32) % 256]
    beyond = np.where(is_trees, np.uint8(INDEX["treeline"]), np.uint8(INDEX["sky"]))
    texel[:above] = _look_up(beyond, _texels(azimuth * 12), _texels(elevation * 30))

    below = slice(is_ground.any(axis=1).argmax(), None)
    reach = np.float32(camera.height) / np.maximum(-dy[below], np.float32(0.02))
    columns, rows = _texels(dx[below] * reach), _texels(dz[below] * reach)
    height, width = site.ground.shape
    inside = np.clip(rows + (height // 4 - _FAR), 0, height - 1) * width
    inside += np.clip(columns + (width // 2 - _FAR), 0, width - 1)
    found = _look_up(site.ground.ravel().take(inside), columns, rows)
    np.copyto(texel[below], found, where=is_ground[below])
    np.copyto(distance[below], reach, where=is_ground[below])

    for z, tall, surface in site.walls:
        facing = dz if z > 0 else -dz
        reach = np.float32(abs(z)) / np.maximum(facing, np.float32(0.02))
        y = camera.height + dy * reach
        hit = (reach < distance) & (y < tall) & (y >= 0)
        seen = np.flatnonzero(hit.any(axis=1))
        if not seen.size:
            continue
        part = slice(seen[0], seen[-1] + 1)
        hit, reach = hit[part], reach[part]
        columns, rows = _texels(dx[part] * reach), _texels(y[part])
        height, width = surface.shape
        inside = np.clip(rows - _FAR, 0, height - 1) * width
        inside += (columns + width // 2) & (width - 1)
        found = _look_up(surface.ravel().take(inside), columns, rows)
        np.copyto(texel[part], found, where=hit)
        np.copyto(distance[part], reach, where=hit)
        is_ground[part] &= ~hit

    pixels = site.shades.take(textures().ravel().take(texel))
    canvas = Image.frombytes("RGB", (size, size), pixels.tobytes(), "raw", "RGBX")
    colours = planes(canvas.reduce(factor))
    material = texel >> 2 * BITS
    sky = share(material == INDEX["sky"], factor)
    sample = np.s_[factor // 2 :: factor, factor // 2 :: factor]
    depth = distance[sample]
    return Background(
        canvas=canvas,
        colours=colours,
        spots=np.stack([dx[sample] * depth, dz[sample] * depth, depth]),
        is_ground=is_ground[sample],
        sky=sky,
        clouds=np.where(sky == 1, colours[0] / 255, np.float32(1)),
        is_window=material[sample] == INDEX["lit glass"],
    )


def _look_up(material: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return which of all texels a material shows at a place on its surface."""
    return (
        material.astype(np.int32) * TILE**2
        + (rows & (TILE - 1)) * TILE
        + (columns & (TILE - 1))
    )


def share(mask: np.ndarray, factor: int) -> np.ndarray:
    """Return which share of every picture pixel a mask of the canvas covers."""
    mask, starts = mask.view(np.uint8), range(factor)
    count = sum(mask[y::factor, x::factor] for y in starts for x in starts)
    return count / np.float32(factor**2)


def planes(image: Image.Image) -> np.ndarray:
    """Return an image as float32 [3, height, width].

    NumPy works through planes several times faster than through interleaved channels.
    """
    return np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")


def _texels(metres: np.ndarray) -> np.ndarray:
    """Return whole texels from a corner far outside every map, so never negative."""
    return (metres * _TEXELS + _FAR).astype(np.int32)
