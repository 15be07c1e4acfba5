"""Where things stand: the camera, street furniture, cars and people."""

import math
from collections.abc import Sequence

from course_lib.vision._scenes import cars, people, props
from course_lib.vision._scenes.background import Camera, Site, make_site
from course_lib.vision._scenes.drawing import Thing
from course_lib.vision._scenes.light import Weather

import numpy as np

_CANDIDATES = 24  # places that are tried for one thing
_CAR_LENGTH, _CAR_WIDTH = 4.9, 2.4  # metres that a car keeps free


def mount_camera(rng: np.random.Generator, size: int) -> Camera:
    """Mount a camera 2.3 to 4 metres up; it looks across or along the street."""
    yaw = [rng.uniform(0, 0.3), rng.uniform(0.3, 0.8), rng.uniform(0.8, 1.25)]
    return Camera(
        size=size,
        focal=float(rng.uniform(0.85, 1.25)) * size,
        height=float(rng.uniform(2.3, 4.0)),
        pitch=float(np.deg2rad(rng.uniform(11, 23))),
        yaw=float(rng.choice(yaw, p=[0.4, 0.3, 0.3]) * rng.choice([-1, 1])),
        roll=float(rng.normal(0, 0.012)),
    )


def set_the_scene(
    rng: np.random.Generator, size: int
) -> tuple[Camera, Site, list[Thing]]:
    """Choose a camera and what it looks at; a car has room there."""
    while True:
        camera = mount_camera(rng, size)
        site = make_site(rng, camera)
        furniture = furnish(rng, camera, site)
        if len(_car_places(rng, camera, site, furniture)) > 1:
            return camera, site, furniture


def furnish(rng: np.random.Generator, camera: Camera, site: Site) -> list[Thing]:
    """Place what never moves: trees, bins, signs, now and then one at the camera."""
    things: list[Thing] = []
    names = list(props.FLAT_THINGS)
    count = int(rng.integers(1, 6))
    kinds = [names[k] for k in rng.integers(len(names), size=count)]
    if rng.random() < 0.45:
        kinds.append("lamp")
    points = _places(rng, camera, site, nearest=3.5, farthest=14, margin=0.6)
    for point in points:
        on_road = site.road and site.road[0] - 0.3 < point[2] < site.road[1] + 0.3
        if kinds and not on_road and _apart(point, things, 1.2):
            things.append(props.flat_thing(rng, camera, point, kinds.pop()))
    if rng.random() < 0.25 and not site.road:
        for point in _places(rng, camera, site, nearest=6, farthest=12, margin=1.6):
            if _apart(point, things, 2.5):
                heading = rng.uniform(0, 2 * np.pi)
                things.append(cars.container(rng, camera, point, heading, sun=None))
                break
    if rng.random() < 0.22:
        kind = rng.choice(["tree", "pole", "railing", "lamp"])
        depth = np.array([rng.uniform(2.6, 3.8)])
        column = np.array([rng.choice([rng.uniform(0, 0.3), rng.uniform(0.7, 1)])])
        column = column * camera.size
        (point,) = camera.ground(column, depth)
        things.append(props.flat_thing(rng, camera, point, str(kind)))
    return things


def populate(
    rng: np.random.Generator,
    camera: Camera,
    site: Site,
    weather: Weather,
    furniture: Sequence[Thing],
    wanted: set[str],
) -> list[Thing]:
    """Add the cars and people that are wanted; return everything."""
    things = list(furniture)
    if "car" in wanted:
        for _ in range(rng.choice([1, 2, 3], p=[0.62, 0.28, 0.1])):
            for point, heading in _car_places(rng, camera, site, things)[:1]:
                lights = weather.dark and weather.time != "infrared"
                lights = lights and bool(rng.random() < 0.6)
                sun = weather.sun
                car = cars.car(rng, camera, point, heading, sun=sun, lights=lights)
                things.append(car)
    if "person" in wanted:
        nearest, farthest = (  # 1.73 m are 0.88 to 0.28 of the picture's height
            camera.focal * 1.73 / (share * camera.size) for share in (0.88, 0.28)
        )
        missing = int(rng.choice([1, 2, 3], p=[0.6, 0.27, 0.13]))
        depths = {"nearest": nearest, "farthest": farthest}
        for point in _places(rng, camera, site, margin=0.4, **depths):
            if missing and _may_stand(point, things, camera):
                wet = weather.sky in ("rain", "snow")
                umbrella = bool(rng.random() < (0.4 if wet else 0.03))
                person = people.person(rng, camera, point, umbrella=umbrella)
                things.append(person)
                missing -= 1
    return things


