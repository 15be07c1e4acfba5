"""What light, weather and the sensor make of a scene.

Pictures are planar in here: float32 RGB [3, size, size] of 0 to 255.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from course_lib.vision._scenes.background import Camera
from course_lib.vision._scenes.drawing import Thing

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


@dataclass(frozen=True)
class Weather:
    """Time of day and weather of one picture.

    Attributes:
        time: "day", "dusk", "night", or "infrared": night in an infrared lamp's light.
        sky: "clear", "overcast", "rain", "snow" or "fog".
        ambient: Light from everywhere, RGB, 1 on a clear day.
        zenith: Colour of the upper sky, RGB 0 to 255.
        horizon: Colour of the lower sky and of the haze.
        haze: Metres after which haze hides about two thirds.
        sun: Unit vector to the sun, world coordinates; None where nothing casts a hard
            shadow.
    """

    time: str
    sky: str
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    haze: float
    sun: np.ndarray | None

    @property
    def dark(self) -> bool:
        """Whether lamps are on."""
        return self.time != "day"


_LIGHT = {  # ambient light, zenith, horizon
    "day": ((1.0, 0.98, 0.94), (104, 152, 208), (204, 218, 230)),
    "overcast": ((0.86, 0.88, 0.92), (186, 192, 200), (212, 214, 216)),
    "dusk": ((0.68, 0.6, 0.58), (84, 92, 132), (216, 164, 126)),
    "night": ((0.52, 0.55, 0.63), (16, 20, 36), (44, 46, 58)),
    "infrared": ((0.24, 0.24, 0.24), (8, 8, 8), (22, 22, 22)),
}
_HAZE = {"clear": 250.0, "overcast": 140.0, "rain": 50.0, "snow": 32.0, "fog": 15.0}


def draw_weather(rng: np.random.Generator) -> Weather:
    """Choose the time of day and the weather."""
    time = str(
        rng.choice(["day", "dusk", "night", "infrared"], p=[0.5, 0.15, 0.25, 0.1])
    )
    sky = str(rng.choice(list(_HAZE), p=[0.4, 0.22, 0.16, 0.1, 0.12]))
    light = "overcast" if time == "day" and sky != "clear" else time
    ambient, zenith, horizon = (np.array(values, float) for values in _LIGHT[light])
    if time == "dusk" and sky != "clear":
        horizon = zenith * 0.6 + horizon * 0.4
    sun = None
    if sky == "clear" and time in ("day", "dusk"):
        azimuth = rng.uniform(0, 2 * np.pi)
        height = rng.uniform(0.45, 1.1) if time == "day" else rng.uniform(0.3, 0.45)
        sun = np.array([np.cos(azimuth) * np.cos(height), np.sin(height),
                        np.sin(azimuth) * np.cos(height)])  # fmt: skip
    return Weather(
        time,
        sky,
        ambient * rng.uniform(0.85, 1.12),
        zenith,
        horizon,
        _HAZE[sky] * float(rng.uniform(0.8, 1.4)),
        sun,
    )


def _hull(points: np.ndarray) -> list[tuple[float, float]]:
    """Return the convex hull of points in the plane (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, points.tolist()))
    chains = []
    for row in (ordered, ordered[::-1]):
        chain: list[tuple[float, float]] = []
        for p in row:
            while len(chain) > 1 and (
                (chain[-1][0] - chain[-2][0]) * (p[1] - chain[-2][1])
                - (chain[-1][1] - chain[-2][1]) * (p[0] - chain[-2][0])
            ) <= 0:  # fmt: skip
                chain.pop()
            chain.append(p)
        chains += chain[:-1]
    return chains


