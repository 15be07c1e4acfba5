"""Camera scenes with exact labels and boxes: people and cars in streets and yards.

Training from scratch needs thousands of labelled pictures. These are drawn, offline,
one scene per seed: a camera some metres up, a street, a yard or a park in perspective,
daylight to infrared night, rain, snow and fog, a noisy sensor. Who stands where is
known, so labels and boxes come from the drawn pixels and are never wrong.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from course_lib.errors import UnusableInput
from course_lib.vision._scenes import background, light, staging
from course_lib.vision._scenes.drawing import Thing

import numpy as np
from PIL import Image

LABELS = ("person", "car")

# Below these, nobody would call an object visible, so it is left out of the scene.
_MIN_VISIBLE = 0.45  # share of its own pixels
_MIN_PIXELS = {"person": 60, "car": 100}  # of 96 x 96
_MIN_HEIGHT = {"person": 14, "car": 8}  # rows of 96
_MIN_CONTRAST = 20.0  # mean difference from the background, of 255

_SUPERSAMPLING = 2
_ATTEMPTS = 6


@dataclass(frozen=True)
class Box:
    """The pixels of one object: rows top to bottom − 1, columns left to right − 1.

    Attributes:
        label: "person" or "car".
        top, left, bottom, right: Edges in pixels; bottom and right are exclusive.
        visible: Share of the object's own pixels that the picture shows: neither
            behind something nor outside the frame, 0.45 to 1.

    Introduced in notebook 04.
    """

    label: str
    top: int
    left: int
    bottom: int
    right: int
    visible: float


@dataclass(frozen=True)
class Scenes:
    """Pictures with labels and boxes.

    Attributes:
        images: RGB, uint8 [N, size, size, 3].
        person: Whether a person is visible, bool [N].
        car: Whether a car is visible, bool [N].
        boxes: For every scene, the boxes of its visible people and cars.

    Introduced in notebook 04.
    """

    images: np.ndarray
    person: np.ndarray
    car: np.ndarray
    boxes: tuple[tuple[Box, ...], ...]

    def __len__(self) -> int:
        return len(self.images)


def generate(
    count: int,
    *,
    seed: int,
    size: int = 96,
    background_seed: int | None = None,
    processes: int = 1,
) -> Scenes:
    """Draw camera scenes; "person" and "car" are present independently, half the time.

    Scene k depends on the seed and on k alone: a longer run begins with the same
    scenes.

    Args:
        count: How many scenes.
        seed: Which scenes; 0 or more.
        size: Width and height in pixels; 32 to 512.
        background_seed: None draws a new camera and place for every scene. A number
            fixes both: one camera looks at one place, where people, cars, light and
            weather change.
        processes: How many draw side by side; the scenes are the same. A script that
            asks for more than 1 needs `if __name__ == "__main__":`.

    Returns:
        The scenes.

    Raises:
        UnusableInput: An argument is out of its range.

    Example:
        >>> scenes = generate(4, seed=0)
        >>> scenes.images.shape, scenes.images.dtype
        ((4, 96, 96, 3), dtype('uint8'))
        >>> len(scenes.person), len(scenes.boxes)
        (4, 4)

    Introduced in notebook 04.
    """
    _check("count", count, 1, None)
    _check("seed", seed, 0, None)
    _check("size", size, 32, 512)
    if background_seed is not None:
        _check("background_seed", background_seed, 0, None)
    _check("processes", processes, 1, 64)
    draw = partial(_scene_of, size=size, background_seed=background_seed)
    seeds = np.random.SeedSequence(seed).spawn(count)
    if processes == 1:
        drawn = list(map(draw, seeds))
    else:
        # Not a fork: TensorFlow's threads may hold locks.
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            drawn = list(pool.map(draw, seeds, chunksize=32))
    images = np.stack([image for image, _ in drawn])
    boxes = [found for _, found in drawn]
    present = {
        label: np.array([any(box.label == label for box in found) for found in boxes])
        for label in LABELS
    }
    return Scenes(images, present["person"], present["car"], tuple(boxes))


def _check(name: str, value: int, low: int, high: int | None) -> None:
    rule = f"{low} or more" if high is None else f"from {low} to {high}"
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        raise UnusableInput(
            f"{name} is {value!r}, expected a whole number {rule}: "
            f"give generate() such a {name}"
        )


def _scene_of(
    seed: np.random.SeedSequence, *, size: int, background_seed: int | None
) -> tuple[np.ndarray, tuple[Box, ...]]:
    """Draw the scene of one seed."""
    still, moving = map(np.random.default_rng, seed.spawn(2))
    if background_seed is not None:
        still = np.random.default_rng(background_seed)
    return _scene(still, moving, size)


def _scene(
    still: np.random.Generator, moving: np.random.Generator, size: int
) -> tuple[np.ndarray, tuple[Box, ...]]:
    """Draw one scene: what stands still from one generator, the rest from the other."""
    camera, site, furniture = staging.set_the_scene(still, size * _SUPERSAMPLING)
    view = background.render(site, camera, factor=_SUPERSAMPLING)
    weather = light.draw_weather(moving)
    wanted = {label for label in LABELS if moving.random() < 0.5}
    # Where chance finds no visible place again and again, the scene gets less.
    for wish in [wanted] * _ATTEMPTS + [wanted - {"car"}, set()]:
        things = staging.populate(moving, camera, site, weather, furniture, wish)
        if wish <= {thing.label for thing in things}:
            picture, boxes = _draw(things, camera, view, weather)
            if wish == {box.label for box in boxes}:
                break
    picture = light.add_precipitation(picture, weather, moving)
    return light.photograph(picture, weather, moving), boxes


def _draw(
    things: list[Thing],
    camera: background.Camera,
    view: background.Background,
    weather: light.Weather,
) -> tuple[np.ndarray, tuple[Box, ...]]:
    """Draw the scene without the people and cars that nobody would see in it.

    Returns:
        The picture, float32 RGB [3, size, size] of 0 to 255, and the boxes.
    """
    while True:
        things = sorted(things, key=lambda thing: -thing.depth)
        owners = Image.new("L", view.canvas.size)  # which thing a pixel shows, from 1
        for number, thing in enumerate(things, start=1):
            owners.paste(number, _extent(thing), thing.sprite.image)
        owner = np.asarray(owners)
        masks = {k: owner == k + 1 for k, thing in enumerate(things) if thing.label}
        pixels = {
            k: background.share(mask, _SUPERSAMPLING) >= 0.5
            for k, mask in masks.items()
        }
        boxes = {
            k: _box(things[k], np.count_nonzero(masks[k]), pixels[k]) for k in masks
        }
        if None not in boxes.values():
            picture, change = _expose(things, owner, camera, view, weather)
            for k, own in pixels.items():
                if change[own].mean() < _MIN_CONTRAST:
                    boxes[k] = None
            if None not in boxes.values():
                return picture, tuple(boxes.values())
        things = [thing for k, thing in enumerate(things) if boxes.get(k, thing)]


def _expose(
    things: Sequence[Thing],
    owner: np.ndarray,
    camera: background.Camera,
    view: background.Background,
    weather: light.Weather,
) -> tuple[np.ndarray, np.ndarray]:
    """Put the things, the farthest first, on the background and light the scene.

    Returns:
        The picture, float32 RGB [3, size, size] of 0 to 255, and by how much the things
        change each of its pixels, float32 [size, size].
    """
    canvas = view.canvas.copy()
    for thing in things:
        canvas.paste(thing.sprite.image, _extent(thing), thing.sprite.image)
    picture = background.planes(canvas.reduce(_SUPERSAMPLING))
    size = picture.shape[1]

    middle = slice(_SUPERSAMPLING // 2, None, _SUPERSAMPLING)
    shown = owner[middle, middle]
    spots = [[0, 0, 0], *([t.point[0], t.point[2], t.depth] for t in things)]
    spots = np.array(spots, np.float32).T.take(shown, axis=1)
    x, z, depth = np.where(shown, spots, view.spots)
    covered = background.share(owner > 0, _SUPERSAMPLING)
    ground = view.is_ground * (1 - covered)

    empty = light.cover_ground(view.colours, weather, view.is_ground)
    picture = light.cover_ground(picture, weather, ground)
    shade = 1 - ground * (1 - light.shadows(things, camera, weather, size))
    rays = light.illuminate(weather, things, x, z, depth, shade)
    clear = np.exp(-depth / weather.haze)
    change = (np.abs(picture - empty) * rays).mean(axis=0) * clear

    picture = light.haze(picture * rays, weather, clear)
    above = light.sky(weather, size) * view.clouds
    picture += (above - picture) * (view.sky * (1 - covered))
    if weather.dark:
        lit = np.array([[190], [150], [88]], np.float32)
        window = view.is_window & (shown == 0)
        picture[:, window] = picture[:, window] * np.float32(0.3) + lit
        light.add_glows(picture, _seen_glows(things, owner), wet=weather.sky == "rain")
    return picture, change


def _extent(thing: Thing) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the sprite on the canvas."""
    left, top = thing.sprite.left, thing.sprite.top
    return left, top, left + thing.sprite.image.width, top + thing.sprite.image.height