def _car_places(
    rng: np.random.Generator, camera: Camera, site: Site, things: Sequence[Thing]
) -> list[tuple[np.ndarray, float]]:
    """Return where a car has room, with its heading: on a lane if there is a road."""
    if site.road:
        x = rng.uniform(-14, 14, 3 * _CANDIDATES)
        lane = rng.integers(4, size=len(x))  # two lanes, and parked at both kerbs
        side = lane % 2
        kerb, inward = np.array(site.road)[side], 1 - 2 * side
        points = np.stack([x, 0 * x, kerb + inward * np.where(lane < 2, 1.6, 1.1)], 1)
        column, row, depth = camera.project(points).T
        seen = (column > 0) & (column < camera.size) & (row < 1.1 * camera.size)
        seen &= (depth > 5.4) & (depth < 15)
        turned = (lane >= 2) & (rng.random(len(x)) < 0.5)  # parked the other way
        headings = np.pi * (side ^ turned) + rng.normal(0, 0.04, len(x))
        points, headings = points[seen], headings[seen]
    else:
        points = _places(rng, camera, site, nearest=5.5, farthest=14, margin=1.6)
        headings = rng.integers(4, size=len(points)) * np.pi / 2
        headings = headings + rng.normal(0, 0.25, len(points))
    free = np.ones(len(points), bool)
    for other in things:
        x, z = (np.abs(points[:, axis] - other.point[axis]) for axis in (0, 2))
        room = np.hypot(x, z) > (_CAR_WIDTH if other.corners is None else _CAR_LENGTH)
        if other.label and site.road:  # two cars on different lanes pass each other
            room |= z > _CAR_WIDTH
        free &= room
    return list(zip(points[free], headings[free].tolist(), strict=True))


def _places(
    rng: np.random.Generator,
    camera: Camera,
    site: Site,
    *,
    nearest: float,
    farthest: float,
    margin: float,
) -> np.ndarray:
    """Return free ground points [n, 3] in view, in random order."""
    columns = rng.uniform(0.04, 0.96, _CANDIDATES) * camera.size
    depths = nearest * (farthest / nearest) ** rng.random(_CANDIDATES)
    points = camera.ground(columns, depths)
    rows = camera.project(points)[:, 1]
    seen = (rows < 1.02 * camera.size) & (depths > nearest)
    return points[seen & site.free(points, margin=margin)]


def _apart(point: np.ndarray, things: Sequence[Thing], distance: float) -> bool:
    return all(math.dist(point, thing.point) > distance for thing in things)


def _may_stand(point: np.ndarray, things: Sequence[Thing], camera: Camera) -> bool:
    """Say whether a person fits here, and depth alone tells who covers whom."""
    depth = camera.project(point)[2]
    for thing in things:
        if thing.corners is None:
            if math.dist(point, thing.point) < 0.5:
                return False
            continue
        base = thing.corners[thing.corners[:, 1] < 0.01]
        origin, edges = base[0], (base[2] - base[0], base[1] - base[0])
        here, eye = (
            np.array([(spot - origin) @ edge / (edge @ edge) for edge in edges])
            for spot in (point, np.array([0.0, 0.0, 0.0]))
        )
        gap = 0.35 / np.array([np.linalg.norm(edge) for edge in edges])
        if (here > -gap).all() and (here < 1 + gap).all():
            return False
        with np.errstate(divide="ignore", invalid="ignore"):
            enters, leaves = np.sort([-eye / (here - eye), (1 - eye) / (here - eye)], 0)
        covered = enters.max() < min(leaves.min(), 1.0)
        if covered != (depth > thing.depth) and np.abs(here - 0.5).max() < 2:
            return False
    return True