def shadows(
    things: Sequence[Thing], camera: Camera, weather: Weather, size: int
) -> np.ndarray:
    """Return how much light reaches the ground beside things, float32 [size, size]."""
    scale = size / camera.size
    contact, cast = Image.new("L", (size, size)), Image.new("L", (size, size))
    below, behind = ImageDraw.Draw(contact), ImageDraw.Draw(cast)
    slope = None if weather.sun is None else -weather.sun / weather.sun[1]
    feet = camera.project(np.array([thing.point for thing in things]).reshape(-1, 3))
    for thing, (x, y, depth) in zip(things, feet.tolist(), strict=True):
        x, y, metre = x * scale, y * scale, camera.focal / depth * scale
        if thing.corners is None:
            r = 0.26 * metre
            below.ellipse((x - r, y - r * 0.4, x + r, y + r * 0.4), fill=255)
        else:
            corners = camera.project(thing.corners * [1, 0, 1])
            below.polygon(_hull(corners[:, :2] * scale), fill=255)
        if slope is None:
            continue
        if thing.corners is not None:
            ends = thing.corners + thing.corners[:, 1:2] * slope
            ends = np.concatenate([corners, camera.project(ends)])
            if ends[:, 2].min() > 0.5:
                behind.polygon(_hull(ends[:, :2] * scale), fill=255)
            continue
        end = camera.project(thing.point + slope)  # the shadow of one metre
        lean, rise = end[0] * scale - x, end[1] * scale - y
        if end[2] < 0.8 or abs(rise) < 0.04 * metre:
            continue
        zoom = 1 / scale
        image, sprite = thing.sprite.image, thing.sprite
        a, c = zoom, x / scale - sprite.left - zoom * x
        b = -zoom * lean / rise
        e = zoom * metre / rise
        mask = image.getchannel("A").transform(
            (size, size),
            Image.Transform.AFFINE,
            (a, b, c - b * y, 0.0, e, y / scale - sprite.top - e * y),
        )
        cast.paste(255, (0, 0), mask)
    soft = contact.filter(ImageFilter.BoxBlur(size / 60))
    light = 1 - np.asarray(soft, np.float32) * (0.6 / 255)
    if slope is not None:
        hard = cast.filter(ImageFilter.BoxBlur(size / 150))
        light *= 1 - np.asarray(hard, np.float32) * (0.52 / 255)
    return light


def illuminate(
    weather: Weather,
    things: Sequence[Thing],
    x: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
    shade: np.ndarray,
) -> np.ndarray:
    """Return the light on every pixel, float32 [3, size, size].

    Args:
        weather: The weather.
        things: Whose lamps shine.
        x: World x of every pixel, metres [size, size].
        z: World z of every pixel, metres [size, size].
        depth: Metres along the viewing direction [size, size].
        shade: What `shadows` returned, 1 where nothing lies in a shadow.
    """
    rays = shade * _column(weather.ambient)
    if weather.time == "infrared":
        rays += np.float32(1.25) / (1 + (depth / 8) ** 2)
    elif weather.dark:
        strength = 0.85 if weather.time == "night" else 0.35
        for thing in things:
            for centre, radius in thing.pools:
                away = (x - float(centre[0])) ** 2 + (z - float(centre[2])) ** 2
                rays += strength / (1 + away / radius**2) * _LAMPLIGHT
    return rays


def _column(colour: Sequence[float]) -> np.ndarray:
    """Return a colour so shaped that it multiplies planes."""
    return np.asarray(colour, np.float32)[:, None, None]


_LAMPLIGHT = _column([1.0, 0.86, 0.62])


def cover_ground(image: np.ndarray, weather: Weather, ground: np.ndarray) -> np.ndarray:
    """Return a picture with snow on the ground [size, size], or with the ground wet."""
    if weather.sky == "snow":
        return image + (226 - image) * (np.float32(0.7) * ground)
    if weather.sky == "rain":
        return image * (1 - np.float32(0.2) * ground)
    return image


def haze(image: np.ndarray, weather: Weather, clear: np.ndarray) -> np.ndarray:
    """Mix a picture with the colour of the air; clear is 1 where there is none."""
    air = _column(weather.horizon)
    return air + (image - air) * clear


def sky(weather: Weather, size: int) -> np.ndarray:
    """Return the sky's colour by row, float32 [3, size, 1]."""
    height = np.linspace(0, 2.2, size, dtype=np.float32).clip(0, 1)[:, None]
    zenith, horizon = _column(weather.zenith), _column(weather.horizon)
    return zenith + (horizon - zenith) * height


def add_glows(
    image: np.ndarray, glows: Sequence[tuple[float, float, float, tuple]], *, wet: bool
) -> None:
    """Add lights (column, row, radius, RGB 0 to 1) in place, with their reflections."""
    steps = np.arange(image.shape[1], dtype=np.float32) + 0.5
    for column, row, radius, colour in glows:
        core, halo = 0.7 * radius + 0.5, 3.2 * radius + 1
        marks = [(row, core, core, 255), (row, halo, halo, 60)]
        if wet:  # the ground stretches a reflection towards the camera
            marks.append((row + 6 * radius + 5, 1.2 * radius + 0.6, 9.0, 80))
        for centre, wide, tall, strength in marks:
            across = np.exp(-(((steps - column) / wide) ** 2))
            down = np.exp(-(((steps - centre) / tall) ** 2)) * strength
            image += down[:, None] * across * _column(colour)