def _seen_glows(things: Sequence[Thing], owner: np.ndarray) -> list[tuple]:
    """Return the lamps that nothing covers, in pixels of the picture."""
    seen = []
    for number, thing in enumerate(things, start=1):
        for glow in thing.glows:
            row, column = int(glow.row), int(glow.column)
            inside = 0 <= row < len(owner) and 0 <= column < len(owner)
            if inside and owner[row, column] == number:
                place = (glow.column, glow.row, glow.radius)
                seen.append((*(float(v) / _SUPERSAMPLING for v in place), glow.colour))
    return seen


def _box(thing: Thing, shown: int, pixels: np.ndarray) -> Box | None:
    """Measure one object; None if nobody would call it visible.

    Args:
        thing: The object.
        shown: How many of its canvas pixels the scene shows.
        pixels: The picture pixels of which it has at least half, bool [size, size].
    """
    visible = float(shown / thing.sprite.image.getchannel("A").histogram()[255])
    scale = len(pixels) / 96
    if visible < _MIN_VISIBLE or pixels.sum() < _MIN_PIXELS[thing.label] * scale**2:
        return None
    rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
    if np.ptp(rows) + 1 < _MIN_HEIGHT[thing.label] * scale:
        return None
    return Box(
        thing.label,
        top=int(rows[0]),
        left=int(columns[0]),
        bottom=int(rows[-1]) + 1,
        right=int(columns[-1]) + 1,
        visible=visible,
    )