def add_precipitation(
    image: np.ndarray, weather: Weather, rng: np.random.Generator
) -> np.ndarray:
    """Draw falling rain or snow over a picture."""
    if weather.sky not in ("rain", "snow"):
        return image
    size = image.shape[1]
    veil = Image.new("L", (2 * size, 2 * size))
    pen = ImageDraw.Draw(veil)
    if weather.sky == "rain":
        lean, count = rng.normal(0, 0.18), int(rng.integers(50, 150))
        starts = rng.uniform(0, 2 * size, (count, 2))
        lengths = rng.uniform(0.03, 0.12, count) * 2 * size
        for (x, y), length in zip(starts.tolist(), lengths.tolist(), strict=True):
            pen.line((x, y, x + lean * length, y + length), fill=120, width=1)
    else:
        count = int(rng.integers(50, 160))
        flakes = rng.uniform([0, 0, 0.4], [2 * size, 2 * size, 2.2], (count, 3))
        for x, y, r in (flakes * [1, 1, size / 96]).tolist():
            pen.ellipse((x - r, y - r, x + r, y + r), fill=215)
    share = np.asarray(veil.reduce(2), np.float32) / 255
    infrared = weather.time == "infrared"  # its lamp is at the camera: drops shine
    bright = 240 if infrared else min(float(weather.ambient.mean()) * 215 + 45, 235)
    return image + np.maximum(np.float32(bright) - image, 0) * share


def photograph(
    image: np.ndarray, weather: Weather, rng: np.random.Generator
) -> np.ndarray:
    """Turn a picture into what a camera delivers, uint8 RGB [size, size, 3].

    Lens blur, exposure, white balance, noise, and for a quarter of the pictures JPEG.
    """
    size = image.shape[1]
    exposure, balance = rng.uniform(0.88, 1.14), rng.normal(1, 0.035, 3)
    noise = (
        rng.uniform(3, 8)
        if weather.time in ("night", "infrared")
        else (rng.uniform(1, 4))
    )
    if weather.time == "infrared":
        image, balance = image.mean(axis=0, keepdims=True), np.ones(1)
    image = np.minimum(image * _column(exposure * balance), 255)
    if rng.random() < 0.5:
        image = _soften(image, rng.uniform(0.25, 0.55) * size / 96)
    image = image + _noise(rng, image.shape) * np.float32(noise)
    planes = np.clip(image, 0, 255).astype(np.uint8)
    result = np.ascontiguousarray(
        np.broadcast_to(planes, (3, size, size)).transpose(1, 2, 0)
    )
    if rng.random() < 0.25:
        file = io.BytesIO()
        Image.fromarray(result).save(file, "JPEG", quality=int(rng.integers(45, 92)))
        result = np.asarray(Image.open(file, formats=["JPEG"]))
    return result


def _soften(image: np.ndarray, deviation: float) -> np.ndarray:
    """Blur a picture by a small normal distribution; its deviation is in pixels.

    Each pass of (k, 1 − 2k, k) has the variance 2k; k is at most 1/4.
    """
    passes = int(np.ceil(deviation**2 / 0.5))
    k = np.float32(deviation**2 / 2 / passes)
    for _ in range(passes):
        for axis in (1, 2):
            image = np.moveaxis(image, axis, 1)
            soft = (1 - 2 * k) * image  # beyond the edge, the edge goes on
            soft[:, 1:] += k * image[:, :-1]
            soft[:, :-1] += k * image[:, 1:]
            soft[:, 0] += k * image[:, 0]
            soft[:, -1] += k * image[:, -1]
            image = np.moveaxis(soft, 1, axis)
    return image


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return noise of mean 0 and deviation 1, float32.

    The sum of three random bytes is close to normal, and several times as fast.
    """
    count = int(np.prod(shape))
    parts = rng.bit_generator.random_raw(3 * count // 8 + 1).view(np.uint8)
    total = parts[:count].astype(np.uint16)
    total += parts[count : 2 * count]
    total += parts[2 * count : 3 * count]
    return (total.reshape(shape) - np.float32(382.5)) * np.float32(1 / 128)
